// hieron methods [NAME]: every merge method with its formula, parameters and source.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
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
  }
  return "";
}

std::string default_text(const ParameterInfo& parameter) {
  if (parameter.required) return "required";
  if (!parameter.standard) return "optional";
  if (parameter.type == ParameterType::kBoolean)
    return *parameter.standard != 0 ? "default true" : "default false";
  return "default " + shortest(*parameter.standard);
}

std::string text_of(const MethodInfo& about) {
  std::string text = fmt::format("{}\n  {}\n\n  {}\n\n", about.name, about.summary, about.formula);
  for (const ParameterInfo& p : about.parameters) {
    text += fmt::format("  {:<12} {}, {}, {}: {}\n", p.name, name(p.type),
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
      text += fmt::format("{:<14} {}\n{:<14} {}\n", method->describe().name,
                          method->describe().summary, "", method->describe().formula);
      list.push_back(json_of(method->describe()));
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
