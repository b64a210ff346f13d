#include "hieron/merge/plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <map>
#include <set>
#include <span>
#include <tuple>
#include <unordered_map>
#include <unordered_set>

#include "hieron/core/text.h"
#include "hieron/format/safetensors.h"
#include "hieron/io/file.h"
#include "hieron/merge/generation.h"
#include "hieron/merge/layers.h"
#include "hieron/merge/quantised.h"
#include "hieron/model/config.h"

namespace hieron {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kAlignment = 4096;  // of a shard's data: direct writes
constexpr size_t kEntryBytes = 96;     // of a tensor in a header without its name, mostly
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
  bool uniform = false;  // its parameters are the same for all tensors
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
      : options_(options), plan_(std::make_shared<Plan>()) {
    plan_->recipe = std::move(recipe);
    plan_->method = find_method(plan_->recipe.method);
    plan_->arithmetic = options.arithmetic.value_or(plan_->recipe.arithmetic.value_or("exact"));
    replayed_ = casts_first(plan_->arithmetic);
    for (const RecipeWarning& warning : plan_->recipe.warnings)
      plan_->warnings.push_back(warning.sentence);
  }

  Result<std::shared_ptr<const Plan>> run() {
    if (!plan_->method) return refuse(fmt::format("{}: unknown merge_method.", file()), file());
    HIERON_CHECK(check_arithmetic());
    HIERON_CHECK(open_models());
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
      note_fused_experts();
      lay_out();
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

  Status check_arithmetic() {
    const auto known = resolve(plan_->arithmetic, plan_->recipe.method, DType::kBF16);
    if (known) return {};
    Error error = known.error();
    if (options_.arithmetic) error.code = ErrorCode::kUsage;
    return std::unexpected(std::move(error));
  }

  // ---- models

  Status open_models() {
    for (const RecipeSlice& slice : plan_->recipe.slices) {
      OpenSlice open{&slice, {}, is_uniform(slice)};
      std::map<uint32_t, uint32_t> occurrences;
      for (const RecipeSource& source : slice.sources) {
        HIERON_TRY(const uint32_t model, open_model(source.model));
        const uint32_t slot = slot_of(model, occurrences[model]++);
        open.sources.push_back({&source, model, slot, 0, 0});
      }
      slices_.push_back(std::move(open));
    }
    if (plan_->recipe.base_model) {
      HIERON_TRY(const uint32_t base, open_model(*plan_->recipe.base_model));
      base_ = base;
      plan_->donor = base;
    }
    return {};
  }

  bool is_uniform(const RecipeSlice& slice) const {
    const auto plain = [](const std::vector<ParameterSetting>& settings) {
      return std::ranges::all_of(settings, [](const ParameterSetting& setting) {
        return std::ranges::all_of(setting.rules, [](const ParameterRule& rule) {
          return rule.filter.empty() && rule.values.size() == 1;
        });
      });
    };
    return plain(plan_->recipe.parameters) && plain(slice.parameters) &&
           std::ranges::all_of(slice.sources,
                               [&](const RecipeSource& s) { return plain(s.parameters); });
  }

  uint32_t slot_of(uint32_t model, uint32_t occurrence) {
    const auto [it, fresh] =
        slots_.try_emplace({model, occurrence}, static_cast<uint32_t>(plan_->slots.size()));
    if (fresh) plan_->slots.push_back(model);
    return it->second;
  }

  Result<uint32_t> open_model(const ModelRef& ref) {
    const std::string path = locate(ref);
    if (path.empty() && !ref.adapter.empty()) {
      return refuse(
          fmt::format("{}, line {}: \"{}\" adds an adapter to a model; adapters come later.",
                      file(), ref.line, printable(ref.text)),
          file(), {}, static_cast<uint64_t>(ref.line));
    }
    if (path.empty() && !ref.revision.empty()) {
      return system_error(
          fmt::format("{}, line {}: the model \"{}\" is not here, and revisions of a hub are not "
                      "read yet; download it and give the folder.",
                      file(), ref.line, printable(ref.text)),
          ref.text);
    }
    const std::string opened = path.empty() ? ref.path : path;
    std::error_code ignored;
    const fs::path canonical = fs::weakly_canonical(opened, ignored);
    const auto [it, fresh] = opened_.try_emplace(canonical.empty() ? opened : canonical.string(),
                                                 static_cast<uint32_t>(plan_->models.size()));
    if (!fresh) return it->second;
    auto checkpoint = open_checkpoint(opened);
    if (!checkpoint) {
      Error error = checkpoint.error();
      error.sentence = fmt::format("{}, line {}: {}", file(), ref.line, error.sentence);
      return std::unexpected(std::move(error));
    }
    plan_->models.push_back({ref.text, *std::move(checkpoint)});
    for (const std::string& warning : plan_->models.back().checkpoint->warnings) warn_once(warning);
    return it->second;
  }

  // An existing path wins: as it stands from the recipe's folder, then from here; then without
  // @revision.
  std::string locate(const ModelRef& ref) const {
    std::error_code ignored;
    const fs::path folder = fs::path(file()).parent_path();
    for (const std::string& text : {ref.text, ref.adapter.empty() ? ref.path : std::string()}) {
      if (text.empty()) continue;
      if (fs::path(text).is_relative() && fs::exists(folder / text, ignored))
        return (folder / text).string();
      if (fs::exists(text, ignored)) return text;
    }
    return {};
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

  void check_count(const OpenSlice& open) {
    const MethodInfo& about = plan_->method->describe();
    const size_t n = open.sources.size();
    if (n >= about.min_models && n <= about.max_models) return;
    problem_once(open.slice->line,
                 fmt::format("{} takes {} model{}{}, but {} stand here", about.name,
                             about.max_models, about.max_models == 1 ? "" : "s at most",
                             plan_->recipe.by_slices ? " in a slice" : "", n));
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
    if (!base_) return;
    for (const Operandum& source : open.sources) {
      if (source.model == *base_) return;
    }
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
                         .inputs = {},
                         .parameters = nullptr,
                         .working = inputs[0].tensor->dtype,
                         .cast_first = replayed_,
                         .arithmetic = Arithmetic::kExact,
                         .shard = 0,
                         .offset = 0};
    const bool numbers =
        std::ranges::all_of(inputs, [](const Candidate& c) { return is_float(c.tensor->dtype); });
    if (!numbers) return plan_codes(std::move(tensor), inputs);
    tensor.parameters = parameters_of(open, name, t, inputs);
    if (!tensor.parameters) return account(inputs, Rule::kRefused, "a parameter is missing");
    choose_dtypes(tensor, inputs);
    if (is_plain_copy(tensor, inputs)) {
      tensor.rule = Rule::kCopied;
      return finish(std::move(tensor), inputs, "it passes through unchanged");
    }
    if (refuse_quantised(name, inputs)) return;
    const auto& arithmetic = arithmetic_for(tensor.working);
    if (!arithmetic) return refuse_inputs(name, inputs, arithmetic.error().sentence);
    tensor.arithmetic = *arithmetic;
    if (info(*arithmetic).two_inputs_only && inputs.size() != 2) {
      return refuse_inputs(name, inputs,
                           fmt::format("{} is an arithmetic of two models, but \"{}\" has {}.",
                                       info(*arithmetic).name, printable(name), inputs.size()));
    }
    if (!sensible(name, tensor.parameters, open))
      return account(inputs, Rule::kRefused, "its parameters make no sense");
    if (inputs.size() < open.sources.size()) note_absent(name, inputs.size(), open.sources.size());
    finish(std::move(tensor), inputs, "merged with those of the same name");
  }

  bool same_shape(const std::string& name, const std::vector<Candidate>& inputs) {
    for (const Candidate& input : inputs) {
      if (input.tensor->shape == inputs[0].tensor->shape) continue;
      refuse_inputs(
          name, inputs,
          fmt::format(
              "{}: tensor \"{}\" has shape {} in \"{}\" but {} in \"{}\"; tensors of different "
              "shapes are not merged (models with other vocabularies need their tokens matched "
              "first, which comes later).",
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
    tensor.parameters = shared({});
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

  // ---- parameters

  // Where no filter and no gradient tells tensors apart, what was resolved for the last one holds.
  std::shared_ptr<const TensorParameters> parameters_of(const OpenSlice& open,
                                                        const std::string& name, double t,
                                                        const std::vector<Candidate>& inputs) {
    std::vector<const Operandum*>& sources = wanted_sources_;
    sources.clear();
    for (const Candidate& input : inputs) sources.push_back(input.source);
    if (open.uniform && last_parameters_ && sources == last_sources_) return last_parameters_;
    const auto parameters = resolve_parameters(open, name, t, inputs);
    last_parameters_ = parameters ? shared(*parameters) : nullptr;
    last_sources_ = sources;
    return last_parameters_;
  }

  const Result<Arithmetic>& arithmetic_for(DType working) {
    const auto known = arithmetics_.find(working);
    if (known != arithmetics_.end()) return known->second;
    return arithmetics_.emplace(working, resolve(plan_->arithmetic, plan_->recipe.method, working))
        .first->second;
  }

  std::optional<TensorParameters> resolve_parameters(const OpenSlice& open, const std::string& name,
                                                     double t,
                                                     const std::vector<Candidate>& inputs) {
    TensorParameters parameters;
    parameters.per_model.resize(inputs.size());
    bool complete = true;
    for (const ParameterInfo& about : plan_->method->describe().parameters) {
      if (!about.per_model) {
        const auto value =
            look_up(about.name, {&open.slice->parameters, &plan_->recipe.parameters}, name, t);
        if (value || about.standard)
          parameters.global.emplace(about.name, value ? *value : *about.standard);
        continue;
      }
      for (size_t k = 0; k < inputs.size(); ++k) {
        const RecipeSource& source = *inputs[k].source->source;
        const auto value = look_up(
            about.name, {&source.parameters, &open.slice->parameters, &plan_->recipe.parameters},
            name, t);
        if (value || about.standard) {
          parameters.per_model[k].emplace(about.name, value ? *value : *about.standard);
        } else if (about.required) {
          complete = false;
          missing(about.name, source, name);
        }
      }
    }
    return complete ? std::optional(std::move(parameters)) : std::nullopt;
  }

  static std::optional<double> look_up(
      std::string_view parameter,
      std::initializer_list<const std::vector<ParameterSetting>*> levels, std::string_view tensor,
      double t) {
    for (const auto* level : levels) {
      for (const ParameterSetting& setting : *level) {
        if (setting.name != parameter) continue;
        if (const auto value = evaluate(setting, tensor, t)) return value;
      }
    }
    return std::nullopt;
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

  bool sensible(const std::string& name, const std::shared_ptr<const TensorParameters>& parameters,
                const OpenSlice& open) {
    if (parameters == sensible_) return true;
    const auto reason = plan_->method->check(*parameters);
    if (!reason) {
      sensible_ = parameters;
      return true;
    }
    if (replayed_) {
      warn_once(fmt::format("{}, line {}: {} (as {} does, infinities and NaN will be written).",
                            file(), open.slice->line, *reason, plan_->arithmetic));
      return true;
    }
    problem_once(open.slice->line, *reason, name);
    return false;
  }

  // Tensors alike share one set of parameters.
  std::shared_ptr<const TensorParameters> shared(const TensorParameters& parameters) {
    auto key = std::pair(parameters.per_model, parameters.global);
    auto& known = parameters_[std::move(key)];
    if (!known) known = std::make_shared<const TensorParameters>(parameters);
    return known;
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

  // Same values, other tensors: whoever compares files with mergekit's should know.
  void note_fused_experts() {
    constexpr std::string_view kExperts = ".experts.";
    if (plan_->arithmetic != "mergekit-0.1.5") return;
    for (const PlannedTensor& tensor : plan_->tensors) {
      const size_t at = tensor.name.find(kExperts);
      if (at == std::string::npos) continue;
      const size_t number = at + kExperts.size();
      if (number >= tensor.name.size() || tensor.name[number] < '0' || tensor.name[number] > '9')
        continue;
      return warn_once(fmt::format(
          "mergekit 0.1.5 writes the experts of a layer as one tensor; here each keeps its own, "
          "with the same values (first \"{}\").",
          printable(tensor.name)));
    }
  }

  // ---- shards

  void lay_out() {
    uint64_t filled = 0;
    std::vector<uint32_t> starts;
    for (uint32_t i = 0; i < plan_->tensors.size(); ++i) {
      const uint64_t bytes = plan_->tensors[i].bytes();
      if (i == 0 || (filled > 0 && filled + bytes > options_.shard_bytes)) {
        starts.push_back(i);
        filled = 0;
      }
      filled += bytes;
      plan_->tensors[i].shard = static_cast<uint32_t>(starts.size() - 1);
    }
    if (plan_->tensors.empty() && plan_->problems.empty())
      problem(fmt::format("{}: the models have no tensors.", file()));
    for (size_t s = 0; s < starts.size(); ++s) {
      const uint32_t end =
          s + 1 < starts.size() ? starts[s + 1] : static_cast<uint32_t>(plan_->tensors.size());
      add_shard(s, starts.size(), starts[s], end);
    }
  }

  void add_shard(size_t s, size_t of, uint32_t first, uint32_t end) {
    const auto tensors = std::span(plan_->tensors).subspan(first, end - first);
    size_t expected = kAlignment;
    for (const PlannedTensor& tensor : tensors) expected += tensor.name.size() + kEntryBytes;
    SafetensorsHeaderWriter writer({{"format", "pt"}}, expected);
    for (PlannedTensor& tensor : tensors) {
      tensor.offset = writer.add(tensor.name, tensor.dtype, tensor.shape());
    }
    std::string header = writer.finish(kAlignment);
    for (PlannedTensor& tensor : tensors) tensor.offset += header.size();
    const uint64_t bytes = header.size() + writer.data_bytes();
    plan_->shards.push_back(
        {of == 1 ? "model.safetensors" : fmt::format("model-{:05}-of-{:05}.safetensors", s + 1, of),
         std::move(header), bytes, first, end - first});
  }

  void write_config() {
    std::string config = checkpoint(plan_->donor).config_json;
    if (config.empty()) return;
    if (plan_->recipe.by_slices) config = stacked_config(config, stack_);
    const auto written = plan_->recipe.out_dtype ? plan_->recipe.out_dtype : plan_->recipe.dtype;
    if (written) config = retyped_config(config, mergekit_name(*written));
    plan_->config_json = std::move(config);
  }

  const PlanOptions& options_;
  std::shared_ptr<Plan> plan_;
  bool replayed_ = false;
  std::optional<uint32_t> base_;
  std::vector<OpenSlice> slices_;
  std::vector<ModelFacts> facts_;
  std::map<std::string, uint32_t> opened_;                   // canonical path -> model
  std::map<std::pair<uint32_t, uint32_t>, uint32_t> slots_;  // (model, occurrence) -> slot
  std::vector<LayerSource> stack_;                           // per output layer
  std::map<std::pair<decltype(TensorParameters::per_model), decltype(TensorParameters::global)>,
           std::shared_ptr<const TensorParameters>>
      parameters_;
  std::vector<const TensorInfo*> last_found_;  // by slot
  std::vector<const Operandum*> wanted_sources_, last_sources_;
  std::shared_ptr<const TensorParameters> last_parameters_, sensible_;
  std::map<DType, Result<Arithmetic>> arithmetics_;  // by working dtype
  std::set<std::string> said_;
  size_t absent_ = 0;
  std::string first_absent_;
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
