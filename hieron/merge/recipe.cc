#include "hieron/merge/recipe.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <filesystem>
#include <iterator>
#include <set>
#include <tuple>
#include <utility>

#include "hieron/core/text.h"
#include "hieron/format/yaml.h"
#include "hieron/io/file.h"
#include "hieron/merge/generation.h"
#include "hieron/merge/method.h"
#include "hieron/merge/recipe_documents.h"
#include "hieron/merge/recipe_reader.h"
#include "hieron/merge/recipe_tokenizer.h"

namespace hieron {
namespace {

using yaml::Kind;
using yaml::Node;

constexpr std::array<std::string_view, 14> kTopKeys{
    "models", "slices",    "modules",          "merge_method", "base_model",    "parameters",
    "dtype",  "out_dtype", "tokenizer_source", "tokenizer",    "chat_template", "residual_weight",
    "name",   "hieron"};
constexpr std::array<std::string_view, 2> kModelKeys{"model", "parameters"};
constexpr std::array<std::string_view, 3> kSourceKeys{"model", "layer_range", "parameters"};
constexpr std::array<std::string_view, 4> kSliceKeys{"sources", "base_model", "parameters",
                                                     "residual_weight"};
constexpr std::array<std::string_view, 3> kModuleKeys{"models", "slices", "parameters"};
constexpr std::array<std::string_view, 2> kRuleKeys{"filter", "value"};
constexpr std::array<std::string_view, 5> kBuiltInTemplates{"alpaca", "chatml", "exaone", "llama3",
                                                            "mistral"};

// Parameters that no method here has, but recipes carry: of forks, of older versions, of searches.
constexpr std::array<std::string_view, 8> kForeignParameters{
    "int8_mask",    "embed_slerp", "rescale_norm", "sparsification",
    "normalize_to", "smooth",      "n_val",        "m_val"};

// Methods that are no part of mergekit, but stand in recipes: what they are, and what to do.
struct ForeignMethod {
  std::string_view name, clause;
};
constexpr std::string_view kFork =
    "belongs to a fork of mergekit or a proposal to it and is not built here; `hieron methods` "
    "lists those there are";
constexpr std::string_view kNeedsData =
    "needs examples to run through the models, and no model is run here; `hieron methods` lists "
    "those that need none";
constexpr std::string_view kIsLinear = "is what is called linear here; write merge_method: linear";
constexpr std::array<ForeignMethod, 32> kForeignMethods{{
    {"cabs", kFork},
    {"core_space", kFork},
    {"lrp", kNeedsData},
    {"ranked_ties", kFork},
    {"sample_ties", kFork},
    {"task_swapping", kFork},
    {"bcr", kFork},
    {"brf", kFork},
    {"delerp", kFork},
    {"pcb", kFork},
    {"scf", kFork},
    {"scream", kFork},
    {"multi_fusion", kFork},
    {"qliphoth", kFork},
    {"omnimerge", kFork},
    {"omnimerge_v2", kFork},
    {"emr", kFork},
    {"tsvm", kFork},
    {"della_ties", "is called della; write merge_method: della"},
    {"dare", "comes with or without a vote on signs; use dare_ties or dare_linear"},
    {"dare_task_arithmetic", "is called dare_linear; write merge_method: dare_linear"},
    {"ties_merging", "is called ties; write merge_method: ties"},
    {"frankenmerge", "is a stack of layers; write merge_method: passthrough and slices"},
    {"moe", "is no merge_method; a mixture of experts is a recipe with experts and gate_mode"},
    {"fisher", kNeedsData},
    {"regmean", kNeedsData},
    {"zipit", kNeedsData},
    {"adamerging", kNeedsData},
    {"average", kIsLinear},
    {"simple_average", kIsLinear},
    {"weighted_average", kIsLinear},
    {"encoder_decoder_weighted",
     "is no method of mergekit; `hieron methods` lists those there are"},
}};

const ForeignMethod* foreign_method(std::string_view name) {
  const auto found = std::ranges::find(kForeignMethods, name, &ForeignMethod::name);
  return found == kForeignMethods.end() ? nullptr : &*found;
}

std::vector<std::string_view> method_names() {
  std::vector<std::string_view> names;
  for (const Method* method : methods()) names.push_back(method->describe().name);
  return names;
}

// Every name that is a parameter of some method.
std::vector<std::string_view> parameter_names() {
  std::vector<std::string_view> names(kForeignParameters.begin(), kForeignParameters.end());
  for (const Method* method : methods()) {
    for (const ParameterInfo& info : method->describe().parameters) names.push_back(info.name);
  }
  std::ranges::sort(names);
  names.erase(std::ranges::unique(names).begin(), names.end());
  return names;
}

bool is_set(const std::vector<ParameterSetting>& settings, std::string_view name) {
  return std::ranges::any_of(
      settings, [&](const ParameterSetting& s) { return s.name == name && !s.rules.empty(); });
}

std::string_view wanted(ParameterType type) {
  switch (type) {
    case ParameterType::kNumber:
      return "a finite number";
    case ParameterType::kBoolean:
      return "true or false";
    case ParameterType::kInteger:
      return "a whole number";
    case ParameterType::kText:
      return "text";
  }
  return "";
}

class MergeReader {
 public:
  MergeReader(const std::string& file, std::string_view arithmetic)
      : in_(file), arithmetic_(arithmetic), parameter_names_(parameter_names()) {
    recipe_.file = file;
  }

