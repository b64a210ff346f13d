#include "hieron/merge/adapter.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <list>
#include <map>
#include <mutex>
#include <nlohmann/json.hpp>
#include <utility>

#include "hieron/core/text.h"
#include "hieron/format/safetensors.h"
#include "hieron/kernels/decode.h"
#include "hieron/merge/adapter_config.h"
#include "hieron/merge/experts.h"
#include "hieron/model/config.h"

namespace hieron {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kMaxConfigBytes = 16u << 20;
constexpr uint64_t kCacheBytes = 64u << 20;
constexpr const char* kConfigName = "adapter_config.json";
constexpr const char* kWeightsName = "adapter_model.safetensors";
constexpr std::string_view kPrefix = "base_model.model.";

// The same module under the names that checkpoints of one model have had.
struct Spelling {
  std::string_view in_adapter, in_base;
};
constexpr std::array<Spelling, 6> kSpellings{{{"model.", ""},
                                              {"", "model."},
                                              {"transformer.", ""},
                                              {"", "transformer."},
                                              {"language_model.model.", "model.language_model."},
                                              {"model.language_model.", "language_model.model."}}};

bool has_weights(DType dtype) { return info(dtype).format && info(dtype).bits >= 16; }

// What the adapter has for one module.
struct Module {
  const StoredTensor* a = nullptr;
  const StoredTensor* b = nullptr;
  const StoredTensor* magnitude = nullptr;
  const StoredTensor* bias = nullptr;
  bool embedding = false;
};

struct Contents {
  std::map<std::string, Module> modules;             // by module
  std::map<std::string, const StoredTensor*> whole;  // by tensor: in place of the base's
};

// How the factors of a module lie on its weight.
struct Fit {
  uint64_t rows, columns, rank;
  bool transposed;  // the weight is [in, out]
};

class AdapterFile {
 public:
  AdapterFile(std::unique_ptr<File> file, SafetensorsHeader header)
      : file_(std::move(file)), header_(std::move(header)) {}

  const SafetensorsHeader& header() const { return header_; }
  const File& file() const { return *file_; }
  const std::shared_ptr<const File>& shared_file() const { return file_; }

  // The factors of a module; kept among the last used, up to kCacheBytes.
  Result<std::shared_ptr<const LowRankFactors>> factors(const Module& module,
                                                        const Fit& fit) const {
    const std::lock_guard lock(mutex_);
    const auto found = std::ranges::find(cache_, module.a, &Cached::key);
    if (found != cache_.end()) {
      cache_.splice(cache_.begin(), cache_, found);
      return cache_.front().factors;
    }
    HIERON_TRY(auto made, load(module, fit));
    cache_.push_front({module.a, made});
    cached_bytes_ += bytes_of(*made);
    while (cache_.size() > 1 && cached_bytes_ > kCacheBytes) {
      cached_bytes_ -= bytes_of(*cache_.back().factors);
      cache_.pop_back();
    }
    return made;
  }

  Result<std::vector<float>> values(const StoredTensor& tensor) const {
    std::vector<std::byte> raw(tensor.bytes);
    HIERON_CHECK(file_->read_at(tensor.offset, raw));
    std::vector<float> out(element_count(tensor.shape).value_or(0));
    decode(tensor.dtype, raw.data(), std::span(out));
    return out;
  }

 private:
  struct Cached {
    const StoredTensor* key;
    std::shared_ptr<const LowRankFactors> factors;
  };
  static uint64_t bytes_of(const LowRankFactors& f) {
    return 4 * (f.left.size() + f.right.size()) + 8 * f.magnitudes.size();
  }

  static std::vector<float> transposed(const std::vector<float>& in, size_t rows, size_t columns) {
    std::vector<float> out(in.size());
    for (size_t i = 0; i < rows; ++i) {
      for (size_t j = 0; j < columns; ++j) out[j * rows + i] = in[i * columns + j];
    }
    return out;
  }

