// Task arithmetic and its relatives: a sparsifier for each difference from the base, times a way to
// agree on signs.
//
//   d_k = r(x_k − base), sparsified;  w_k' = r(w_k);  v_k = r(d_k·w_k')
//   no consensus   m = r(f32Σ v_k);              D = r(Σ w_k'), 1 if |D| < 1e-8
//   consensus      s = r(f32Σ v_k), sign +1 if s ≥ 0 else −1;  agreeing k: sign(v_k) is that sign
//                  m = r(f32Σ agreeing v_k);     D = r(f32Σ agreeing w_k'), 1 if 0
//   out = r(base + r(r(m/D)·λ))     the division only if `normalize`
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "hieron/merge/mergekit/families.h"
#include "hieron/merge/mergekit/random_masks.h"
#include "hieron/merge/mergekit/torch_random.h"
#include "hieron/merge/mergekit/torch_sort.h"
#include "hieron/merge/mergekit/torch_sum.h"

namespace hieron::mergekit {
namespace {

enum class Sparsifier : uint8_t { kNone, kMagnitude, kRandom, kOutliers, kMagnitudeRandom };

struct Member {
  std::string_view method;
  Sparsifier sparsifier;
  bool consensus, normalize, rescale;
};

constexpr std::array<Member, 8> kMembers{{
    {"task_arithmetic", Sparsifier::kNone, false, false, false},
    {"ties", Sparsifier::kMagnitude, true, true, false},
    {"dare_ties", Sparsifier::kRandom, true, false, true},
    {"dare_linear", Sparsifier::kRandom, false, false, true},
    {"breadcrumbs", Sparsifier::kOutliers, false, false, false},
    {"breadcrumbs_ties", Sparsifier::kOutliers, true, false, false},
    {"della", Sparsifier::kMagnitudeRandom, true, true, true},
    {"della_linear", Sparsifier::kMagnitudeRandom, false, false, true},
}};

const Member* member(std::string_view method) {
  const auto* found = std::ranges::find(kMembers, method, &Member::method);
  return found == kMembers.end() ? nullptr : found;
}

float sum_of_magnitudes(const Values& d, DType dtype) {
  Values magnitudes(d.size());
  std::ranges::transform(d, magnitudes.begin(), [](float x) { return std::abs(x); });
  return Rounding(dtype)(sum(magnitudes, dtype));
}

// d·mask, scaled so that its L1 norm is what it was, all in `dtype`.
void apply_mask(Values& d, const std::vector<uint8_t>& mask, bool rescale, DType dtype) {
  const Rounding r(dtype);
  const float before = rescale ? sum_of_magnitudes(d, dtype) : 0;
  for (size_t i = 0; i < d.size(); ++i) d[i] *= static_cast<float>(mask[i]);
  if (!rescale) return;
  const float after = sum_of_magnitudes(d, dtype), smallest = r(1e-7);
  if (before < smallest || after < smallest) return;
  const float factor = r(before / after);
  for (float& x : d) x = r(x * factor);
}

// Python's int(share·n).
size_t part(double share, uint64_t n) {
  return static_cast<size_t>(std::trunc(share * static_cast<double>(n)));
}

// Why this version stops at a difference, as a clause; nothing if it does not.
std::optional<std::string> refusal_of(Version version, const Member& member, double density,
                                      double epsilon, const Shape& shape, uint64_t elements) {
  if (density >= 1 || elements == 0) return std::nullopt;
  if (member.sparsifier == Sparsifier::kMagnitude && version == Version::k014 &&
      (density <= 0 || part(density, elements) == 0)) {
    return fmt::format("density {} of {} elements keeps none; raise it", density, elements);
  }
  if (member.sparsifier != Sparsifier::kMagnitudeRandom || density <= 0) return std::nullopt;
  if (density + epsilon >= 1 || density - epsilon <= 0) {
    return fmt::format("density {} ± epsilon {} must lie between 0 and 1", density, epsilon);
  }
  const uint64_t length = shape.size() < 2 ? elements : shape[1];
  if (length < 2) return "a line of one element has no ranks: its probability is 0/0";
  return std::nullopt;
}

// One difference on its way to a sparse one.
class Sparsifying {
 public:
  Sparsifying(const ReplayTask& task, const Member& member)
      : task_(task),
        member_(member),
        rescale_(global_of(task, "rescale", member.rescale ? 1 : 0) != 0),
        stream_(task.seed, words_of_task_vectors(task.method, *task.parameters, task.base, 1) == 0
                               ? 0
                               : task.first_word) {}