  void read(const Node& root, int line) {
    recipe_.line = line;
    if (root.kind != Kind::kMapping) {
      return in_.problem(root.line, "a recipe is a mapping with merge_method and models or slices");
    }
    if (other_kind(root)) return;
    read_settings(root.find("hieron"));
    read_method(root);
    check_keys(root, kTopKeys, "a recipe");
    read_name(root.find("name"));
    read_bodies(root);
    recipe_.dtype = in_.dtype(root.find("dtype"), "dtype");
    recipe_.out_dtype = in_.dtype(root.find("out_dtype"), "out_dtype");
    recipe_.tokenizer = read_tokenizer(root, in_);
    read_chat_template(root.find("chat_template"));
    recipe_.base_model = in_.model(root.find("base_model"));
    recipe_.parameters = read_parameters(root.find("parameters"));
    note_residual_weight(root);
    if (method_ && in_.sound()) check_what_the_method_needs();
  }

  // Adds what is wrong to `problems`.
  Recipe finish(std::vector<Error>& problems) && {
    std::ranges::copy(in_.problems(), std::back_inserter(problems));
    recipe_.warnings = in_.warnings();
    return std::move(recipe_);
  }

 private:
  bool other_kind(const Node& root) {
    if (root.find("experts") || root.find("gate_mode")) {
      in_.problem(root.line,
                  "this is a mergekit-moe recipe (experts), which makes a mixture out of dense "
                  "models; `hieron merge` takes it, nothing else does");
    } else if (root.find("genome")) {
      in_.problem(root.line,
                  "this is a mergekit-evolve recipe (genome), which searches for a recipe; write "
                  "down the merge it found");
    } else {
      return false;
    }
    return true;
  }

  void read_settings(const Node* node) {
    const RecipeReader::Settings found = in_.settings(node);
    recipe_.arithmetic = found.arithmetic;
    recipe_.seed = found.seed;
    recipe_.seed_number = found.seed_number;
    recipe_.threads = found.threads;
    recipe_.experts = found.experts;
    if (arithmetic_.empty()) arithmetic_ = found.arithmetic.value_or("");
    in_.be_lenient(casts_first(arithmetic_));
  }

  // As RecipeReader's, but a parameter that has slipped out of its place is told so.
  void check_keys(const Node& node, std::span<const std::string_view> known,
                  std::string_view where) {
    for (const yaml::Entry& entry : node.entries) {
      if (std::ranges::find(known, entry.key) != known.end()) continue;
      const bool parameter =
          std::ranges::find(parameter_names_, entry.key) != parameter_names_.end();
      in_.unknown(entry.line, fmt::format("unknown key \"{}\" in {}", printable(entry.key), where),
                  entry.key, parameter ? std::string_view() : near_miss(entry.key, known),
                  hint(entry.key, parameter));
    }
  }

