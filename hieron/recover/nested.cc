#include "hieron/recover/nested.h"

#include <algorithm>
#include <cmath>
#include <iterator>

#include "hieron/kernels/decode.h"
#include "hieron/merge/computed.h"
#include "hieron/merge/dtype_names.h"
#include "hieron/merge/method.h"
#include "hieron/recover/gather.h"
#include "hieron/recover/plan_recipe.h"
#include "hieron/walk/alignment.h"

namespace hieron {
namespace {

constexpr double kLeastShare = 0.1, kMostShare = 0.9;  // of the published input
constexpr double kSteady = 0.02;                       // its weight's spread over the tensors
constexpr double kWeightOff = 0.012;
constexpr size_t kMostInner = 120;  // hypotheses
constexpr size_t kFinalists = 3;
constexpr double kWorthMore = 0.3;

// A model's values of a tensor, as it stores them.
std::vector<float> values_of(const Checkpoint& model, const std::string& tensor) {
  const TensorInfo* found = model.find(tensor);
  if (!found) return {};
  std::vector<std::byte> bytes(found->bytes());
  std::vector<float> values(found->elements);
  if (!read_elements(model, *found, 0, bytes)) return {};
  decode(found->dtype, bytes.data(), std::span(values));
  return values;
}

// What of the suspect is not w times the model, divided by 1 − w.
std::shared_ptr<const Checkpoint> without(const Candidates& given, size_t model, double weight,
                                          DType dtype) {
  Hypothesis rest{.method = "linear",
                  .inputs = {{0, {{"weight", 1 / (1 - weight)}}},
                             {model, {{"weight", -weight / (1 - weight)}}}},
                  .parameters = {{"normalize", 0.0}}};
  const auto names = model_names(given.models.size());
  const auto plan = plan_recipe(
      recipe_yaml(rest, names, {.arithmetic = "exact", .dtype = std::string(torch_name(dtype))}),
      names, given.models);
  if (!plan) return nullptr;
  const auto made = computed_checkpoint(*plan);
  return made ? *made : nullptr;
}

// The suspect, replaced.
struct Replaced {
  std::vector<std::shared_ptr<const Checkpoint>> models;
  Alignment alignment;

  Replaced(const Candidates& given, std::shared_ptr<const Checkpoint> suspect)
      : models(given.models) {
    models[0] = std::move(suspect);
    std::vector<const Checkpoint*> all(given.alignment.models);
    all[0] = models[0].get();
    alignment = align(all, 1);
  }
};

// The merge of a published model with the result of an inner recipe.
class Outer {
 public:
  Outer(const Candidates& given, const Evidence& evidence, size_t model, double weight)
      : given_(given), evidence_(evidence), model_(model), weight_(weight) {}

  // Share of the smallest probe that is the inner result and the model in some round proportion.
  double near(const Trial& trial, const Tried& inner) const {
    const auto made = trial.computed(inner.hypothesis, inner.rendering);
    if (!made) return 0;
    const WholeTensor& probe = *evidence_.probes.front();
    const std::vector<float> values = values_of(**made, probe.name);
    if (values.size() != probe.elements()) return 0;
    double best = 0;
    for (const double w : weights()) best = std::max(best, equal_share(probe, values, w));
    return best;
  }

  // The inner recipe as a whole model, and the outer one over it.
  std::optional<Nested> with(const Trial& trial, const Tried& inner,
                             std::span<const size_t> others) const {
    const auto plan = trial.plan(inner.hypothesis, inner.rendering);
    if (!plan) return std::nullopt;
    const auto made = computed_checkpoint(*plan);
    if (!made) return std::nullopt;
    const size_t number = given_.models.size();
    std::vector<std::shared_ptr<const Checkpoint>> models = given_.models;
    models.push_back(*made);
    Alignment alignment = given_.alignment;
    alignment.models.push_back(made->get());
    const Candidates two{alignment,    models,      given_.roles, {model_, number},
                         std::nullopt, given_.walk, given_.seeds, given_.selection};
    Evidence evidence = evidence_;
    evidence.candidates = two.candidates;
    evidence.probes.clear();
    for (const auto& probe : evidence_.probes) {
      auto other = std::make_shared<WholeTensor>(*probe);
      other->values.push_back(values_of(**made, probe->name));
      if (other->values.back().size() != probe->elements()) return std::nullopt;
      evidence.probes.push_back(std::move(other));
    }
    std::vector<Hypothesis> hypotheses;
    for (const double w : weights()) {
      const double rest = std::round((1 - w) * 1e4) / 1e4;
      const HypothesisInput beside{model_, {{"weight", w}}}, inside{number, {{"weight", rest}}};
      const int complexity = std::abs(std::round(w * 20) / 20 - w) < 1e-9 ? 0 : 1;
      for (const auto& inputs : {std::vector{inside, beside}, std::vector{beside, inside}}) {
        hypotheses.push_back({.method = "linear", .inputs = inputs, .complexity = complexity});
      }
    }
    const Trial outer(two, evidence);
    const std::vector<Tried> tried = outer.best_of(hypotheses);
    if (tried.empty()) return std::nullopt;
    const auto whole = outer.plan(tried.front().hypothesis, tried.front().rendering);
    if (!whole) return std::nullopt;
    Nested nested{inner, tried.front(), *whole, {}};
    for (const size_t m : others) {
      nested.scores.push_back(outer.score_of(nested.outer.hypothesis, nested.outer.rendering, m));
    }
    return nested;
  }