  Status operator()(Values& d, size_t operand) {
    const double density = model_of(task_, operand, "density", 1);
    if (member_.sparsifier == Sparsifier::kNone || density >= 1) return {};
    const double epsilon = model_of(task_, operand, "epsilon", 0.15);
    if (const auto why =
            refusal_of(task_.version, member_, density, epsilon, task_.shape, task_.elements)) {
      return refused(task_, *why);
    }
    switch (member_.sparsifier) {
      case Sparsifier::kNone:
        return {};
      case Sparsifier::kMagnitude:
        keep_largest(d, density);
        return {};
      case Sparsifier::kRandom:
        keep_at_random(d, density);
        return {};
      case Sparsifier::kOutliers:
        drop_both_ends(d, density, model_of(task_, operand, "gamma", 0.01));
        return {};
      case Sparsifier::kMagnitudeRandom:
        keep_by_rank(d, density, epsilon);
        return {};
    }
    return {};
  }

 private:
  void keep_largest(Values& d, double density) const {
    size_t k = density > 0 ? part(density, d.size()) : 0;
    if (k == 0 && density > 0) k = 1;
    apply_mask(d, sorted_between(d, /*descending=*/true, 0, k), rescale_, task_.working);
  }

  void keep_at_random(Values& d, double density) {
    const float probability = dare_probability(density, task_.working);
    std::vector<uint8_t> mask(d.size());
    for (uint8_t& keep : mask) keep = stream_.keeps(probability);
    finish_random(d, mask);
  }

  // 0.1.4 keeps [bottom, n − top), which Python reads as nothing where top is 0.
  void drop_both_ends(Values& d, double density, double gamma) const {
    const auto n = static_cast<ptrdiff_t>(d.size());
    const auto kept = static_cast<ptrdiff_t>(part(density, d.size()));
    const auto top = static_cast<ptrdiff_t>(part(gamma, d.size()));
    const ptrdiff_t bottom = n - kept - top;
    const auto first = static_cast<size_t>(std::max<ptrdiff_t>(0, bottom));
    size_t last = first + static_cast<size_t>(kept);
    if (task_.version == Version::k014) {
      const ptrdiff_t cut = std::min(top, top + bottom);
      last = cut == 0 ? 0 : static_cast<size_t>(n - cut);
    }
    apply_mask(d, sorted_between(d, /*descending=*/false, first, last), rescale_, task_.working);
  }

  void keep_by_rank(Values& d, double density, double epsilon) {
    if (density <= 0) {
      std::ranges::fill(d, 0.0f);
      return;
    }
    std::vector<uint8_t> mask;
    mask.reserve(d.size());
    for (float p : della_probabilities(d, task_.shape, density, epsilon, task_.working)) {
      mask.push_back(stream_.keeps(p));
    }
    finish_random(d, mask);
  }

  void finish_random(Values& d, const std::vector<uint8_t>& mask) const {
    const DType dtype = mask_dtype(task_.working);
    apply_mask(d, mask, rescale_, dtype);
    if (dtype != task_.working) std::ranges::transform(d, d.begin(), Rounding(task_.working));
  }