  static std::string_view hint(std::string_view key, bool parameter) {
    if (parameter) return "parameters belong below \"parameters:\"";
    if (key == "revision") return "a revision is written model: path@revision";
    if (key == "lora") return "an adapter is written model: path+adapter";
    if (key == "pattern") return "the key is \"filter\", and takes a part of a name";
    if (key == "layer_range") return "layers are chosen in slices: sources:";
    return {};
  }

  void read_method(const Node& root) {
    const Node* node = root.find("merge_method");
    if (!node || node->kind != Kind::kScalar) {
      return in_.problem(root.line,
                         "merge_method is missing; say which method, e.g. merge_method: linear");
    }
    recipe_.method = node->text;
    recipe_.method_line = node->line;
    method_ = find_method(node->text);
    if (!method_) in_.problem(node->line, unknown_method(node->text));
  }

  static std::string unknown_method(const std::string& name) {
    const std::string shown = printable(name);
    if (const ForeignMethod* foreign = foreign_method(name)) {
      return fmt::format("merge_method \"{}\" {}", shown, foreign->clause);
    }
    const auto names = method_names();
    const std::string_view meant = near_miss(name, names);
    if (meant.empty()) {
      return fmt::format("unknown merge_method \"{}\"; `hieron methods` lists those there are",
                         shown);
    }
    return fmt::format("unknown merge_method \"{}\"; did you mean \"{}\"?", shown, meant);
  }

  // It becomes the name of a folder.
  void read_name(const Node* node) {
    if (!node) return;
    const bool plain = node->kind == Kind::kScalar && !node->text.empty() && node->text != "." &&
                       node->text != ".." && node->text.find('/') == std::string::npos &&
                       !has_control_or_bidi(node->text) && node->text.size() <= 200;
    if (plain) {
      recipe_.name = node->text;
    } else {
      in_.problem(node->line, "name must be good as the name of a folder: no \"/\", not empty");
    }
  }

  // ---- models, slices, modules

  void read_bodies(const Node& root) {
    const Node* models = root.find("models");
    const Node* slices = root.find("slices");
    const Node* modules = root.find("modules");
    const int given = (models != nullptr) + (slices != nullptr) + (modules != nullptr);
    if (given > 1) {
      const Node* second = modules ? modules : slices;
      return in_.problem(second->line,
                         "models, slices and modules exclude one another; keep one of them");
    }
    if (given == 0) {
      // A misspelt key says it better.
      if (in_.sound())
        in_.problem(root.line, "neither models nor slices; say what is to be merged");
    } else if (modules) {
      read_modules(*modules);
    } else {
      std::tie(recipe_.by_slices, recipe_.slices) = read_body(root);
    }
  }

  std::pair<bool, std::vector<RecipeSlice>> read_body(const Node& node) {
    std::vector<RecipeSlice> body;
    if (const Node* models = node.find("models")) {
      RecipeSlice slice;
      slice.line = models->line;
      slice.sources = read_sources(*models, "models", kModelKeys);
      body.push_back(std::move(slice));
      return {false, std::move(body)};
    }
    const Node& slices = *node.find("slices");
    if (slices.kind != Kind::kSequence || slices.items.empty()) {
      in_.problem(slices.line, "slices must be a list that is not empty");
      return {true, std::move(body)};
    }
    for (const yaml::NodePtr& item : slices.items) {
      if (auto slice = read_slice(*item)) body.push_back(*std::move(slice));
    }
    return {true, std::move(body)};
  }

  void read_modules(const Node& node) {
    if (node.kind != Kind::kMapping || node.entries.empty()) {
      return in_.problem(node.line, "modules must be a mapping from names to models or slices");
    }
    for (const yaml::Entry& entry : node.entries) read_module(entry);
    if (recipe_.modules.size() != 1) return;
    recipe_.by_slices = recipe_.modules.front().by_slices;
    recipe_.slices = recipe_.modules.front().slices;
  }

  void read_module(const yaml::Entry& entry) {
    const Node& node = *entry.value;
    check_keys(node, kModuleKeys, "a module");
    if ((node.find("models") != nullptr) == (node.find("slices") != nullptr)) {
      return in_.problem(entry.line, fmt::format("the module \"{}\" needs either models or slices",
                                                 printable(entry.key)));
    }
    RecipeModule module;
    module.name = entry.key;
    module.line = entry.line;
    std::tie(module.by_slices, module.slices) = read_body(node);
    module.parameters = read_parameters(node.find("parameters"));
    for (RecipeSlice& slice : module.slices) {
      slice.parameters.insert(slice.parameters.end(), module.parameters.begin(),
                              module.parameters.end());
    }
    recipe_.modules.push_back(std::move(module));
  }