  Result<std::shared_ptr<const LowRankFactors>> load(const Module& module, const Fit& fit) const {
    auto out = std::make_shared<LowRankFactors>();
    out->rows = fit.rows, out->rank = fit.rank, out->columns = fit.columns;
    out->magnitude_by_row = !fit.transposed;
    HIERON_TRY(std::vector<float> a, values(*module.a));
    HIERON_TRY(std::vector<float> b, values(*module.b));
    if (fit.transposed) {
      out->left = transposed(a, fit.rank, fit.rows);
      out->right = transposed(b, fit.columns, fit.rank);
    } else {
      out->left = std::move(b);
      out->right = std::move(a);
    }
    if (module.magnitude) {
      HIERON_TRY(const std::vector<float> m, values(*module.magnitude));
      out->magnitudes.assign(m.begin(), m.end());
    }
    return out;
  }

  const std::shared_ptr<const File> file_;
  const SafetensorsHeader header_;
  mutable std::mutex mutex_;
  mutable std::list<Cached> cache_;  // last used first
  mutable uint64_t cached_bytes_ = 0;
};

// A tensor of the adapter in the base's dtype.
class FromAdapter final : public ComputedTensor {
 public:
  FromAdapter(std::shared_ptr<const AdapterFile> adapter, const StoredTensor& tensor, DType dtype)
      : adapter_(std::move(adapter)), tensor_(tensor), dtype_(dtype) {}

  Status read(uint64_t first, std::span<std::byte> out) const override {
    const uint64_t from = static_cast<uint64_t>(info(tensor_.dtype).bits) / 8;
    const uint64_t to = static_cast<uint64_t>(info(dtype_).bits) / 8;
    if (tensor_.dtype == dtype_) {
      return adapter_->file().read_at(tensor_.offset + first * from, out);
    }
    std::vector<std::byte> raw(out.size() / to * from);
    HIERON_CHECK(adapter_->file().read_at(tensor_.offset + first * from, raw));
    std::array<double, 512> values;
    for (size_t i = 0; i < out.size() / to; i += values.size()) {
      const auto some = std::span(values).first(std::min(values.size(), out.size() / to - i));
      decode(tensor_.dtype, raw.data() + i * from, some);
      encode(dtype_, std::span<const double>(some), out.data() + i * to);
    }
    return {};
  }

 private:
  std::shared_ptr<const AdapterFile> adapter_;
  const StoredTensor& tensor_;  // the adapter's header owns it
  DType dtype_;
};

// Puts one tensor of the adapter where it belongs; false if no rule reads it.
bool sort_in(const StoredTensor& tensor, Contents& contents) {
  std::string_view name = tensor.name;
  if (name.starts_with(kPrefix)) name.remove_prefix(kPrefix.size());
  const auto module_before = [&](std::string_view mark) -> Module* {
    const size_t at = name.find(mark);
    return at == std::string_view::npos ? nullptr
                                        : &contents.modules[std::string(name.substr(0, at))];
  };
  const auto put = [&](const StoredTensor*& place) {
    return std::exchange(place, &tensor) == nullptr;
  };
  for (const bool b : {false, true}) {
    if (Module* module = module_before(b ? ".lora_embedding_B" : ".lora_embedding_A")) {
      module->embedding = true;
      return put(b ? module->b : module->a);
    }
    if (Module* module = module_before(b ? ".lora_B." : ".lora_A.")) {
      if (name.ends_with(".weight")) return put(b ? module->b : module->a);
      return b && name.ends_with(".bias") && put(module->bias);
    }
  }
  if (Module* module = module_before(".lora_magnitude_vector")) return put(module->magnitude);
  std::string whole(name);
  for (const std::string_view wrapper :
       {".modules_to_save.default", ".modules_to_save", ".base_layer"}) {
    const size_t at = whole.find(wrapper);
    if (at != std::string::npos) whole.erase(at, wrapper.size());
  }
  for (const std::string_view strange : {"lora_", "original_module", "token_adapter"}) {
    if (whole.find(strange) != std::string::npos) return false;
  }
  return contents.whole.emplace(std::move(whole), &tensor).second;
}

class Application {
 public:
  Application(std::shared_ptr<const Checkpoint> base, std::string folder, AdapterConfig config,
              std::shared_ptr<const AdapterFile> adapter, const AdapterUse& use)
      : base_(std::move(base)),
        folder_(std::move(folder)),
        config_(std::move(config)),
        adapter_(std::move(adapter)),
        arithmetic_(use.arithmetic),
        scaling_(use.scaling),
        out_(std::make_shared<Checkpoint>(*base_)) {}

