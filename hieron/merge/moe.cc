#include "hieron/merge/moe.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <utility>

#include "hieron/core/normal.h"
#include "hieron/core/prf.h"
#include "hieron/core/text.h"
#include "hieron/kernels/decode.h"
#include "hieron/merge/dtype_names.h"
#include "hieron/merge/experts.h"
#include "hieron/merge/prompt_gate.h"
#include "hieron/model/config.h"

namespace hieron {
namespace {

using Json = nlohmann::ordered_json;

struct Architecture {
  std::string_view name;                    // in the recipe
  std::string_view class_name, model_type;  // in the config
  std::string_view block;                   // instead of "mlp"
  std::array<std::string_view, 3> parts;    // gate_proj, up_proj, down_proj
  std::string_view shared;                  // name of the shared expert, or empty
  bool shared_needed, shared_gate, attention_bias;
  bool fused_by_015;                        // mergekit 0.1.5 writes the experts of a layer as one
  std::array<std::string_view, 3> sources;  // model_type of what it can be made from
};

constexpr std::array<std::string_view, 3> kProjections{"gate_proj", "up_proj", "down_proj"};

// In the order in which they are tried where the recipe names none.
constexpr std::array<Architecture, 4> kArchitectures{{
    {"mixtral",
     "MixtralForCausalLM",
     "mixtral",
     "block_sparse_moe",
     {"w1", "w3", "w2"},
     "",
     false,
     false,
     false,
     true,
     {"llama", "mistral", ""}},
    {"deepseek",
     "DeepseekForCausalLM",
     "deepseek",
     "mlp",
     kProjections,
     "shared_experts",
     false,
     false,
     false,
     false,
     {"llama", "mistral", ""}},
    {"qwen",
     "Qwen2MoeForCausalLM",
     "qwen2_moe",
     "mlp",
     kProjections,
     "shared_expert",
     true,
     true,
     true,
     false,
     {"qwen2", "llama", "mistral"}},
    {"qwen3",
     "Qwen3MoeForCausalLM",
     "qwen3_moe",
     "mlp",
     kProjections,
     "",
     false,
     false,
     false,
     true,
     {"qwen3", "", ""}},
}};

// What a layer of the base may have beside its MLP.
constexpr std::array<std::string_view, 6> kBeside{
    "input_layernorm.weight",  "post_attention_layernorm.weight", "self_attn.q_proj.weight",
    "self_attn.k_proj.weight", "self_attn.v_proj.weight",         "self_attn.o_proj.weight"};
constexpr std::array<std::string_view, 2> kHeadNorms{"self_attn.q_norm.weight",
                                                     "self_attn.k_norm.weight"};
constexpr std::array<std::string_view, 3> kBiases{"self_attn.q_proj.bias", "self_attn.k_proj.bias",
                                                  "self_attn.v_proj.bias"};
constexpr std::array<std::string_view, 3> kOutside{"model.embed_tokens.weight", "model.norm.weight",
                                                   "lm_head.weight"};

constexpr std::string_view kLayers = "model.layers.";

Seed seed_of(uint64_t number) {
  Seed seed;
  for (size_t i = 0; i < 8; ++i) {
    seed.bytes[seed.bytes.size() - 1 - i] = static_cast<uint8_t>(number >> (8 * i));
  }
  return seed;
}

// "model.layers.3.mlp.up_proj.weight": 3, "mlp.up_proj.weight".
struct LayerName {
  uint64_t layer;
  std::string_view rest;
};

std::optional<LayerName> parse_layer(std::string_view name) {
  if (!name.starts_with(kLayers)) return std::nullopt;
  name.remove_prefix(kLayers.size());
  const size_t dot = name.find('.');
  if (dot == 0 || dot > 6 || dot == std::string_view::npos) return std::nullopt;
  uint64_t layer = 0;
  for (const char c : name.substr(0, dot)) {
    if (c < '0' || c > '9') return std::nullopt;
    layer = 10 * layer + static_cast<uint64_t>(c - '0');
  }
  return LayerName{layer, name.substr(dot + 1)};
}

// A stored or computed tensor in another dtype, with noise and a factor: (x + noise·n) · factor.
class Altered final : public ComputedTensor {
 public:
  struct Change {
    DType dtype;
    double noise = 0, factor = 1;
  };
  Altered(std::shared_ptr<const Checkpoint> checkpoint, TensorInfo tensor, Change change, Prf prf)
      : checkpoint_(std::move(checkpoint)),
        tensor_(std::move(tensor)),
        change_(change),
        prf_(prf) {}