  std::optional<RecipeSlice> read_slice(const Node& node) {
    const Node* sources = node.find("sources");
    if (node.kind == Kind::kMapping) check_keys(node, kSliceKeys, "a slice");
    if (!sources) {
      in_.problem(node.line, node.kind == Kind::kMapping ? "a slice has no sources"
                                                         : "a slice is a mapping with sources");
      return std::nullopt;
    }
    RecipeSlice slice;
    slice.line = node.line;
    slice.sources = read_sources(*sources, "sources", kSourceKeys);
    slice.base_model = in_.model(node.find("base_model"));
    slice.parameters = read_parameters(node.find("parameters"));
    note_residual_weight(node);
    return slice;
  }

  std::vector<RecipeSource> read_sources(const Node& node, std::string_view what,
                                         std::span<const std::string_view> keys) {
    std::vector<RecipeSource> sources;
    if (node.kind != Kind::kSequence || node.items.empty()) {
      in_.problem(node.line, fmt::format("{} must be a list that is not empty", what));
      return sources;
    }
    for (const yaml::NodePtr& item : node.items) {
      if (auto source = read_source(*item, keys)) sources.push_back(*std::move(source));
    }
    return sources;
  }

  std::optional<RecipeSource> read_source(const Node& node,
                                          std::span<const std::string_view> keys) {
    if (node.kind != Kind::kMapping) {
      in_.problem(node.line, "a model is a mapping: `- model: path`, with its parameters below");
      return std::nullopt;
    }
    check_keys(node, keys, "a model");
    RecipeSource source;
    source.line = node.line;
    if (const auto model = in_.model(node.find("model"))) source.model = *model;
    if (!node.find("model")) in_.problem(node.line, "an entry has no \"model\"");
    if (std::ranges::find(keys, "layer_range") != keys.end()) {
      source.layers = read_layers(node.find("layer_range"));
    }
    source.parameters = read_parameters(node.find("parameters"));
    return source;
  }

  std::optional<std::pair<uint64_t, uint64_t>> read_layers(const Node* node) {
    constexpr uint64_t kMostLayers = 1'000'000;
    if (!node) return std::nullopt;
    if (node->kind == Kind::kSequence && node->items.size() == 2) {
      const auto first = whole_number(*node->items[0], 0, kMostLayers);
      const auto last = whole_number(*node->items[1], 0, kMostLayers);
      if (first && last && *first <= *last) return std::pair{*first, *last};
    }
    in_.problem(node->line,
                "layer_range must be [first, last) with 0 <= first <= last, e.g. [0, 32]");
    return std::nullopt;
  }

  void note_residual_weight(const Node& node) {
    if (const Node* weight = node.find("residual_weight")) {
      in_.warn(weight->line, "residual_weight has no effect, in mergekit neither");
    }
  }

  // ---- parameters

  std::vector<ParameterSetting> read_parameters(const Node* node) {
    std::vector<ParameterSetting> settings;
    if (!node || !method_) return settings;
    if (node->kind != Kind::kMapping) {
      in_.problem(node->line, "parameters must be a mapping from names to values");
      return settings;
    }
    for (const yaml::Entry& entry : node->entries) {
      const ParameterInfo* info = parameter_of_method(entry);
      if (!info || entry.value->kind == Kind::kNull) continue;
      ParameterSetting setting{.name = entry.key, .rules = {}, .line = entry.line};
      read_rules(*entry.value, *info, setting);
      settings.push_back(std::move(setting));
    }
    return settings;
  }

