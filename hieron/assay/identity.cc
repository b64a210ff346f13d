#include "hieron/assay/identity.h"

#include <algorithm>
#include <mutex>
#include <optional>

#include "hieron/core/hash.h"
#include "hieron/core/parallel.h"

namespace hieron {
namespace {

constexpr uint64_t kHashBlock = 4u << 20;

Result<std::string> hash_file(const File& file) {
  AlignedBuffer buffer(kHashBlock);
  Sha256 hash;
  for (uint64_t at = 0; at < file.size(); at += kHashBlock) {
    const auto block = buffer.span().first(std::min(kHashBlock, file.size() - at));
    HIERON_CHECK(file.read_at(at, block));
    hash.update(block);
  }
  return to_hex(hash.finish());
}

}  // namespace

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
    auto digest = hash_file(file);
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
