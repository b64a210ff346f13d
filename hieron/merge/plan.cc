#include "hieron/merge/plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <deque>
#include <filesystem>
#include <map>
#include <set>
#include <span>
#include <tuple>
#include <unordered_map>
#include <unordered_set>

#include "hieron/core/text.h"
#include "hieron/io/file.h"
#include "hieron/merge/experts.h"
#include "hieron/merge/generation.h"
#include "hieron/merge/layers.h"
#include "hieron/merge/layout.h"
#include "hieron/merge/parameters.h"
#include "hieron/merge/quantised.h"
#include "hieron/merge/vocabulary.h"
#include "hieron/model/config.h"

namespace hieron {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kMaxTokenizerBytes = 64u << 20;

// A source of a slice, with its model opened and its layers counted.
struct Operandum {
  const RecipeSource* source;
  uint32_t model;
  uint32_t slot;
  uint64_t first = 0, last = 0;  // layers
};

struct OpenSlice {
  const RecipeSlice* slice;
  std::vector<Operandum> sources;
  std::optional<uint32_t> base;  // the model, where the method has a use for one
};

// What the planner knows of a model beyond its tensors.
struct ModelFacts {
  const RoleTable* roles;
  std::string quantization;
  uint64_t layers = 0;                                  // 0: none, or not needed
  std::unordered_map<const TensorInfo*, LayerName> of;  // filled if layers matter
};

bool is_float(DType dtype) {
  return info(dtype).format && info(dtype).bits >= 8 && info(dtype).blend;
}

std::string_view mergekit_name(DType dtype) {
  switch (dtype) {
    case DType::kBF16:
      return "bfloat16";
    case DType::kF16:
      return "float16";
    case DType::kF32:
      return "float32";
    default:
      return "";
  }
}

class Planner {
 public:
  Planner(Recipe recipe, const PlanOptions& options)
      : options_(options),
        plan_(std::make_shared<Plan>()),
        models_(recipe.file,
                casts_first(options.arithmetic.value_or(recipe.arithmetic.value_or("")))
                    ? AdapterArithmetic::kPeft
                    : AdapterArithmetic::kExact,
                options.opened) {
    plan_->recipe = std::move(recipe);
    plan_->method = find_method(plan_->recipe.method);
    plan_->arithmetic = options.arithmetic.value_or(plan_->recipe.arithmetic.value_or("exact"));
    replayed_ = casts_first(plan_->arithmetic);
    plan_->seed = options.seed.value_or(plan_->recipe.seed_number.value_or(0));
    for (const RecipeWarning& warning : plan_->recipe.warnings)
      plan_->warnings.push_back(warning.sentence);
    for (const auto& [name, checkpoint] : options.documents) models_.provide(name, checkpoint);
  }

  Result<std::shared_ptr<const Plan>> run() {
    if (!plan_->method) return refuse(fmt::format("{}: unknown merge_method.", file()), file());
    HIERON_CHECK(check_arithmetic());
    HIERON_CHECK(check_language());
    resolver_.emplace(plan_->recipe, plan_->method->describe());
    collect_texts();
    HIERON_CHECK(open_models());
    HIERON_CHECK(arrange_experts());
    HIERON_CHECK(merge_vocabulary());
    plan_->models = models_.all();
    plan_->parents = options_.parents;
    if (plan_->parents.empty()) {
      for (const PlannedModel& model : plan_->models) plan_->parents.push_back(model.ref);
    }
    learn_layers();
    check_slices();
    if (plan_->problems.empty()) {
      if (plan_->recipe.by_slices) {
        plan_slices();
      } else {
        plan_whole(slices_.front());
      }
      account_for_the_rest();
      check_tokenizers();
      note_random_stream();
      if (plan_->tensors.empty() && plan_->problems.empty())
        problem(fmt::format("{}: the models have no tensors.", file()));
      lay_out(*plan_, options_.shard_bytes);
      write_config();
    }
    return std::shared_ptr<const Plan>(std::move(plan_));
  }

 private:
  const std::string& file() const { return plan_->recipe.file; }

  void problem(std::string sentence, std::string tensor = {}, int line = 0) {
    plan_->problems.push_back({std::move(sentence), std::move(tensor), line});
  }

  // Once for a whole recipe, however many tensors have it.
  void problem_once(int line, const std::string& clause, const std::string& tensor = {}) {
    const std::string sentence = line > 0 ? fmt::format("{}, line {}: {}.", file(), line, clause)
                                          : fmt::format("{}: {}.", file(), clause);
    if (said_.insert(sentence).second) problem(sentence, tensor, line);
  }
  void warn_once(const std::string& sentence) {
    if (said_.insert(sentence).second) plan_->warnings.push_back(sentence);
  }

  // What a recipe may say, but a plan does not carry out: refused rather than left out.
  Status check_language() const {
    const Recipe& recipe = plan_->recipe;
    const auto refused = [&](int line, std::string_view clause) -> Status {
      return refuse(fmt::format("{}, line {}: {}.", file(), line, clause), file(), {},
                    static_cast<uint64_t>(line));
    };
    if (recipe.slices.empty()) {
      return refused(recipe.modules.empty() ? recipe.line : recipe.modules.front().line,
                     "models of several parts (modules) are read, but not merged yet; merge each "
                     "part by a recipe of its own");
    }
    return {};
  }

