#include "hieron/merge/parameters.h"

#include <algorithm>

namespace hieron {
namespace {

bool plain(const std::vector<ParameterSetting>& settings) {
  return std::ranges::all_of(settings, [](const ParameterSetting& setting) {
    return std::ranges::all_of(setting.rules, [](const ParameterRule& rule) {
      return rule.filter.empty() && rule.values.size() <= 1;
    });
  });
}

std::optional<double> look_up(std::string_view parameter,
                              std::initializer_list<const std::vector<ParameterSetting>*> levels,
                              std::string_view tensor, double t) {
  for (const auto* level : levels) {
    for (const ParameterSetting& setting : *level) {
      if (setting.name != parameter) continue;
      if (const auto value = evaluate(setting, tensor, t)) return value;
    }
  }
  return std::nullopt;
}

}  // namespace

std::shared_ptr<const TensorParameters> ParameterResolver::resolve(
    const RecipeSlice& slice, std::span<const RecipeSource* const> sources,
    std::optional<size_t> base, std::string_view tensor, double t) {
  const bool as_before = last_ && std::ranges::equal(sources, last_sources_);
  if (as_before && uniform(slice)) return last_;
  missing_.clear();
  auto parameters = look_up_all(slice, sources, base, tensor, t);
  last_ = parameters ? shared(*std::move(parameters)) : nullptr;
  last_sources_.assign(sources.begin(), sources.end());
  return last_;
}

bool ParameterResolver::uniform(const RecipeSlice& slice) {
  const auto [it, fresh] = uniform_.try_emplace(&slice, false);
  if (fresh) {
    it->second = plain(recipe_.parameters) && plain(slice.parameters) &&
                 std::ranges::all_of(slice.sources,
                                     [](const RecipeSource& s) { return plain(s.parameters); });
  }
  return it->second;
}

std::optional<TensorParameters> ParameterResolver::look_up_all(
    const RecipeSlice& slice, std::span<const RecipeSource* const> sources,
    std::optional<size_t> base, std::string_view tensor, double t) {
  TensorParameters parameters;
  parameters.per_model.resize(sources.size());
  for (const ParameterInfo& about : about_.parameters) {
    if (about.type == ParameterType::kText) continue;
    if (!about.per_model) {
      const auto value = look_up(about.name, {&slice.parameters, &recipe_.parameters}, tensor, t);
      if (value || about.standard) {
        parameters.global.emplace(about.name, value ? *value : *about.standard);
      }
      continue;
    }
    for (size_t k = 0; k < sources.size(); ++k) {
      const auto value = look_up(
          about.name, {&sources[k]->parameters, &slice.parameters, &recipe_.parameters}, tensor, t);
      if (value || about.standard) {
        parameters.per_model[k].emplace(about.name, value ? *value : *about.standard);
      } else if (about.required && k != base) {
        missing_.push_back({about.name, sources[k]});
      }
    }
  }
  return missing_.empty() ? std::optional(std::move(parameters)) : std::nullopt;
}

std::shared_ptr<const TensorParameters> ParameterResolver::shared(TensorParameters parameters) {
  auto& known = known_[std::pair(parameters.per_model, parameters.global)];
  if (!known) known = std::make_shared<const TensorParameters>(std::move(parameters));
  return known;
}

}  // namespace hieron
