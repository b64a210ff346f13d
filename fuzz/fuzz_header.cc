// Any bytes as a safetensors file: refused with a sentence, or accepted with extents that tile it.
#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <nlohmann/json.hpp>
#include <string>

#include "hieron/core/dtype.h"
#include "hieron/core/text.h"
#include "hieron/format/safetensors.h"

namespace {

class MemoryFile final : public hieron::File {
 public:
  explicit MemoryFile(std::span<const std::byte> bytes) : bytes_(bytes) {}
  uint64_t size() const override { return bytes_.size(); }
  int64_t modified() const override { return 0; }
  const std::string& name() const override { return name_; }
  hieron::Status read_at(uint64_t offset, std::span<std::byte> out) const override {
    if (offset > bytes_.size() || out.size() > bytes_.size() - offset) std::abort();
    std::ranges::copy(bytes_.subspan(offset, out.size()), out.begin());
    return {};
  }

 private:
  std::span<const std::byte> bytes_;
  std::string name_ = "fuzzed.safetensors";
};

void require(bool holds) {
  if (!holds) std::abort();
}

void check_refusal(const hieron::Error& error) {
  require(error.code == hieron::ErrorCode::kRefused);
  require(!error.sentence.empty() && hieron::valid_utf8(error.sentence));
  require(!hieron::has_control_or_bidi(error.sentence));
}

void check_accepted(const hieron::SafetensorsHeader& header, std::string_view file) {
  require(nlohmann::json::accept(file.substr(8, header.data_start - 8)));  // a second opinion
  uint64_t at = header.data_start;
  for (const hieron::StoredTensor& tensor : header.tensors) {
    require(tensor.offset == at && !tensor.name.empty());
    uint64_t bits = static_cast<uint64_t>(hieron::info(tensor.dtype).bits);
    for (const uint64_t extent : tensor.shape) bits *= extent;
    require(bits == tensor.bytes * 8);
    at += tensor.bytes;
  }
  require(at == file.size());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::span<const std::byte> bytes = std::as_bytes(std::span(data, size));
  const auto header = hieron::read_safetensors_header(MemoryFile(bytes));
  if (header) {
    check_accepted(*header, {reinterpret_cast<const char*>(data), size});
  } else {
    check_refusal(header.error());
  }
  return 0;
}