  Status check_arithmetic() {
    const auto known = resolve(plan_->arithmetic, plan_->method->describe(), DType::kBF16);
    if (known) return {};
    Error error = known.error();
    if (options_.arithmetic) error.code = ErrorCode::kUsage;
    return std::unexpected(std::move(error));
  }

  // Text parameters (files) hold for the whole merge. A relative path starts at the recipe.
  void collect_texts() {
    for (const ParameterInfo& about : plan_->method->describe().parameters) {
      if (about.type != ParameterType::kText) continue;
      for (const ParameterSetting& setting : plan_->recipe.parameters) {
        if (setting.name != about.name) continue;
        const auto text = evaluate_text(setting, "", 0);
        if (!text) continue;
        const fs::path beside = fs::path(file()).parent_path() / *text;
        std::error_code ignored;
        texts_[std::string(about.name)] = fs::exists(beside, ignored) ? beside.string() : *text;
      }
    }
    plan_->texts = texts_;
  }

  // ---- models

  Status open_models() {
    for (const RecipeSlice& slice : plan_->recipe.slices) {
      OpenSlice open{&slice, {}, std::nullopt};
      std::map<uint32_t, uint32_t> occurrences;
      for (const RecipeSource& source : slice.sources) {
        HIERON_TRY(const uint32_t model, open_model(source.model));
        const uint32_t slot = slot_of(model, occurrences[model]++);
        open.sources.push_back({&source, model, slot, 0, 0});
      }
      HIERON_CHECK(open_base(open));
      slices_.push_back(std::move(open));
    }
    if (plan_->recipe.base_model) {
      HIERON_TRY(base_, open_model(*plan_->recipe.base_model));
      plan_->donor = *base_;
    }
    return {};
  }

  // The base of a slice, or of the recipe. If it is not among the sources it joins them at the end,
  // as in mergekit, with the layers of the first.
  Status open_base(OpenSlice& open) {
    const auto& ref = open.slice->base_model ? open.slice->base_model : plan_->recipe.base_model;
    if (!ref || plan_->method->describe().base == BaseModel::kUnused) return {};
    HIERON_TRY(open.base, open_model(*ref));
    if (std::ranges::find(open.sources, *open.base, &Operandum::model) != open.sources.end())
      return {};
    implied_.push_back({.model = *ref,
                        .layers = open.slice->sources.front().layers,
                        .parameters = {},
                        .line = ref->line});
    open.sources.push_back({&implied_.back(), *open.base, slot_of(*open.base, 0), 0, 0});
    return {};
  }

  // Experts as the recipe, or mergekit 0.1.5, has them; else as the first model that has any.
  Status arrange_experts() {
    std::optional<ExpertLayout> wanted = plan_->recipe.experts;
    if (mergekit_version(plan_->arithmetic) == mergekit::Version::k015) {
      wanted = ExpertLayout::kFused;
    }
    for (PlannedModel& model : models_.all()) {
      const auto layout = expert_layout(*model.checkpoint);
      if (!layout || fs::path(model.ref).extension() == ".safetensors") continue;
      if (!wanted) wanted = layout;
      if (layout == wanted) continue;
      HIERON_TRY(model.checkpoint, with_experts(model.checkpoint, *wanted));
    }
    return {};
  }

  Status merge_vocabulary() {
    HIERON_TRY(MergedVocabulary vocabulary,
               merge_vocabularies(plan_->recipe, models_,
                                  {.replay = mergekit_version(plan_->arithmetic),
                                   .truncate = options_.truncate_embeddings,
                                   .donor = plan_->donor}));
    for (size_t m = 0; m < vocabulary.checkpoints.size(); ++m) {
      if (vocabulary.checkpoints[m]) models_.all()[m].checkpoint = vocabulary.checkpoints[m];
    }
    for (const std::string& warning : vocabulary.warnings) warn_once(warning);
    plan_->tokenizer_files = std::move(vocabulary.files);
    vocabulary_ = vocabulary.rows;
    return {};
  }

  uint32_t slot_of(uint32_t model, uint32_t occurrence) {
    const auto [it, fresh] =
        slots_.try_emplace({model, occurrence}, static_cast<uint32_t>(plan_->slots.size()));
    if (fresh) plan_->slots.push_back(model);
    return it->second;
  }

  Result<uint32_t> open_model(const ModelRef& ref) {
    HIERON_TRY(const uint32_t model, models_.open(ref));
    for (const std::string& warning : models_.all()[model].checkpoint->warnings) {
      warn_once(warning);
    }
    return model;
  }

  const Checkpoint& checkpoint(uint32_t model) const { return *plan_->models[model].checkpoint; }

  // ---- layers

