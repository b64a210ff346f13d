// The base moves towards the model by at most t: near weights are swapped, far ones shifted.
// mergekit "nearswap" (alchemonaut 2024).
//
//   w = clamp(t / |x − b|, 0, 1);  out = (1 − w)·b + w·x,  that is: x where |x − b| <= t, else b ±
//   t
//
// mergekit takes |x − b| for 1e-6 where it is less; here it is what it is.
// Trace: elements equal to the model, or at the distance t from the base.
#include <array>
#include <bit>
#include <cmath>

#include "hieron/kernels/decode.h"
#include "hieron/kernels/tracked_sum.h"
#include "hieron/merge/methods/table.h"
#include "hieron/walk/walk.h"

namespace hieron {
namespace {

constexpr std::array<ParameterInfo, 1> kParameters{{
    {"t", ParameterType::kNumber, false, true, std::nullopt, "how far a weight may move"},
}};

// a + b, rounded to odd where it is not exact: whatever it is rounded to next is then rounded once.
double add_to_odd(double a, double b) {
  double error;
  const double sum = two_sum(a, b, error);
  if (error == 0 || !std::isfinite(sum) || (std::bit_cast<uint64_t>(sum) & 1) != 0) return sum;
  return std::nextafter(sum, error > 0 ? INFINITY : -INFINITY);
}

class NearswapWork final : public TensorWork {
 public:
  explicit NearswapWork(const TensorTask& task)
      : out_(task.out), base_(*task.base), t_(value_of(task.parameters->global, "t", 0)) {}

  void apply(const Piece& piece, std::byte* out, WorkScratch& scratch) const override {
    const Operand &b = piece.operands[base_], &x = piece.operands[1 - base_];
    const auto width = [](DType dtype) { return static_cast<size_t>(info(dtype).bits) / 8; };
    scratch.f64.resize(std::max<size_t>(scratch.f64.size(), 2 * kLeaf));
    for (size_t first = 0; first < piece.count; first += kLeaf) {
      const size_t n = std::min<size_t>(kLeaf, piece.count - first);
      const std::span<double> base(scratch.f64.data(), n), model(scratch.f64.data() + kLeaf, n);
      decode(b.dtype, b.data + first * width(b.dtype), base);
      decode(x.dtype, x.data + first * width(x.dtype), model);
      for (size_t i = 0; i < n; ++i) {
        const double d = model[i] - base[i];
        if (!(std::fabs(d) <= t_)) model[i] = add_to_odd(base[i], std::copysign(t_, d));
      }
      encode(out_, std::span<const double>(model), out + first * width(out_));
    }
  }

 private:
  const DType out_;
  const size_t base_;
  const double t_;
};

class Nearswap final : public Method {
 public:
  const MethodInfo& describe() const override {
    static const MethodInfo about{
        .name = "nearswap",
        .summary = "the base moved towards one model by at most t",
        .formula = "w = clamp(t/|x − b|, 0, 1); out = (1 − w)·b + w·x",
        .citation = "alchemonaut, QuartetAnemoi-70B, 2024; mergekit (arXiv 2403.13257)",
        .parameters = kParameters,
        .min_models = 1,
        .max_models = 1,
        .base = BaseModel::kRequired,
    };
    return about;
  }
  std::optional<std::string> check(const TensorTask& task) const override {
    if (value_of(task.parameters->global, "t", 0) >= 0) return std::nullopt;
    return "t is negative; give the distance that a weight may move";
  }
  std::unique_ptr<TensorWork> start(const TensorTask& task) const override {
    return std::make_unique<NearswapWork>(task);
  }
};

}  // namespace

const Method& nearswap() {
  static const Nearswap method;
  return method;
}

}  // namespace hieron
