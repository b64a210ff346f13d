#include "hieron/merge/recipe_text.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "hieron/core/text.h"
#include "hieron/merge/dtype_names.h"
#include "hieron/merge/hypothesis.h"
#include "hieron/merge/method.h"

namespace hieron {
namespace {

bool is_truth(const std::string& method, const std::string& parameter) {
  const Method* known = find_method(method);
  if (!known) return false;
  const auto all = known->describe().parameters;
  const auto found = std::ranges::find(all, parameter, &ParameterInfo::name);
  return found != all.end() && found->type == ParameterType::kBoolean;
}

std::string value_text(const ParameterRule& rule, bool truth) {
  std::vector<std::string> values;
  for (const std::string& text : rule.texts) values.push_back(yaml_quoted(text));
  for (const double value : rule.values) {
    values.push_back(truth ? (value != 0 ? "true" : "false") : shortest(value));
  }
  return values.size() == 1 ? values.front() : fmt::format("[{}]", fmt::join(values, ", "));
}

class Writer {
 public:
  explicit Writer(const Recipe& recipe) : recipe_(recipe) {}

  std::string text() {
    text_ = fmt::format("merge_method: {}\n", recipe_.method);
    if (recipe_.base_model) {
      text_ += fmt::format("base_model: {}\n", yaml_quoted(recipe_.base_model->text));
    }
    if (recipe_.by_slices) {
      text_ += "slices:\n";
      for (const RecipeSlice& slice : recipe_.slices) write_slice(slice);
    } else {
      text_ += "models:\n";
      for (const RecipeSource& source : recipe_.slices.front().sources) {
        write_source(source, "  ");
      }
      write_parameters(recipe_.slices.front().parameters, "");
    }
    write_parameters(recipe_.parameters, "");
    write_dtype("dtype", recipe_.dtype);
    write_dtype("out_dtype", recipe_.out_dtype);
    write_settings();
    return std::move(text_);
  }

 private:
  void write_slice(const RecipeSlice& slice) {
    text_ += "  - sources:\n";
    for (const RecipeSource& source : slice.sources) write_source(source, "      ");
    if (slice.base_model) {
      text_ += fmt::format("    base_model: {}\n", yaml_quoted(slice.base_model->text));
    }
    write_parameters(slice.parameters, "    ");
  }

  void write_source(const RecipeSource& source, std::string_view indent) {
    text_ += fmt::format("{}- model: {}\n", indent, yaml_quoted(source.model.text));
    if (source.layers) {
      text_ += fmt::format("{}  layer_range: [{}, {}]\n", indent, source.layers->first,
                           source.layers->second);
    }
    write_parameters(source.parameters, fmt::format("{}  ", indent));
  }

  void write_parameters(const std::vector<ParameterSetting>& settings, std::string_view indent) {
    if (settings.empty()) return;
    text_ += fmt::format("{}parameters:\n", indent);
    for (const ParameterSetting& setting : settings) {
      text_ +=
          fmt::format("{}  {}: {}\n", indent, setting.name, setting_text(setting, recipe_.method));
    }
  }

  void write_dtype(std::string_view key, const std::optional<DType>& dtype) {
    if (dtype) text_ += fmt::format("{}: {}\n", key, torch_name(*dtype));
  }

  void write_settings() {
    if (!recipe_.arithmetic && !recipe_.seed && !recipe_.experts) return;
    text_ += "hieron:\n";
    if (recipe_.arithmetic) text_ += fmt::format("  arithmetic: {}\n", *recipe_.arithmetic);
    if (recipe_.seed) text_ += fmt::format("  seed: {}\n", *recipe_.seed);
    if (recipe_.experts) {
      text_ += fmt::format("  experts: {}\n",
                           *recipe_.experts == ExpertLayout::kFused ? "fused" : "separate");
    }
  }

  const Recipe& recipe_;
  std::string text_;
};

// A list of models has one level of parameters for all of them, wherever the recipe keeps it.
bool has_one_level(const Recipe& recipe) {
  return recipe.by_slices || recipe.parameters.empty() || recipe.slices.front().parameters.empty();
}

}  // namespace

std::string setting_text(const ParameterSetting& setting, const std::string& method) {
  const bool truth = is_truth(method, setting.name);
  if (setting.rules.size() == 1 && setting.rules.front().filter.empty()) {
    return value_text(setting.rules.front(), truth);
  }
  std::vector<std::string> rules;
  for (const ParameterRule& rule : setting.rules) {
    rules.push_back(fmt::format("{{filter: {}, value: {}}}",
                                rule.filter.empty() ? "\"*\"" : yaml_quoted(rule.filter),
                                value_text(rule, truth)));
  }
  return fmt::format("[{}]", fmt::join(rules, ", "));
}

std::optional<std::string> recipe_text(const Recipe& recipe) {
  if (!recipe.modules.empty() || recipe.tokenizer || recipe.chat_template ||
      recipe.slices.empty() || !has_one_level(recipe)) {
    return std::nullopt;
  }
  const auto is_document = [](const std::optional<ModelRef>& model) {
    return model && model->document;
  };
  if (is_document(recipe.base_model)) return std::nullopt;
  for (const RecipeSlice& slice : recipe.slices) {
    if (is_document(slice.base_model)) return std::nullopt;
    for (const RecipeSource& source : slice.sources) {
      if (source.model.document) return std::nullopt;
    }
  }
  return Writer(recipe).text();
}

}  // namespace hieron