  bool depth_matters() const {
    const auto graded = [](const std::vector<ParameterSetting>& settings) {
      return std::ranges::any_of(settings, [](const ParameterSetting& setting) {
        return std::ranges::any_of(setting.rules,
                                   [](const ParameterRule& r) { return r.values.size() > 1; });
      });
    };
    if (plan_->recipe.by_slices || graded(plan_->recipe.parameters)) return true;
    const RecipeSlice& slice = plan_->recipe.slices.front();
    return graded(slice.parameters) ||
           std::ranges::any_of(slice.sources, [&](const RecipeSource& s) {
             return s.layers || graded(s.parameters);
           });
  }

  void learn_layers() {
    const bool wanted = depth_matters();
    for (const PlannedModel& model : plan_->models) {
      ModelFacts facts{&RoleTable::of(""), {}, 0, {}};
      std::optional<uint64_t> stated;
      if (!model.checkpoint->config_json.empty()) {
        if (const auto config = parse_config(model.checkpoint->config_json, model.ref)) {
          facts.roles = &RoleTable::of(config->architecture);
          facts.quantization = config->quantization;
          stated = config->layers;
        } else {
          warn_once(config.error().sentence);
        }
      }
      if (wanted) {
        for (const TensorInfo& tensor : model.checkpoint->tensors) {
          if (const auto place = layer_name(*facts.roles, tensor)) {
            facts.of.emplace(&tensor, *place);
            facts.layers = std::max(facts.layers, place->layer + 1);
          }
        }
        if (stated && *stated > 0) facts.layers = *stated;
      }
      facts_.push_back(std::move(facts));
    }
  }

  std::optional<LayerName> layer_of(uint32_t model, const TensorInfo& tensor) const {
    const auto it = facts_[model].of.find(&tensor);
    return it == facts_[model].of.end() ? std::nullopt : std::optional(it->second);
  }

  // ---- checks of the recipe against the models

  void check_slices() {
    for (OpenSlice& open : slices_) {
      check_count(open);
      check_repeats(open);
      check_base(open);
      check_levels(open);
      if (plan_->recipe.by_slices) check_ranges(open);
    }
  }

  // The base is not counted where it is only the origin of the differences.
  void check_count(const OpenSlice& open) {
    const MethodInfo& about = plan_->method->describe();
    const bool origin = about.base == BaseModel::kOptional || about.base == BaseModel::kRequired;
    size_t n = 0;
    for (const Operandum& source : open.sources) n += !origin || source.model != open.base;
    if (n >= about.min_models && n <= about.max_models) return;
    const std::string wanted =
        about.min_models == about.max_models
            ? fmt::format("{} model{}", about.min_models, about.min_models == 1 ? "" : "s")
        : n < about.min_models ? fmt::format("{} models at least", about.min_models)
                               : fmt::format("{} models at most", about.max_models);
    problem_once(open.slice->line,
                 fmt::format("{} takes {}{}{}, but {} stand{} here", about.name, wanted,
                             origin ? " besides base_model" : "",
                             plan_->recipe.by_slices ? " in a slice" : "", n, n == 1 ? "s" : ""));
  }

  void check_repeats(const OpenSlice& open) {
    for (size_t i = 0; i < open.sources.size(); ++i) {
      for (size_t j = 0; j < i; ++j) {
        const RecipeSource &a = *open.sources[j].source, &b = *open.sources[i].source;
        if (open.sources[i].model != open.sources[j].model || a.layers != b.layers) continue;
        const std::string clause = fmt::format(
            "the model \"{}\" is listed twice (first in line {})", printable(b.model.text), a.line);
        if (replayed_) {
          problem_once(
              b.line,
              clause + "; " + plan_->arithmetic +
                  " would silently keep one of the two, so list it once with the weight you mean");
        } else {
          warn_once(fmt::format("{}, line {}: {}; both count.", file(), b.line, clause));
        }
      }
    }
  }

  // mergekit adds an unlisted base to the models; then a weight is missing, or there is one model
  // too many.
  void check_base(const OpenSlice& open) {
    const MethodInfo& about = plan_->method->describe();
    if (about.base == BaseModel::kRequired && !open.base) {
      return problem_once(open.slice->line,
                          fmt::format("{} merges differences from a base model; add `base_model: "
                                      "…`, the model that all the others were trained from",
                                      about.name));
    }
    if (!base_ || about.base != BaseModel::kUnused) return;
    if (std::ranges::find(open.sources, *base_, &Operandum::model) != open.sources.end()) return;
    const ModelRef& ref = *plan_->recipe.base_model;
    problem_once(
        ref.line,
        fmt::format("base_model \"{}\" is not among the models, and {} has no use for a base; "
                    "list it with its parameters, or remove base_model",
                    printable(ref.text), plan_->recipe.method));
  }

  // A parameter of the whole merge does nothing under one model, in mergekit neither.
  void check_levels(const OpenSlice& open) {
    for (const Operandum& source : open.sources) {
      for (const ParameterSetting& setting : source.source->parameters) {
        const auto about = std::ranges::find(plan_->method->describe().parameters, setting.name,
                                             &ParameterInfo::name);
        if (about == plan_->method->describe().parameters.end() || about->per_model) continue;
        warn_once(fmt::format(
            "{}, line {}: {} under a model has no effect, in mergekit neither: it is a parameter "
            "of the whole merge; put it under the top-level parameters.",
            file(), setting.line, setting.name));
      }
    }
  }

