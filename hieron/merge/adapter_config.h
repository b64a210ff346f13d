// adapter_config.json, as far as it decides the merged weights.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "hieron/core/error.h"
#include "hieron/merge/module_pattern.h"

namespace hieron {

struct AdapterConfig {
  struct Override {
    ModulePattern pattern;
    double value;
  };
  double rank = 8, alpha = 8;
  std::vector<Override> ranks, alphas;  // in file order: the first that matches a module holds
  bool root_of_rank = false;            // rsLoRA
  bool fan_in_fan_out = false;
  bool magnitudes = false;  // DoRA
  std::vector<std::string> modules_to_save;

  double rank_of(std::string_view module) const;
  double scaling_of(std::string_view module) const;  // alpha / r, or alpha / √r
};

// Refused: a damaged config; a kind of adapter that is not a sum of the base and a product (the
// sentence says which key, and what to do).
Result<AdapterConfig> parse_adapter_config(std::string_view json, const std::string& file);

// Does a model store its layers as Conv1D, weights [in, out]? By its config.json's model_type
// (GPT-2 and its kin).
bool stores_conv1d(std::string_view config_json);

}  // namespace hieron
