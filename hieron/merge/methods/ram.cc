// Changes that one model alone makes are kept whole, those that several make are averaged.
// mergekit "ram", "ramplus_tl" (Reinforced Agent Merging, 2026).
//
//   S_i = {k : |x_ki − b_i| > ε};   out = b + mean of d_k over S_i
//   ramplus_tl: a change alone in S_i is enlarged by 1 + r·clamp(shared_k / unique_k, 0, α), where
//   shared and unique count the tensor's elements that k changes with others, or alone
//
// Trace: elements that equal one model, elements half-way between two; none elsewhere.
#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <deque>
#include <limits>

#include "hieron/fit/depth.h"
#include "hieron/fit/interval.h"
#include "hieron/kernels/isa.h"
#include "hieron/kernels/lanes.h"
#include "hieron/kernels/tracked_sum.h"
#include "hieron/merge/methods/delta_arrays.h"
#include "hieron/merge/methods/table.h"
#include "hieron/merge/traces/input_choices.h"
#include "hieron/merge/traces/probe_run.h"
#include "hieron/walk/walk.h"

namespace hieron {
namespace {

constexpr ParameterInfo kEpsilon{
    "epsilon", ParameterType::kNumber, false, false, 1e-5, "changes up to this size count as none"};
constexpr std::array<ParameterInfo, 1> kParameters{kEpsilon};
constexpr std::array<ParameterInfo, 3> kPlusParameters{{
    kEpsilon,
    {"r", ParameterType::kNumber, false, false, 0.1, "how much a change of one model is enlarged"},
    {"alpha", ParameterType::kNumber, false, false, 0.2, "largest ratio that counts"},
}};

constexpr double kDoubt = 0x1p-40;  // of the sums below, in units of what went into them

// A byte for each model and element: is the change larger than ε?  And how many models do so.
template <size_t kModels>
struct MarkChanges {
  HIERON_INLINE void operator()(Differences<kModels> d, double epsilon, uint8_t* __restrict marks,
                                uint8_t* __restrict changed, size_t n) const {
    std::fill_n(changed, n, uint8_t{0});
    for (size_t m = 0; m < d.models(); ++m) {
      uint8_t* __restrict own = marks + m * kStrip;
      for (size_t i = 0; i < n; ++i) own[i] = std::fabs(d(m, i)) > epsilon;
      for (size_t i = 0; i < n; ++i) changed[i] = static_cast<uint8_t>(changed[i] + own[i]);
    }
  }
};

// How many elements a model changes, and how many of them alone.
struct CountChanges {
  HIERON_INLINE void operator()(const uint8_t* __restrict marks, const uint8_t* __restrict changed,
                                size_t n, uint32_t* all, uint32_t* alone) const {
    uint32_t marked = 0, unique = 0;
    for (size_t i = 0; i < n; ++i) {
      marked += marks[i];
      unique += marks[i] & static_cast<uint8_t>(changed[i] == 1);
    }
    *all = marked;
    *alone = unique;
  }
};

// The ends of an interval that holds the mean of the models in S, or b + factor·d for one alone. No
// interval but a point where f64 has the mean exactly: half-way between two stored values, often.
template <size_t kModels>
struct EncloseMean {
  HIERON_INLINE void operator()(Differences<kModels> d, double epsilon,
                                const double* __restrict enlarge, double* __restrict low,
                                double* __restrict high, size_t n) const {
    for (size_t i = 0; i < n; ++i) {
      double sum = 0, lost = 0, changed = 0, extra = 0, size = 0;
      for (size_t m = 0; m < d.models(); ++m) {
        const double change = d(m, i);
        const bool differs = std::fabs(change) > epsilon;
        const double x = choose(differs, d.values[m][i], 0.0);
        double error;
        sum = two_sum(sum, x, error);
        lost += std::fabs(error);
        size += std::fabs(x);
        changed += choose(differs, 1.0, 0.0);
        extra += choose(differs, enlarge[m] * change, 0.0);
      }
      extra = choose(changed == 1, extra, 0.0);
      const bool none = changed == 0;
      const double base = d.base[i], divisor = choose(none, 1.0, changed);
      const double mean = sum / divisor, value = mean + extra;
      // If the rounded quotient is a border between stored values, its product with the divisor is
      // exact, so that it tells whether the quotient is; if it is none, the true one is on its
      // side.
      const bool exact = (lost == 0) & (extra == 0) & (mean * divisor == sum);
      const double doubt = choose(exact, 0.0, (size + std::fabs(base) + std::fabs(extra)) * kDoubt);
      const bool finite = std::fabs(value - base) < std::numeric_limits<double>::infinity();
      low[i] = choose(none, base, choose(finite, value - doubt, -1.0));
      high[i] = choose(none, base, choose(finite, value + doubt, 1.0));
    }
  }
};

class RamWork final : public TensorWork {
 public:
  RamWork(const TensorTask& task, bool plus)
      : out_(task.out),
        base_(*task.base),
        epsilon_(value_of(task.parameters->global, "epsilon", 1e-5)),
        r_(value_of(task.parameters->global, "r", 0.1)),
        alpha_(value_of(task.parameters->global, "alpha", 0.2)),
        counting_(plus),
        counts_(task.inputs.size() - 1),
        factors_(counts_.size(), 1.0),
        enlarge_(counts_.size(), 0.0) {}