  Status read(uint64_t first, std::span<std::byte> out) const override {
    const size_t to = static_cast<size_t>(info(change_.dtype).bits) / 8;
    const size_t from = static_cast<size_t>(info(tensor_.dtype).bits) / 8;
    const size_t count = out.size() / to;
    std::vector<std::byte> raw(count * from);
    HIERON_CHECK(read_elements(*checkpoint_, tensor_, first, raw));
    std::array<double, 512> values;
    for (size_t i = 0; i < count; i += values.size()) {
      const auto some = std::span(values).first(std::min(values.size(), count - i));
      decode(tensor_.dtype, raw.data() + i * from, some);
      for (size_t j = 0; j < some.size() && change_.noise != 0; ++j) {
        some[j] += change_.noise * normal(prf_, first + i + j);
      }
      for (double& value : some) value *= change_.factor;
      encode(change_.dtype, std::span<const double>(some), out.data() + i * to);
    }
    return {};
  }

 private:
  const std::shared_ptr<const Checkpoint> checkpoint_;
  const TensorInfo tensor_;
  const Change change_;
  const Prf prf_;
};

// Numbers that depend on their place alone.
class Drawn final : public ComputedTensor {
 public:
  enum class Kind : uint8_t { kZero, kNormal, kUniform };
  // kUniform: in [-scale, scale).
  Drawn(Kind kind, DType dtype, double scale, Prf prf)
      : kind_(kind), dtype_(dtype), scale_(scale), prf_(prf) {}

  Status read(uint64_t first, std::span<std::byte> out) const override {
    const size_t count = out.size() * 8 / static_cast<size_t>(info(dtype_).bits);
    std::vector<double> values(count);
    for (size_t i = 0; i < count; ++i) values[i] = value(first + i);
    encode(dtype_, std::span<const double>(values), out.data());
    return {};
  }

 private:
  double value(uint64_t i) const {
    switch (kind_) {
      case Kind::kNormal:
        return scale_ * normal(prf_, i);
      case Kind::kUniform:
        return scale_ * (2 * prf_.uniform(i) - 1);
      case Kind::kZero:
        break;
    }
    return 0;
  }

  const Kind kind_;
  const DType dtype_;
  const double scale_;
  const Prf prf_;
};

struct Model {
  std::shared_ptr<const Checkpoint> checkpoint;
  std::string model_type;
  const MoeExpert* expert = nullptr;  // null: the base
};

class Mixture {
 public:
  Mixture(const MoeRecipe& recipe, uint64_t seed, std::optional<mergekit::Version> replay)
      : recipe_(recipe),
        number_(seed),
        seed_(seed_of(seed)),
        replay_(replay),
        out_(std::make_shared<Checkpoint>()) {}

  Result<std::shared_ptr<const Checkpoint>> make(const ModelOpener& open) {
    HIERON_CHECK(check_mode());
    HIERON_CHECK(open_models(open));
    HIERON_CHECK(choose_architecture());
    HIERON_CHECK(read_config());
    if (recipe_.gate_mode == GateMode::kCheapEmbed) HIERON_CHECK(make_gates());
    out_->ref = recipe_.file;
    out_->folder = base_.checkpoint->folder;
    out_->metadata = {{"format", "pt"}, {"hieron_seed", fmt::format("{}", number_)}};
    for (const TensorInfo& tensor : base_.checkpoint->tensors) HIERON_CHECK(place(tensor));
    HIERON_CHECK(check_layers());
    out_->config_json = config();
    HIERON_CHECK(out_->index());
    return fused() ? with_experts(out_, ExpertLayout::kFused) : out_;
  }

 private:
  // mergekit has no choice of layout.
  bool fused() const {
    if (replay_ == mergekit::Version::k015) return kind_->fused_by_015;
    return recipe_.expert_layout == ExpertLayout::kFused;
  }

  std::unexpected<Error> refuse_at(int line, const std::string& clause) const {
    return refuse(fmt::format("{}:{}: {}", recipe_.file, line, clause), recipe_.file, {},
                  static_cast<uint64_t>(line));
  }

