#include "hieron/assay/identity.h"

#include <mutex>
#include <optional>

#include "hieron/core/parallel.h"
#include "hieron/io/file_hash.h"

namespace hieron {
Result<ModelIdentity> identify(const Checkpoint& model, bool hash, unsigned threads) {
  ModelIdentity identity{.ref = model.ref, .commit = model.commit, .files = {}};
  for (const CheckpointFile& file : model.files) {
    identity.files.push_back({file.path, file.bytes, file.origin.sha256});
  }
  if (!hash) return identity;
  std::mutex mutex;
  std::optional<Error> error;
  parallel_for(model.files.size(), threads, [&](size_t i) {
    const File& file = *model.files[i].file;
    const Extent whole{0, file.size()};
    // Nobody downloads a model to hear what the hub has told.
    if (!identity.files[i].sha256.empty() && file.far_bytes({&whole, 1}) > 0) return;
    auto digest = sha256_of(file);
    const std::lock_guard lock(mutex);
    if (digest) {
      identity.files[i].sha256 = *digest;
    } else if (!error) {
      error = std::move(digest.error());
    }
  });
  if (error) return std::unexpected(std::move(*error));
  return identity;
}

}  // namespace hieron