  Result<std::shared_ptr<const Checkpoint>> make() {
    HIERON_TRY(const Contents contents, sort());
    out_->ref = fmt::format("{}+{}", base_->ref, folder_);
    if (auto parsed = parse_config(base_->config_json, base_->ref)) model_ = *parsed;
    for (const auto& [name, tensor] : contents.whole) HIERON_CHECK(replace(name, *tensor));
    transposed_if_square_ = transposed_by_evidence(contents);
    for (const auto& [name, module] : contents.modules) HIERON_CHECK(add(name, module));
    // What the model is made of, for whoever asks whether that has changed.
    const std::string name = fs::path(adapter_->file().name()).filename().string();
    out_->files.push_back({fs::path(folder_).filename().string() + "/" + name,
                           adapter_->file().size(), adapter_->shared_file()});
    HIERON_CHECK(out_->index());
    return out_;
  }

 private:
  std::unexpected<Error> refuse_here(std::string_view tensor, const std::string& clause) const {
    return refuse(fmt::format("{}: {}", folder_, clause), folder_, std::string(tensor));
  }

  Result<Contents> sort() const {
    Contents contents;
    for (const StoredTensor& tensor : adapter_->header().tensors) {
      if (!has_weights(tensor.dtype) || info(tensor.dtype).bits > 32) {
        return refuse_here(tensor.name,
                           fmt::format("tensor \"{}\" is {}; an adapter has F32, F16 or BF16.",
                                       printable(tensor.name), info(tensor.dtype).name));
      }
      if (sort_in(tensor, contents)) continue;
      return refuse_here(tensor.name,
                         fmt::format("tensor \"{}\" is nothing that a LoRA adapter has; apply the "
                                     "adapter with the program that made it.",
                                     printable(tensor.name)));
    }
    if (contents.modules.empty() && contents.whole.empty()) {
      return refuse_here("", "the adapter holds no tensors; fetch it again.");
    }
    return contents;
  }

  // The tensor of the result that the adapter means, if the base has it.
  TensorInfo* find(const std::string& name) const {
    const TensorInfo* found = out_->find(name);
    for (const Spelling& s : kSpellings) {
      if (found || !name.starts_with(s.in_adapter)) continue;
      found = out_->find(std::string(s.in_base) + name.substr(s.in_adapter.size()));
    }
    return found ? &out_->tensors[static_cast<size_t>(found - out_->tensors.data())] : nullptr;
  }

  std::unexpected<Error> no_such_tensor(const std::string& name) const {
    std::vector<std::string_view> names;
    for (const TensorInfo& tensor : base_->tensors) names.push_back(tensor.name);
    const std::string_view near = nearest(name, names, 4);
    return refuse_here(
        name,
        fmt::format("the adapter changes \"{}\", which {} does not have{}; give the base that "
                    "it was trained on.",
                    printable(name), base_->ref,
                    near.empty() ? "" : fmt::format(" (did you mean \"{}\"?)", near)));
  }

  Status replace(const std::string& name, const StoredTensor& tensor) {
    TensorInfo* place = find(name);
    const bool head = name.ends_with("lm_head.weight");
    if (!place && !(head && model_.tied.value_or(false))) return no_such_tensor(name);
    if (!place) return add_head(name, tensor);
    if (place->shape != tensor.shape) HIERON_CHECK(resize(name, *place, tensor));
    place->computed = std::make_shared<const FromAdapter>(adapter_, tensor, place->dtype);
    return {};
  }

