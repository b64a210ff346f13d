#include "hieron/merge/recipe.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <filesystem>
#include <tuple>

#include "hieron/core/text.h"
#include "hieron/io/file.h"
#include "hieron/kernels/arithmetic.h"
#include "hieron/merge/generation.h"
#include "hieron/merge/method.h"
#include "hieron/merge/yaml.h"

namespace hieron {
namespace {

using yaml::Kind;
using yaml::Node;

constexpr std::array<std::string_view, 14> kTopKeys{
    "models", "slices",    "modules",          "merge_method", "base_model",    "parameters",
    "dtype",  "out_dtype", "tokenizer_source", "tokenizer",    "chat_template", "residual_weight",
    "name",   "hieron"};
constexpr std::array<std::string_view, 4> kSourceKeys{"model", "layer_range", "parameters",
                                                      "residual_weight"};
constexpr std::array<std::string_view, 4> kSliceKeys{"sources", "base_model", "parameters",
                                                     "residual_weight"};
constexpr std::array<std::string_view, 2> kRuleKeys{"filter", "value"};
constexpr std::array<std::string_view, 5> kModelKeys{"model", "path", "revision", "lora",
                                                     "override_architecture"};
constexpr std::array<std::string_view, 3> kHieronKeys{"arithmetic", "seed", "threads"};

// What mergekit's methods call their parameters; a recipe often carries some that its method
// ignores.
constexpr std::array<std::string_view, 24> kParameterNames{"weight",
                                                           "density",
                                                           "lambda",
                                                           "normalize",
                                                           "rescale",
                                                           "int8_mask",
                                                           "t",
                                                           "scale",
                                                           "gamma",
                                                           "epsilon",
                                                           "filter_wise",
                                                           "select_topk",
                                                           "eps",
                                                           "normalize_weights",
                                                           "nuslerp_row_wise",
                                                           "max_iter",
                                                           "tol",
                                                           "nuslerp_flatten",
                                                           "embed_slerp",
                                                           "r",
                                                           "alpha",
                                                           "noise_scale",
                                                           "rescale_norm",
                                                           "sparsification"};

constexpr std::array<std::string_view, 22> kMergekitMethods{"linear",
                                                            "slerp",
                                                            "nuslerp",
                                                            "multislerp",
                                                            "karcher",
                                                            "task_arithmetic",
                                                            "ties",
                                                            "dare_ties",
                                                            "dare_linear",
                                                            "breadcrumbs",
                                                            "breadcrumbs_ties",
                                                            "della",
                                                            "della_linear",
                                                            "model_stock",
                                                            "nearswap",
                                                            "sce",
                                                            "ram",
                                                            "ramplus_tl",
                                                            "arcee_fusion",
                                                            "passthrough",
                                                            "core_space",
                                                            "cabs"};

std::optional<double> parse_number(std::string_view text) {
  if (text.starts_with('+')) text.remove_prefix(1);
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || !std::isfinite(value)) return {};
  return value;
}

std::optional<bool> parse_boolean(std::string_view text) {
  std::string low(text);
  std::ranges::transform(low, low.begin(),
                         [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  if (low == "true" || low == "yes" || low == "on") return true;
  if (low == "false" || low == "no" || low == "off") return false;
  return {};
}

std::optional<double> number_or_boolean(const Node& node) {
  if (node.kind != Kind::kScalar) return {};
  if (const auto number = parse_number(node.text)) return number;
  if (const auto boolean = parse_boolean(node.text)) return *boolean ? 1.0 : 0.0;
  return {};
}

// A word that is nearly one of the candidates. Short words are left alone: any two letters are near
// any other.
std::string_view near_miss(std::string_view word, std::span<const std::string_view> candidates) {
  if (word.size() < 3) return {};
  const std::string_view found = nearest(word, candidates, word.size() < 5 ? 1 : 2);
  return found.size() < 3 ? std::string_view() : found;
}

class Reader {
 public:
  Reader(const std::string& file, std::string_view arithmetic) : arithmetic_(arithmetic) {
    recipe_.file = file;
  }

  void read(const Node& root) {
    if (root.kind != Kind::kMapping) {
      return problem(root.line, "a recipe is a mapping with merge_method and models or slices");
    }
    if (other_kind(root)) return;
    read_hieron(root.find("hieron"));
    lenient_ = casts_first(arithmetic_.empty() ? recipe_.arithmetic.value_or("") : arithmetic_);
    if (!read_method(root)) return;
    check_keys(root, kTopKeys, "a recipe");
    read_body(root);
    read_dtypes(root);
    read_tokenizer(root);
    recipe_.base_model = read_model(root.find("base_model"));
    recipe_.parameters = read_parameters(root.find("parameters"));
    if (root.find("residual_weight")) {
      warn(root.find("residual_weight")->line,
           "residual_weight has no effect, in mergekit neither");
    }
  }

  Result<Recipe> finish(std::string_view text) {
    if (!problems_.empty()) {
      std::ranges::sort(problems_, {}, [](const Finding& f) { return std::tie(f.line, f.clause); });
      const Finding& first = problems_.front();
      Error error{ErrorCode::kRefused,
                  fmt::format("{}, line {}: {}.", recipe_.file, first.line, first.clause),
                  recipe_.file,
                  {},
                  static_cast<uint64_t>(first.line)};
      error.also = static_cast<int>(problems_.size()) - 1;
      return std::unexpected(std::move(error));
    }
    recipe_.text = text;
    return std::move(recipe_);
  }

 private:
  struct Finding {
    int line;
    std::string clause;
  };

  void problem(int line, std::string clause) { problems_.push_back({line, std::move(clause)}); }
  void warn(int line, std::string_view clause) {
    recipe_.warnings.push_back({fmt::format("{}, line {}: {}.", recipe_.file, line, clause), line});
  }

  bool other_kind(const Node& root) {
    if (root.find("experts") || root.find("gate_mode")) {
      problem(root.line,
              "this is a mergekit-moe recipe (experts); building experts from dense models comes "
              "later");
    } else if (root.find("genome")) {
      problem(root.line,
              "this is a mergekit-evolve recipe (genome); searching for recipes comes later");
    } else {
      return false;
    }
    return true;
  }

  // An unknown key that is nearly a known one is a typing error; any other is only mentioned.
  void check_keys(const Node& node, std::span<const std::string_view> known,
                  std::string_view where) {
    for (const yaml::Entry& entry : node.entries) {
      if (std::ranges::find(known, entry.key) != known.end()) continue;
      unknown(entry.line, fmt::format("unknown key \"{}\" in {}", printable(entry.key), where),
              near_miss(entry.key, known));
    }
  }

  void unknown(int line, const std::string& what, std::string_view meant) {
    if (meant.empty()) {
      warn(line, what + "; it has no effect");
    } else if (lenient_) {
      warn(line,
           fmt::format("{}; it has no effect, as in mergekit (did you mean \"{}\"?)", what, meant));
    } else {
      problem(line, fmt::format("{}; did you mean \"{}\"?", what, meant));
    }
  }

  void read_hieron(const Node* node) {
    if (!node) return;
    if (node->kind != Kind::kMapping) return problem(node->line, "hieron: must be a mapping");
    check_keys(*node, kHieronKeys, "hieron");
    if (const Node* name = node->find("arithmetic")) {
      recipe_.arithmetic = name->text;
      if (const auto known = resolve(name->text, "linear", DType::kBF16); !known) {
        problem(name->line, fmt::format("hieron.arithmetic: {}", bare(known.error().sentence)));
      }
    }
    if (const Node* seed = node->find("seed")) recipe_.seed = seed->text;
    if (const Node* threads = node->find("threads")) {
      const auto count =
          threads->kind == Kind::kScalar ? parse_number(threads->text) : std::nullopt;
      if (!count || *count < 1 || *count > 4096 || *count != std::floor(*count)) {
        return problem(threads->line, "hieron.threads must be a whole number from 1 to 4096");
      }
      recipe_.threads = static_cast<unsigned>(*count);
    }
  }

  static std::string bare(std::string_view sentence) {
    if (sentence.ends_with('.')) sentence.remove_suffix(1);
    return std::string(sentence);
  }

  bool read_method(const Node& root) {
    const Node* node = root.find("merge_method");
    if (!node || node->kind != Kind::kScalar) {
      check_keys(root, kTopKeys, "a recipe");
      problem(root.line, "merge_method is missing; say which method, e.g. merge_method: linear");
      return false;
    }
    recipe_.method = node->text;
    recipe_.method_line = node->line;
    method_ = find_method(node->text);
    if (method_) return true;
    const std::string shown = printable(node->text);
    if (std::ranges::find(kMergekitMethods, node->text) != kMergekitMethods.end()) {
      problem(
          node->line,
          fmt::format("merge_method \"{}\" is known to mergekit, but not built here yet", shown));
      return false;
    }
    const std::string_view meant = near_miss(node->text, kMergekitMethods);
    problem(node->line,
            meant.empty()
                ? fmt::format("unknown merge_method \"{}\"; `hieron methods` lists those there are",
                              shown)
                : fmt::format("unknown merge_method \"{}\"; did you mean \"{}\"?", shown, meant));
    return false;
  }

  void read_body(const Node& root) {
    const Node* models = root.find("models");
    const Node* slices = root.find("slices");
    if (const Node* modules = root.find("modules")) {
      return problem(modules->line, "modules: (models of several parts) come later");
    }
    if (models && slices)
      return problem(slices->line, "models and slices exclude each other; keep one of them");
    if (!models && !slices) {
      if (problems_.empty())
        problem(root.line, "neither models nor slices; say what is to be merged");
      return;  // a misspelt key says it better
    }
    if (models) {
      RecipeSlice slice;
      slice.line = models->line;
      slice.sources = read_sources(*models, "models");
      recipe_.slices.push_back(std::move(slice));
      return;
    }
    recipe_.by_slices = true;
    if (slices->kind != Kind::kSequence || slices->items.empty()) {
      return problem(slices->line, "slices must be a list that is not empty");
    }
    for (const yaml::NodePtr& item : slices->items) read_slice(*item);
  }

  void read_slice(const Node& node) {
    if (node.kind != Kind::kMapping) return problem(node.line, "a slice is a mapping with sources");
    check_keys(node, kSliceKeys, "a slice");
    RecipeSlice slice;
    slice.line = node.line;
    const Node* sources = node.find("sources");
    if (!sources) return problem(node.line, "a slice has no sources");
    slice.sources = read_sources(*sources, "sources");
    slice.base_model = read_model(node.find("base_model"));
    slice.parameters = read_parameters(node.find("parameters"));
    recipe_.slices.push_back(std::move(slice));
  }

  std::vector<RecipeSource> read_sources(const Node& node, std::string_view what) {
    std::vector<RecipeSource> sources;
    if (node.kind != Kind::kSequence || node.items.empty()) {
      problem(node.line, fmt::format("{} must be a list that is not empty", what));
      return sources;
    }
    for (const yaml::NodePtr& item : node.items) {
      if (auto source = read_source(*item)) sources.push_back(*std::move(source));
    }
    return sources;
  }

  std::optional<RecipeSource> read_source(const Node& node) {
    RecipeSource source;
    source.line = node.line;
    if (node.kind == Kind::kMapping) {
      check_keys(node, kSourceKeys, "a model");
      if (const auto model = read_model(node.find("model"))) source.model = *model;
      source.layers = read_layers(node.find("layer_range"));
      source.parameters = read_parameters(node.find("parameters"));
      if (!node.find("model")) problem(node.line, "an entry has no \"model\"");
      return source;
    }
    problem(node.line, "a model is a mapping: `- model: path`, with its parameters below");
    return std::nullopt;
  }

  std::optional<ModelRef> read_model(const Node* node) {
    if (!node) return std::nullopt;
    if (node->kind == Kind::kScalar) return split_ref(node->text, node->line);
    if (node->kind != Kind::kMapping) {
      problem(node->line, "a model is a path, or a mapping with model, revision and lora");
      return std::nullopt;
    }
    check_keys(*node, kModelKeys, "a model");
    return read_model_mapping(*node);
  }

  std::optional<ModelRef> read_model_mapping(const Node& node) {
    const Node* model = node.find("model");
    if (!model) model = node.find("path");
    if (model && model->kind == Kind::kMapping) {
      auto inner = read_model_mapping(*model);
      if (inner && node.find("lora")) inner->adapter = "lora";
      return inner;
    }
    if (!model || model->kind != Kind::kScalar) {
      problem(node.line, "a model has no path");
      return std::nullopt;
    }
    ModelRef ref = split_ref(model->text, node.line);
    if (const Node* revision = node.find("revision")) ref.revision = revision->text;
    if (node.find("lora")) ref.adapter = "lora";
    if (const Node* other = node.find("override_architecture")) {
      warn(other->line, "override_architecture has no effect; tensors are matched by name");
    }
    return ref;
  }

  // path[@revision][+adapter[@revision]]; whether such a path exists as it stands is for the plan
  // to see.
  static ModelRef split_ref(const std::string& text, int line) {
    ModelRef ref{.text = text, .path = text, .revision = {}, .adapter = {}, .line = line};
    if (const size_t plus = ref.path.find('+'); plus != std::string::npos) {
      ref.adapter = ref.path.substr(plus + 1);
      ref.path.resize(plus);
    }
    if (const size_t at = ref.path.find('@'); at != std::string::npos) {
      ref.revision = ref.path.substr(at + 1);
      ref.path.resize(at);
    }
    return ref;
  }

  std::optional<std::pair<uint64_t, uint64_t>> read_layers(const Node* node) {
    if (!node) return std::nullopt;
    const auto bound = [](const Node& n) -> std::optional<uint64_t> {
      const auto value = n.kind == Kind::kScalar ? parse_number(n.text) : std::nullopt;
      if (!value || *value < 0 || *value > 1e6 || *value != std::floor(*value)) return {};
      return static_cast<uint64_t>(*value);
    };
    if (node->kind == Kind::kSequence && node->items.size() == 2) {
      const auto first = bound(*node->items[0]), last = bound(*node->items[1]);
      if (first && last && *first <= *last) return std::pair{*first, *last};
    }
    problem(node->line, "layer_range must be [first, last) with 0 <= first <= last, e.g. [0, 32]");
    return std::nullopt;
  }

  std::vector<ParameterSetting> read_parameters(const Node* node) {
    std::vector<ParameterSetting> settings;
    if (!node) return settings;
    if (node->kind != Kind::kMapping) {
      problem(node->line, "parameters must be a mapping from names to values");
      return settings;
    }
    for (const yaml::Entry& entry : node->entries) {
      if (entry.value->kind == Kind::kNull) continue;
      if (!of_method(entry)) continue;
      ParameterSetting setting{.name = entry.key, .rules = {}, .line = entry.line};
      read_rules(*entry.value, setting);
      settings.push_back(std::move(setting));
    }
    return settings;
  }

  // Is it a parameter of this method? If not, says so.
  bool of_method(const yaml::Entry& entry) {
    std::vector<std::string_view> names;
    for (const ParameterInfo& info : method_->describe().parameters) {
      if (info.name == entry.key) return true;
      names.push_back(info.name);
    }
    if (std::ranges::find(kParameterNames, entry.key) != kParameterNames.end()) {
      warn(entry.line,
           fmt::format("the parameter \"{}\" has no effect in {}", entry.key, recipe_.method));
      return false;
    }
    names.insert(names.end(), kParameterNames.begin(), kParameterNames.end());
    unknown(entry.line,
            fmt::format("unknown parameter \"{}\" of {}", printable(entry.key), recipe_.method),
            near_miss(entry.key, names));
    return false;
  }

  void read_rules(const Node& node, ParameterSetting& setting) {
    const bool filtered = node.kind == Kind::kSequence && !node.items.empty() &&
                          node.items.front()->kind == Kind::kMapping;
    if (!filtered) {
      if (auto rule = read_value(node, setting)) setting.rules.push_back(*std::move(rule));
      return;
    }
    for (const yaml::NodePtr& item : node.items) {
      const Node* value = item->kind == Kind::kMapping ? item->find("value") : nullptr;
      if (!value) {
        problem(item->line, fmt::format("each entry of {} needs a value: {{filter: …, value: …}}",
                                        setting.name));
        continue;
      }
      check_keys(*item, kRuleKeys, "a filter");
      auto rule = read_value(*value, setting);
      if (!rule) continue;
      if (const Node* filter = item->find("filter"); filter && filter->text != "*") {
        rule->filter = filter->text;
      }
      setting.rules.push_back(*std::move(rule));
    }
  }

  std::optional<ParameterRule> read_value(const Node& node, const ParameterSetting& setting) {
    ParameterRule rule;
    rule.line = node.line;
    if (node.kind == Kind::kSequence) {
      for (const yaml::NodePtr& item : node.items) {
        if (const auto value = number_or_boolean(*item)) rule.values.push_back(*value);
      }
      if (!rule.values.empty() && rule.values.size() == node.items.size()) return rule;
    } else if (const auto value = number_or_boolean(node)) {
      rule.values.push_back(*value);
      return rule;
    }
    problem(
        node.line,
        fmt::format("{} must be a finite number, true or false, a list of numbers (a gradient over "
                    "the layers), or a list of {{filter, value}}",
                    setting.name));
    return std::nullopt;
  }

  void read_dtypes(const Node& root) {
    recipe_.dtype = read_dtype(root.find("dtype"), "dtype");
    recipe_.out_dtype = read_dtype(root.find("out_dtype"), "out_dtype");
  }

  std::optional<DType> read_dtype(const Node* node, std::string_view key) {
    if (!node) return std::nullopt;
    constexpr std::array<std::string_view, 3> names{"bfloat16", "float16", "float32"};
    constexpr std::array<DType, 3> values{DType::kBF16, DType::kF16, DType::kF32};
    const auto at = std::ranges::find(names, node->text);
    if (at != names.end()) return values[static_cast<size_t>(at - names.begin())];
    const std::string_view meant = near_miss(node->text, names);
    problem(node->line,
            fmt::format("{}: \"{}\" is none of bfloat16, float16 and float32{}", key,
                        printable(node->text),
                        meant.empty() ? "" : fmt::format("; did you mean \"{}\"?", meant)));
    return std::nullopt;
  }

  void read_tokenizer(const Node& root) {
    if (const Node* source = root.find("tokenizer_source"); source && source->text != "base") {
      problem(
          source->line,
          fmt::format("tokenizer_source: {} needs the tokens of the models matched to one another, "
                      "which comes later; use base, or leave it out",
                      printable(source->text.empty() ? "(a mapping)" : source->text)));
    }
    if (const Node* tokenizer = root.find("tokenizer")) {
      const Node* source = tokenizer->find("source");
      const bool plain = source && source->text == "base" && tokenizer->entries.size() == 1;
      if (!plain) {
        problem(tokenizer->line,
                "tokenizer: needs the tokens of the models matched to one another, which comes "
                "later; use tokenizer_source: base, or leave it out");
      }
    }
    if (const Node* chat = root.find("chat_template")) {
      problem(chat->line,
              "chat_template comes later; leave it out, and the base model's is copied");
    }
  }

  std::string_view arithmetic_;
  Recipe recipe_;
  const Method* method_ = nullptr;
  bool lenient_ = false;
  std::vector<Finding> problems_;
};

}  // namespace

std::optional<double> evaluate(const ParameterSetting& setting, std::string_view tensor, double t) {
  for (const ParameterRule& rule : setting.rules) {
    if (!rule.filter.empty() && tensor.find(rule.filter) == std::string_view::npos) continue;
    const auto& values = rule.values;
    if (values.size() == 1) return values.front();
    const double place = t * static_cast<double>(values.size() - 1);
    const size_t below = std::min(static_cast<size_t>(place), values.size() - 1);
    const size_t above = std::min(below + 1, values.size() - 1);
    const double part = place - static_cast<double>(below);
    return (1 - part) * values[below] + part * values[above];
  }
  return std::nullopt;
}

Result<Recipe> parse_recipe(std::string_view yaml, const std::string& file,
                            std::string_view arithmetic) {
  HIERON_TRY(const yaml::NodePtr root, yaml::parse(yaml, file));
  Reader reader(file, arithmetic);
  reader.read(*root);
  return reader.finish(yaml);
}

Result<Recipe> read_recipe(const std::string& path, std::string_view arithmetic) {
  HIERON_TRY(const std::string text, read_text(path, yaml::kMaxBytes));
  return parse_recipe(text, path, arithmetic);
}

bool is_recipe(const std::string& ref) {
  const std::filesystem::path path(ref);
  std::error_code ignored;
  return (path.extension() == ".yml" || path.extension() == ".yaml") &&
         std::filesystem::is_regular_file(path, ignored);
}

}  // namespace hieron
