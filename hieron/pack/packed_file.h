// A weight file of which only the stretches in a pack are known.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "hieron/io/file.h"
#include "hieron/pack/pack.h"

namespace hieron {

// The bytes of one content of blocks.bin. False: what is stored is not a squeezed form of so many
// bytes.
Result<bool> unpack(const File& blocks, const PackedBytes& content, std::span<std::byte> out);

// Thread-safe. The whole file's size; a read of what the pack does not hold is an error that says
// so. `weights` must outlive it.
class PackedFile final : public File {
 public:
  PackedFile(const PackedWeights& weights, std::string name, std::shared_ptr<const File> blocks)
      : weights_(weights), name_(std::move(name)), blocks_(std::move(blocks)) {}

  uint64_t size() const override { return weights_.bytes; }
  const std::string& name() const override { return name_; }
  int64_t modified() const override { return 0; }
  Status read_at(uint64_t offset, std::span<std::byte> out) const override;

 private:
  const PackedWeights& weights_;
  const std::string name_;
  const std::shared_ptr<const File> blocks_;
};

}  // namespace hieron
