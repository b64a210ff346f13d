// The base moves towards the model by at most t: near weights are swapped, far ones shifted.
// mergekit "nearswap" (alchemonaut 2024).
//
//   w = clamp(t / |x − b|, 0, 1);  out = (1 − w)·b + w·x,  that is: x where |x − b| <= t, else b ±
//   t
//
// mergekit takes |x − b| for 1e-6 where it is less; here it is what it is.
// Trace: elements equal to the model, or at the distance t from the base.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstdlib>
#include <limits>

#include "hieron/fit/depth.h"
#include "hieron/fit/interval.h"
#include "hieron/kernels/decode.h"
#include "hieron/kernels/isa.h"
#include "hieron/kernels/lanes.h"
#include "hieron/kernels/tracked_sum.h"
#include "hieron/merge/methods/table.h"
#include "hieron/merge/traces/input_choices.h"
#include "hieron/merge/traces/probe_run.h"

namespace hieron {
namespace {

constexpr std::array<ParameterInfo, 1> kParameters{{
    {"t", ParameterType::kNumber, false, true, std::nullopt, "how far a weight may move"},
}};

constexpr size_t kStrip = 512;  // elements worked on at once, in the first-level cache

// a + b, rounded to odd where it is not exact: whatever it is rounded to next is then rounded once.
HIERON_INLINE double add_to_odd(double a, double b) {
  double error;
  const double sum = two_sum(a, b, error);
  const uint64_t bits = std::bit_cast<uint64_t>(sum);
  const bool moves =
      (error != 0) & (std::fabs(sum) <= std::numeric_limits<double>::max()) & ((bits & 1) == 0);
  // The neighbour on the side of the error: away from zero where it has the sign of the sum.
  const uint64_t inwards = (bits ^ std::bit_cast<uint64_t>(error)) >> 63;
  return choose(moves, std::bit_cast<double>(bits + 1 - 2 * inwards), sum);
}

struct MoveTowards {
  double t;
  HIERON_INLINE void operator()(const double* __restrict base, double* __restrict model,
                                size_t n) const {
    for (size_t i = 0; i < n; ++i) {
      const double d = model[i] - base[i];
      const double moved = add_to_odd(base[i], std::copysign(t, d));
      model[i] = choose(std::fabs(d) <= t, model[i], moved);
    }
  }
};

class NearswapWork final : public TensorWork {
 public:
  explicit NearswapWork(const TensorTask& task)
      : out_(task.out), base_(*task.base), t_(value_of(task.parameters->global, "t", 0)) {}

  void apply(const Piece& piece, std::byte* out, WorkScratch& scratch) const override {
    const Operand &b = piece.operands[base_], &x = piece.operands[1 - base_];
    const auto width = [](DType dtype) { return static_cast<size_t>(info(dtype).bits) / 8; };
    scratch.f64.resize(std::max<size_t>(scratch.f64.size(), 2 * kStrip));
    for (size_t first = 0; first < piece.count; first += kStrip) {
      const size_t n = std::min<size_t>(kStrip, piece.count - first);
      const std::span<double> base(scratch.f64.data(), n), model(scratch.f64.data() + kStrip, n);
      decode(b.dtype, b.data + first * width(b.dtype), base);
      decode(x.dtype, x.data + first * width(x.dtype), model);
      run(best_isa(), MoveTowards{t_}, static_cast<const double*>(base.data()), model.data(), n);
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

  // Any base and model such that the suspect lies between them, at one distance from the base where
  // it is not the model.
  std::vector<Hypothesis> recover(const Evidence& seen) const override {
    const WholeTensor& tensor = *seen.probes.back();  // the largest
    std::vector<Hypothesis> found;
    for (const size_t base : seen.possible_bases()) {
      for (const size_t model : seen.candidates) {
        if (model == base || found.size() >= kMost) continue;
        const std::vector<AlphaInterval> moved = distances(tensor, base, model);
        if (moved.size() < kLeastMoved) continue;
        for (const double t : written_near(depth(moved, 0), tensor.dtype)) {
          Hypothesis hypothesis = plain_hypothesis(describe().name, std::array{model}, base);
          hypothesis.parameters = {{"t", t}};
          hypothesis.complexity = 10 * significant_digits(t);
          if (promising(seen, hypothesis)) found.push_back(std::move(hypothesis));
        }
      }
    }
    return found;
  }

  std::unique_ptr<TensorWork> start(const TensorTask& task) const override {
    return std::make_unique<NearswapWork>(task);
  }

 private:
  static constexpr size_t kLeastMoved = 50, kMost = 200;
  static constexpr int kMostDigits = 3;

  // What each element that was neither kept nor swapped says of t; empty unless nearly all elements
  // lie between the two.
  static std::vector<AlphaInterval> distances(const WholeTensor& tensor, size_t base,
                                              size_t model) {
    const std::vector<float> b = as_suspect(tensor, base), x = as_suspect(tensor, model);
    const std::vector<double> s(tensor.values[0].begin(), tensor.values[0].end());
    std::vector<CellEnds> cells(s.size());
    cell_ends(tensor.dtype, s, cells);
    std::vector<AlphaInterval> moved;
    size_t outside = 0;
    const size_t allowed = s.size() / 100;
    for (size_t i = 0; i < s.size() && outside <= allowed; ++i) {
      const double origin = static_cast<double>(b[i]), far = static_cast<double>(x[i]);
      if (s[i] == far || origin == far) {
        outside += origin == far && s[i] != far;
        continue;
      }
      const double sign = far > origin ? 1 : -1;
      const double low = sign * ((sign > 0 ? cells[i].low : cells[i].high) - origin);
      const double high = sign * ((sign > 0 ? cells[i].high : cells[i].low) - origin);
      outside += high < 0 || low > std::fabs(far - origin);
      moved.push_back({low, high, kLeastLeverage});
    }
    if (outside > allowed) moved.clear();
    return moved;
  }

  // Numbers of one to three significant digits in and around the bounds; where every operation
  // rounds, the distances are blurred by a unit in the last place of what is added.
  static std::vector<double> written_near(const Depth& peak, DType dtype) {
    const double middle = peak.alpha();
    if (!(middle > 0)) return {};
    const double blur = dtype == DType::kF32 ? 1e-5 : 0.02;
    const double low = std::min(peak.low, middle * (1 - blur));
    const double high = std::max(peak.high, middle * (1 + blur));
    std::vector<double> found;
    for (int digits = 1; digits <= kMostDigits; ++digits) {
      const double unit = std::pow(10.0, std::floor(std::log10(middle)) - (digits - 1));
      for (double n = std::ceil(low / unit); n * unit <= high; ++n) {
        // Through text: 3·0.0001 is not 0.0003.
        const double value =
            std::strtod(fmt::format("{:.{}e}", n * unit, digits - 1).c_str(), nullptr);
        if (std::ranges::find(found, value) == found.end()) found.push_back(value);
      }
    }
    return found;
  }

  static int significant_digits(double t) {
    for (int digits = 1; digits < kMostDigits; ++digits) {
      const std::string text = fmt::format("{:.{}e}", t, digits - 1);
      if (std::strtod(text.c_str(), nullptr) == t) return digits;
    }
    return kMostDigits;
  }
};

}  // namespace

const Method& nearswap() {
  static const Nearswap method;
  return method;
}

}  // namespace hieron