  void check_ranges(OpenSlice& open) {
    for (Operandum& source : open.sources) {
      const uint64_t layers = facts_[source.model].layers;
      const auto range = source.source->layers.value_or(std::pair<uint64_t, uint64_t>{0, layers});
      source.first = range.first;
      source.last = range.second;
      if (range.second > layers) {
        problem_once(
            source.source->line,
            fmt::format(
                "layer_range [{}, {}) goes past the last layer of \"{}\", which has {} layers",
                range.first, range.second, printable(source.source->model.text), layers));
      }
      const Operandum& lead = open.sources.front();
      if (range.second - range.first != lead.last - lead.first) {
        problem_once(
            source.source->line,
            fmt::format(
                "layer_range [{}, {}) has {} layers, but the slice's first source has {}; all "
                "sources of a slice must have equally many",
                range.first, range.second, range.second - range.first, lead.last - lead.first));
      }
    }
  }

  // ---- output tensors

  struct Candidate {
    const Operandum* source;
    const TensorInfo* tensor;
  };

  void plan_whole(const OpenSlice& open) {
    const uint64_t layers = facts_[open.sources.front().model].layers;
    const auto depth = [&](const Operandum& source, const TensorInfo& tensor) {
      const auto place = layer_of(source.model, tensor);
      if (!place) return 0.0;
      return layers > 1 ? static_cast<double>(place->layer) / static_cast<double>(layers - 1) : 1.0;
    };
    plan_->tensors.reserve(checkpoint(open.sources.front().model).tensors.size());
    plan_->accounting.reserve(plan_->tensors.capacity() * open.sources.size());
    std::vector<Candidate> inputs;
    for (const Operandum& lead : open.sources) {
      for (const TensorInfo& tensor : checkpoint(lead.model).tensors) {
        find_inputs(open, tensor, inputs);
        if (inputs.front().source != &lead) continue;  // planned with an earlier source
        plan_tensor(open, tensor.name, depth(lead, tensor), inputs);
      }
    }
  }

  // The tensors of this name, by source.
  void find_inputs(const OpenSlice& open, const TensorInfo& tensor,
                   std::vector<Candidate>& inputs) {
    inputs.clear();
    last_found_.resize(plan_->slots.size());
    for (const Operandum& source : open.sources) {
      const TensorInfo*& last = last_found_[source.slot];
      if (const TensorInfo* found = checkpoint(source.model).find_after(last, tensor.name)) {
        inputs.push_back({&source, found});
        last = found;
      }
    }
  }

  void plan_slices() {
    plan_outside(slices_.front(), false);
    uint64_t layer = 0;
    for (const OpenSlice& open : slices_) {
      const std::vector<uint64_t> range = layers_of(open);
      std::vector<std::vector<const TensorInfo*>> by_layer(range.size());
      for (const Operandum& source : open.sources) collect_layers(source, by_layer);
      for (size_t i = 0; i < range.size(); ++i)
        plan_layer(open, i, layer + i, range.size(), by_layer[i]);
      layer += range.size();
      for (size_t i = 0; i < range.size(); ++i) {
        stack_.push_back(
            {&checkpoint(open.sources.front().model).config_json, open.sources.front().first + i});
      }
    }
    plan_outside(slices_.back(), true);
  }

  static std::vector<uint64_t> layers_of(const OpenSlice& open) {
    return std::vector<uint64_t>(open.sources.front().last - open.sources.front().first);
  }

  // Tensors of the slice's layers, by layer, in file order, those of the first source first.
  void collect_layers(const Operandum& source,
                      std::vector<std::vector<const TensorInfo*>>& by_layer) const {
    for (const TensorInfo& tensor : checkpoint(source.model).tensors) {
      const auto place = layer_of(source.model, tensor);
      if (!place || place->layer < source.first || place->layer >= source.last) continue;
      by_layer[place->layer - source.first].push_back(&tensor);
    }
  }

  void plan_layer(const OpenSlice& open, uint64_t offset, uint64_t out_layer, uint64_t layers,
                  const std::vector<const TensorInfo*>& tensors) {
    const double t =
        layers > 1 ? static_cast<double>(offset) / static_cast<double>(layers - 1) : 1.0;
    std::set<std::string> done;
    for (const TensorInfo* tensor : tensors) {
      const auto owner = std::ranges::find_if(open.sources, [&](const Operandum& s) {
        const auto place = layer_of(s.model, *tensor);
        return place && place->layer == s.first + offset;
      });
      const LayerName place = *layer_of(owner->model, *tensor);
      const std::string name = renumbered(tensor->name, place, out_layer);
      if (!done.insert(name).second) continue;
      std::vector<Candidate> inputs;
      for (const Operandum& source : open.sources) {
        const std::string own = renumbered(tensor->name, place, source.first + offset);
        if (const TensorInfo* found = checkpoint(source.model).find(own))
          inputs.push_back({&source, found});
      }
      plan_tensor(open, name, t, inputs);
    }
  }

