#include "hieron/merge/traces/weight_vectors.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <numeric>
#include <optional>
#include <set>

#include "hieron/merge/traces/probe_run.h"
#include "hieron/merge/traces/round_weights.h"

namespace hieron {
namespace {

constexpr size_t kMostVectors = 64;
constexpr double kOfFits = 1e-4;      // a fit's error where one rounding made the suspect
constexpr double kNearFits = 0.003;   // the same where many did
constexpr size_t kMostChoices = 400;  // of decimals for one vector
constexpr size_t kFewChoices = 40;    // that are told apart on many elements
constexpr uint64_t kFewElements = 4096, kManyElements = 1u << 16;
constexpr uint64_t kLargest = 1u << 24;        // elements of a tensor that is read to choose
constexpr uint64_t kMostComputed = 1u << 24;   // elements, over all choices for one vector
constexpr uint64_t kMostOtherwise = 1u << 19;  // the same for other ways of computing
constexpr double kNeighbours = 2e-4;           // between fits of what may be one vector
constexpr uint64_t kSmall = 1u << 16;          // of a tensor whose fit says little
constexpr uint64_t kSaysEnough = 1000;         // informative elements
constexpr double kLargestWeight = 2;
constexpr int kFitted = 70;  // complexity of the fitted digits

using Weights = std::vector<double>;

// How many elements of a tensor a vector of weights reproduces. Elementwise: the tensor may be a
// part of one.
using Reproduced = std::function<uint64_t(const WholeTensor& part, std::span<const double>)>;

// A value of `weight` for each model, and what it takes to write them down.
struct WeightVectors {
  std::vector<ParameterValue> weights;
  int complexity = 0;
};

struct Choice {
  Weights weights;
  int complexity;
};

// Decimals of one and two digits, and those that lists of one digit pass on their way: quarters of
// a tenth. Each with its complexity.
const std::map<double, int>& written_values() {
  static const std::map<double, int> values = [] {
    std::map<double, int> all;
    const auto add = [&](int step, int complexity) {
      for (int i = step; i <= static_cast<int>(kLargestWeight * 1000); i += step) {
        all.emplace(i / 1000.0, complexity);
      }
    };
    add(100, 10);
    add(50, 19);
    add(10, 20);
    add(25, 29);
    return all;
  }();
  return values;
}

std::vector<std::pair<double, int>> near_values(double value, double tolerance) {
  std::vector<std::pair<double, int>> near;
  const double size = std::abs(value);
  const auto& all = written_values();
  if (size <= tolerance) near.emplace_back(0.0, 0);
  for (auto v = all.lower_bound(size - tolerance); v != all.end() && v->first <= size + tolerance;
       ++v) {
    near.emplace_back(std::copysign(v->first, value), v->second);
  }
  return near;
}

// Every combination of one of each.
void add_products(const std::vector<std::vector<std::pair<double, int>>>& values,
                  std::vector<Choice>& choices) {
  size_t total = 1;
  for (const auto& some : values) total *= some.size();
  for (size_t number = 0; number < std::min(total, kMostChoices); ++number) {
    Choice choice{{}, 0};
    size_t rest = number;
    for (const auto& some : values) {
      const auto& [value, complexity] = some[rest % some.size()];
      rest /= some.size();
      choice.weights.push_back(value);
      choice.complexity = std::max(choice.complexity, complexity);
    }
    choices.push_back(std::move(choice));
  }
}

double distance(std::span<const double> weights, std::span<const double> fitted) {
  double sum = 0;
  for (size_t k = 0; k < weights.size(); ++k) sum += std::abs(weights[k] - fitted[k]);
  return sum;
}

Weights divided(Weights weights, double by) {
  for (double& w : weights) w /= by;
  return weights;
}

// Simplest first, then nearest.
std::vector<Choice> choices_as_they_are(const Weights& fitted, double tolerance) {
  std::vector<std::vector<std::pair<double, int>>> values;
  for (const double w : fitted) values.push_back(near_values(w, tolerance));
  std::vector<Choice> choices;
  add_products(values, choices);
  std::ranges::stable_sort(choices, [&](const Choice& a, const Choice& b) {
    if (a.complexity != b.complexity) return a.complexity < b.complexity;
    return distance(a.weights, fitted) < distance(b.weights, fitted);
  });
  return choices;
}

// The largest weight as each written value; the others then follow.
std::vector<Choice> choices_of_ratios(const Weights& fitted, double tolerance) {
  const double sum = std::accumulate(fitted.begin(), fitted.end(), 0.0);
  const auto largest = std::ranges::max_element(fitted, {}, [](double w) { return std::abs(w); });
  if (*largest == 0 || sum == 0) return {};
  std::vector<Choice> choices;
  for (const auto& [value, complexity] : written_values()) {
    const double factor = value / std::abs(*largest);
    std::vector<std::vector<std::pair<double, int>>> values;
    for (const double& w : fitted) {
      if (&w == &*largest) {
        values.push_back({{std::copysign(value, w), complexity}});
      } else {
        values.push_back(near_values(factor * w, 2 * factor * tolerance));
      }
    }
    add_products(values, choices);
  }
  const auto off = [&](const Choice& choice) {
    const double total = std::accumulate(choice.weights.begin(), choice.weights.end(), 0.0);
    return std::abs(total) < 1e-9 ? 1 : distance(divided(choice.weights, total / sum), fitted);
  };
  std::erase_if(choices, [&](const Choice& choice) {
    return off(choice) > tolerance * static_cast<double>(fitted.size());
  });
  std::ranges::stable_sort(choices, [&](const Choice& a, const Choice& b) {
    if (a.complexity != b.complexity) return a.complexity < b.complexity;
    return off(a) < off(b);
  });
  return choices;
}

// One vector for each of the tensors' groups and each way of computing. The first way chooses; what
// it cannot tell apart, such as multiples of weights that are divided by their sum, the others do.
class Vectors {
 public:
  Vectors(const Evidence& evidence, std::span<const size_t> models, WrittenWeights written,
          std::span<const Reproduced> ways)
      : evidence_(evidence), models_(models), written_(written), ways_(ways) {}

