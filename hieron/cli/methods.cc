// hieron methods [NAME]: every merge method with its formula, parameters and source.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>
#include <vector>

#include "hieron/cli/command.h"
#include "hieron/core/text.h"
#include "hieron/kernels/arithmetic.h"
#include "hieron/merge/method.h"

namespace hieron {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kExample = "  hieron methods\n  hieron methods linear";

std::string_view name(ParameterType type) {
  switch (type) {
    case ParameterType::kNumber:
      return "number";
    case ParameterType::kBoolean:
      return "boolean";
    case ParameterType::kInteger:
      return "integer";
    case ParameterType::kText:
      return "text";
  }
  return "";
}

struct BaseUse {
  std::string_view name, about;
};

BaseUse base_use(BaseModel base) {
  switch (base) {
    case BaseModel::kUnused:
      return {"unused", "a model like any other; lends its configuration"};
    case BaseModel::kMember:
      return {"member", "one of the models; added to them if it is not listed"};
    case BaseModel::kOptional:
      return {"optional", "if given, the model whose differences are merged"};
    case BaseModel::kRequired:
      return {"required", "the model whose differences are merged"};
  }
  return {};
}

std::string models_text(const MethodInfo& about) {
  const std::string_view besides = about.base == BaseModel::kRequired ? " besides the base" : "";
  if (about.min_models == about.max_models) {
    return fmt::format("{}{}", about.min_models, besides);
  }
  if (about.max_models >= 64) return fmt::format("{} or more{}", about.min_models, besides);
  return fmt::format("{} to {}{}", about.min_models, about.max_models, besides);
}

std::string default_text(const ParameterInfo& parameter) {
  if (parameter.required) return "required";
  if (!parameter.standard) return "optional";
  if (parameter.type == ParameterType::kBoolean)
    return *parameter.standard != 0 ? "default true" : "default false";
  return "default " + shortest(*parameter.standard);
}

std::vector<std::string_view> lines(std::string_view text) {
  std::vector<std::string_view> all;
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    all.push_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return all;
}

std::string text_of(const MethodInfo& about) {
  std::string text = fmt::format("{}\n  {}\n\n", about.name, about.summary);
  for (const std::string_view line : lines(about.formula)) text += fmt::format("  {}\n", line);
  text += fmt::format("\n  {:<12} {}\n  {:<12} {}: {}\n", "models", models_text(about),
                      "base_model", base_use(about.base).name, base_use(about.base).about);
  if (about.random) text += fmt::format("  {:<12} decides the random masks\n", "seed");
  size_t width = 12;
  for (const ParameterInfo& p : about.parameters) width = std::max(width, p.name.size());
  if (!about.parameters.empty()) text += "\n  parameters\n";
  for (const ParameterInfo& p : about.parameters) {
    text += fmt::format("  {:<{}} {}, {}, {}: {}\n", p.name, width, name(p.type),
                        p.per_model ? "per model" : "for the merge", default_text(p), p.about);
  }
  return text + fmt::format("\n  {}\n", about.citation);
}

Json json_of(const MethodInfo& about) {
  Json parameters = Json::array();
  for (const ParameterInfo& p : about.parameters) {
    parameters.push_back({{"name", p.name},
                          {"type", name(p.type)},
                          {"per_model", p.per_model},
                          {"required", p.required},
                          {"default", p.standard ? Json(*p.standard) : Json()},
                          {"about", p.about}});
  }
  return {{"name", about.name},
          {"summary", about.summary},
          {"formula", about.formula},
          {"citation", about.citation},
          {"min_models", about.min_models},
          {"max_models", about.max_models},
          {"base_model", base_use(about.base).name},
          {"random", about.random},
          {"parameters", std::move(parameters)}};
}

std::string arithmetics_text() {
  std::string text = "\narithmetic (--arithmetic, or hieron: {arithmetic: …} in the recipe)\n";
  for (const ArithmeticInfo& a : arithmetics())
    text += fmt::format("  {:<14} {}\n", a.name, a.formula);
  return text +
         "  mergekit-0.1.4, mergekit-0.1.5   what that version writes on a CPU, bit for bit\n";
}

Outcome list_methods(const std::string& wanted, const Context& context) {
  std::string text;
  Json list = Json::array();
  if (!wanted.empty()) {
    const Method* method = find_method(wanted);
    if (!method) {
      std::vector<std::string_view> names;
      for (const Method* m : methods()) names.push_back(m->describe().name);
      const std::string_view meant = nearest(wanted, names);
      return usage_error(fmt::format(
          "There is no method \"{}\"{}; `hieron methods` lists those there are.", printable(wanted),
          meant.empty() ? "" : fmt::format(" (did you mean \"{}\"?)", meant)));
    }
    text = text_of(method->describe());
    list.push_back(json_of(method->describe()));
  } else {
    for (const Method* method : methods()) {
      const MethodInfo& about = method->describe();
      text += fmt::format("{:<17} {}\n", about.name, about.summary);
      for (const std::string_view line : lines(about.formula)) {
        text += fmt::format("{:<17} {}\n", "", line);
      }
      list.push_back(json_of(about));
    }
    text += arithmetics_text();
  }
  const Json json{{"schema", "hieron.methods/1"}, {"methods", std::move(list)}};
  HIERON_CHECK(deliver(context.options, text, json.dump(2) + "\n"));
  return 0;
}

}  // namespace

void add_methods(CLI::App& app, Context& context) {
  auto wanted = std::make_shared<std::string>();
  CLI::App* command = add_command(app, context, "methods",
                                  "every merge method: formula, parameters, source", kExample);
  command->add_option("NAME", *wanted, "one method");
  on_run(*command, context, [wanted, &context] { return list_methods(*wanted, context); });
}

}  // namespace hieron