  // Tensors outside the layers: those before them from the first slice, those after them from the
  // last.
  void plan_outside(const OpenSlice& open, bool after) {
    std::unordered_set<std::string_view> done;
    std::vector<Candidate> inputs;
    for (const Operandum& lead : open.sources) {
      for (const TensorInfo& tensor : checkpoint(lead.model).tensors) {
        if (layer_of(lead.model, tensor) ||
            after_layers(*facts_[lead.model].roles, tensor) != after)
          continue;
        if (!done.insert(tensor.name).second) continue;
        find_inputs(open, tensor, inputs);
        plan_tensor(open, tensor.name, 0, inputs);
      }
    }
  }

  void plan_tensor(const OpenSlice& open, const std::string& name, double t,
                   const std::vector<Candidate>& inputs) {
    if (!same_shape(name, inputs)) return;
    PlannedTensor tensor{.name = name,
                         .dtype = inputs[0].tensor->dtype,
                         .elements = inputs[0].tensor->elements,
                         .rule = Rule::kMerged,
                         .method = plan_->method,
                         .inputs = {},
                         .parameters = nullptr,
                         .base = base_of(open, inputs),
                         .working = inputs[0].tensor->dtype,
                         .returned = inputs[0].tensor->dtype,
                         .cast_first = replayed_,
                         .arithmetic = Arithmetic::kExact,
                         .replay = std::nullopt,
                         .shard = 0,
                         .offset = 0};
    const bool numbers =
        std::ranges::all_of(inputs, [](const Candidate& c) { return is_float(c.tensor->dtype); });
    if (!numbers) return plan_codes(std::move(tensor), inputs);
    if (const auto why = too_few(tensor.base, inputs.size())) {
      return carry_over(std::move(tensor), inputs, *why);
    }
    tensor.parameters = parameters_of(open, name, t, tensor.base, inputs);
    if (!tensor.parameters) return account(inputs, Rule::kRefused, "a parameter is missing");
    choose_dtypes(tensor, inputs);
    if (is_plain_copy(tensor, inputs)) {
      tensor.rule = Rule::kCopied;
      return finish(std::move(tensor), inputs, "it passes through unchanged");
    }
    if (refuse_quantised(name, inputs)) return;
    if (!choose_arithmetic(tensor, inputs)) return;
    if (!sensible(tensor, inputs[0].tensor->shape, open))
      return account(inputs, Rule::kRefused, "its parameters make no sense");
    if (inputs.size() < open.sources.size()) note_absent(name, inputs.size(), open.sources.size());
    finish(std::move(tensor), inputs, "merged with those of the same name");
  }

  // The input that is the base model.
  static std::optional<uint32_t> base_of(const OpenSlice& open,
                                         const std::vector<Candidate>& inputs) {
    if (!open.base) return std::nullopt;
    const auto at = std::ranges::find_if(
        inputs, [&](const Candidate& c) { return c.source->model == *open.base; });
    if (at == inputs.end()) return std::nullopt;
    return static_cast<uint32_t>(at - inputs.begin());
  }

  // Why a tensor that only some models have cannot be merged by this method; nothing if it can.
  std::optional<std::string_view> too_few(std::optional<uint32_t> base, size_t inputs) const {
    const MethodInfo& about = plan_->method->describe();
    const bool origin = about.base == BaseModel::kOptional || about.base == BaseModel::kRequired;
    const size_t n = inputs - (origin && base ? 1 : 0);
    if (about.base == BaseModel::kRequired && !base)
      return "the base has no such tensor: copied from the first model that has it";
    if (n == 0) return "only the base has it: copied";
    if (n < about.min_models) return "too few models have it to be merged: copied";
    return std::nullopt;
  }

  // From the base, or the first model; in the recipe's dtype.
  void carry_over(PlannedTensor tensor, const std::vector<Candidate>& inputs,
                  std::string_view why) {
    const Candidate chosen = inputs[tensor.base.value_or(0)];
    for (const Candidate& input : inputs) {
      if (input.source != chosen.source) account({input}, Rule::kDropped, why);
    }
    note_carried(tensor.name);
    tensor.base = std::nullopt;
    tensor.method = find_method("passthrough");
    tensor.parameters = resolver_->none();
    choose_dtypes(tensor, {chosen});
    tensor.returned = tensor.dtype;
    tensor.cast_first = false;
    if (chosen.tensor->dtype == tensor.dtype) tensor.rule = Rule::kCopied;
    if (tensor.rule == Rule::kMerged && refuse_quantised(tensor.name, {chosen})) return;
    finish(std::move(tensor), {chosen}, why);
  }

