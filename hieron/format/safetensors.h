// safetensors: u64 LE header length N, N bytes of JSON, then the tensors' bytes, packed and
// row-major.
//
//   {"name": {"dtype": "BF16", "shape": [2, 3], "data_offsets": [begin, end]}, …, "__metadata__":
//   {"k": "v"}}
//
// Offsets count from the end of the header. Extents must tile the rest of the file exactly: no
// hole, no overlap, no trailing byte. The header starts with '{' and may end in spaces.
// Specification: docs/formats.md; every rule has a test in safetensors_test.cc.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "hieron/core/dtype.h"
#include "hieron/core/error.h"
#include "hieron/core/shape.h"
#include "hieron/io/file.h"

namespace hieron {

struct StoredTensor {
  std::string name;
  DType dtype;
  Shape shape;
  uint64_t offset;  // absolute byte offset in the file
  uint64_t bytes;
};

struct SafetensorsHeader {
  std::vector<StoredTensor> tensors;            // in the order of their offsets, then of names
  std::map<std::string, std::string> metadata;  // "__metadata__"
  std::vector<std::string>
      warnings;             // oddities that are legal: control or bidi characters in names …
  uint64_t data_start = 0;  // 8 + N
};

inline constexpr uint64_t kMaxHeaderBytes = 100'000'000;

// Parses and validates. `json` is the header without its length; `file` is for messages.
Result<SafetensorsHeader> parse_safetensors_header(std::string_view json, uint64_t file_size,
                                                   const std::string& file);
Result<SafetensorsHeader> read_safetensors_header(const File& file);

// Writes a header tensor by tensor, for those who have too many of them to list them once more.
class SafetensorsHeaderWriter {
 public:
  // `expected_bytes` of text, if known: none is copied as it grows.
  explicit SafetensorsHeaderWriter(const std::map<std::string, std::string>& metadata,
                                   size_t expected_bytes = 0);
  // The tensor's offset from the start of the data: tensors lie back to back, in the order of the
  // calls.
  uint64_t add(std::string_view name, DType dtype, const Shape& shape);
  uint64_t data_bytes() const { return data_bytes_; }
  // The bytes before the data, once. Padding as below.
  std::string finish(uint64_t alignment);

 private:
  std::string text_;
  uint64_t data_bytes_ = 0;
};

// The bytes before the data (length word and JSON) for tensors laid out back to back in the given
// order. Padded with spaces so that data_start is a multiple of `alignment` (8 at least; 4096
// enables direct writes). The tensors' `offset` and `bytes` are filled in.
std::string write_safetensors_header(std::vector<StoredTensor>& tensors,
                                     const std::map<std::string, std::string>& metadata,
                                     uint64_t alignment);

}  // namespace hieron