  std::vector<WeightVectors> find() {
    if (!group()) return {};
    for (size_t g = 0; g < groups_.size(); ++g) choose(g);
    std::vector<WeightVectors> found;
    for (const Reproduced& way : ways_) {
      const bool first = &way == &ways_.front();
      for (Group& group : groups_) settle(group, way, first ? kMostComputed : kMostOtherwise);
      found.push_back(put_together(way));
    }
    return found;
  }

 private:
  struct Group {
    Weights fitted;
    std::vector<const TensorFit*> tensors;
    std::vector<Choice> choices = {};  // that the first way cannot tell apart
    Choice choice = {};
  };

  bool one_rounding() const { return evidence_.fit_class == FitClass::kOneRounding; }

  // By the fitted vectors, of tensors that say enough: equal ones; where every step was rounded,
  // those that are as near as such fits are.
  bool group() {
    std::vector<const TensorFit*> tensors;
    for (const TensorFit& fit : evidence_.fits) {
      if (fit.fit.informative >= kSaysEnough) tensors.push_back(&fit);
    }
    std::ranges::stable_sort(tensors, std::ranges::greater{},
                             [](const TensorFit* fit) { return fit->fit.informative; });
    const double apart = one_rounding() ? 0 : kNearFits;
    for (const TensorFit* fit : tensors) {
      Weights fitted;
      for (const size_t m : models_) fitted.push_back(fitted_weight(evidence_, fit->fit, m));
      const auto same = std::ranges::find_if(groups_, [&](const Group& group) {
        for (size_t k = 0; k < fitted.size(); ++k) {
          if (std::abs(fitted[k] - group.fitted[k]) > apart) return false;
        }
        return true;
      });
      if (same != groups_.end()) {
        same->tensors.push_back(fit);
      } else {
        groups_.push_back({.fitted = fitted, .tensors = {fit}});
      }
      if (groups_.size() > kMostVectors) return false;
    }
    std::ranges::stable_sort(groups_, std::ranges::greater{},
                             [](const Group& group) { return group.tensors.size(); });
    return !groups_.empty();
  }

  void choose(size_t number) {
    Group& group = groups_[number];
    const bool ratios = written_ == WrittenWeights::kRatios;
    const double tolerance = one_rounding() ? kOfFits
                             : ratios       ? ratio_tolerance(evidence_.fit_class)
                                            : weight_tolerance(evidence_.fit_class);
    std::vector<Choice>& choices = group.choices;
    choices = ratios ? choices_of_ratios(group.fitted, tolerance)
                     : choices_as_they_are(group.fitted, tolerance);
    if (choices.size() > kMostChoices) choices.resize(kMostChoices);
    add_neighbours(number, choices);
    choices.push_back({to_seven_digits(group.fitted), kFitted});
    const auto whole = tensor_to_try(group);
    if (!whole) return;
    const Reproduced& way = ways_.front();
    for (const uint64_t most : {kFewElements, kManyElements}) {
      if (choices.size() == 1) break;
      if (most == kFewElements && choices.size() <= kFewChoices) continue;
      const WholeTensor part = telling_part(*whole, models_, most);
      const std::vector<uint64_t> scores = score(way, part, choices);
      keep_best(scores, one_rounding() ? luck(scores, part.elements()) : 0, kFewChoices, choices);
    }
  }