  Status check_mode() const {
    const GateMode mode = recipe_.gate_mode;
    if (mode != GateMode::kHidden && mode != GateMode::kHiddenAverage &&
        mode != GateMode::kHiddenLast) {
      return {};
    }
    return refuse_at(recipe_.gate_mode_line,
                     fmt::format("gate_mode {} needs a forward pass of the base, which is not done "
                                 "here; use cheap_embed, or random and train the router, or make "
                                 "the gates with mergekit-moe.",
                                 recipe_.gate_mode_name));
  }

  Result<Model> open_model(const ModelOpener& open, const ModelRef& ref,
                           const MoeExpert* expert) const {
    HIERON_TRY(auto checkpoint, open(ref));
    const Json config = Json::parse(checkpoint->config_json, nullptr, false);
    if (!config.is_object() || !config.contains("model_type") ||
        !config["model_type"].is_string()) {
      return refuse_at(ref.line, fmt::format("{} has no config.json that names its model_type; a "
                                             "mixture needs one.",
                                             ref.text));
    }
    return Model{std::move(checkpoint), config["model_type"].get<std::string>(), expert};
  }

  Status open_models(const ModelOpener& open) {
    HIERON_TRY(base_, open_model(open, recipe_.base_model, nullptr));
    for (const MoeExpert& expert : recipe_.experts) {
      HIERON_TRY(Model model, open_model(open, expert.source, &expert));
      experts_.push_back(std::move(model));
    }
    for (const MoeExpert& expert : recipe_.shared_experts) {
      HIERON_TRY(Model model, open_model(open, expert.source, &expert));
      shared_.push_back(std::move(model));
    }
    for (const auto* models : {&experts_, &shared_}) {
      for (const Model& model : *models) {
        if (model.model_type == base_.model_type) continue;
        return refuse_at(model.expert->line,
                         fmt::format("{} is a {} model and the base a {} one; a mixture needs "
                                     "models of one kind.",
                                     model.expert->source.text, printable(model.model_type),
                                     printable(base_.model_type)));
      }
    }
    return {};
  }

  // Why it cannot be; empty if it can.
  std::string objection(const Architecture& a) const {
    if (std::ranges::find(a.sources, base_.model_type) == a.sources.end()) {
      std::string kinds;
      for (const std::string_view kind : a.sources) {
        if (!kind.empty()) kinds += (kinds.empty() ? "" : " or ") + std::string(kind);
      }
      return fmt::format("it is made from {} models, and these are {}", kinds,
                         printable(base_.model_type));
    }
    if (shared_.size() > (a.shared.empty() ? 0u : 1u)) {
      return fmt::format("it has {}, and the recipe gives {}",
                         a.shared.empty() ? "no shared expert" : "one shared expert",
                         shared_.size());
    }
    if (a.shared_needed && shared_.empty()) return "it needs one of shared_experts";
    return {};
  }

  Status choose_architecture() {
    std::string reasons;
    for (const Architecture& a : kArchitectures) {
      if (!recipe_.architecture.empty() && recipe_.architecture != a.name) continue;
      const std::string reason = objection(a);
      if (reason.empty()) {
        kind_ = &a;
        return {};
      }
      reasons += fmt::format("{}{}: {}", reasons.empty() ? "" : "; ", a.name, reason);
    }
    return refuse_at(
        recipe_.architecture_line ? recipe_.architecture_line : recipe_.base_model.line,
        fmt::format("no mixture can be made of these models ({}).", reasons));
  }

  Status read_config() {
    config_ = Json::parse(base_.checkpoint->config_json, nullptr, false);
    HIERON_TRY(const ModelConfig parsed,
               parse_config(base_.checkpoint->config_json, base_.checkpoint->ref));
    if (!parsed.layers || !parsed.hidden_size) {
      return refuse_at(recipe_.base_model.line,
                       "the base's config.json has no num_hidden_layers or "
                       "no hidden_size; fetch it again.");
    }
    layers_ = *parsed.layers;
    hidden_ = *parsed.hidden_size;
    embedding_ = base_.checkpoint->find(kOutside[0]);
    if (!embedding_ || embedding_->shape.size() != 2 || embedding_->shape[1] != hidden_) {
      return refuse_at(recipe_.base_model.line,
                       fmt::format("the base has no \"{}\" of {} columns.", kOutside[0], hidden_));
    }
    dtype_ = recipe_.dtype.value_or(embedding_->dtype);
    return {};
  }

