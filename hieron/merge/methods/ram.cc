// Changes that one model alone makes are kept whole, those that several make are averaged.
// mergekit "ram", "ramplus_tl" (Reinforced Agent Merging, 2026).
//
//   S_i = {k : |x_ki − b_i| > ε};   out = b + mean of d_k over S_i
//   ramplus_tl: a change alone in S_i is enlarged by 1 + r·clamp(shared_k / unique_k, 0, α), where
//   shared and unique count the tensor's elements that k changes with others, or alone
//
// Trace: elements that equal one model, elements half-way between two; none elsewhere.
#include <array>
#include <atomic>
#include <deque>

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

class RamWork final : public TensorWork {
 public:
  RamWork(const TensorTask& task, bool plus)
      : out_(task.out),
        base_(*task.base),
        epsilon_(value_of(task.parameters->global, "epsilon", 1e-5)),
        r_(value_of(task.parameters->global, "r", 0.1)),
        alpha_(value_of(task.parameters->global, "alpha", 0.2)),
        counting_(plus),
        counts_(task.inputs.size() - 1) {}

  bool wants_pass() const override { return counting_; }

  void look(const Piece& piece, WorkScratch& scratch) override {
    for (size_t first = 0; first < piece.count; first += kLeaf) {
      const size_t n = std::min<size_t>(kLeaf, piece.count - first);
      DeltaArrays arrays(piece, base_, first, n, scratch);
      for (size_t i = 0; i < n; ++i) {
        const size_t changed = mark(arrays, i);
        for (size_t m = 0; changed > 0 && m < arrays.models(); ++m) {
          if (arrays.weight(m, i) != 0) ++(changed > 1 ? counts_[m].shared : counts_[m].unique);
        }
      }
    }
  }

  Status end_pass() override {
    for (Counts& counts : counts_) {
      const auto shared = static_cast<double>(counts.shared);
      const double unique = std::max(static_cast<double>(counts.unique), epsilon_);
      counts.factor = 1 + r_ * std::clamp(shared / unique, 0.0, alpha_);
    }
    counting_ = false;
    return {};
  }

  void apply(const Piece& piece, std::byte* out, WorkScratch& scratch) const override {
    const size_t width = static_cast<size_t>(info(out_).bits) / 8;
    for (size_t first = 0; first < piece.count; first += kLeaf) {
      const size_t n = std::min<size_t>(kLeaf, piece.count - first);
      DeltaArrays arrays(piece, base_, first, n, scratch);
      for (size_t i = 0; i < n; ++i) {
        const size_t changed = mark(arrays, i);
        for (size_t m = 0; m < arrays.models(); ++m) {
          arrays.coefficient(m, i) = arrays.weight(m, i) * (changed == 1 ? counts_[m].factor : 1);
        }
      }
      arrays.round(true, out_, out + first * width);
    }
  }

 private:
  struct Counts {
    std::atomic<uint64_t> shared{0}, unique{0};
    double factor = 1;
  };

  // weight 1 for the models that change the element; how many they are.
  size_t mark(DeltaArrays& arrays, size_t i) const {
    size_t changed = 0;
    for (size_t m = 0; m < arrays.models(); ++m) {
      const bool differs = std::abs(arrays.difference(m, i)) > epsilon_;
      arrays.weight(m, i) = differs ? 1 : 0;
      changed += differs;
    }
    return changed;
  }

  const DType out_;
  const size_t base_;
  const double epsilon_, r_, alpha_;
  bool counting_;
  std::deque<Counts> counts_;
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