  // Null, and said so, if the method does not have it.
  const ParameterInfo* parameter_of_method(const yaml::Entry& entry) {
    const auto parameters = method_->describe().parameters;
    const auto found = std::ranges::find(parameters, entry.key, &ParameterInfo::name);
    if (found != parameters.end()) return &*found;
    if (std::ranges::find(parameter_names_, entry.key) != parameter_names_.end()) {
      in_.warn_of_key(
          entry.line,
          fmt::format("the parameter \"{}\" has no effect in {}", entry.key, recipe_.method),
          entry.key);
      return nullptr;
    }
    // Those of the method first: of two that are as near, they are meant.
    std::vector<std::string_view> names;
    for (const ParameterInfo& info : parameters) names.push_back(info.name);
    names.insert(names.end(), parameter_names_.begin(), parameter_names_.end());
    in_.unknown(entry.line,
                fmt::format("unknown parameter \"{}\" of {}", printable(entry.key), recipe_.method),
                entry.key, near_miss(entry.key, names));
    return nullptr;
  }

  // A value, one {filter, value}, or a list of them.
  void read_rules(const Node& node, const ParameterInfo& info, ParameterSetting& setting) {
    const bool list = node.kind == Kind::kSequence && !node.items.empty() &&
                      node.items.front()->kind == Kind::kMapping;
    if (list) {
      for (const yaml::NodePtr& item : node.items) read_rule(*item, info, setting);
    } else if (node.kind == Kind::kMapping) {
      read_rule(node, info, setting);
    } else if (auto rule = read_value(node, info)) {
      setting.rules.push_back(*std::move(rule));
    }
  }

  void read_rule(const Node& node, const ParameterInfo& info, ParameterSetting& setting) {
    const Node* value = node.find("value");
    if (!value) {
      return in_.problem(
          node.line,
          fmt::format("each entry of {} needs a value: {{filter: …, value: …}}", setting.name));
    }
    check_keys(node, kRuleKeys, "a filter");
    auto rule = read_value(*value, info);
    if (!rule) return;
    if (const Node* filter = node.find("filter"); filter && filter->text != "*") {
      rule->filter = filter->text;
      rule->line = filter->line;
    }
    const auto all = std::ranges::find(setting.rules, "", &ParameterRule::filter);
    if (all != setting.rules.end()) {
      in_.warn(node.line, fmt::format("no tensor comes as far as this filter of {}; the entry in "
                                      "line {} takes all",
                                      setting.name, all->line));
    }
    setting.rules.push_back(*std::move(rule));
  }

  std::optional<ParameterRule> read_value(const Node& node, const ParameterInfo& info) {
    ParameterRule rule;
    rule.line = node.line;
    bool fits = node.kind != Kind::kMapping;
    if (node.kind == Kind::kSequence) {
      for (const yaml::NodePtr& item : node.items) fits = fits && add_scalar(*item, info, rule);
      fits = fits && !node.items.empty();
    } else {
      fits = fits && add_scalar(node, info, rule);
    }
    if (fits) {
      rule.steps = info.type == ParameterType::kText ||
                   (info.type == ParameterType::kBoolean && arithmetic_ != "mergekit-0.1.4");
      return rule;
    }
    in_.problem(node.line,
                fmt::format("{} must be {}, a list of such (a gradient over the layers), or a list "
                            "of {{filter, value}}",
                            info.name, wanted(info.type)));
    return std::nullopt;
  }

  // Numbers are truth and truth is a number, as in Python; 0.1.4 does not even check the type.
  bool add_scalar(const Node& node, const ParameterInfo& info, ParameterRule& rule) const {
    if (node.kind != Kind::kScalar) return false;
    if (info.type == ParameterType::kText) {
      rule.texts.push_back(node.text);
      return true;
    }
    std::optional<double> value = yaml::number(node);
    if (const auto truth = yaml::boolean(node)) value = *truth ? 1.0 : 0.0;
    if (!value) return false;
    const bool checked = arithmetic_ != "mergekit-0.1.4";
    if (checked && info.type == ParameterType::kBoolean && *value != 0 && *value != 1) return false;
    if (checked && info.type == ParameterType::kInteger && *value != std::floor(*value)) {
      return false;
    }
    rule.values.push_back(*value);
    return true;
  }

  // ---- what the method needs

  void check_what_the_method_needs() {
    const MethodInfo& about = method_->describe();
    if (recipe_.modules.size() > 1) {
      for (const RecipeModule& module : recipe_.modules) check_body(module.slices, about);
    } else {
      check_body(recipe_.slices, about);
    }
  }