  // Routers out of prompts. One serves all layers.
  Status make_gates() {
    HIERON_CHECK(check_dtype(*embedding_, nullptr));
    HIERON_TRY(const auto encoder, open_encoder(base_.checkpoint->folder));
    HIERON_TRY(gate_, make_gate(*encoder, experts_));
    if (!kind_->shared_gate) return {};
    if (shared_[0].expert->positive_prompts.empty()) {
      return refuse_at(shared_[0].expert->line,
                       fmt::format("the shared expert has no positive_prompts, which gate_mode {} "
                                   "makes its gate from.",
                                   recipe_.gate_mode_name));
    }
    HIERON_TRY(shared_gate_, make_gate(*encoder, shared_));
    return {};
  }

  Result<std::shared_ptr<const ComputedTensor>> make_gate(const Encoder& encoder,
                                                          const std::vector<Model>& models) const {
    std::vector<GatePrompts> all;
    for (const auto& [checkpoint, type, expert] : models) {
      GatePrompts prompts;
      prompts.where = fmt::format("{}:{}", recipe_.file, expert->line);
      const uint64_t rows = embedding_->shape[0];
      HIERON_TRY(prompts.positive,
                 tokens_of_prompts(encoder, expert->positive_prompts, rows, prompts.where));
      HIERON_TRY(prompts.negative,
                 tokens_of_prompts(encoder, expert->negative_prompts, rows, prompts.where));
      all.push_back(std::move(prompts));
    }
    return prompt_gate(base_.checkpoint, *embedding_, std::move(all), dtype_, replay_);
  }

  // Puts a tensor of the base where the mixture has it, or what comes in its place.
  Status place(const TensorInfo& tensor) {
    const auto name = parse_layer(tensor.name);
    if (!name && std::ranges::find(kOutside, tensor.name) != kOutside.end()) {
      return take(base_, tensor.name, tensor.name);
    }
    if (name && name->rest.starts_with("mlp.") && name->rest.ends_with("_proj.weight")) {
      if (name->layer < layers_ && !layers_done_[name->layer]) return add_layer(name->layer);
      if (name->layer < layers_) return {};
    }
    if (name && name->rest == "self_attn.rotary_emb.inv_freq") return {};  // not a weight
    const auto among = [&](const auto& list) {
      return name && std::ranges::find(list, name->rest) != list.end();
    };
    const bool fits = among(kBeside) || (among(kHeadNorms) && base_.model_type == "qwen3") ||
                      (among(kBiases) && kind_->attention_bias);
    if (fits && name->layer < layers_) return take(base_, tensor.name, tensor.name);
    return refuse_at(recipe_.base_model.line,
                     fmt::format("tensor \"{}\" of the base has no place in a {}.",
                                 printable(tensor.name), kind_->class_name));
  }

  static std::string projection(uint64_t layer, std::string_view part) {
    return fmt::format("{}{}.mlp.{}.weight", kLayers, layer, part);
  }

  Status add_layer(uint64_t layer) {
    layers_done_[layer] = true;
    const std::string block = fmt::format("{}{}.{}", kLayers, layer, kind_->block);
    add_gate(block + ".gate.weight", experts_.size(), gate_);
    if (kind_->shared_gate) add_gate(block + ".shared_expert_gate.weight", 1, shared_gate_);
    for (size_t e = 0; e < experts_.size(); ++e) {
      for (size_t p = 0; p < kProjections.size(); ++p) {
        HIERON_CHECK(take(experts_[e], projection(layer, kProjections[p]),
                          fmt::format("{}.experts.{}.{}.weight", block, e, kind_->parts[p])));
      }
    }
    for (size_t p = 0; p < kProjections.size() && !shared_.empty(); ++p) {
      HIERON_CHECK(take(shared_[0], projection(layer, kProjections[p]),
                        fmt::format("{}.{}.{}.weight", block, kind_->shared, kProjections[p])));
    }
    return kind_->attention_bias ? add_biases(layer) : Status();
  }