  // An output layer of its own, where the base uses its embedding.
  Status add_head(const std::string& name, const StoredTensor& tensor) {
    const auto embedding = std::ranges::find_if(
        out_->tensors, [](const TensorInfo& t) { return t.name.ends_with("embed_tokens.weight"); });
    const DType dtype = embedding == out_->tensors.end() ? tensor.dtype : embedding->dtype;
    out_->tensors.push_back(
        {.name = name,
         .dtype = dtype,
         .shape = tensor.shape,
         .elements = element_count(tensor.shape).value_or(0),
         .stored = {},
         .computed = std::make_shared<const FromAdapter>(adapter_, tensor, dtype)});
    out_->warnings.push_back(fmt::format(
        "{}: the adapter has an output layer of its own (\"{}\"): tie_word_embeddings becomes "
        "false.",
        folder_, printable(name)));
    set_in_config("tie_word_embeddings", false);
    return out_->index();
  }

  // A vocabulary that grew or shrank.
  Status resize(const std::string& name, TensorInfo& place, const StoredTensor& tensor) {
    const bool vocabulary =
        place.shape.size() == 2 && tensor.shape.size() == 2 && place.shape[1] == tensor.shape[1] &&
        place.shape[0] == model_.vocab_size.value_or(place.shape[0]) &&
        (name.contains("embed") || name.contains("wte") || name.ends_with("lm_head.weight"));
    if (!vocabulary) {
      return refuse_here(name, fmt::format("tensor \"{}\" is {}, but {} has {}; give the base that "
                                           "the adapter was trained on.",
                                           printable(name), to_string(tensor.shape), base_->ref,
                                           to_string(place.shape)));
    }
    out_->warnings.push_back(fmt::format(
        "{}: the adapter brings {} of {} rows in place of {}: vocab_size follows it; take the "
        "tokenizer files of the adapter too.",
        folder_, printable(name), tensor.shape[0], place.shape[0]));
    set_in_config("vocab_size", tensor.shape[0]);
    place.shape = tensor.shape;
    place.elements = element_count(tensor.shape).value_or(0);
    return {};
  }

  template <class Value>
  void set_in_config(const char* key, Value value) {
    auto config = nlohmann::ordered_json::parse(out_->config_json, nullptr, false);
    if (!config.is_object()) return;
    const bool nested = !config.contains(key) && config.contains("text_config") &&
                        config["text_config"].is_object() && config["text_config"].contains(key);
    (nested ? config["text_config"] : config)[key] = value;
    out_->config_json =
        config.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
  }

  // Is a square weight [in, out]? The family knows; else the adapter's oblong ones tell; else its
  // config. (PEFT asks the module's type, whatever the config says.)
  bool transposed_by_evidence(const Contents& contents) const {
    if (stores_conv1d(base_->config_json)) return true;
    for (const auto& [name, module] : contents.modules) {
      const TensorInfo* place = find(name + ".weight");
      if (!place || !module.a || !module.b || module.embedding) continue;
      if (module.a->shape.size() != 2 || module.b->shape.size() != 2) continue;
      const uint64_t in = module.a->shape[1], out = module.b->shape[0];
      if (in != out) return place->shape == Shape{in, out};
    }
    return config_.fan_in_fan_out;
  }

  Result<Fit> fit(const std::string& name, const Module& module, const TensorInfo& place) const {
    const Shape& a = module.a->shape;
    const Shape& b = module.b->shape;
    const Shape& w = place.shape;
    if (a.size() >= 2 && b.size() >= 2 && w.size() >= 2 && a[0] > 0 && a[0] == b[1]) {
      const uint64_t rank = a[0], in = row_length(a), out = b[0];
      const bool thin = row_length(b) == rank;
      const bool plain = w[0] == out && row_length(w) == in && !module.embedding;
      const bool turned = w.size() == 2 && w == Shape{in, out};
      const bool square = plain && turned && !name.ends_with("lm_head");
      if (thin && (plain || turned)) {
        return Fit{w[0], row_length(w), rank, square ? transposed_if_square_ : !plain};
      }
    }
    return refuse_here(
        name, fmt::format("module \"{}\" has factors {} and {}, which do not fit its "
                          "weight {} in {}; give the base that the adapter was "
                          "trained on.",
                          printable(name), to_string(a), to_string(b), to_string(w), base_->ref));
  }