  // False if it cannot be computed; then that is a problem of the plan.
  bool choose_arithmetic(PlannedTensor& tensor, const std::vector<Candidate>& inputs) {
    const auto& generation = generation_for(tensor.working);
    if (!generation) {
      refuse_inputs(tensor.name, inputs, generation.error().sentence);
      return false;
    }
    tensor.arithmetic = generation->arithmetic;
    tensor.replay = generation->replay;
    if (tensor.replay) {
      tensor.returned =
          mergekit::returned_dtype(*tensor.replay, plan_->recipe.method, tensor.working);
      tensor.dtype = plan_->recipe.out_dtype.value_or(tensor.returned);
    } else {
      tensor.returned = tensor.cast_first ? tensor.working : tensor.dtype;
    }
    if (!info(tensor.arithmetic).two_inputs_only || inputs.size() == 2) return true;
    refuse_inputs(tensor.name, inputs,
                  fmt::format("{} is an arithmetic of two models, but \"{}\" has {}.",
                              info(tensor.arithmetic).name, printable(tensor.name), inputs.size()));
    return false;
  }

  bool same_shape(const std::string& name, const std::vector<Candidate>& inputs) {
    for (const Candidate& input : inputs) {
      if (input.tensor->shape == inputs[0].tensor->shape) continue;
      refuse_inputs(
          name, inputs,
          fmt::format(
              "{}: tensor \"{}\" has shape {} in \"{}\" but {} in \"{}\"; tensors of different "
              "shapes are not merged (for models with other vocabularies say how their tokens "
              "match: `tokenizer_source: union`, or base).",
              file(), printable(name), to_string(inputs[0].tensor->shape),
              printable(inputs[0].source->source->model.text), to_string(input.tensor->shape),
              printable(input.source->source->model.text)));
      return false;
    }
    return true;
  }

  // Integers, booleans and the like are not averaged: the base's, or the first's, is copied.
  void plan_codes(PlannedTensor tensor, const std::vector<Candidate>& inputs) {
    if (plan_->recipe.method != "passthrough" && refuse_quantised(tensor.name, inputs)) return;
    for (const Candidate& input : inputs) {
      if (input.tensor->dtype == inputs[0].tensor->dtype) continue;
      return refuse_inputs(
          tensor.name, inputs,
          fmt::format("{}: tensor \"{}\" is {} in \"{}\" but {} in \"{}\"; only floats of "
                      "different dtypes are merged.",
                      file(), printable(tensor.name), info(inputs[0].tensor->dtype).name,
                      printable(inputs[0].source->source->model.text),
                      info(input.tensor->dtype).name, printable(input.source->source->model.text)));
    }
    const auto base = std::ranges::find_if(
        inputs, [&](const Candidate& c) { return base_ && c.source->model == *base_; });
    const Candidate chosen = base == inputs.end() ? inputs.front() : *base;
    tensor.rule = Rule::kCopied;
    tensor.parameters = resolver_->none();
    tensor.base = std::nullopt;
    for (const Candidate& input : inputs) {
      if (input.source != chosen.source) {
        account({input}, Rule::kDropped,
                "not a float: it is copied from the base or the first model");
      }
    }
    finish(std::move(tensor), {chosen}, "not a float: copied, not averaged");
  }

  bool refuse_quantised(const std::string& name, const std::vector<Candidate>& inputs) {
    for (const Candidate& input : inputs) {
      const auto scheme = quantised(checkpoint(input.source->model), *input.tensor,
                                    facts_[input.source->model].quantization);
      if (!scheme) continue;
      refuse_inputs(
          name, inputs,
          fmt::format(
              "{}: tensor \"{}\" of \"{}\" holds quantised codes about to be averaged as numbers "
              "({}); dequantise the model first.",
              file(), printable(name), printable(input.source->source->model.text), *scheme));
      return true;
    }
    return false;
  }

  void choose_dtypes(PlannedTensor& tensor, const std::vector<Candidate>& inputs) const {
    DType common = inputs[0].tensor->dtype;
    for (const Candidate& input : inputs) common = promote(common, input.tensor->dtype);
    tensor.working = plan_->recipe.dtype.value_or(common);
    tensor.dtype = plan_->recipe.out_dtype.value_or(tensor.working);
  }

  bool is_plain_copy(const PlannedTensor& tensor, const std::vector<Candidate>& inputs) const {
    if (plan_->recipe.method != "passthrough") return false;
    const auto scale = tensor.parameters->per_model[0].find("scale");
    const bool scaled = scale != tensor.parameters->per_model[0].end() && scale->second != 1;
    return !scaled && inputs[0].tensor->dtype == tensor.dtype && tensor.working == tensor.dtype;
  }

  void note_absent(const std::string& name, size_t present, size_t of) {
    if (absent_++ == 0) {
      first_absent_ = fmt::format("\"{}\" ({} of {} models)", printable(name), present, of);
    }
  }

  void note_carried(const std::string& name) {
    if (carried_++ == 0) first_carried_ = fmt::format("\"{}\"", printable(name));
  }

  // ---- parameters

  std::shared_ptr<const TensorParameters> parameters_of(const OpenSlice& open,
                                                        const std::string& name, double t,
                                                        std::optional<uint32_t> base,
                                                        const std::vector<Candidate>& inputs) {
    wanted_sources_.clear();
    for (const Candidate& input : inputs) wanted_sources_.push_back(input.source->source);
    auto parameters = resolver_->resolve(*open.slice, wanted_sources_, base, name, t);
    if (!parameters) {
      for (const auto& [parameter, source] : resolver_->missing())
        missing(parameter, *source, name);
    }
    return parameters;
  }