  void check_body(const std::vector<RecipeSlice>& slices, const MethodInfo& about) {
    bool said = false;
    for (const RecipeSlice& slice : slices) {
      const ModelRef* base = slice.base_model     ? &*slice.base_model
                             : recipe_.base_model ? &*recipe_.base_model
                                                  : nullptr;
      if (!base && about.base == BaseModel::kRequired && !std::exchange(said, true)) {
        in_.problem(recipe_.method_line,
                    fmt::format("{} merges differences from a base model; add `base_model: "
                                "path/of/the/model/they/come/from`",
                                about.name));
      }
      for (const ParameterInfo& info : about.parameters) {
        if (info.required)
          check_required(slice, info, about.base == BaseModel::kUnused ? nullptr : base);
      }
    }
  }

  // `exempt`: the model that needs no parameters.
  void check_required(const RecipeSlice& slice, const ParameterInfo& info, const ModelRef* exempt) {
    if (is_set(slice.parameters, info.name) || is_set(recipe_.parameters, info.name)) return;
    if (!info.per_model) {
      if (!missing_.insert(info.name).second) return;
      return in_.problem(recipe_.method_line,
                         fmt::format("{} needs the parameter {} ({}); add `parameters: {{{}: …}}`",
                                     recipe_.method, info.name, info.about, info.name));
    }
    for (const RecipeSource& source : slice.sources) {
      if (is_set(source.parameters, info.name)) continue;
      if (exempt && same_model(source.model, *exempt)) continue;
      in_.problem(source.line,
                  fmt::format("the model \"{}\" has no {}, which {} needs; add "
                              "`parameters: {{{}: …}}`",
                              printable(source.model.text), info.name, recipe_.method, info.name));
    }
  }

  void read_chat_template(const Node* node) {
    if (!node) return;
    recipe_.chat_template = node->text;
    recipe_.chat_template_line = node->line;
    const std::string& text = node->text;
    if (node->kind == Kind::kScalar) {
      if (text == "auto" || text.find('{') != std::string::npos) return;
      if (std::ranges::find(kBuiltInTemplates, text) != kBuiltInTemplates.end()) return;
    }
    const std::string_view meant = near_miss(text, kBuiltInTemplates);
    in_.problem(node->line,
                fmt::format("chat_template must be auto, one of {}, or a template with \"{{\"{}",
                            listed(kBuiltInTemplates),
                            meant.empty() ? "" : fmt::format("; did you mean \"{}\"?", meant)));
  }