  void add(std::string name, Shape shape, std::shared_ptr<const ComputedTensor> computed) {
    const uint64_t elements = element_count(shape).value_or(0);
    out_->tensors.push_back({.name = std::move(name),
                             .dtype = dtype_,
                             .shape = std::move(shape),
                             .elements = elements,
                             .stored = {},
                             .computed = std::move(computed)});
  }

  void add_gate(const std::string& name, uint64_t rows,
                std::shared_ptr<const ComputedTensor> made) {
    if (made) return add(name, {rows, hidden_}, std::move(made));
    const bool normal_numbers = recipe_.gate_mode == GateMode::kRandom;
    const double scale = normal_numbers ? 1 : 1 / std::sqrt(static_cast<double>(hidden_));
    add(name, {rows, hidden_},
        std::make_shared<const Drawn>(normal_numbers ? Drawn::Kind::kNormal : Drawn::Kind::kUniform,
                                      dtype_, scale, Prf(seed_, name)));
  }

  // Qwen2-MoE has biases of q, k and v; a base without them gets zeros.
  Status add_biases(uint64_t layer) {
    for (const std::string_view bias : kBiases) {
      const std::string name = fmt::format("{}{}.{}", kLayers, layer, bias);
      if (base_.checkpoint->find(name)) continue;
      const std::string weight = name.substr(0, name.size() - 4) + "weight";
      const TensorInfo* of = base_.checkpoint->find(weight);
      if (!of || of->shape.size() != 2) return missing(base_, weight);
      add(name, {of->shape[0]},
          std::make_shared<const Drawn>(Drawn::Kind::kZero, dtype_, 0, Prf(seed_, name)));
    }
    return {};
  }

  std::unexpected<Error> missing(const Model& model, const std::string& name) const {
    const ModelRef& ref = model.expert ? model.expert->source : recipe_.base_model;
    return refuse_at(ref.line,
                     fmt::format("{} has no tensor \"{}\"; give a dense model of the kind "
                                 "that its config says.",
                                 ref.text, printable(name)));
  }

  // Takes a tensor of a model over under a name of the mixture.
  Status take(const Model& model, const std::string& from, std::string name) {
    const TensorInfo* tensor = model.checkpoint->find(from);
    if (!tensor) return missing(model, from);
    const MoeExpert* expert = model.expert;
    if (expert) HIERON_CHECK(check_shape(*expert, *tensor));
    HIERON_CHECK(check_dtype(*tensor, expert));
    const double noise = expert ? expert->noise_scale.value_or(0) : 0;
    const bool residual = expert && from.contains("down_proj");
    const double factor = residual ? expert->residual_scale.value_or(1) : 1;
    TensorInfo out = *tensor;
    out.name = std::move(name);
    out.dtype = dtype_;
    if (tensor->dtype != dtype_ || noise != 0 || factor != 1) {
      out.computed = std::make_shared<const Altered>(
          model.checkpoint, *tensor, Altered::Change{dtype_, noise, factor}, Prf(seed_, out.name));
    } else if (!tensor->computed) {
      out.stored.file += first_file(model);
    }
    out_->tensors.push_back(std::move(out));
    return {};
  }

  // Of the base, where there is no expert.
  Status check_dtype(const TensorInfo& tensor, const MoeExpert* expert) const {
    if (info(tensor.dtype).format && info(tensor.dtype).bits >= 16) return {};
    return refuse_at(expert ? expert->line : recipe_.base_model.line,
                     fmt::format("tensor \"{}\" is {}, the codes of a quantisation; give the model "
                                 "in BF16, F16 or F32.",
                                 printable(tensor.name), info(tensor.dtype).name));
  }

  Status check_shape(const MoeExpert& expert, const TensorInfo& tensor) {
    const auto name = parse_layer(tensor.name);
    const auto [known, fresh] = shapes_.emplace(std::string(name->rest), tensor.shape);
    const bool down = name->rest.contains("down_proj");
    const bool fits = tensor.shape.size() == 2 && tensor.shape[down ? 0 : 1] == hidden_;
    if (fits && tensor.shape == known->second) return {};
    return refuse_at(
        expert.line,
        fmt::format("tensor \"{}\" of {} is {}{}; experts of a mixture have one shape "
                    "and the base's hidden size {}.",
                    printable(tensor.name), expert.source.text, to_string(tensor.shape),
                    fresh ? "" : fmt::format(", not {}", to_string(known->second)), hidden_));
  }

