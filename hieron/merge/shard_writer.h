// Writes one file from front to back: hashes what it is given, gathers it into large aligned
// pieces, and writes them in the background while the next ones are computed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "hieron/core/error.h"

namespace hieron {

// One caller at a time. Destroyed before finish(): no file appears.
class ShardWriter {
 public:
  // `size` bytes will come; `piece` bytes are written at a time (a multiple of 4096; three such
  // buffers are taken).
  static Result<std::unique_ptr<ShardWriter>> create(const std::string& path, uint64_t size,
                                                     size_t piece);
  ~ShardWriter();

  // After an error every further call gives an error.
  Status append(std::span<const std::byte> bytes);
  Result<std::string> finish();  // the SHA-256, in hex; the file is in place and durable

 private:
  struct State;
  explicit ShardWriter(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace hieron
