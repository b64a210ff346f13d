#include "hieron/cli/fits.h"

#include <fmt/format.h>

#include "hieron/core/text.h"

namespace hieron {
namespace {

using Json = nlohmann::ordered_json;

std::string indented(const std::string& text) {
  std::string out;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    out += "  " + text.substr(begin, end - begin) + "\n";
    begin = end + 1;
  }
  return out;
}

}  // namespace

std::string fits_text(const FitSearch& search, std::string_view what) {
  if (!search.fits) {
    return fmt::format(
        "No other {} was found that gives these bytes; the closest, {}, gives {:.6f} "
        "of the elements.\n",
        what, search.closest.empty() ? "as declared" : "another one", search.best_share);
  }
  const Fit& fit = *search.fits;
  std::string text = fmt::format("what fits instead ({} of {} elements):\n",
                                 with_commas(fit.whole.equal), with_commas(fit.whole.elements));
  for (const RecipeDifference& difference : fit.differences) {
    text += "- " + difference.sentence + "\n";
  }
  return text + indented(fit.yaml);
}

Json fits_json(const FitSearch& search) {
  if (!search.fits) return nullptr;
  const Fit& fit = *search.fits;
  Json differences = Json::array();
  for (const RecipeDifference& difference : fit.differences) {
    differences.push_back({{"what", difference.what},
                           {"declared", difference.declared},
                           {"found", difference.found},
                           {"sentence", difference.sentence}});
  }
  return {{"recipe", fit.yaml.empty() ? Json() : Json(fit.yaml)},
          {"arithmetic", fit.arithmetic},
          {"elements", fit.whole.elements},
          {"equal", fit.whole.equal},
          {"share", fit.whole.share},
          {"differences", std::move(differences)}};
}

Json search_json(const FitSearch& search) {
  return {{"tried", search.tried},
          {"best_share", search.fits ? search.fits->whole.share : search.best_share},
          {"closest", search.closest.empty() ? Json() : Json(search.closest)}};
}

}  // namespace hieron
