// config.json, as far as merging and auditing need it. Unknown keys are kept as text by whoever
// writes configs.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "hieron/core/error.h"

namespace hieron {

struct ModelConfig {
  std::string architecture;  // architectures[0], or empty
  std::string model_type;
  std::optional<uint64_t> layers, hidden_size, vocab_size,
      experts;               // num_hidden_layers, …, num_(local_)experts; nested text_config too
  std::optional<bool> tied;  // tie_word_embeddings
  std::string dtype;         // torch_dtype or dtype, as written
  std::string quantization;  // quantization_config.quant_method, or empty
};

// A damaged config is an error; an audit goes on past it with a warning.
Result<ModelConfig> parse_config(std::string_view json, const std::string& file);

}  // namespace hieron