  const Result<Generation>& generation_for(DType working) {
    const auto known = generations_.find(working);
    if (known != generations_.end()) return known->second;
    return generations_
        .emplace(working, resolve(plan_->arithmetic, plan_->method->describe(), working))
        .first->second;
  }

  void missing(std::string_view parameter, const RecipeSource& source, const std::string& tensor) {
    const bool filtered =
        std::ranges::any_of(source.parameters, [&](const auto& s) { return s.name == parameter; });
    problem_once(
        source.line,
        filtered
            ? fmt::format(
                  "no filter of the model's {} matches \"{}\"; end the list with `- value: …`",
                  parameter, printable(tensor))
            : fmt::format("the model \"{}\" has no {}, which {} needs; add `parameters: {{{}: …}}`",
                          printable(source.model.text), parameter, plan_->recipe.method, parameter),
        filtered ? tensor : std::string());
  }

  bool sensible(const PlannedTensor& tensor, const Shape& shape, const OpenSlice& open) {
    if (tensor.parameters == sensible_ && texts_.empty()) return true;
    const auto reason = plan_->method->check({.name = tensor.name,
                                              .shape = shape,
                                              .elements = tensor.elements,
                                              .parameters = tensor.parameters,
                                              .inputs = {},
                                              .base = tensor.base,
                                              .text = texts_});
    if (!reason) {
      sensible_ = tensor.parameters;
      return true;
    }
    if (replayed_) {
      warn_once(fmt::format("{}, line {}: {} (as {} does, it is written all the same).", file(),
                            open.slice->line, *reason, plan_->arithmetic));
      return true;
    }
    problem_once(open.slice->line, *reason, tensor.name);
    return false;
  }

  // ---- accounting

  uint32_t reason(std::string_view text) {
    const auto known = std::ranges::find(plan_->reasons, text);  // a handful
    const auto number = static_cast<uint32_t>(known - plan_->reasons.begin());
    if (known == plan_->reasons.end()) plan_->reasons.emplace_back(text);
    return number;
  }

  void account(const std::vector<Candidate>& inputs, Rule rule, std::string_view why) {
    const uint32_t r = reason(why);
    for (const Candidate& input : inputs) {
      plan_->accounting.push_back({input.source->model, input.tensor, rule, r});
    }
  }

  void refuse_inputs(const std::string& name, const std::vector<Candidate>& inputs,
                     const std::string& sentence) {
    problem(sentence, name);
    account(inputs, Rule::kRefused, "see the problems");
  }

  void finish(PlannedTensor tensor, const std::vector<Candidate>& inputs, std::string_view why) {
    tensor.inputs.reserve(inputs.size());
    for (const Candidate& input : inputs)
      tensor.inputs.push_back({input.source->slot, input.tensor});
    account(inputs, tensor.rule, why);
    plan_->tensors.push_back(std::move(tensor));
  }

  void account_for_the_rest() {
    std::vector<std::vector<AccountedTensor>> by_model(plan_->models.size());
    for (const AccountedTensor& known : plan_->accounting) by_model[known.model].push_back(known);
    plan_->accounting.clear();
    for (uint32_t m = 0; m < plan_->models.size(); ++m) {
      const bool named = std::ranges::find(plan_->slots, m) != plan_->slots.end();
      const std::vector<TensorInfo>& tensors = checkpoint(m).tensors;
      std::vector<bool> used(tensors.size());
      for (const AccountedTensor& known : by_model[m]) {
        used[static_cast<size_t>(known.tensor - tensors.data())] = true;
      }
      for (const TensorInfo& tensor : tensors) {
        if (used[static_cast<size_t>(&tensor - tensors.data())]) continue;
        const auto place = layer_of(m, tensor);
        by_model[m].push_back(
            {m, &tensor, Rule::kDropped,
             reason(!named  ? "the model only lends its configuration"
                    : place ? "its layer is in no slice"
                            : "tensors before the layers come from the first slice, those after "
                              "them from the last")});
      }
      // In file order; a tensor used several times is listed once for each rule.
      const auto order = [](const AccountedTensor& a) {
        return std::tuple(a.tensor, a.rule, a.reason);
      };
      if (!std::ranges::is_sorted(by_model[m], {}, order))
        std::ranges::sort(by_model[m], {}, order);
      plan_->accounting.insert(plan_->accounting.end(), by_model[m].begin(), by_model[m].end());
      by_model[m] = {};
    }
    const auto repeated = std::ranges::unique(plan_->accounting, [](const auto& a, const auto& b) {
      return a.model == b.model && a.tensor == b.tensor && a.rule == b.rule;
    });
    plan_->accounting.erase(repeated.begin(), repeated.end());
    if (carried_ > 0) {
      plan_->warnings.push_back(fmt::format(
          "{} tensor{} copied, not merged, because too few models have {}, first {}.", carried_,
          carried_ == 1 ? " is" : "s are", carried_ == 1 ? "it" : "them", first_carried_));
    }
    if (absent_ > 0) {
      plan_->warnings.push_back(fmt::format(
          "{} tensor{} missing in some models and merged from those that have {}, first {}.",
          absent_, absent_ == 1 ? " is" : "s are", absent_ == 1 ? "it" : "them", first_absent_));
    }
  }