 private:
  // Decimals of two digits near the fitted weight.
  std::vector<double> weights() const {
    std::vector<double> all;
    for (int hundredths = 1; hundredths < 100; ++hundredths) {
      if (std::abs(hundredths / 100.0 - weight_) <= kWeightOff) all.push_back(hundredths / 100.0);
    }
    return all;
  }

  double equal_share(const WholeTensor& probe, std::span<const float> inner, double w) const {
    const std::vector<float>& suspect = probe.values[0];
    const std::vector<float>& beside = probe.values[model_];
    std::vector<double> sum(inner.size());
    for (size_t i = 0; i < inner.size(); ++i) {
      sum[i] = w * static_cast<double>(beside[i]) + (1 - w) * static_cast<double>(inner[i]);
    }
    std::vector<std::byte> bytes(sum.size() * static_cast<size_t>(info(probe.dtype).bits) / 8);
    encode(probe.dtype, std::span<const double>(sum), bytes.data());
    std::vector<float> made(sum.size());
    decode(probe.dtype, bytes.data(), std::span(made));
    TellingCount count;
    count.add(suspect, made, beside);
    return count.share();
  }

  const Candidates& given_;
  const Evidence& evidence_;
  const size_t model_;
  const double weight_;
};

// The model's weight where all tensors agree on it.
std::optional<double> steady_weight(const Evidence& evidence, size_t candidate) {
  std::vector<double> weights;
  for (const TensorFit& fit : evidence.fits) weights.push_back(fit.fit.weights[candidate]);
  if (weights.empty()) return std::nullopt;
  const auto quantile = [&](double q) {
    const auto at =
        weights.begin() + static_cast<std::ptrdiff_t>(q * static_cast<double>(weights.size() - 1));
    std::ranges::nth_element(weights, at);
    return *at;
  };
  const double low = quantile(0.25), middle = quantile(0.5), high = quantile(0.75);
  if (high - low > kSteady || middle < kLeastShare || middle > kMostShare) return std::nullopt;
  return middle;
}

// The best nested recipe with this model beside the inner result.
std::optional<Nested> beside(const Candidates& given, const Evidence& evidence, size_t model,
                             double weight, std::span<const size_t> others) {
  const auto rest = without(given, model, weight, evidence.probes.front()->dtype);
  if (!rest) return std::nullopt;
  const Replaced replaced(given, rest);
  Candidates inner{replaced.alignment, replaced.models, given.roles, {}, given.base, given.walk};
  if (inner.base == model) inner.base.reset();
  for (const size_t m : given.candidates) {
    if (m != model) inner.candidates.push_back(m);
  }
  inner.walk.progress = nullptr;
  inner.selection = given.selection;
  if (inner.candidates.size() < 2) return std::nullopt;
  const Seed seed{};
  const auto sample =
      draw_sample(replaced.alignment, given.roles, seed,
                  fit_selection(seed, replaced.alignment, given.selection), inner.walk);
  if (!sample) return std::nullopt;
  const auto guess = gather_evidence(inner, *sample);
  if (!guess) return std::nullopt;
  Evidence judged = *guess;
  judged.probes = evidence.probes;  // what it is compared with is the suspect
  std::vector<Hypothesis> hypotheses;
  for (const Method* method : methods()) {
    std::ranges::move(method->recover(*guess), std::back_inserter(hypotheses));
  }
  std::ranges::stable_sort(hypotheses, {}, &Hypothesis::complexity);
  if (hypotheses.size() > kMostInner) hypotheses.resize(kMostInner);
  const Trial trial(inner, judged);
  const Outer outer(given, evidence, model, weight);
  std::vector<std::pair<double, Tried>> ranked;
  for (Tried& tried : trial.rendered(hypotheses)) {
    const double share = outer.near(trial, tried);
    if (share >= kWorthMore) ranked.emplace_back(share, std::move(tried));
  }
  std::ranges::stable_sort(ranked, std::ranges::greater{}, [](const auto& r) { return r.first; });
  if (ranked.size() > kFinalists) ranked.resize(kFinalists);
  std::optional<Nested> best;
  for (const auto& [share, tried] : ranked) {
    auto nested = outer.with(trial, tried, others);
    if (!nested) continue;
    const bool better = !best || nested->outer.score.share() > best->outer.score.share();
    if (better) best = std::move(nested);
  }
  return best;
}

}  // namespace

std::optional<Nested> recover_nested(const Candidates& given, const Evidence& evidence,
                                     double least, std::span<const size_t> others) {
  std::optional<Nested> best;
  for (size_t k = 0; k < evidence.candidates.size(); ++k) {
    const size_t model = evidence.candidates[k];
    if (std::ranges::find(evidence.used, model) == evidence.used.end()) continue;
    const auto weight = steady_weight(evidence, k);
    if (!weight) continue;
    auto nested = beside(given, evidence, model, *weight, others);
    if (!nested || nested->outer.score.share() <= least) continue;
    least = nested->outer.score.share();
    best = std::move(nested);
    if (least >= kHolds) break;
  }
  return best;
}

std::string nested_yaml(const Nested& nested, std::span<const std::string> refs,
                        std::string_view experts) {
  const std::string name = "inner";
  std::vector<std::string> all(refs.begin(), refs.end());
  all.push_back(name);
  Rendering inner = nested.inner.rendering, outer = nested.outer.rendering;
  inner.experts = outer.experts = experts;
  return "name: " + name + "\n" + recipe_yaml(nested.inner.hypothesis, refs, inner) + "---\n" +
         recipe_yaml(nested.outer.hypothesis, all, outer);
}

}  // namespace hieron