  bool wants_pass() const override { return counting_; }

  void look(const Piece& piece, WorkScratch& scratch) override {
    DeltaArrays arrays(piece, base_, scratch);
    scratch.masks.resize(std::max(scratch.masks.size(), (counts_.size() + 1) * kStrip));
    uint8_t *changed = scratch.masks.data(), *marks = changed + kStrip;
    for (size_t first = 0; first < piece.count; first += kStrip) {
      arrays.read(first, std::min(kStrip, piece.count - first));
      arrays.with_differences([&]<size_t kModels>(Differences<kModels> d) {
        run(best_isa(), MarkChanges<kModels>{}, d, epsilon_, marks, changed, arrays.count());
      });
      for (size_t m = 0; m < counts_.size(); ++m) {
        uint32_t all = 0, alone = 0;
        run(best_isa(), CountChanges{}, marks + m * kStrip, changed, arrays.count(), &all, &alone);
        counts_[m].unique += alone;
        counts_[m].shared += all - alone;
      }
    }
  }

  Status end_pass() override {
    for (size_t m = 0; m < counts_.size(); ++m) {
      const auto shared = static_cast<double>(counts_[m].shared);
      const double unique = std::max(static_cast<double>(counts_[m].unique), epsilon_);
      factors_[m] = 1 + r_ * std::clamp(shared / unique, 0.0, alpha_);
      enlarge_[m] = factors_[m] - 1;
    }
    counting_ = false;
    return {};
  }

  void apply(const Piece& piece, std::byte* out, WorkScratch& scratch) const override {
    DeltaArrays arrays(piece, base_, scratch);
    const size_t width = static_cast<size_t>(info(out_).bits) / 8;
    for (size_t first = 0; first < piece.count; first += kStrip) {
      arrays.read(first, std::min(kStrip, piece.count - first));
      round(arrays, out + first * width);
    }
  }

 private:
  struct Counts {
    std::atomic<uint64_t> shared{0}, unique{0};
  };

  void round(DeltaArrays& arrays, std::byte* out) const {
    const bool enclosed = arrays.can_enclose(out_);
    if (enclosed) {
      arrays.with_differences([&]<size_t kModels>(Differences<kModels> d) {
        run(best_isa(), EncloseMean<kModels>{}, d, epsilon_, enlarge_.data(), arrays.low(),
            arrays.high(), arrays.count());
      });
    }
    arrays.round(enclosed, true, out_, out,
                 [&](size_t i, std::span<double> c, std::span<double> w) {
                   for (size_t m = 0; m < c.size(); ++m) {
                     w[m] = std::fabs(arrays.difference(m, i)) > epsilon_ ? 1 : 0;
                   }
                   const bool alone = std::ranges::count(w, 1.0) == 1;
                   for (size_t m = 0; m < c.size(); ++m) c[m] = w[m] * (alone ? factors_[m] : 1);
                 });
  }

