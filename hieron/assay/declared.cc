#include "hieron/assay/declared.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <optional>

#include "hieron/core/text.h"
#include "hieron/merge/dtype_names.h"
#include "hieron/merge/method.h"
#include "hieron/merge/recipe_text.h"

namespace hieron {
namespace {

constexpr const char* kNone = "none";

const ParameterSetting* find(const std::vector<ParameterSetting>& settings, std::string_view name) {
  const auto found = std::ranges::find(settings, name, &ParameterSetting::name);
  return found == settings.end() ? nullptr : &*found;
}

const RecipeSource* find(const RecipeSlice& slice, const ModelRef& model) {
  const auto found = std::ranges::find_if(
      slice.sources, [&](const RecipeSource& source) { return same_model(source.model, model); });
  return found == slice.sources.end() ? nullptr : &*found;
}

// The setting that holds for a source (null: for the merge as a whole): the nearest one.
const ParameterSetting* setting_of(const Recipe& recipe, const RecipeSlice& slice,
                                   const RecipeSource* source, std::string_view name) {
  const ParameterSetting* own = source ? find(source->parameters, name) : nullptr;
  if (!own) own = find(slice.parameters, name);
  return own ? own : find(recipe.parameters, name);
}

// The one number that holds for every tensor, if there is one.
std::optional<double> constant(const ParameterSetting* setting, const ParameterInfo& info) {
  if (!setting) return info.standard;
  if (setting->rules.size() != 1 || !setting->rules.front().filter.empty()) return std::nullopt;
  const std::vector<double>& values = setting->rules.front().values;
  return values.size() == 1 ? std::optional(values.front()) : std::nullopt;
}

std::string value_text(const ParameterSetting* setting, const ParameterInfo& info,
                       const std::string& method) {
  constexpr size_t kLong = 60;  // characters of a value worth quoting
  if (setting) {
    std::string text = setting_text(*setting, method);
    return text.size() <= kLong ? text : "values that vary by tensor";
  }
  if (!info.standard) return kNone;
  if (info.type == ParameterType::kBoolean) return *info.standard != 0 ? "true" : "false";
  return shortest(*info.standard);
}

// Weights as shares of their sum, if the method divides by it.
std::optional<double> divisor(const Recipe& recipe, const RecipeSlice& slice) {
  const auto parameters = find_method(recipe.method)->describe().parameters;
  const auto normalize = std::ranges::find(parameters, "normalize", &ParameterInfo::name);
  const auto weight = std::ranges::find(parameters, "weight", &ParameterInfo::name);
  if (normalize == parameters.end() || weight == parameters.end()) return std::nullopt;
  const ParameterSetting* setting = setting_of(recipe, slice, nullptr, "normalize");
  if (constant(setting, *normalize).value_or(0) == 0) return std::nullopt;
  double sum = 0;
  for (const RecipeSource& source : slice.sources) {
    const auto value = constant(setting_of(recipe, slice, &source, "weight"), *weight);
    const bool base = recipe.base_model && same_model(source.model, *recipe.base_model);
    if (!value && base) continue;  // the origin of the differences has none
    if (!value) return std::nullopt;
    sum += *value;
  }
  return sum == 0 ? std::nullopt : std::optional(sum);
}

class Comparer {
 public:
  Comparer(const RecipeClaim& declared, const RecipeClaim& found)
      : declared_(declared.recipe),
        found_(found.recipe),
        declared_arithmetic_(declared.arithmetic),
        found_arithmetic_(found.arithmetic) {}

  std::vector<RecipeDifference> run() {
    compare_method();
    compare_base();
    if (declared_.slices.size() != found_.slices.size()) {
      note("slices", std::to_string(declared_.slices.size()), std::to_string(found_.slices.size()),
           "");
    } else {
      for (size_t i = 0; i < declared_.slices.size(); ++i) compare_slice(i);
    }
    compare_storage();
    note_ignored();
    return std::move(differences_);
  }

 private:
  bool same_method() const { return declared_.method == found_.method; }

  void add(std::string what, std::string declared, std::string found, std::string sentence) {
    differences_.push_back(
        {std::move(what), std::move(declared), std::move(found), std::move(sentence)});
  }

