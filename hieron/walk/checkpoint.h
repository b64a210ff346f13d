// A checkpoint is a table of tensors and a way to read any range of any of them. No data is read to
// open one.
//
// Folder, single file, sharded index: the same thing from here on. A merge that was never written
// is one too (its tensors are Computed), and so is a sample (its tensors know only some runs).
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "hieron/core/dtype.h"
#include "hieron/core/error.h"
#include "hieron/core/shape.h"
#include "hieron/hub/access.h"
#include "hieron/io/file.h"

namespace hieron {

struct Run {
  uint64_t first, count;  // elements
  friend bool operator==(const Run&, const Run&) = default;
};

// A tensor whose bytes are worked out on demand. Thread-safe.
class ComputedTensor {
 public:
  virtual ~ComputedTensor() = default;
  // Elements [first, first + out.size()/element size), as stored in the tensor's dtype.
  virtual Status read(uint64_t first, std::span<std::byte> out) const = 0;
  // Does the first of its elements take all of its inputs' (a rank, a norm)?
  virtual bool reads_all() const { return false; }
};

struct Stored {
  uint32_t file;    // index into Checkpoint::files
  uint64_t offset;  // absolute
};

struct TensorInfo {
  std::string name;
  DType dtype;
  Shape shape;
  uint64_t elements;
  Stored stored{};                                 // meaningless if computed
  std::shared_ptr<const ComputedTensor> computed;  // null for stored tensors
  // The elements that are known, ascending and disjoint (a fingerprint's); null: all.
  std::shared_ptr<const std::vector<Run>> known{};

  uint64_t bytes() const { return elements * static_cast<uint64_t>(info(dtype).bits) / 8; }
};

// Where a file can be had again by somebody else, as far as the hub or its cache tells.
struct Origin {
  std::string url;     // pinned to a commit, without a signature; empty: a local file
  std::string etag;    // as the server gave it, without quotes
  std::string sha256;  // of the whole file
};

struct CheckpointFile {
  std::string path;  // relative to the checkpoint's folder; what reports show
  uint64_t bytes;
  std::shared_ptr<const File> file;
  Origin origin{};
};

struct Checkpoint {
  std::string ref;     // as typed
  std::string commit;  // 40 hex digits, of a hub's repository; empty: not known
  std::string folder;  // where config and tokenizer files lie; empty for a computed one
  std::vector<CheckpointFile> files;  // weights only
  std::vector<TensorInfo> tensors;    // by file, then offset: reading in this order is sequential
  std::map<std::string, std::string>
      metadata;  // of the headers and the index ("format", "mergekit_version", …)
  std::vector<std::string> warnings;
  std::string config_json;  // text of config.json; empty if there is none or it cannot be read

  const TensorInfo* find(std::string_view name) const;
  // The same, sooner if it is the one after `last` (found before, or null): files list tensors
  // alike.
  const TensorInfo* find_after(const TensorInfo* last, std::string_view name) const;
  uint64_t weight_bytes() const;  // Σ tensor bytes

  // Fills the name index; called by whoever builds a checkpoint. A name that two shards hold is an
  // error.
  Status index();

 private:
  // An open hash table: 8 bytes a slot, where a node a tensor would take 60.
  struct Slot {
    uint32_t hash;
    uint32_t number;  // of the tensor, from 1; 0: empty
  };
  size_t slot_of(std::string_view name,
                 uint32_t hash) const;  // its own, or the empty one it would get
  std::vector<Slot> by_name_;
};

// A copy without its tensors, for whoever shows the same files in another way.
std::shared_ptr<Checkpoint> without_tensors(const Checkpoint& checkpoint);

// Reads elements [first, first + out.size()/element size) of one tensor. Thread-safe.
Status read_elements(const Checkpoint& checkpoint, const TensorInfo& tensor, uint64_t first,
                     std::span<std::byte> out);

// Elements that read_elements() will soon be asked for: from files far away they are fetched
// together, or refused before the first byte if that is more than may be downloaded.
struct Wanted {
  const Checkpoint* checkpoint;
  const TensorInfo* tensor;
  uint64_t first, count;
};
Status will_read(std::span<const Wanted> wanted);
bool is_far(const Checkpoint& checkpoint);  // does any of its weight files lie far away?

// `ref`: a folder (model.safetensors.index.json, or model.safetensors, or its *.safetensors files),
// a .safetensors file, or an index file; else, if `source` has a hub, a model there:
// org/name[@revision] or hf://…. An existing path wins. Headers and the index are read and checked
// against each other.
Result<std::shared_ptr<const Checkpoint>> open_checkpoint(const std::string& ref,
                                                          const ModelSource& source = {});

}  // namespace hieron