  const DType out_;
  const size_t base_;
  const double epsilon_, r_, alpha_;
  bool counting_;
  std::deque<Counts> counts_;              // not movable: several threads add to them
  std::vector<double> factors_, enlarge_;  // of a model's lone changes, and what is above 1
};

class Ram final : public Method {
 public:
  Ram(const MethodInfo& about, bool plus) : about_(about), plus_(plus) {}

  const MethodInfo& describe() const override { return about_; }
  std::optional<std::string> check(const TensorTask& task) const override {
    if (value_of(task.parameters->global, "epsilon", 0) >= 0) return std::nullopt;
    return "epsilon is negative; give the size up to which a change counts as none";
  }
  std::unique_ptr<TensorWork> start(const TensorTask& task) const override {
    return std::make_unique<RamWork>(task, plus_);
  }

  // Subsets of the models that matter most, the usual epsilon first.
  std::vector<Hypothesis> recover(const Evidence& seen) const override {
    std::vector<Hypothesis> found;
    for (const size_t base : seen.possible_bases()) {
      std::vector<std::pair<double, Hypothesis>> tried;
      for (auto& some : subsets(heaviest_beside(seen, base, kHeaviest), 2)) {
        std::ranges::sort(some);
        for (const double epsilon : kEpsilons) {
          Hypothesis hypothesis = plain_hypothesis(describe().name, some, base);
          if (epsilon != kEpsilon.standard) hypothesis.parameters = {{"epsilon", epsilon}};
          hypothesis.complexity = hypothesis.parameters.empty() ? 0 : 10;
          const double same = share_reproduced(seen, *seen.probes.front(), hypothesis);
          if (same >= kPromising) tried.emplace_back(same, std::move(hypothesis));
          if (tried.empty() && epsilon == kEpsilon.standard) break;
        }
      }
      std::ranges::stable_sort(tried, std::ranges::greater{},
                               &std::pair<double, Hypothesis>::first);
      if (tried.size() > kMostTried) tried.resize(kMostTried);
      for (const auto& [same, hypothesis] : tried) {
        if (plus_) {
          add_enlarged(seen, hypothesis, found);
        } else {
          add_orders(seen, hypothesis, kOrdered, found);
        }
      }
    }
    return found;
  }

 private:
  static constexpr size_t kHeaviest = 4, kMostTried = 4, kOrdered = 4;
  static constexpr double kPromising = 0.15;  // of the telling elements: wrong subsets reach .09
  static constexpr std::array kEpsilons{1e-5, 0.0, 1e-6, 1e-4, 1e-3};

  // What one model's lone changes in one tensor say: 1 + r·min(ratio, α) lies within the bounds.
  struct Enlarged {
    double ratio, low, high;
  };

  static std::vector<Enlarged> enlarged(const Evidence& seen, const Hypothesis& hypothesis) {
    const auto written = hypothesis.parameters.find("epsilon");
    const double epsilon =
        written == hypothesis.parameters.end() ? *kEpsilon.standard : written->second.otherwise;
    std::vector<Enlarged> all;
    const auto add = [&](const WholeTensor& tensor) {
      for (const HypothesisInput& input : hypothesis.inputs) {
        const auto one = lone_changes(tensor, hypothesis, input.model, epsilon);
        if (one) all.push_back(*one);
      }
    };
    for (const auto& probe : seen.probes) add(*probe);
    // Only tensors with few shared changes tell r from α.
    size_t others = 0;
    for (const TensorFit& fit : seen.fits) {
      if (++others > kMostTensors) break;
      if (seen.elements(fit.name) > kMostElements) continue;
      if (const auto tensor = seen.whole(fit.name)) add(**tensor);
    }
    return all;
  }