  // What was chosen for larger tensors whose vector may be the same.
  void add_neighbours(size_t number, std::vector<Choice>& choices) const {
    for (size_t other = 0; other < number; ++other) {
      if (distance(groups_[other].fitted, groups_[number].fitted) > kNeighbours) continue;
      for (const Choice& choice : groups_[other].choices) {
        const bool known = std::ranges::any_of(
            choices, [&](const Choice& c) { return c.weights == choice.weights; });
        if (!known) choices.push_back(choice);
      }
    }
  }

  // Weights of one ratio differ in what is left where the models cancel, and in how they are
  // rounded: in few elements of all.
  void settle(Group& group, const Reproduced& way, uint64_t most_computed) const {
    std::vector<Choice> choices = group.choices;
    if (choices.size() > 1) {
      keep_best(score_everywhere(group, way, choices, most_computed), 0, 1, choices);
    }
    group.choice = choices.front();
  }

  std::vector<uint64_t> score_everywhere(const Group& group, const Reproduced& way,
                                         const std::vector<Choice>& choices,
                                         uint64_t most_computed) const {
    std::vector<uint64_t> sum(choices.size(), 0);
    uint64_t left = most_computed / choices.size();
    for (const TensorFit* fit : group.tensors) {
      const uint64_t elements = evidence_.elements(fit->name);
      if (elements > kLargest || left == 0) continue;
      const auto whole = evidence_.whole(fit->name);
      if (!whole || !has_all(**whole)) continue;
      const WholeTensor part = telling_part(**whole, models_, left);
      left -= std::min<uint64_t>(left, part.elements());
      const auto scores = score(way, part, choices);
      for (size_t i = 0; i < sum.size(); ++i) sum[i] += scores[i];
    }
    return sum;
  }

  static std::vector<uint64_t> score(const Reproduced& way, const WholeTensor& part,
                                     const std::vector<Choice>& choices) {
    std::vector<uint64_t> scores;
    for (const Choice& choice : choices) scores.push_back(way(part, choice.weights));
    return scores;
  }

  // The largest that is not too large.
  std::shared_ptr<const WholeTensor> tensor_to_try(const Group& group) const {
    const TensorFit* best = nullptr;
    uint64_t most = 0;
    for (const TensorFit* fit : group.tensors) {
      const uint64_t elements = evidence_.elements(fit->name);
      if (elements > most && elements <= kLargest) {
        most = elements;
        best = fit;
      }
    }
    if (!best) return nullptr;
    const auto whole = evidence_.whole(best->name);
    return whole && has_all(**whole) ? *whole : nullptr;
  }

  bool has_all(const WholeTensor& whole) const {
    return std::ranges::all_of(
        models_, [&](size_t m) { return whole.values[m].size() == whole.elements(); });
  }

  // Those whose score the best one's does not exceed by more than `slack`, at most `most`. Simplest
  // first.
  static void keep_best(const std::vector<uint64_t>& scores, uint64_t slack, size_t most,
                        std::vector<Choice>& choices) {
    std::vector<size_t> order(choices.size());
    std::iota(order.begin(), order.end(), size_t{0});
    std::ranges::stable_sort(order, std::ranges::greater{}, [&](size_t i) { return scores[i]; });
    std::vector<Choice> kept;
    for (const size_t i : order) {
      if (kept.size() == most || scores[i] + slack < scores[order.front()]) break;
      kept.push_back(std::move(choices[i]));
    }
    std::ranges::stable_sort(kept, {}, &Choice::complexity);
    choices = std::move(kept);
  }

  // Another arithmetic than the way's own gives some elements otherwise, and whose weights happen
  // to meet more of those is luck.
  static uint64_t luck(const std::vector<uint64_t>& scores, size_t elements) {
    const double missed = static_cast<double>(elements - std::ranges::max(scores));
    return 1 + static_cast<uint64_t>(4 * std::sqrt(missed));
  }

  // Every tensor's vector; those that say little take the one that reproduces most of them, of
  // their layer's first.
  WeightVectors put_together(const Reproduced& way) const {
    WeightVectors found;
    const Group& usual = groups_.front();
    for (const double w : usual.choice.weights) found.weights.emplace_back(w);
    std::map<std::string, const Group*, std::less<>> by_name;
    for (const Group& group : groups_) {
      found.complexity = std::max(found.complexity, group.choice.complexity);
      for (const TensorFit* fit : group.tensors) by_name[fit->name] = &group;
    }
    found.complexity += static_cast<int>(groups_.size());
    for (const std::string& name : evidence_.drawn) {
      const auto known = by_name.find(name);
      const Group* own = known == by_name.end() ? nullptr : known->second;
      const Group& group = own && one_rounding() ? *own : best_for(name, own, way);
      if (&group == &usual) continue;
      for (size_t k = 0; k < models_.size(); ++k) {
        found.weights[k].by_tensor.emplace_back(name, group.choice.weights[k]);
      }
    }
    return found;
  }

