// Does a tensor hold codes of a quantisation scheme, or the scales that belong to them? Such
// numbers mean nothing by themselves and must not be averaged.
#pragma once

#include <optional>
#include <string>

#include "hieron/walk/checkpoint.h"

namespace hieron {

// The evidence, as a clause ("F8_E4M3 with \"….weight_scale_inv\""); nothing if it is a plain
// tensor. `scheme`: quantization_config.quant_method of the model's config, or empty.
std::optional<std::string> quantised(const Checkpoint& checkpoint, const TensorInfo& tensor,
                                     const std::string& scheme);

}  // namespace hieron