  // "declared WHAT X of Y, the bytes say Z"
  void note(const std::string& what, const std::string& declared, const std::string& found,
            const std::string& of) {
    const std::string whose = of.empty() ? std::string() : " of " + printable(of);
    add(what + whose, declared, found,
        declared == kNone ? fmt::format("declared no {}{}, the bytes say {}", what, whose, found)
                          : fmt::format("declared {} {}{}, the bytes say {}", what, declared, whose,
                                        found == kNone ? std::string(kNone) : found));
  }

  void compare_method() {
    if (!same_method()) note("method", declared_.method, found_.method, "");
  }

  void compare_base() {
    const auto& mine = declared_.base_model;
    const auto& theirs = found_.base_model;
    if (!mine && !theirs) return;
    if (mine && theirs && same_model(*mine, *theirs)) return;
    // Where neither method has an origin, base_model only lends the configuration.
    const auto has_origin = [](const Recipe& recipe) {
      const BaseModel use = find_method(recipe.method)->describe().base;
      return use == BaseModel::kRequired || use == BaseModel::kOptional;
    };
    if (!has_origin(declared_) && !has_origin(found_)) return;
    note("base_model", mine ? printable(mine->text) : kNone,
         theirs ? printable(theirs->text) : kNone, "");
  }

  std::string place(size_t slice) const {
    return declared_.slices.size() == 1 ? std::string() : fmt::format(" in slice {}", slice + 1);
  }

  void compare_slice(size_t i) {
    const RecipeSlice& mine = declared_.slices[i];
    const RecipeSlice& theirs = found_.slices[i];
    for (const RecipeSource& source : mine.sources) {
      if (find(theirs, source.model) || is_base(declared_, source.model)) continue;
      const std::string parent = printable(source.model.text);
      add("parent", parent, kNone,
          fmt::format("declared parent {} took no part{}", parent, place(i)));
    }
    for (const RecipeSource& source : theirs.sources) {
      if (find(mine, source.model) || is_base(found_, source.model)) continue;
      const std::string parent = printable(source.model.text);
      add("parent", kNone, parent,
          fmt::format("{} took part{}, not declared as a parent", parent, place(i)));
    }
    compare_order(i);
    if (find_method(found_.method)) compare_parameters(mine, theirs);
  }

  static bool is_base(const Recipe& recipe, const ModelRef& model) {
    return recipe.base_model && same_model(*recipe.base_model, model);
  }

  void compare_order(size_t i) {
    const std::vector<RecipeSource>& mine = declared_.slices[i].sources;
    const std::vector<RecipeSource>& theirs = found_.slices[i].sources;
    if (mine.size() != theirs.size()) return;
    bool same = true;
    for (size_t k = 0; k < mine.size(); ++k) {
      if (!find(declared_.slices[i], theirs[k].model)) return;
      same = same && same_model(mine[k].model, theirs[k].model);
      if (mine[k].layers != theirs[k].layers) {
        return note("layer_range", range_of(mine[k]), range_of(theirs[k]), mine[k].model.text);
      }
    }
    if (same) return;
    const auto listed = [](const std::vector<RecipeSource>& sources) {
      std::vector<std::string> names;
      for (const RecipeSource& source : sources) names.push_back(printable(source.model.text));
      return fmt::format("{}", fmt::join(names, ", "));
    };
    note("order", listed(mine), listed(theirs), "");
  }

  static std::string range_of(const RecipeSource& source) {
    return source.layers ? fmt::format("[{}, {}]", source.layers->first, source.layers->second)
                         : kNone;
  }

  // Parameters that both methods have mean the same only in one method; weights mean it in all.
  void compare_parameters(const RecipeSlice& mine, const RecipeSlice& theirs) {
    const std::optional<double> my_sum = divisor(declared_, mine);
    const std::optional<double> their_sum = divisor(found_, theirs);
    const bool as_shares = my_sum && their_sum && std::abs(*my_sum - *their_sum) > kSameNumber;
    for (const ParameterInfo& info : find_method(declared_.method)->describe().parameters) {
      if (!info.per_model) {
        if (same_method()) compare_setting(mine, theirs, nullptr, nullptr, info);
        continue;
      }
      if (!same_method() && info.name != "weight") continue;
      for (const RecipeSource& source : mine.sources) {
        const RecipeSource* other = find(theirs, source.model);
        if (!other) continue;
        if (info.name == "weight" && as_shares) {
          compare_shares(source, *other, info, *my_sum, *their_sum, mine, theirs);
        } else {
          compare_setting(mine, theirs, &source, other, info);
        }
      }
    }
  }

