#include "hieron/merge/quantised.h"

#include <fmt/format.h>

#include <array>
#include <string_view>

#include "hieron/core/text.h"

namespace hieron {
namespace {

// What stands beside the codes, by scheme: the end of the code tensor's name, and of its
// companion's.
struct Companion {
  std::string_view codes, companion;
};

constexpr std::array<Companion, 12> kCompanions{{
    {"weight", "weight_scale_inv"},     // DeepSeek and Qwen FP8
    {"weight", "weight_scale"},         // compressed-tensors, modelopt
    {"weight", "qscale_weight"},        // Mistral FP8
    {"weight", "weight.absmax"},        // bitsandbytes 4 bit
    {"weight", "SCB"},                  // bitsandbytes 8 bit
    {"weight_packed", "weight_scale"},  // compressed-tensors
    {"qweight", "scales"},              // GPTQ, AWQ
    {"qzeros", "qweight"},              //
    {"g_idx", "qweight"},               //
    {"blocks", "scales"},               // MXFP4
    {"scales", "blocks"},               //
    {"gate_up_proj", "gate_up_proj_scale_inv"},
}};

bool is_code(DType dtype) { return info(dtype).bits <= 8 || !info(dtype).format; }

}  // namespace

std::optional<std::string> quantised(const Checkpoint& checkpoint, const TensorInfo& tensor,
                                     const std::string& scheme) {
  if (!is_code(tensor.dtype) || tensor.dtype == DType::kBool) return std::nullopt;
  for (const Companion& row : kCompanions) {
    if (!tensor.name.ends_with(row.codes)) continue;
    const std::string companion =
        tensor.name.substr(0, tensor.name.size() - row.codes.size()) + std::string(row.companion);
    if (companion != tensor.name && checkpoint.find(companion)) {
      return fmt::format("{} with \"{}\"", info(tensor.dtype).name, printable(companion));
    }
  }
  if (!scheme.empty() && tensor.shape.size() >= 2) {
    return fmt::format("{}, and config.json says {}", info(tensor.dtype).name, printable(scheme));
  }
  return std::nullopt;
}

}  // namespace hieron
