#include "hieron/cli/hub_session.h"

#include <memory>
#include <string>
#include <utility>

#include "hieron/cli/progress.h"
#include "hieron/core/text.h"
#include "hieron/hub/hub.h"

namespace hieron {
namespace {

// A progress bar for each model that is downloaded.
auto download_bars(const CommonOptions& options) {
  return [&options, shown = std::string(), bar = std::shared_ptr<ProgressBar>()](
             const std::string& what, uint64_t done, uint64_t total) mutable {
    if (what != shown || !bar) {
      bar = nullptr;  // clears its line first
      bar = std::make_shared<ProgressBar>(options, "downloading " + printable(what));
      shown = what;
    }
    bar->update({done, total});
    if (done == total) bar = nullptr;
  };
}

}  // namespace

Result<ModelSource> model_source(const Context& context, Access access) {
  if (!context.hub) {
    HubSettings settings = hub_settings();
    settings.offline = settings.offline || context.options.offline;
    HIERON_TRY(context.hub,
               Hub::make(std::move(settings), {.max_download = context.options.max_download,
                                               .cancel = context.cancel,
                                               .progress = download_bars(context.options)}));
  }
  return ModelSource{context.hub, access};
}

uint64_t hub_requests(const Context& context) { return context.hub ? context.hub->requests() : 0; }

}  // namespace hieron
