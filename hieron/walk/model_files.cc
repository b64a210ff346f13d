#include "hieron/walk/model_files.h"

namespace hieron {

ModelFiles model_files(const Checkpoint& checkpoint) {
  ModelFiles files{.ref = checkpoint.ref,
                   .folder = checkpoint.folder,
                   .metadata = checkpoint.metadata,
                   .config_json = checkpoint.config_json,
                   .shards = {},
                   .tensors = {}};
  for (const CheckpointFile& file : checkpoint.files) files.shards.push_back(file.path);
  files.tensors.reserve(checkpoint.tensors.size());
  for (const TensorInfo& tensor : checkpoint.tensors) {
    if (tensor.computed) continue;
    files.tensors.push_back(
        {.name = tensor.name, .file = tensor.stored.file, .bytes = tensor.bytes()});
  }
  return files;
}

}  // namespace hieron
