#include "hieron/merge/hypothesis.h"

#include <fmt/format.h>

#include <algorithm>

#include "hieron/core/text.h"
#include "hieron/merge/method.h"

namespace hieron {
namespace {

// Truth and whole numbers as people write them.
std::string written(const ParameterInfo* parameter, double value) {
  if (parameter && parameter->type == ParameterType::kBoolean) return value != 0 ? "true" : "false";
  return shortest(value);
}

class Writer {
 public:
  Writer(const Hypothesis& hypothesis, std::span<const std::string> refs)
      : hypothesis_(hypothesis), refs_(refs), method_(find_method(hypothesis.method)) {}

  std::string text(const Rendering& rendering) {
    text_ = fmt::format("merge_method: {}\n", hypothesis_.method);
    if (hypothesis_.base) {
      text_ += fmt::format("base_model: {}\n", yaml_quoted(refs_[*hypothesis_.base]));
    }
    text_ += "models:\n";
    for (const HypothesisInput& input : hypothesis_.inputs) {
      text_ += fmt::format("  - model: {}\n", yaml_quoted(refs_[input.model]));
      parameters(input.parameters, "    ");
    }
    parameters(hypothesis_.parameters, "");
    if (!rendering.dtype.empty()) text_ += fmt::format("dtype: {}\n", rendering.dtype);
    if (!rendering.out_dtype.empty()) text_ += fmt::format("out_dtype: {}\n", rendering.out_dtype);
    text_ += fmt::format("hieron:\n  arithmetic: {}\n", rendering.arithmetic);
    if (!rendering.experts.empty()) text_ += fmt::format("  experts: {}\n", rendering.experts);
    if (hypothesis_.seed) text_ += fmt::format("  seed: {}\n", *hypothesis_.seed);
    return std::move(text_);
  }

 private:
  const ParameterInfo* described(std::string_view name) const {
    if (!method_) return nullptr;
    const auto all = method_->describe().parameters;
    const auto found = std::ranges::find(all, name, &ParameterInfo::name);
    return found == all.end() ? nullptr : &*found;
  }

  void parameters(const ParameterValues& values, std::string_view indent) {
    if (values.empty()) return;
    text_ += fmt::format("{}parameters:\n", indent);
    for (const auto& [name, value] : values) {
      const ParameterInfo* about = described(name);
      if (!value.varies()) {
        text_ += fmt::format("{}  {}: {}\n", indent, name, written(about, value.otherwise));
        continue;
      }
      text_ += fmt::format("{}  {}:\n", indent, name);
      // A filter holds for every tensor whose name contains it, and the first one decides.
      auto by_tensor = value.by_tensor;
      std::ranges::stable_sort(by_tensor, std::ranges::greater{},
                               [](const auto& rule) { return rule.first.size(); });
      for (const auto& [tensor, number] : by_tensor) {
        text_ += fmt::format("{}    - {{filter: {}, value: {}}}\n", indent, yaml_quoted(tensor),
                             written(about, number));
      }
      text_ += fmt::format("{}    - value: {}\n", indent, written(about, value.otherwise));
    }
  }

  const Hypothesis& hypothesis_;
  const std::span<const std::string> refs_;
  const Method* method_;
  std::string text_;
};

}  // namespace

std::string yaml_quoted(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (static_cast<unsigned char>(c) < 0x20) {
      out += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
    } else {
      out += c;
    }
  }
  return out + '"';
}

std::string recipe_yaml(const Hypothesis& hypothesis, std::span<const std::string> refs,
                        const Rendering& rendering) {
  return Writer(hypothesis, refs).text(rendering);
}

}  // namespace hieron