  void compare_setting(const RecipeSlice& mine, const RecipeSlice& theirs,
                       const RecipeSource* source, const RecipeSource* other,
                       const ParameterInfo& info) {
    const ParameterSetting* a = setting_of(declared_, mine, source, info.name);
    const ParameterSetting* b = setting_of(found_, theirs, other, info.name);
    const std::optional<double> x = constant(a, info), y = constant(b, info);
    if (x && y && std::abs(*x - *y) <= kSameNumber) return;
    const std::string from = value_text(a, info, declared_.method);
    const std::string to = value_text(b, info, found_.method);
    if (from == to && !(x && y)) return;
    note(std::string(info.name), from, to, source ? source->model.text : "");
  }

  void compare_shares(const RecipeSource& source, const RecipeSource& other,
                      const ParameterInfo& info, double my_sum, double their_sum,
                      const RecipeSlice& mine, const RecipeSlice& theirs) {
    const auto a = constant(setting_of(declared_, mine, &source, info.name), info);
    const auto b = constant(setting_of(found_, theirs, &other, info.name), info);
    if (!a || !b || std::abs(*a / my_sum - *b / their_sum) <= kSameNumber) return;
    const auto rounded = [](double share) { return shortest(std::round(share * 1e6) / 1e6); };
    note("share of the weights", rounded(*a / my_sum), rounded(*b / their_sum), source.model.text);
  }

  void compare_storage() {
    const auto name_of = [](const std::optional<DType>& dtype) {
      return dtype ? std::string(torch_name(*dtype)) : std::string(kNone);
    };
    const auto compare_dtype = [&](const char* key, const std::optional<DType>& mine,
                                   const std::optional<DType>& theirs) {
      if (mine == theirs) return;
      add(key, name_of(mine), name_of(theirs),
          fmt::format("the {} of the replay is {}, declared {}", key, name_of(theirs),
                      name_of(mine)));
    };
    compare_dtype("dtype", declared_.dtype, found_.dtype);
    compare_dtype("out_dtype", declared_.out_dtype, found_.out_dtype);
    if (found_.seed_number && declared_.seed_number != found_.seed_number) {
      note("seed", declared_.seed.value_or(kNone), *found_.seed, "");
    }
    if (declared_arithmetic_ == found_arithmetic_) return;
    const std::string mine = declared_.arithmetic || declared_arithmetic_ != "exact"
                                 ? std::string(declared_arithmetic_)
                                 : std::string(kNone);
    add("arithmetic", mine, std::string(found_arithmetic_),
        fmt::format("the arithmetic of the replay is {}, declared {}", found_arithmetic_, mine));
  }

  // Of the declared recipe: misspelt, of another method, or below a model where it means nothing.
  void note_ignored() {
    if (!same_method()) return;
    for (const RecipeWarning& warning : declared_.warnings) {
      if (warning.key.empty()) continue;
      const std::string key = printable(warning.key);
      const std::string why = warning.meant.empty()
                                  ? fmt::format("has no effect in {}", declared_.method)
                                  : fmt::format("was misspelt (\"{}\" is a key)", warning.meant);
      add(key, fmt::format("line {}", warning.line), "ignored",
          fmt::format("declared {} was ignored because it {}", key, why));
    }
    for (const RecipeSlice& slice : declared_.slices) {
      for (const RecipeSource& source : slice.sources) note_misplaced(source);
    }
  }

  void note_misplaced(const RecipeSource& source) {
    const auto known = find_method(declared_.method)->describe().parameters;
    for (const ParameterSetting& setting : source.parameters) {
      const auto info = std::ranges::find(known, setting.name, &ParameterInfo::name);
      if (info == known.end() || info->per_model) continue;
      add(setting.name, fmt::format("line {}", setting.line), "ignored",
          fmt::format(
              "declared {} was ignored because it stands under {}, not under the parameters "
              "of the merge",
              setting.name, printable(source.model.text)));
    }
  }

  static constexpr double kSameNumber = 1e-9;

  const Recipe& declared_;
  const Recipe& found_;
  const std::string_view declared_arithmetic_, found_arithmetic_;
  std::vector<RecipeDifference> differences_;
};

}  // namespace

std::vector<RecipeDifference> recipe_differences(const RecipeClaim& declared,
                                                 const RecipeClaim& found) {
  return Comparer(declared, found).run();
}

}  // namespace hieron
