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

#include "hieron/kernels/isa.h"
#include "hieron/kernels/lanes.h"
#include "hieron/kernels/tracked_sum.h"
#include "hieron/merge/methods/delta_arrays.h"
#include "hieron/merge/methods/table.h"
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

 private:
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