  Status check(const std::string& name, const Module& module) const {
    if (!module.a || !module.b) {
      return refuse_here(name, fmt::format("module \"{}\" has no lora_{}; the adapter is "
                                           "incomplete, fetch it again.",
                                           printable(name), module.a ? "B" : "A"));
    }
    if (config_.magnitudes != (module.magnitude != nullptr)) {
      return refuse_here(
          name, fmt::format("use_dora is {}, but module \"{}\" has {} magnitude vector; the files "
                            "do not belong together, fetch them again.",
                            config_.magnitudes, printable(name), module.magnitude ? "a" : "no"));
    }
    const double rank = config_.rank_of(name);
    if (!module.a->shape.empty() && static_cast<double>(module.a->shape[0]) != rank) {
      return refuse_here(name, fmt::format("module \"{}\" has rank {}, but the config says {}; the "
                                           "files do not belong together, fetch them again.",
                                           printable(name), module.a->shape[0], rank));
    }
    return {};
  }

  std::unexpected<Error> no_such_module(const std::string& name) const {
    if (name.ends_with("lm_head") && model_.tied.value_or(false)) {
      return refuse_here(name, fmt::format("the adapter changes the output layer \"{}\", which {} "
                                           "shares with its embedding, so that the change would "
                                           "reach both; untie the base first (store lm_head.weight "
                                           "and set tie_word_embeddings to false).",
                                           printable(name), base_->ref));
    }
    return no_such_tensor(name + ".weight");
  }

  Status add(const std::string& name, const Module& module) {
    HIERON_CHECK(check(name, module));
    TensorInfo* place = find(name + ".weight");
    if (!place) return no_such_module(name);
    if (!has_weights(place->dtype)) {
      return refuse_here(name, fmt::format("\"{}\" of {} is stored as {}, the codes of a "
                                           "quantisation: an adapter cannot be added to them; give "
                                           "the base in BF16, F16 or F32.",
                                           place->name, base_->ref, info(place->dtype).name));
    }
    HIERON_TRY(const Fit fitted, fit(name, module, *place));
    HIERON_CHECK(check_magnitude(name, module, fitted));
    if (module.embedding && model_.tied.value_or(false)) {
      out_->warnings.push_back(
          fmt::format("{}: the adapter changes the embedding \"{}\", which is "
                      "the output layer too: both change.",
                      folder_, printable(name)));
    }
    const double scaling = scaling_.value_or(config_.scaling_of(name));
    const auto factors = [adapter = adapter_, module, fitted] {
      return adapter->factors(module, fitted);
    };
    place->computed = with_low_rank(base_, *place, factors,
                                    {.scaling = scaling,
                                     .arithmetic = arithmetic_,
                                     .product_rounded = module.embedding && !module.magnitude});
    return module.bias ? add_bias(name, *module.bias, scaling) : Status();
  }

  Status check_magnitude(const std::string& name, const Module& module, const Fit& fit) const {
    if (!module.magnitude) return {};
    const uint64_t lines = fit.transposed ? fit.columns : fit.rows;
    if (element_count(module.magnitude->shape) == lines) return {};
    return refuse_here(name,
                       fmt::format("the magnitude vector of module \"{}\" is {}, not one "
                                   "number for each of {} outputs; the adapter is damaged, "
                                   "fetch it again.",
                                   printable(name), to_string(module.magnitude->shape), lines));
  }

  // b + s·bias, as a product of rank one.
  Status add_bias(const std::string& name, const StoredTensor& bias, double scaling) {
    TensorInfo* place = find(name + ".bias");
    if (!place) return no_such_tensor(name + ".bias");
    if (place->shape != bias.shape) {
      return refuse_here(
          name, fmt::format("the bias of module \"{}\" is {}, but {} has {}.", printable(name),
                            to_string(bias.shape), base_->ref, to_string(place->shape)));
    }
    auto factors = std::make_shared<LowRankFactors>();
    factors->rows = place->elements, factors->rank = 1, factors->columns = 1;
    HIERON_TRY(factors->left, adapter_->values(bias));
    factors->right = {1};
    const FactorSource source = [factors]() -> Result<std::shared_ptr<const LowRankFactors>> {
      return factors;
    };
    place->computed =
        with_low_rank(base_, *place, source, {.scaling = scaling, .arithmetic = arithmetic_});
    return {};
  }