  static std::optional<Enlarged> lone_changes(const WholeTensor& probe,
                                              const Hypothesis& hypothesis, size_t model,
                                              double epsilon) {
    const std::vector<double> suspect(probe.values[0].begin(), probe.values[0].end());
    std::vector<CellEnds> cells(suspect.size());
    cell_ends(probe.dtype, suspect, cells);
    std::vector<AlphaInterval> factors;
    uint64_t unique = 0, shared = 0;
    for (size_t i = 0; i < suspect.size(); ++i) {
      const auto base = static_cast<double>(probe.values[*hypothesis.base][i]);
      const auto change = [&](size_t m) { return static_cast<double>(probe.values[m][i]) - base; };
      const double own = change(model);
      if (!(std::fabs(own) > epsilon)) continue;
      const auto changes = std::ranges::count_if(hypothesis.inputs, [&](const auto& input) {
        return std::fabs(change(input.model)) > epsilon;
      });
      (changes == 1 ? unique : shared) += 1;
      if (changes != 1) continue;
      const auto [low, high] =
          std::minmax({(cells[i].low - base) / own, (cells[i].high - base) / own});
      if (std::isfinite(low) && std::isfinite(high)) factors.push_back({low, high, kLeastLeverage});
    }
    const Depth peak = depth(factors, 0);
    if (peak.covered < kLeastLone) return std::nullopt;
    return Enlarged{static_cast<double>(shared) / static_cast<double>(unique), peak.low, peak.high};
  }

  // r and α in hundredths that all bounds allow, the usual ones first.
  void add_enlarged(const Evidence& seen, const Hypothesis& hypothesis,
                    std::vector<Hypothesis>& found) const {
    const std::vector<Enlarged> bounds = enlarged(seen, hypothesis);
    std::vector<std::pair<double, Hypothesis>> tried;
    for (int r = 1; r <= 100; ++r) {
      for (int alpha = 1; alpha <= 100; ++alpha) {
        const auto missed = [&](const Enlarged& one) {
          const double factor = 1 + r / 100.0 * std::min(one.ratio, alpha / 100.0);
          return std::max({0.0, one.low - factor, factor - one.high});
        };
        double worst = 0;
        for (const Enlarged& one : bounds) worst = std::max(worst, missed(one));
        if (worst > kFactorBlur || bounds.empty()) continue;
        Hypothesis other = hypothesis;
        other.parameters.insert_or_assign("r", r / 100.0);
        other.parameters.insert_or_assign("alpha", alpha / 100.0);
        other.complexity += r == 10 && alpha == 20           ? 0
                            : r == 10 || alpha == 20         ? 10
                            : r % 10 == 0 && alpha % 10 == 0 ? 11
                                                             : 20;
        tried.emplace_back(worst, std::move(other));
      }
    }
    std::ranges::stable_sort(tried, [](const auto& a, const auto& b) {
      return std::pair(a.first, a.second.complexity) < std::pair(b.first, b.second.complexity);
    });
    if (tried.size() > kMostEnlarged) tried.resize(kMostEnlarged);
    for (auto& [worst, other] : tried) found.push_back(std::move(other));
    add_orders(seen, hypothesis, kOrdered, found);
  }

  static constexpr uint64_t kLeastLone = 20;
  static constexpr double kFactorBlur = 0.004;  // where every operation rounds
  static constexpr size_t kMostEnlarged = 40;
  static constexpr size_t kMostTensors = 100, kMostElements = 1u << 17;
  const MethodInfo about_;
  const bool plus_;
};

}  // namespace

const Method& ram() {
  static const Ram method(
      {
          .name = "ram",
          .summary = "changes of one model kept whole, changes of several averaged",
          .formula = "S = {k : |x_k − b| > ε}; out = b + mean of (x_k − b) over S",
          .citation = "Reinforced Agent Merging, 2026 (arXiv 2601.13572)",
          .parameters = kParameters,
          .min_models = 1,
          .max_models = 255,
          .base = BaseModel::kRequired,
      },
      false);
  return method;
}

const Method& ramplus_tl() {
  static const Ram method(
      {
          .name = "ramplus_tl",
          .summary = "as ram, with the changes of one model enlarged by its overlap with others",
          .formula = "as ram; a change alone in S times 1 + r·clamp(shared_k/unique_k, 0, α)",
          .citation = "Reinforced Agent Merging Plus, tensor-local, 2026 (arXiv 2601.13572)",
          .parameters = kPlusParameters,
          .min_models = 1,
          .max_models = 255,
          .base = BaseModel::kRequired,
      },
      true);
  return method;
}

}  // namespace hieron
