#include "hieron/merge/layout.h"

#include <fmt/format.h>

#include <span>
#include <vector>

#include "hieron/format/safetensors.h"

namespace hieron {
namespace {

constexpr uint64_t kAlignment = 4096;  // of a shard's data: direct writes
constexpr size_t kEntryBytes = 96;     // of a tensor in a header without its name, mostly

void add_shard(Plan& plan, size_t s, size_t of, uint32_t first, uint32_t end) {
  const auto tensors = std::span(plan.tensors).subspan(first, end - first);
  size_t expected = kAlignment;
  for (const PlannedTensor& tensor : tensors) expected += tensor.name.size() + kEntryBytes;
  SafetensorsHeaderWriter writer({{"format", "pt"}}, expected);
  for (PlannedTensor& tensor : tensors) {
    tensor.offset = writer.add(tensor.name, tensor.dtype, tensor.shape());
  }
  std::string header = writer.finish(kAlignment);
  for (PlannedTensor& tensor : tensors) tensor.offset += header.size();
  const uint64_t bytes = header.size() + writer.data_bytes();
  plan.shards.push_back(
      {of == 1 ? "model.safetensors" : fmt::format("model-{:05}-of-{:05}.safetensors", s + 1, of),
       std::move(header), bytes, first, end - first});
}

}  // namespace

void lay_out(Plan& plan, uint64_t shard_bytes) {
  uint64_t filled = 0;
  std::vector<uint32_t> starts;
  for (uint32_t i = 0; i < plan.tensors.size(); ++i) {
    const uint64_t bytes = plan.tensors[i].bytes();
    if (i == 0 || (filled > 0 && filled + bytes > shard_bytes)) {
      starts.push_back(i);
      filled = 0;
    }
    filled += bytes;
    plan.tensors[i].shard = static_cast<uint32_t>(starts.size() - 1);
  }
  for (size_t s = 0; s < starts.size(); ++s) {
    const uint32_t end =
        s + 1 < starts.size() ? starts[s + 1] : static_cast<uint32_t>(plan.tensors.size());
    add_shard(plan, s, starts.size(), starts[s], end);
  }
}

}  // namespace hieron
