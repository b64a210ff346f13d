#include "hieron/merge/adapter_config.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <nlohmann/json.hpp>

#include "hieron/core/text.h"

namespace hieron {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::string_view kFold =
    "fold it into its base with the program that made it, and give the result.";

// Keys that, if they say anything, make more of an adapter than W + s·B·A.
struct Refusal {
  const char* key;
  std::string_view meaning;
};
constexpr std::array kRefused{
    Refusal{"layer_replication", "repeats layers of the base"},
    Refusal{"trainable_token_indices", "trains the rows of single tokens"},
    Refusal{"target_parameters", "targets parameters of fused experts"},
    Refusal{"use_qalora", "pools the inputs of its factors (QA-LoRA)"},
    Refusal{"use_bdlora", "has block-diagonal factors (BD-LoRA)"},
    Refusal{"kasa_config", "scales its factors by singular values (KaSA)"},
    Refusal{"monteclora_config", "samples its factors (MonteCLoRA)"},
    Refusal{"arrow_config", "routes among several adapters (Arrow)"},
    Refusal{"alora_invocation_tokens", "acts only after certain tokens (aLoRA)"},
    Refusal{"megatron_config", "was cut for parallel training (Megatron)"},
};

// Initialisations that take part of the base away before training: the adapter alone does not tell.
constexpr std::array<std::string_view, 6> kChangesBase{"pissa", "olora",   "corda",
                                                       "loftq", "lora_ga", "lora-ga"};

constexpr std::array<std::string_view, 4> kConv1D{"gpt2", "openai-gpt", "imagegpt",
                                                  "decision_transformer"};

std::unexpected<Error> wrong(const std::string& file, std::string_view key, std::string_view kind) {
  return refuse(
      fmt::format("{}: \"{}\" is not {}; the adapter's config is damaged, fetch it again.", file,
                  key, kind),
      file);
}

bool says_something(const Json& config, const char* key) {
  const auto found = config.find(key);
  if (found == config.end() || found->is_null()) return false;
  if (found->is_boolean()) return found->get<bool>();
  return !found->empty();
}

Result<bool> read_flag(const Json& config, const char* key, const std::string& file) {
  const auto found = config.find(key);
  if (found == config.end() || found->is_null()) return false;
  if (!found->is_boolean()) return wrong(file, key, "true or false");
  return found->get<bool>();
}

Status read_positive(const Json& config, const char* key, const std::string& file, double& out) {
  const auto found = config.find(key);
  if (found == config.end() || found->is_null()) return {};
  if (!found->is_number() || !(found->get<double>() > 0)) return wrong(file, key, "above zero");
  out = found->get<double>();
  return {};
}

Result<std::vector<AdapterConfig::Override>> read_overrides(const Json& config, const char* key,
                                                            const std::string& file) {
  std::vector<AdapterConfig::Override> out;
  const auto found = config.find(key);
  if (found == config.end() || found->is_null()) return out;
  if (!found->is_object()) return wrong(file, key, "an object of patterns and numbers");
  for (const auto& [text, value] : found->items()) {
    const auto pattern = ModulePattern::parse(text);
    if (!pattern) {
      return refuse(fmt::format("{}: \"{}\" has the pattern \"{}\", which is no expression that is "
                                "understood here; write it with the modules' names.",
                                file, key, printable(text)),
                    file);
    }
    if (!value.is_number() || !(value.get<double>() > 0)) return wrong(file, key, "all above zero");
    out.push_back({*pattern, value.get<double>()});
  }
  return out;
}

Status check_kind(const Json& config, const std::string& file) {
  const auto type = config.find("peft_type");
  const std::string kind =
      type != config.end() && type->is_string() ? type->get<std::string>() : "";
  if (kind != "LORA") {
    return refuse(fmt::format("{}: peft_type is \"{}\"; only LORA adapters can be applied: {}",
                              file, printable(kind), kFold),
                  file);
  }
  for (const Refusal& refused : kRefused) {
    if (!says_something(config, refused.key)) continue;
    return refuse(fmt::format("{}: the adapter {} ({}), which is not a sum of two tensors: {}",
                              file, refused.meaning, refused.key, kFold),
                  file);
  }
  const auto start = config.find("init_lora_weights");
  if (start == config.end() || !start->is_string()) return {};
  std::string text = start->get<std::string>();
  std::ranges::transform(text, text.begin(), [](char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  });
  for (const std::string_view name : kChangesBase) {
    if (!text.starts_with(name)) continue;
    return refuse(
        fmt::format(
            "{}: init_lora_weights is \"{}\": part of the base was taken away before "
            "training, so the adapter does not fit the base as it is; convert it to a plain "
            "LoRA when saving (path_initial_model_for_weight_conversion).",
            file, printable(text)),
        file);
  }
  return {};
}

double first_match(const std::vector<AdapterConfig::Override>& overrides, std::string_view module,
                   double otherwise) {
  for (const auto& entry : overrides) {
    if (entry.pattern.matches(module)) return entry.value;
  }
  return otherwise;
}

}  // namespace

double AdapterConfig::rank_of(std::string_view module) const {
  return first_match(ranks, module, rank);
}

double AdapterConfig::scaling_of(std::string_view module) const {
  const double r = rank_of(module);
  return first_match(alphas, module, alpha) / (root_of_rank ? std::sqrt(r) : r);
}

Result<AdapterConfig> parse_adapter_config(std::string_view json, const std::string& file) {
  const Json config = Json::parse(json, nullptr, /*allow_exceptions=*/false);
  if (!config.is_object()) {
    return refuse(fmt::format("{}: not a JSON object; the adapter's config is damaged, fetch it "
                              "again.",
                              file),
                  file);
  }
  HIERON_CHECK(check_kind(config, file));
  AdapterConfig out;
  HIERON_CHECK(read_positive(config, "r", file, out.rank));
  HIERON_CHECK(read_positive(config, "lora_alpha", file, out.alpha));
  HIERON_TRY(out.ranks, read_overrides(config, "rank_pattern", file));
  HIERON_TRY(out.alphas, read_overrides(config, "alpha_pattern", file));
  HIERON_TRY(out.root_of_rank, read_flag(config, "use_rslora", file));
  HIERON_TRY(out.fan_in_fan_out, read_flag(config, "fan_in_fan_out", file));
  HIERON_TRY(out.magnitudes, read_flag(config, "use_dora", file));
  const auto saved = config.find("modules_to_save");
  if (saved != config.end() && saved->is_array()) {
    for (const Json& name : *saved) {
      if (name.is_string()) out.modules_to_save.push_back(name.get<std::string>());
    }
  }
  return out;
}

bool stores_conv1d(std::string_view config_json) {
  const Json config = Json::parse(config_json, nullptr, /*allow_exceptions=*/false);
  const auto type = config.is_object() ? config.find("model_type") : config.end();
  if (!config.is_object() || type == config.end() || !type->is_string()) return false;
  return std::ranges::find(kConv1D, type->get<std::string>()) != kConv1D.end();
}

}  // namespace hieron