  // Of all vectors the one that reproduces most of a tensor: `own` first, then those of its layer.
  const Group& best_for(const std::string& name, const Group* own, const Reproduced& way) const {
    const Group& otherwise = own ? *own : groups_.front();
    if (evidence_.elements(name) > kSmall) return otherwise;
    const auto whole = evidence_.whole(name);
    if (!whole || !has_all(**whole)) return otherwise;
    std::vector<const Group*> near, far;
    if (own) near.push_back(own);
    for (const Group& group : groups_) {
      const bool beside = std::ranges::any_of(group.tensors, [&](const TensorFit* fit) {
        return fit->role.layer == (*whole)->role.layer;
      });
      (beside ? near : far).push_back(&group);
    }
    near.insert(near.end(), far.begin(), far.end());
    const WholeTensor part = telling_part(**whole, models_, kFewElements);
    return **std::ranges::max_element(near, std::ranges::less{}, [&](const Group* group) {
      return way(part, group->choice.weights);
    });
  }

  static Weights to_seven_digits(Weights weights) {
    for (double& w : weights) w = std::round(w * 1e7) / 1e7;
    return weights;
  }

  const Evidence& evidence_;
  const std::span<const size_t> models_;
  const WrittenWeights written_;
  const std::span<const Reproduced> ways_;
  std::vector<Group> groups_;
};

// A program, the order in which it takes the inputs, and what else computes the same.
struct Way {
  Program program;
  std::vector<size_t> order;
  std::vector<std::string> arithmetics;  // empty: whatever there is
};

std::vector<Way> likely_ways(const Evidence& evidence, size_t inputs, Arithmetic bf16) {
  constexpr size_t kMostOrdered = 3;
  std::vector<size_t> order(inputs);
  std::iota(order.begin(), order.end(), size_t{0});
  const DType dtype = evidence.probes.front()->dtype;
  if (evidence.fit_class != FitClass::kOneRounding && dtype == DType::kBF16) {
    return {{{bf16}, order, {}}};
  }
  if (evidence.fit_class != FitClass::kOneRounding && dtype == DType::kF16) {
    const bool delta = bf16 == Arithmetic::kBf16Delta;
    return {{{delta ? Arithmetic::kF16Delta : Arithmetic::kF16Products}, order, {}}};
  }
  std::vector<Way> ways{{{Arithmetic::kExact}, order, {}}};
  if (inputs > kMostOrdered) return ways;
  do {
    ways.push_back({{Arithmetic::kF32Once}, order, {"f32-once", "mergekit-0.1.4"}});
    ways.push_back({{Arithmetic::kF32Fma}, order, {"f32-fma", "mergekit-0.1.5"}});
  } while (std::ranges::next_permutation(order).found);
  return ways;
}

}  // namespace

void add_weight_vectors(const Evidence& evidence, const Hypothesis& hypothesis,
                        WrittenWeights written, Arithmetic bf16, std::vector<Hypothesis>& found) {
  const std::vector<HypothesisInput>& inputs = hypothesis.inputs;
  std::vector<size_t> models;
  for (const HypothesisInput& input : inputs) models.push_back(input.model);
  const std::vector<Way> ways = likely_ways(evidence, inputs.size(), bf16);
  const auto ordered = [&](const Way& way, const auto& value_of) {
    Hypothesis other = hypothesis;
    for (size_t k = 0; k < inputs.size(); ++k) {
      other.inputs[k] = inputs[way.order[k]];
      other.inputs[k].parameters.at("weight") = value_of(way.order[k]);
    }
    return other;
  };
  std::vector<Reproduced> computed;
  for (const Way& way : ways) {
    computed.push_back([&](const WholeTensor& part, std::span<const double> weights) {
      const auto value = [&](size_t k) { return ParameterValue(weights[k]); };
      return elements_reproduced(part, ordered(way, value), way.program);
    });
  }
  const std::vector<WeightVectors> vectors = Vectors(evidence, models, written, computed).find();
  for (size_t i = 0; i < vectors.size(); ++i) {
    Hypothesis& other =
        found.emplace_back(ordered(ways[i], [&](size_t k) { return vectors[i].weights[k]; }));
    other.arithmetics = ways[i].arithmetics;
    other.complexity += vectors[i].complexity;
  }
}

}  // namespace hieron