  const std::shared_ptr<const Checkpoint> base_;
  const std::string folder_;
  const AdapterConfig config_;
  const std::shared_ptr<const AdapterFile> adapter_;
  const AdapterArithmetic arithmetic_;
  const std::optional<double> scaling_;
  const std::shared_ptr<Checkpoint> out_;
  ModelConfig model_;
  bool transposed_if_square_ = false;
};

// Does the adapter name experts one by one?
bool names_experts(const SafetensorsHeader& header) {
  return std::ranges::any_of(header.tensors, [](const StoredTensor& tensor) {
    const size_t at = tensor.name.find(".experts.");
    const size_t digit = at == std::string::npos ? at : at + std::string_view(".experts.").size();
    return digit < tensor.name.size() && tensor.name[digit] >= '0' && tensor.name[digit] <= '9';
  });
}

Result<std::shared_ptr<const AdapterFile>> open_adapter(const fs::path& folder) {
  const fs::path weights = folder / kWeightsName;
  std::error_code ignored;
  if (!fs::exists(weights, ignored) && fs::exists(folder / "adapter_model.bin", ignored)) {
    return refuse(fmt::format("{}: only adapter_model.bin is there, a pickle; save the adapter as "
                              "adapter_model.safetensors.",
                              folder.string()),
                  folder.string());
  }
  HIERON_TRY(std::unique_ptr<File> file, open_file(weights.string()));
  HIERON_TRY(SafetensorsHeader header, read_safetensors_header(*file));
  return std::make_shared<const AdapterFile>(std::move(file), std::move(header));
}

}  // namespace

bool is_adapter(const std::string& folder) {
  std::error_code ignored;
  if (!fs::is_regular_file(fs::path(folder) / kConfigName, ignored)) return false;
  for (const auto& entry : fs::directory_iterator(folder, ignored)) {
    const std::string name = entry.path().filename().string();
    const bool weights =
        name.ends_with(".safetensors") || name.ends_with(".safetensors.index.json");
    if (weights && name != kWeightsName && !name.starts_with('.')) return false;
  }
  return true;
}

Result<AdapterConfig> read_adapter_config(const std::string& folder) {
  const std::string path = (fs::path(folder) / kConfigName).string();
  HIERON_TRY(const std::string text, read_text(path, kMaxConfigBytes));
  return parse_adapter_config(text, path);
}

Result<std::shared_ptr<const Checkpoint>> with_adapter(
    const std::shared_ptr<const Checkpoint>& base, const std::string& folder,
    AdapterArithmetic arithmetic) {
  return with_adapter(base, folder, AdapterUse{.arithmetic = arithmetic});
}

Result<std::shared_ptr<const Checkpoint>> with_adapter(
    const std::shared_ptr<const Checkpoint>& base, const std::string& folder,
    const AdapterUse& use) {
  HIERON_TRY(AdapterConfig config, read_adapter_config(folder));
  if (use.root_of_rank) config.root_of_rank = *use.root_of_rank;
  HIERON_TRY(const std::shared_ptr<const AdapterFile> adapter, open_adapter(folder));
  const bool take_apart =
      names_experts(adapter->header()) && expert_layout(*base) == ExpertLayout::kFused;
  std::shared_ptr<const Checkpoint> seen = base;
  if (take_apart) {
    HIERON_TRY(seen, with_experts(base, ExpertLayout::kSeparate));
  }
  HIERON_TRY(const std::shared_ptr<const Checkpoint> made,
             Application(seen, folder, std::move(config), adapter, use).make());
  return take_apart ? with_experts(made, ExpertLayout::kFused) : made;
}

}  // namespace hieron