  // Equal vocabulary sizes can still mean other tokens.
  void check_tokenizers() {
    std::optional<std::string> first;
    uint32_t first_model = 0;
    if (plan_->recipe.tokenizer) return;
    if (plan_->recipe.method == "passthrough" && !plan_->recipe.by_slices) return;
    for (uint32_t m = 0; m < plan_->models.size(); ++m) {
      const std::string& folder = checkpoint(m).folder;
      if (folder.empty()) continue;
      const fs::path path = fs::path(folder) / "tokenizer.json";
      std::error_code ignored;
      if (!fs::is_regular_file(path, ignored)) continue;
      auto text = read_text(path.string(), kMaxTokenizerBytes);
      if (!text) continue;
      if (!first) {
        first = *std::move(text);
        first_model = m;
      } else if (*text != *first) {
        warn_once(fmt::format(
            "The tokenizers of \"{}\" and \"{}\" differ: rows of their embeddings may stand for "
            "different tokens.",
            printable(plan_->models[first_model].ref), printable(plan_->models[m].ref)));
      }
    }
  }

  // mergekit draws from one stream, tensor by tensor in the order of their names.
  void note_random_stream() {
    const MethodInfo& about = plan_->method->describe();
    if (!about.random && !mergekit_version(plan_->arithmetic)) return;
    if (about.random && !options_.seed && !plan_->recipe.seed_number) {
      warn_once(
          fmt::format("{}: {} drops changes at random and the recipe has no seed; 0 is used, "
                      "and recorded (hieron: {{seed: …}} or --random-seed).",
                      file(), about.name));
    }
    std::vector<PlannedTensor*> drawing;
    for (PlannedTensor& tensor : plan_->tensors) {
      if (tensor.replay) drawing.push_back(&tensor);
    }
    std::ranges::sort(drawing, {}, &PlannedTensor::name);
    uint64_t words = 0;
    for (PlannedTensor* tensor : drawing) {
      tensor->first_word = words;
      words += mergekit::words_drawn(*tensor->replay, about.name, *tensor->parameters, tensor->base,
                                     tensor->elements);
    }
  }

  void write_config() {
    std::string config = checkpoint(plan_->donor).config_json;
    if (config.empty()) return;
    if (plan_->recipe.by_slices) config = stacked_config(config, stack_);
    const auto written = plan_->recipe.out_dtype ? plan_->recipe.out_dtype : plan_->recipe.dtype;
    if (written) config = retyped_config(config, mergekit_name(*written));
    if (vocabulary_) config = resized_config(config, *vocabulary_);
    plan_->config_json = std::move(config);
  }

  const PlanOptions& options_;
  std::shared_ptr<Plan> plan_;
  bool replayed_ = false;
  std::optional<uint32_t> base_;
  std::optional<uint64_t> vocabulary_;  // rows, if the recipe decides them
  std::vector<OpenSlice> slices_;
  std::vector<ModelFacts> facts_;
  RecipeModels models_;
  std::deque<RecipeSource> implied_;                         // bases that the recipe does not list
  std::map<std::pair<uint32_t, uint32_t>, uint32_t> slots_;  // (model, occurrence) -> slot
  std::vector<LayerSource> stack_;                           // per output layer
  std::optional<ParameterResolver> resolver_;
  std::vector<const TensorInfo*> last_found_;  // by slot
  std::vector<const RecipeSource*> wanted_sources_;
  std::shared_ptr<const TensorParameters> sensible_;
  std::map<DType, Result<Generation>> generations_;        // by working dtype
  std::map<std::string, std::string, std::less<>> texts_;  // parameters that are text
  std::set<std::string> said_;
  size_t absent_ = 0;
  std::string first_absent_;
  size_t carried_ = 0;
  std::string first_carried_;
};

}  // namespace

std::string_view name(Rule rule) {
  constexpr std::array<std::string_view, 4> names{"merged", "copied", "dropped", "refused"};
  return names[static_cast<size_t>(rule)];
}

uint64_t Plan::output_bytes() const {
  uint64_t total = 0;
  for (const PlannedShard& shard : shards) total += shard.bytes;
  return total;
}

Result<std::shared_ptr<const Plan>> make_plan(Recipe recipe, const PlanOptions& options) {
  return Planner(std::move(recipe), options).run();
}

Status executable(const Plan& plan) {
  if (plan.problems.empty()) return {};
  const Problem& first = plan.problems.front();
  Error error{ErrorCode::kRefused, first.sentence, plan.recipe.file, first.tensor, std::nullopt};
  if (first.line > 0) error.offset = static_cast<uint64_t>(first.line);
  error.also = static_cast<int>(plan.problems.size()) - 1;
  return std::unexpected(std::move(error));
}

}  // namespace hieron
