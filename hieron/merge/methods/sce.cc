// Select, calculate, erase: the elements in which the models disagree most, weights from the energy
// of their changes, and only the sign of the majority.   Wan et al. 2024 (FuseChat); mergekit
// "sce".
//
//   select the elements of the largest Var_k(d_k): a share select_topk of those where it is not
//   zero w_k = mean(d_k²) / Σ_j mean(d_j²);   out = b + Σ w_k·d_k / Σ w_k over the k whose sign is
//   that of Σ d_k
//
// mergekit takes equal weights where Σ mean(d²) < 1e-6, which holds for most fine-tunes; here only
// where it is zero. Variances are compared as f32, equal ones by lower element index.
#include <array>
#include <cmath>

#include "hieron/kernels/round_delta.h"
#include "hieron/merge/methods/delta_arrays.h"
#include "hieron/merge/methods/leaf_sums.h"
#include "hieron/merge/methods/magnitude_order.h"
#include "hieron/merge/methods/table.h"
#include "hieron/walk/walk.h"

namespace hieron {
namespace {

constexpr std::array<ParameterInfo, 2> kParameters{{
    {"select_topk", ParameterType::kNumber, false, false, 1.0,
     "share of the elements, by variance between the models, that is merged"},
    {"int8_mask", ParameterType::kBoolean, false, false, 0.0,
     "no effect: mergekit saves memory with it"},
}};

constexpr double kDoubt = 0x1p-40;  // of a sum of differences in f64

class SceWork final : public TensorWork {
 public:
  explicit SceWork(const TensorTask& task)
      : out_(task.out),
        base_(*task.base),
        models_(task.inputs.size() - 1),
        sums_(std::in_place, task.elements, kLeaf, models_) {
    const double share = value_of(task.parameters->global, "select_topk", 1);
    if (share < 1) order_.emplace(task.elements, std::max(share, 0.0));
  }

  uint64_t grain() const override { return kLeaf; }
  bool wants_pass() const override { return sums_.has_value(); }

  void look(const Piece& piece, WorkScratch& scratch) override {
    const bool ordering = order_ && order_->wants_pass();
    sums_->each_leaf(piece, [&](size_t first, size_t n, std::span<double> sums) {
      DeltaArrays arrays(piece, base_, first, n, scratch);
      if (ordering) {
        find_keys(arrays, n, scratch);
        order_->look(piece.first + first, std::span(scratch.keys).first(n), scratch);
        return;
      }
      select(arrays, piece.first + first, n, scratch);
      for (size_t m = 0; m < models_; ++m) sums[m] = energy(arrays, m, n, scratch.flags);
    });
  }

  Status end_pass() override {
    if (order_ && order_->wants_pass()) {
      order_->end_pass();
      return {};
    }
    weights_ = sums_->total();
    sums_.reset();
    double sum = 0;
    for (double w : weights_) sum += w;
    for (double& w : weights_) w = sum > 0 ? w / sum : 1;
    return {};
  }

  void apply(const Piece& piece, std::byte* out, WorkScratch& scratch) const override {
    const size_t width = static_cast<size_t>(info(out_).bits) / 8;
    for (size_t first = 0; first < piece.count; first += kLeaf) {
      const size_t n = std::min<size_t>(kLeaf, piece.count - first);
      DeltaArrays arrays(piece, base_, first, n, scratch);
      select(arrays, piece.first + first, n, scratch);
      for (size_t i = 0; i < n; ++i) {
        const bool positive = scratch.flags[i] && elects_positive(arrays, i);
        for (size_t m = 0; m < models_; ++m) {
          const double d = arrays.difference(m, i);
          const bool stays = scratch.flags[i] && (positive ? d > 0 : d < 0);
          arrays.coefficient(m, i) = arrays.weight(m, i) = stays ? weights_[m] : 0;
        }
      }
      arrays.round(true, out_, out + first * width);
    }
  }

 private:
  static void find_keys(const DeltaArrays& arrays, size_t n, WorkScratch& scratch) {
    scratch.keys.resize(std::max(scratch.keys.size(), n));
    const auto models = static_cast<double>(arrays.models());
    for (size_t i = 0; i < n; ++i) {
      double mean = 0, variance = 0;
      for (size_t m = 0; m < arrays.models(); ++m) mean += arrays.difference(m, i);
      mean /= models;
      for (size_t m = 0; m < arrays.models(); ++m) {
        const double off = arrays.difference(m, i) - mean;
        variance += off * off;
      }
      scratch.keys[i] = magnitude_key(static_cast<float>(variance / models));
    }
  }

  // scratch.flags: the selected elements.
  void select(const DeltaArrays& arrays, uint64_t first, size_t n, WorkScratch& scratch) const {
    scratch.flags.resize(std::max(scratch.flags.size(), n));
    if (!order_) {
      std::fill_n(scratch.flags.begin(), n, uint8_t{1});
      return;
    }
    find_keys(arrays, n, scratch);
    order_->before(0, first, std::span(scratch.keys).first(n), scratch.flags.data());
  }

  static double energy(const DeltaArrays& arrays, size_t m, size_t n,
                       const std::vector<uint8_t>& selected) {
    std::array<double, 4> lanes{};
    for (size_t i = 0; i < n; ++i) {
      const double d = selected[i] ? arrays.difference(m, i) : 0;
      lanes[i % 4] += d * d;
    }
    return (lanes[0] + lanes[1]) + (lanes[2] + lanes[3]);
  }

  bool elects_positive(const DeltaArrays& arrays, size_t i) const {
    double sum = 0, size = 0;
    for (size_t m = 0; m < models_; ++m) {
      sum += arrays.difference(m, i);
      size += std::fabs(arrays.difference(m, i));
    }
    if (std::fabs(sum) > size * kDoubt || size == 0) return sum >= 0;
    std::vector<double> values;
    for (size_t m = 0; m < models_; ++m) values.push_back(arrays.value(m)[i]);
    return sign_of_delta(arrays.base()[i], values, std::vector<double>(models_, 1.0)) >= 0;
  }

  const DType out_;
  const size_t base_, models_;
  std::optional<LeafSums> sums_;  // gone once the weights are known
  std::optional<MagnitudeOrder> order_;
  std::vector<double> weights_;
};

class Sce final : public Method {
 public:
  const MethodInfo& describe() const override {
    static const MethodInfo about{
        .name = "sce",
        .summary =
            "where the models disagree most, by the energy of their changes, sign by majority",
        .formula =
            "select by Var(d_k); w_k = mean(d_k²)/Σ mean(d_j²); out = b + Σ_{sign = Σd} "
            "w_k·d_k / Σ_{sign = Σd} w_k",
        .citation = "Wan et al., FuseChat, 2024 (arXiv 2408.07990)",
        .parameters = kParameters,
        .min_models = 1,
        .max_models = 255,
        .base = BaseModel::kRequired,
    };
    return about;
  }
  std::optional<std::string> check(const TensorTask& task) const override {
    const double share = value_of(task.parameters->global, "select_topk", 1);
    if (share >= 0 && share <= 1) return std::nullopt;
    return "select_topk is not a share; give a number from 0 to 1";
  }
  std::unique_ptr<TensorWork> start(const TensorTask& task) const override {
    return std::make_unique<SceWork>(task);
  }
};

}  // namespace

const Method& sce() {
  static const Sce method;
  return method;
}

}  // namespace hieron
