#include "hieron/merge/plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <deque>
#include <filesystem>
#include <map>
#include <ranges>
#include <set>
#include <span>
#include <tuple>
#include <unordered_set>

#include "hieron/core/text.h"
#include "hieron/io/file.h"
#include "hieron/merge/experts.h"
#include "hieron/merge/findings.h"
#include "hieron/merge/generation.h"
#include "hieron/merge/layers.h"
#include "hieron/merge/layout.h"
#include "hieron/merge/modules.h"
#include "hieron/merge/opened_recipe.h"
#include "hieron/merge/output_config.h"
#include "hieron/merge/parameters.h"
#include "hieron/merge/quantised.h"
#include "hieron/merge/recipe_checks.h"
#include "hieron/merge/recipe_reader.h"
#include "hieron/merge/vocabulary.h"

namespace hieron {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kMaxTokenizerBytes = 64u << 20;
constexpr std::string_view kLeftOver =
    "in no module of the recipe: copied from the base or the first model";

bool is_float(DType dtype) {
  return info(dtype).format && info(dtype).bits >= 8 && info(dtype).blend;
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
                options.opened, options.source) {
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
    learn_models(*plan_, opened_, findings_);
    check_recipe(*plan_, opened_, findings_);
    if (plan_->problems.empty()) {
      for (uint32_t b = 0; b < opened_.bodies.size(); ++b) plan_body(b);
      plan_left_over();
      check_names();
      account_for_the_rest();
      check_tokenizers();
      if (plan_->problems.empty()) note_idle_filters();
      note_random_stream();
      check_common();
      if (plan_->tensors.empty() && plan_->problems.empty())
        findings_.problem(fmt::format("{}: the models have no tensors.", file()));
      lay_out(*plan_, options_.shard_bytes);
      plan_->config_json = output_config(*plan_, opened_, vocabulary_, findings_);
    }
    return std::shared_ptr<const Plan>(std::move(plan_));
  }