  RecipeReader in_;
  std::string arithmetic_;  // the command line's, else the recipe's own
  const std::vector<std::string_view> parameter_names_;
  Recipe recipe_;
  const Method* method_ = nullptr;
  std::set<std::string_view> missing_;
};

Recipe read_document(const Node& root, int line, const std::string& file,
                     std::string_view arithmetic, std::vector<Error>& problems) {
  MergeReader reader(file, arithmetic);
  reader.read(root, line);
  return std::move(reader).finish(problems);
}

// The rule that holds for a tensor.
const ParameterRule* rule_for(const ParameterSetting& setting, std::string_view tensor) {
  for (const ParameterRule& rule : setting.rules) {
    if (rule.filter.empty() || tensor.find(rule.filter) != std::string_view::npos) return &rule;
  }
  return nullptr;
}

size_t step(size_t count, double t) {
  return std::min(static_cast<size_t>(t * static_cast<double>(count - 1)), count - 1);
}

// Lexically: "//a/" is "/a", "./a" is "a".
std::string plain_path(std::string_view path) {
  std::string plain;
  while (path.starts_with("./")) path.remove_prefix(2);
  for (const char c : path) {
    if (c != '/' || !plain.ends_with('/')) plain += c;
  }
  if (plain.size() > 1 && plain.ends_with('/')) plain.pop_back();
  return plain;
}

}  // namespace

std::optional<double> evaluate(const ParameterSetting& setting, std::string_view tensor, double t) {
  const ParameterRule* rule = rule_for(setting, tensor);
  if (!rule || rule->values.empty()) return std::nullopt;
  const auto& values = rule->values;
  if (values.size() == 1) return values.front();
  const size_t below = step(values.size(), t);
  if (rule->steps) return values[below];
  const size_t above = std::min(below + 1, values.size() - 1);
  const double part = t * static_cast<double>(values.size() - 1) - static_cast<double>(below);
  return (1 - part) * values[below] + part * values[above];
}

std::optional<std::string> evaluate_text(const ParameterSetting& setting, std::string_view tensor,
                                         double t) {
  const ParameterRule* rule = rule_for(setting, tensor);
  if (!rule || rule->texts.empty()) return std::nullopt;
  return rule->texts[step(rule->texts.size(), t)];
}

bool same_model(const ModelRef& a, const ModelRef& b) {
  return plain_path(a.path) == plain_path(b.path) && a.revision == b.revision &&
         plain_path(a.adapter) == plain_path(b.adapter) && a.adapter_revision == b.adapter_revision;
}

Result<RecipeKind> recipe_kind(std::string_view yaml, const std::string& file) {
  std::vector<Error> duplicates;  // are for who reads the recipe
  HIERON_TRY(const std::vector<yaml::Document> documents, yaml::parse_all(yaml, file, &duplicates));
  const Node& root = *documents.front().root;
  if (root.find("experts") || root.find("gate_mode")) return RecipeKind::kMoe;
  if (root.find("genome")) return RecipeKind::kEvolve;
  return documents.size() > 1 ? RecipeKind::kMulti : RecipeKind::kMerge;
}

Result<Recipe> parse_recipe(std::string_view yaml, const std::string& file,
                            std::string_view arithmetic) {
  HIERON_TRY(const yaml::NodePtr root, yaml::parse(yaml, file));
  std::vector<Error> problems;
  Recipe recipe = read_document(*root, 1, file, arithmetic, problems);
  HIERON_CHECK(none_of(problems));
  recipe.text = yaml;
  return recipe;
}

RecipeDraft draft_recipes(std::string_view yaml, const std::string& file,
                          std::string_view arithmetic) {
  RecipeDraft draft;
  const auto documents = yaml::parse_all(yaml, file, &draft.problems);
  if (!documents) return {{}, {documents.error()}};
  for (size_t i = 0; i < documents->size(); ++i) {
    const auto& [root, line] = (*documents)[i];
    Recipe recipe = read_document(*root, line, file, arithmetic, draft.problems);
    recipe.text = lines_of(yaml, line, i + 1 < documents->size() ? (*documents)[i + 1].line : 0);
    draft.recipes.push_back(std::move(recipe));
  }
  std::ranges::stable_sort(draft.problems, {}, &Error::offset);
  if (!draft.problems.empty()) return draft;
  auto ordered = in_order(draft.recipes);
  if (ordered) {
    draft.recipes = *std::move(ordered);
  } else {
    draft.problems.push_back(ordered.error());
  }
  return draft;
}

Result<std::vector<Recipe>> parse_recipes(std::string_view yaml, const std::string& file,
                                          std::string_view arithmetic) {
  RecipeDraft draft = draft_recipes(yaml, file, arithmetic);
  HIERON_CHECK(none_of(draft.problems));
  return std::move(draft.recipes);
}

Result<Recipe> read_recipe(const std::string& path, std::string_view arithmetic) {
  HIERON_TRY(const std::string text, read_text(path, yaml::kMaxBytes));
  return parse_recipe(text, path, arithmetic);
}

Result<std::vector<Recipe>> read_recipes(const std::string& path, std::string_view arithmetic) {
  HIERON_TRY(const std::string text, read_text(path, yaml::kMaxBytes));
  return parse_recipes(text, path, arithmetic);
}

std::optional<uint64_t> parse_seed(std::string_view text) {
  int base = 10;
  if (text.starts_with("0x") || text.starts_with("0X")) {
    base = 16;
    text.remove_prefix(2);
  }
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  if (text.empty() || error != std::errc() || end != text.data() + text.size()) return {};
  return value;
}

bool is_recipe(const std::string& ref) {
  const std::filesystem::path path(ref);
  std::error_code ignored;
  return (path.extension() == ".yml" || path.extension() == ".yaml") &&
         std::filesystem::is_regular_file(path, ignored);
}

}  // namespace hieron
