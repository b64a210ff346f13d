// A recipe to try by replay, and how it is written as mergekit YAML.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "hieron/core/dtype.h"

namespace hieron {

// A parameter's value: one for all tensors, or others for some, by the tensors' whole names.
struct ParameterValue {
  double otherwise = 0;
  std::vector<std::pair<std::string, double>> by_tensor = {};

  ParameterValue(double value) : otherwise(value) {}  // NOLINT(google-explicit-constructor)
  bool varies() const { return !by_tensor.empty(); }
};
using ParameterValues = std::map<std::string, ParameterValue, std::less<>>;

struct HypothesisInput {
  size_t model;
  ParameterValues parameters = {};
};

// Models are numbers; names for them are given when it is written.
struct Hypothesis {
  std::string_view method;              // of the registry
  std::vector<HypothesisInput> inputs;  // in input order
  std::optional<size_t> base = {};      // `base_model`
  ParameterValues parameters = {};      // of the whole merge
  std::optional<uint64_t> seed = {};    // of random masks
  // `hieron.arithmetic` values that are worth trying, in this order; empty: all that the method
  // has.
  std::vector<std::string> arithmetics = {};
  int complexity = 0;  // digits needed to write it; ties among equal replays go to the lowest
};

// How a hypothesis is computed and stored.
struct Rendering {
  std::string arithmetic = "exact";
  std::string dtype = {}, out_dtype = {};  // mergekit's names; empty: not written
  std::string experts = {};                // hieron.experts; empty: not written
};

// mergekit YAML with a `hieron:` section for arithmetic and seed. refs[model]: how each model is
// named.
std::string recipe_yaml(const Hypothesis& hypothesis, std::span<const std::string> refs,
                        const Rendering& rendering);

// A YAML double-quoted scalar: names and paths come from files.
std::string yaml_quoted(std::string_view text);

}  // namespace hieron