  const ReplayTask& task_;
  const Member& member_;
  const bool rescale_;
  MersenneStream stream_;
};

// The mix of the weighted differences, and by what it is divided.
class Mix {
 public:
  Mix(const ReplayTask& task, const Member& member, std::span<const float> weights)
      : r_(task.working),
        consensus_(member.consensus),
        weights_(weights),
        add_(task.elements, task.working, task.before),
        terms_(weights.size()) {
    const float total = r_(ModelSum(1, task.working)(weights, 0));
    total_ = std::abs(total) < 1e-8f ? 1 : total;
  }

  struct Pair {
    float mixed, divisor;
  };

  // `v`: the element's v_k.
  Pair operator()(std::span<const float> v, size_t element) {
    const float straight = r_(add_(v, element));
    if (!consensus_) return {straight, total_};
    const bool positive = straight >= 0;
    const auto agrees = [&](size_t k) { return positive ? v[k] > 0 : v[k] < 0; };
    for (size_t k = 0; k < v.size(); ++k) terms_[k] = v[k] * static_cast<float>(agrees(k));
    const float mixed = r_(add_(terms_, element));
    for (size_t k = 0; k < v.size(); ++k) terms_[k] = agrees(k) ? weights_[k] : 0.0f;
    const float divisor = r_(add_(terms_, element));
    return {mixed, divisor == 0 ? 1 : divisor};
  }

 private:
  const Rounding r_;
  const bool consensus_;
  const std::span<const float> weights_;
  const ModelSum add_;
  Values terms_;
  float total_;
};

}  // namespace

uint64_t words_of_task_vectors(std::string_view method, const TensorParameters& parameters,
                               std::optional<size_t> base, uint64_t elements) {
  const Member* about = member(method);
  if (about == nullptr) return 0;
  const bool by_rank = about->sparsifier == Sparsifier::kMagnitudeRandom;
  if (about->sparsifier != Sparsifier::kRandom && !by_rank) return 0;
  uint64_t words = 0;
  for (size_t k = 0; k < parameters.per_model.size(); ++k) {
    const double density = value_of(parameters.per_model[k], "density", 1);
    if (k != base && density < 1 && !(by_rank && density <= 0)) words += elements;
  }
  return words;
}

std::optional<std::string> refusal_of_task_vectors(const ReplayTask& task) {
  const Member* about = member(task.method);
  if (about == nullptr) return std::nullopt;
  for (size_t k = 0; k < task.parameters->per_model.size(); ++k) {
    if (k == task.base) continue;
    auto why = refusal_of(task.version, *about, model_of(task, k, "density", 1),
                          model_of(task, k, "epsilon", 0.15), task.shape, task.elements);
    if (why) return why;
  }
  return std::nullopt;
}

Result<Values> task_vectors(const ReplayTask& task) {
  if (!task.base) return refused(task, "base_model is missing");
  const Member& about = *member(task.method);
  const Rounding r(task.working);
  const std::vector<size_t> others = operands_but_base(task);
  if (others.empty()) return values_of(task, *task.base);
  std::vector<Values> deltas;
  Values weights;
  Sparsifying sparsify(task, about);
  for (size_t k : others) {
    deltas.push_back(delta(task, k));
    HIERON_CHECK(sparsify(deltas.back(), k));
    weights.push_back(r(model_of(task, k, "weight", std::numeric_limits<double>::quiet_NaN())));
    if (std::isnan(weights.back())) {
      return refused(task, "a model has no weight; give one to each but base_model");
    }
  }
  const bool normalize = global_of(task, "normalize", about.normalize ? 1 : 0) != 0;
  const double lambda = global_of(task, "lambda", 1);
  Mix mix(task, about, weights);
  Values out = values_of(task, *task.base), v(others.size());
  for (size_t i = 0; i < out.size(); ++i) {
    for (size_t k = 0; k < v.size(); ++k) v[k] = r(deltas[k][i] * weights[k]);
    auto [mixed, divisor] = mix(v, i);
    if (normalize) mixed = r(mixed / divisor);
    if (lambda != 1) mixed = r(mixed * static_cast<float>(lambda));
    out[i] = r(out[i] + mixed);
  }
  return out;
}

}  // namespace hieron::mergekit
