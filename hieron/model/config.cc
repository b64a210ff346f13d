#include "hieron/model/config.h"

#include <fmt/format.h>

#include <array>
#include <nlohmann/json.hpp>
#include <span>

#include "hieron/core/text.h"

namespace hieron {

namespace {

using nlohmann::json;

// Multimodal configs keep the text model's figures in one of these.
constexpr std::string_view kNested[] = {"text_config", "llm_config", "language_config",
                                        "thinker_config"};

constexpr std::string_view kLayers[] = {"num_hidden_layers", "n_layer", "num_layers", "n_layers"};
constexpr std::string_view kHidden[] = {"hidden_size", "n_embd", "d_model"};
constexpr std::string_view kVocabulary[] = {"vocab_size"};
constexpr std::string_view kExperts[] = {"num_experts", "num_local_experts", "n_routed_experts",
                                         "moe_num_experts"};
constexpr std::string_view kTied[] = {"tie_word_embeddings"};
constexpr std::string_view kDtype[] = {"torch_dtype", "dtype"};

using Keys = std::span<const std::string_view>;

// The first of `keys` that is there and not null: in the top level, else in a nested config.
struct Found {
  const json* value = nullptr;
  std::string key;
};

Found find_in(const json& object, Keys keys, const std::string& prefix) {
  for (std::string_view key : keys) {
    const auto it = object.find(key);
    if (it != object.end() && !it->is_null()) return {&*it, prefix + std::string(key)};
  }
  return {};
}

Found find(const json& config, Keys keys) {
  if (Found found = find_in(config, keys, ""); found.value) return found;
  for (std::string_view nested : kNested) {
    const auto it = config.find(nested);
    if (it == config.end() || !it->is_object()) continue;
    if (Found found = find_in(*it, keys, std::string(nested) + "."); found.value) return found;
  }
  return {};
}

class Reader {
 public:
  Reader(const json& config, const std::string& file) : config_(config), file_(file) {}

  Result<std::optional<uint64_t>> count(Keys keys) const {
    const Found found = find(config_, keys);
    if (!found.value) return std::nullopt;
    if (!found.value->is_number_unsigned()) return wrong_type(found, "a whole number");
    return found.value->get<uint64_t>();
  }

  Result<std::optional<bool>> flag(Keys keys) const {
    const Found found = find(config_, keys);
    if (!found.value) return std::nullopt;
    if (!found.value->is_boolean()) return wrong_type(found, "true or false");
    return found.value->get<bool>();
  }

  Result<std::string> text(Keys keys) const {
    const Found found = find(config_, keys);
    if (!found.value) return std::string();
    if (!found.value->is_string()) return wrong_type(found, "a text");
    return found.value->get<std::string>();
  }

  // The outermost only: a nested config may name another model's.
  Result<std::string> model_type() const {
    constexpr std::string_view kKey[] = {"model_type"};
    const Found found = find_in(config_, kKey, "");
    if (!found.value) return std::string();
    if (!found.value->is_string()) return wrong_type(found, "a text");
    return found.value->get<std::string>();
  }

  Result<std::string> architecture() const {
    constexpr std::string_view kKey[] = {"architectures"};
    const Found found = find_in(config_, kKey, "");
    if (!found.value || (found.value->is_array() && found.value->empty())) return std::string();
    if (!found.value->is_array() || !found.value->front().is_string()) {
      return wrong_type(found, "a list of texts");
    }
    return found.value->front().get<std::string>();
  }

  Result<std::string> quantization() const {
    constexpr std::string_view kKey[] = {"quantization_config"};
    constexpr std::string_view kMethod[] = {"quant_method", "quant_type"};
    const Found found = find(config_, kKey);
    if (!found.value) return std::string();
    if (!found.value->is_object()) return wrong_type(found, "an object");
    const Found method = find_in(*found.value, kMethod, found.key + ".");
    if (!method.value) return std::string("unnamed");
    if (!method.value->is_string()) return wrong_type(method, "a text");
    return method.value->get<std::string>();
  }

 private:
  std::unexpected<Error> wrong_type(const Found& found, std::string_view wanted) const {
    return refuse(fmt::format("{}: \"{}\" should be {}, but it is {}; correct it, or fetch the "
                              "file again",
                              printable(file_), found.key, wanted, shown(*found.value)),
                  file_);
  }

  static std::string shown(const json& value) {
    if (value.is_object()) return "an object";
    if (value.is_array()) return "a list";
    return printable(value.dump(-1, ' ', false, json::error_handler_t::replace), 60);
  }

  const json& config_;
  const std::string& file_;
};

// nlohmann reports damage by exceptions; they end here.
Result<json> parse(std::string_view text, const std::string& file) {
  try {
    return json::parse(text);
  } catch (const json::parse_error& error) {
    return refuse(fmt::format("{}: not valid JSON at byte {} of {}; fetch the file again",
                              printable(file), with_commas(error.byte), with_commas(text.size())),
                  file, "", error.byte);
  } catch (const json::exception&) {
    return refuse(fmt::format("{}: holds a number that JSON cannot express; correct it, or fetch "
                              "the file again",
                              printable(file)),
                  file);
  }
}

}  // namespace

Result<ModelConfig> parse_config(std::string_view text, const std::string& file) {
  HIERON_TRY(const json config, parse(text, file));
  if (!config.is_object()) {
    return refuse(fmt::format("{}: should hold a JSON object, as config.json of transformers does; "
                              "fetch the file again",
                              printable(file)),
                  file);
  }
  const Reader reader(config, file);
  ModelConfig model;
  HIERON_TRY(model.architecture, reader.architecture());
  HIERON_TRY(model.model_type, reader.model_type());
  HIERON_TRY(model.layers, reader.count(kLayers));
  HIERON_TRY(model.hidden_size, reader.count(kHidden));
  HIERON_TRY(model.vocab_size, reader.count(kVocabulary));
  HIERON_TRY(model.experts, reader.count(kExperts));
  HIERON_TRY(model.tied, reader.flag(kTied));
  HIERON_TRY(model.dtype, reader.text(kDtype));
  HIERON_TRY(model.quantization, reader.quantization());
  return model;
}

}  // namespace hieron