  // Where the files of a model begin among the mixture's.
  uint32_t first_file(const Model& model) {
    const auto [known, fresh] =
        files_.emplace(model.checkpoint.get(), static_cast<uint32_t>(out_->files.size()));
    if (fresh) {
      for (CheckpointFile file : model.checkpoint->files) {
        if (model.checkpoint != base_.checkpoint) {
          file.path =
              (std::filesystem::path(model.checkpoint->ref).filename() / file.path).string();
        }
        out_->files.push_back(std::move(file));
      }
    }
    return known->second;
  }

  Status check_layers() const {
    const TensorInfo* found = nullptr;
    for (uint64_t layer = 0; layer < layers_; ++layer) {
      if (!layers_done_.contains(layer)) return missing(base_, projection(layer, kProjections[0]));
      for (const std::string_view beside : kBeside) {
        const std::string name = fmt::format("{}{}.{}", kLayers, layer, beside);
        found = base_.checkpoint->find(name);
        if (!found) return missing(base_, name);
      }
    }
    return {};
  }

  std::string config() const {
    Json out = config_;
    const uint64_t inner = shapes_.at("mlp.gate_proj.weight")[0];
    for (const char* gone : {"_name_or_path", "auto_map", "mlp_bias", "attention_bias"})
      out.erase(gone);
    out["architectures"] = {kind_->class_name};
    out["model_type"] = kind_->model_type;
    if (const std::string_view name = torch_name(dtype_); !name.empty()) {
      out[out.contains("dtype") && !out.contains("torch_dtype") ? "dtype" : "torch_dtype"] = name;
    }
    out["num_experts_per_tok"] = recipe_.experts_per_token;
    out["intermediate_size"] = inner;
    if (kind_->name == "mixtral") {
      out["num_local_experts"] = experts_.size();
      out["sliding_window"] = nullptr;
    } else if (kind_->name == "deepseek") {
      out["n_routed_experts"] = experts_.size();
      out["n_shared_experts"] = shared_.empty() ? Json() : Json(shared_.size());
      out["moe_intermediate_size"] = inner;
      out["first_k_dense_replace"] = 0;
      out["moe_layer_freq"] = 1;
      out["scoring_func"] = "softmax";
      out["norm_topk_prob"] = true;
      const std::string source = "deepseek-ai/deepseek-moe-16b-base--";
      out["auto_map"] = {
          {"AutoConfig", source + "configuration_deepseek.DeepseekConfig"},
          {"AutoModel", source + "modeling_deepseek.DeepseekModel"},
          {"AutoModelForCausalLM", source + "modeling_deepseek.DeepseekForCausalLM"}};
    } else {
      out["num_experts"] = experts_.size();
      out["moe_intermediate_size"] = inner;
      out["decoder_sparse_step"] = 1;
      out["mlp_only_layers"] = Json::array();
      out["norm_topk_prob"] = true;
    }
    if (kind_->shared_gate) {
      out["shared_expert_intermediate_size"] = inner;
      out["sliding_window"] = nullptr;
      out["use_sliding_window"] = false;
    }
    return out.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
  }

  const MoeRecipe& recipe_;
  const uint64_t number_;
  const Seed seed_;
  const std::optional<mergekit::Version> replay_;
  const std::shared_ptr<Checkpoint> out_;
  Model base_;
  std::vector<Model> experts_, shared_;
  const Architecture* kind_ = nullptr;
  const TensorInfo* embedding_ = nullptr;                     // of the base
  std::shared_ptr<const ComputedTensor> gate_, shared_gate_;  // null: random numbers
  Json config_;
  uint64_t layers_ = 0, hidden_ = 0;
  DType dtype_ = DType::kBF16;
  std::map<uint64_t, bool> layers_done_;
  std::map<std::string, Shape, std::less<>> shapes_;  // of an expert's projections
  std::map<const Checkpoint*, uint32_t> files_;
};

}  // namespace

Result<std::shared_ptr<const Checkpoint>> make_mixture(const MoeRecipe& recipe,
                                                       const ModelOpener& open, uint64_t seed,
                                                       std::optional<mergekit::Version> replay) {
  return Mixture(recipe, seed, replay).make(open);
}

}  // namespace hieron