 private:
  const std::string& file() const { return plan_->recipe.file; }

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
    const Recipe& recipe = plan_->recipe;
    // A single module under mergekit's name for the only one is the whole model.
    const bool whole = recipe.modules.empty() || (recipe.modules.size() == 1 &&
                                                  recipe.modules.front().name == kDefaultModule);
    if (whole) {
      HIERON_CHECK(open_body({.by_slices = recipe.by_slices, .slices = {}}, recipe.slices));
    } else {
      for (const RecipeModule& module : recipe.modules) {
        HIERON_CHECK(open_body({.module = &module, .by_slices = module.by_slices, .slices = {}},
                               module.slices));
      }
    }
    if (recipe.base_model) {
      HIERON_TRY(opened_.base, open_model(*recipe.base_model));
      plan_->donor = *opened_.base;
    }
    return {};
  }

  Status open_body(Body body, const std::vector<RecipeSlice>& slices) {
    for (const RecipeSlice& slice : slices) {
      OpenSlice open{&slice, {}, std::nullopt};
      std::map<uint32_t, uint32_t> occurrences;
      for (const RecipeSource& source : slice.sources) {
        HIERON_TRY(const uint32_t model, open_model(source.model));
        const uint32_t slot = slot_of(model, occurrences[model]++);
        open.sources.push_back({&source, model, slot, 0, 0});
      }
      HIERON_CHECK(open_base(open));
      body.slices.push_back(std::move(open));
    }
    opened_.bodies.push_back(std::move(body));
    return {};
  }

  // The base of a slice, or of the recipe. If it is not among the sources it joins them at the end,
  // as in mergekit, with the layers of the first.
  Status open_base(OpenSlice& open) {
    const auto& ref = open.slice->base_model ? open.slice->base_model : plan_->recipe.base_model;
    if (!ref || plan_->method->describe().base == BaseModel::kUnused) return {};
    HIERON_TRY(open.base, open_model(*ref));
    if (std::ranges::find(open.sources, *open.base, &SliceSource::model) != open.sources.end())
      return {};
    opened_.implied.push_back({.model = *ref,
                               .layers = open.slice->sources.front().layers,
                               .parameters = {},
                               .line = ref->line});
    open.sources.push_back({&opened_.implied.back(), *open.base, slot_of(*open.base, 0), 0, 0});
    return {};
  }

  // Experts as the recipe, or mergekit 0.1.5, has them; else as the first model that has any.
  Status arrange_experts() {
    std::optional<ExpertLayout> wanted = plan_->recipe.experts;
    if (mergekit_version(plan_->arithmetic) == mergekit::Version::k015) {
      wanted = ExpertLayout::kFused;
    }
    if (options_.experts) wanted = options_.experts;
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
    for (const std::string& warning : vocabulary.warnings) findings_.warn(warning);
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
      findings_.warn(warning);
    }
    return model;
  }

  const Checkpoint& checkpoint(uint32_t model) const { return *plan_->models[model].checkpoint; }

  // ---- output tensors

  struct Candidate {
    const SliceSource* source;
    const TensorInfo* tensor;
  };

  void plan_body(uint32_t b) {
    Body& body = opened_.bodies[b];
    current_ = b;
    if (body.by_slices) return plan_slices(body);
    const size_t before = plan_->accounting.size();
    plan_whole(body.slices.front());
    if (!body.module || plan_->accounting.size() > before) return;
    findings_.problem_at(body.module->line,
                         fmt::format("none of the models of the module \"{}\" has a tensor of it",
                                     printable(body.module->name)));
  }

  // A stack may reach into what another module wrote, if its name is only a part of a row.
  void check_names() {
    if (!opened_.by_modules() || !opened_.by_slices()) return;
    std::unordered_set<std::string_view> names;
    for (const PlannedTensor& tensor : plan_->tensors) {
      if (names.insert(tensor.name).second) continue;
      return findings_.problem(fmt::format("{}: two modules write the tensor \"{}\"; slices need a "
                                           "module that has all the layers of a row.",
                                           file(), printable(tensor.name)),
                               tensor.name);
    }
  }

  bool in_body(uint32_t model, const TensorInfo& tensor) const {
    return opened_.body_of(model, tensor) == current_;
  }

  void plan_whole(const OpenSlice& open) {
    plan_->tensors.reserve(checkpoint(open.sources.front().model).tensors.size());
    plan_->accounting.reserve(plan_->tensors.capacity() * open.sources.size());
    std::vector<Candidate> inputs;
    for (const SliceSource& lead : open.sources) {
      for (const TensorInfo& tensor : checkpoint(lead.model).tensors) {
        if (!in_body(lead.model, tensor)) continue;
        find_inputs(open, tensor, inputs);
        if (inputs.front().source != &lead) continue;  // planned with an earlier source
        plan_tensor(open, tensor.name, opened_.depth_of(lead.model, tensor), inputs);
      }
    }
  }

  // The tensors of this name, by source.
  void find_inputs(const OpenSlice& open, const TensorInfo& tensor,
                   std::vector<Candidate>& inputs) {
    inputs.clear();
    last_found_.resize(plan_->slots.size());
    for (const SliceSource& source : open.sources) {
      const TensorInfo*& last = last_found_[source.slot];
      if (const TensorInfo* found = checkpoint(source.model).find_after(last, tensor.name)) {
        inputs.push_back({&source, found});
        last = found;
      }
    }
  }

  void plan_slices(Body& body) {
    plan_outside(body.slices.front(), false);
    uint64_t layer = 0;
    for (const OpenSlice& open : body.slices) {
      const SliceSource& first = open.sources.front();
      std::vector<std::vector<Candidate>> by_layer(first.last - first.first);
      for (const SliceSource& source : open.sources) collect_layers(source, by_layer);
      for (size_t i = 0; i < by_layer.size(); ++i) {
        plan_layer(open, i, layer++, by_layer.size(), by_layer[i]);
        body.stack.push_back({&checkpoint(first.model).config_json, first.first + i});
      }
    }
    plan_outside(body.slices.back(), true);
  }

  // Tensors of the slice's layers, by layer, in file order, those of the first source first.
  void collect_layers(const SliceSource& source,
                      std::vector<std::vector<Candidate>>& by_layer) const {
    for (const TensorInfo& tensor : checkpoint(source.model).tensors) {
      if (!in_body(source.model, tensor)) continue;
      const auto place = opened_.layer_of(source.model, tensor);
      if (!place || place->layer < source.first || place->layer >= source.last) continue;
      by_layer[place->layer - source.first].push_back({&source, &tensor});
    }
  }

  void plan_layer(const OpenSlice& open, uint64_t offset, uint64_t out_layer, uint64_t layers,
                  const std::vector<Candidate>& tensors) {
    const double t =
        layers > 1 ? static_cast<double>(offset) / static_cast<double>(layers - 1) : 1.0;
    std::set<std::string> done;
    for (const auto& [owner, tensor] : tensors) {
      const LayerName place = *opened_.layer_of(owner->model, *tensor);
      const std::string name = renumbered(tensor->name, place, out_layer);
      if (!done.insert(name).second) continue;
      std::vector<Candidate> inputs;
      for (const SliceSource& source : open.sources) {
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
    for (const SliceSource& lead : open.sources) {
      for (const TensorInfo& tensor : checkpoint(lead.model).tensors) {
        if (!in_body(lead.model, tensor) || opened_.layer_of(lead.model, tensor) ||
            opened_.comes_after(lead.model, tensor) != after)
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
    PlannedTensor tensor = blank(*inputs[0].tensor);
    tensor.name = name;
    tensor.base = base_of(open, inputs);
    const bool numbers =
        std::ranges::all_of(inputs, [](const Candidate& c) { return is_float(c.tensor->dtype); });
    if (!numbers) return plan_codes(std::move(tensor), inputs);
    if (const auto why = too_few(tensor.base, inputs.size())) {
      return carry_over(std::move(tensor), inputs, *why);
    }
    tensor.parameters = parameters_of(open, name, t, tensor.base, inputs);
    if (!tensor.parameters) return account(inputs, Rule::kRefused, "a parameter is missing");
    note_first_value(open, inputs.front());
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

  // A filter that is in no tensor's name is most likely misspelt.
  void note_idle_filters() {
    std::map<std::string_view, bool> matches;
    const auto look = [&](const std::vector<ParameterSetting>& settings) {
      for (const ParameterSetting& setting : settings) {
        for (const ParameterRule& rule : setting.rules) {
          if (rule.filter.empty()) continue;
          const auto [known, fresh] = matches.try_emplace(rule.filter);
          if (fresh) known->second = matches_any(rule.filter);
          if (!known->second) note_idle(rule, setting.name);
        }
      }
    };
    look(plan_->recipe.parameters);
    for (const Body& body : opened_.bodies) {
      for (const OpenSlice& open : body.slices) {
        look(open.slice->parameters);
        for (const SliceSource& source : open.sources) look(source.source->parameters);
      }
    }
  }

  bool matches_any(std::string_view filter) const {
    return std::ranges::any_of(plan_->tensors, [&](const PlannedTensor& tensor) {
      return tensor.name.find(filter) != std::string::npos;
    });
  }

  void note_idle(const ParameterRule& rule, std::string_view parameter) {
    std::set<std::string_view> parts;
    for (const PlannedTensor& tensor : plan_->tensors) {
      for (const auto part : std::views::split(tensor.name, '.')) {
        parts.insert(std::string_view(part));
      }
    }
    const std::vector<std::string_view> names(parts.begin(), parts.end());
    const std::string_view meant = near_miss(rule.filter, names);
    findings_.warn_at(
        rule.line,
        fmt::format("no tensor's name contains \"{}\", so that this filter of {} has no effect{}",
                    printable(rule.filter), parameter,
                    meant.empty() ? "" : fmt::format(" (did you mean \"{}\"?)", printable(meant))));
  }

  // As mergekit has it; many expect the last one there.
  void note_first_value(const OpenSlice& open, const Candidate& lead) {
    const uint32_t model = lead.source->model;
    if (!after_layers(*opened_.facts[model].roles, *lead.tensor)) return;
    const auto note = [&](const std::vector<ParameterSetting>& settings) {
      for (const ParameterSetting& setting : settings) {
        const std::string& name = lead.tensor->name;
        if (evaluate(setting, name, 0) == evaluate(setting, name, 1)) continue;
        findings_.warn_at(
            setting.line,
            fmt::format("the gradient of {} gives its first value to what follows the "
                        "layers (final norm, head), as in mergekit; for another one put a filter "
                        "before it",
                        setting.name));
      }
    };
    note(plan_->recipe.parameters);
    note(open.slice->parameters);
    for (const SliceSource& source : open.sources) note(source.source->parameters);
  }

  PlannedTensor blank(const TensorInfo& like) const {
    return {.name = like.name,
            .dtype = like.dtype,
            .elements = like.elements,
            .rule = Rule::kMerged,
            .method = plan_->method,
            .inputs = {},
            .parameters = nullptr,
            .base = std::nullopt,
            .working = like.dtype,
            .returned = like.dtype,
            .cast_first = replayed_,
            .arithmetic = Arithmetic::kExact,
            .replay = std::nullopt,
            .shard = 0,
            .offset = 0};
  }

  // What no module of the recipe takes: mergekit leaves it out. Without its vision tower no model
  // of pictures works, so it is copied here, unless a version of mergekit is replayed.
  void plan_left_over() {
    if (!opened_.by_modules()) return;
    std::vector<uint32_t> order(plan_->slots.begin(), plan_->slots.end());
    order.insert(order.begin(), opened_.base.value_or(plan_->donor));
    std::deque<SliceSource> sources;
    std::unordered_set<std::string_view> done;
    for (const uint32_t model : order) {
      if (std::ranges::find(sources, model, &SliceSource::model) != sources.end()) continue;
      const SliceSource* lead = nullptr;
      for (const TensorInfo& tensor : checkpoint(model).tensors) {
        if (opened_.body_of(model, tensor) != kNoPart || !done.insert(tensor.name).second) continue;
        if (left_over_++ == 0) first_left_over_ = fmt::format("\"{}\"", printable(tensor.name));
        if (replayed_) continue;
        if (!lead) lead = &sources.emplace_back(nullptr, model, slot_of(model, 0));
        copy_left_over({lead, &tensor});
      }
    }
    if (left_over_ == 0) return;
    findings_.warn(fmt::format(
        "{}: {} tensor{} in no module of the recipe, first {}; {}.", file(), left_over_,
        left_over_ == 1 ? " is" : "s are", first_left_over_,
        replayed_
            ? fmt::format("{} leaves {} out, and so does this merge", plan_->arithmetic,
                          left_over_ == 1 ? "it" : "them")
            : fmt::format("copied from \"{}\"",
                          printable(plan_->models[opened_.base.value_or(plan_->donor)].ref))));
  }

  void copy_left_over(const Candidate& from) {
    PlannedTensor tensor = blank(*from.tensor);
    tensor.arithmetic = Arithmetic::kExact;
    if (!is_float(from.tensor->dtype)) {
      tensor.rule = Rule::kCopied;
      tensor.parameters = resolver_->none();
      return finish(std::move(tensor), {from}, kLeftOver);
    }
    carry(std::move(tensor), from, kLeftOver);
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
    carry(std::move(tensor), chosen, why);
  }

  // One input, in the recipe's dtype.
  void carry(PlannedTensor tensor, const Candidate& chosen, std::string_view why) {
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
    const auto base = std::ranges::find_if(inputs, [&](const Candidate& c) {
      return opened_.base && c.source->model == *opened_.base;
    });
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
                                    opened_.facts[input.source->model].quantization);
      if (!scheme) continue;
      refuse_inputs(
          name, inputs,
          fmt::format(
              "{}: tensor \"{}\" of \"{}\" holds quantised codes about to be averaged as numbers "
              "({}); dequantise the model first.",
              file(), printable(name), printable(plan_->models[input.source->model].ref), *scheme));
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
    findings_.problem_at(
        source.line,
        filtered
            ? fmt::format("no filter of the model's {} matches every tensor; end the list with `- "
                          "value: …`",
                          parameter)
            : fmt::format("the model \"{}\" has no {}, which {} needs; add `parameters: {{{}: …}}`",
                          printable(source.model.text), parameter, plan_->recipe.method, parameter),
        filtered ? tensor : std::string());
  }

  // What that version of mergekit stops at.
  bool replayable(const PlannedTensor& tensor, const Shape& shape, const OpenSlice& open) {
    if (!tensor.replay) return true;
    const auto why = mergekit::refusal({.version = *tensor.replay,
                                        .method = plan_->recipe.method,
                                        .tensor = tensor.name,
                                        .parameters = tensor.parameters.get(),
                                        .operands = {},
                                        .base = tensor.base,
                                        .working = tensor.working,
                                        .shape = shape,
                                        .elements = tensor.elements,
                                        .seed = 0,
                                        .first_word = 0});
    if (!why) return true;
    findings_.problem_at(
        open.slice->line,
        fmt::format("{} refuses \"{}\": {}", plan_->arithmetic, printable(tensor.name), *why),
        tensor.name);
    return false;
  }

  bool sensible(const PlannedTensor& tensor, const Shape& shape, const OpenSlice& open) {
    if (!replayable(tensor, shape, open)) return false;
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
      findings_.warn(fmt::format("{}, line {}: {} (as {} does, it is written all the same).",
                                 file(), open.slice->line, *reason, plan_->arithmetic));
      return true;
    }
    findings_.problem_at(open.slice->line, *reason, tensor.name);
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
    findings_.problem(sentence, name);
    account(inputs, Rule::kRefused, "see the problems");
  }

  void finish(PlannedTensor tensor, const std::vector<Candidate>& inputs, std::string_view why) {
    tensor.inputs.reserve(inputs.size());
    for (const Candidate& input : inputs)
      tensor.inputs.push_back({input.source->slot, input.tensor});
    account(inputs, tensor.rule, why);
    plan_->tensors.push_back(std::move(tensor));
  }

  // A merge in which nothing is merged is a mistake.
  void check_common() {
    const bool several = std::ranges::any_of(opened_.bodies, [](const Body& body) {
      return std::ranges::any_of(body.slices,
                                 [](const OpenSlice& open) { return open.sources.size() > 1; });
    });
    const bool common = std::ranges::any_of(
        plan_->tensors, [](const PlannedTensor& tensor) { return tensor.inputs.size() > 1; });
    if (!several || common || !plan_->problems.empty()) return;
    findings_.problem(fmt::format(
        "{}: the models have no tensor in common, so that nothing is merged; they are of different "
        "architectures, or one is an adapter.",
        file()));
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
        by_model[m].push_back({m, &tensor, Rule::kDropped, reason(why_unused(m, tensor, named))});
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

  std::string_view why_unused(uint32_t model, const TensorInfo& tensor, bool named) const {
    if (!named) return "the model only lends its configuration";
    const uint32_t part = opened_.body_of(model, tensor);
    if (part == kNoPart) {
      return replayed_ ? "in no module of the recipe" : "in no module: copied from another model";
    }
    const bool asked = std::ranges::any_of(opened_.bodies[part].slices, [&](const OpenSlice& open) {
      return std::ranges::find(open.sources, model, &SliceSource::model) != open.sources.end();
    });
    if (!asked) return "its module is made of other models";
    if (opened_.layer_of(model, tensor)) return "its layer is in no slice";
    return "tensors before the layers come from the first slice, those after them from the last";
  }

  // Equal vocabulary sizes can still mean other tokens.
  void check_tokenizers() {
    std::optional<std::string> first;
    uint32_t first_model = 0;
    if (plan_->recipe.tokenizer) return;
    if (plan_->recipe.method == "passthrough" && !opened_.by_slices() && !opened_.by_modules())
      return;
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
        findings_.warn(fmt::format(
            "The tokenizers of \"{}\" and \"{}\" differ: rows of their embeddings may stand for "
            "different tokens.",
            printable(plan_->models[first_model].ref), printable(plan_->models[m].ref)));
      }
    }
  }

  // mergekit draws from one stream, tensor by tensor, in the order of the inputs' names, not of the
  // output's: a layer that a stack has twice draws twice in a row.
  static std::string_view last_input(const PlannedTensor* tensor) {
    std::string_view last;
    for (const PlannedInput& input : tensor->inputs) {
      last = std::max<std::string_view>(last, input.tensor->name);
    }
    return last;
  }

  void note_random_stream() {
    const MethodInfo& about = plan_->method->describe();
    plan_->draws = about.random;
    if (!about.random && !mergekit_version(plan_->arithmetic)) return;
    if (about.random && !options_.seed && !plan_->recipe.seed_number) {
      findings_.warn(
          fmt::format("{}: {} drops changes at random and the recipe has no seed; 0 is used, "
                      "and recorded (hieron: {{seed: …}} or --random-seed).",
                      file(), about.name));
    }
    std::vector<PlannedTensor*> drawing;
    for (PlannedTensor& tensor : plan_->tensors) {
      if (tensor.replay) drawing.push_back(&tensor);
    }
    std::ranges::stable_sort(drawing, {}, last_input);
    if (about.random && std::ranges::adjacent_find(drawing, {}, last_input) != drawing.end()) {
      findings_.warn(
          fmt::format("{}: layers that the stack has more than once draw their masks in an order "
                      "that {} leaves "
                      "to chance; here it is the order of the output.",
                      file(), plan_->arithmetic));
    }
    uint64_t words = 0;
    for (PlannedTensor* tensor : drawing) {
      tensor->first_word = words;
      words += mergekit::words_drawn(*tensor->replay, about.name, *tensor->parameters, tensor->base,
                                     tensor->elements);
    }
    plan_->draws = plan_->draws || words > 0;
  }

  const PlanOptions& options_;
  std::shared_ptr<Plan> plan_;
  bool replayed_ = false;
  std::optional<uint64_t> vocabulary_;  // rows, if the recipe decides them
  Findings findings_{*plan_};
  OpenedRecipe opened_;
  uint32_t current_ = 0;  // the body that is being planned
  RecipeModels models_;
  std::map<std::pair<uint32_t, uint32_t>, uint32_t> slots_;  // (model, occurrence) -> slot
  std::optional<ParameterResolver> resolver_;
  std::vector<const TensorInfo*> last_found_;  // by slot
  std::vector<const RecipeSource*> wanted_sources_;
  std::shared_ptr<const TensorParameters> sensible_;
  std::map<DType, Result<Generation>> generations_;        // by working dtype
  std::map<std::string, std::string, std::less<>> texts_;  // parameters that are text
  size_t absent_ = 0;
  std::string first_absent_;
  size_t carried_ = 0;
  std::string first_carried_;
  size_t left_over_ = 0;
  std::string first_left_over_;
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
  Error error{first.code, first.sentence, plan.recipe.file, first.tensor, std::nullopt};
  if (first.line > 0) error.offset = static_cast<uint64_t>(first.line);
  error.also = static_cast<int>(plan.problems.size()) - 1;
  return std::unexpected(std::move(error));
}

}  // namespace hieron
