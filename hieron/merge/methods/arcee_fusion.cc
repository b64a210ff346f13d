// Only the important changes of one model: those far out in the distribution of their size times
// how much their row changed.   mergekit "arcee_fusion" (Arcee 2024).
//
//   s = |x − b|·KL(softmax(x_row) + 1e-8 ‖ softmax(b_row) + 1e-8);   out = x where s >= q50
//   + 1.5·(q75 − q25) of s, else b
//
// Rows are those of the last dimension; quantiles q are the sorted scores (f32) at trunc(q·(n −
// 1)), of all elements. (mergekit takes a random million, and stores f32 beside a config that says
// otherwise.) Trace: elements equal to the base, or to the model; never between.
#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <optional>
#include <span>

#include "hieron/kernels/decode.h"
#include "hieron/kernels/isa.h"
#include "hieron/kernels/lanes.h"
#include "hieron/kernels/softmax_divergence.h"
#include "hieron/merge/methods/magnitude_order.h"
#include "hieron/merge/methods/table.h"
#include "hieron/merge/traces/input_choices.h"
#include "hieron/merge/traces/probe_run.h"
#include "hieron/walk/walk.h"

namespace hieron {
namespace {

constexpr double kEpsilon = 1e-8;

constexpr size_t kStrip = 512;  // elements worked on at once, in the first-level cache
constexpr uint64_t kKeysAtOnce = 64 * kLeaf;  // between two visits to the counters

// The scores, f32, of a strip.
struct Scores {
  HIERON_INLINE void operator()(const double* __restrict base, const double* __restrict model,
                                const double* __restrict divergence, float* __restrict scores,
                                size_t n) const {
    for (size_t i = 0; i < n; ++i) {
      scores[i] = static_cast<float>(std::fabs(model[i] - base[i]) * divergence[i]);
    }
  }
};

struct MagnitudeKeys {
  HIERON_INLINE void operator()(const float* __restrict values, uint32_t* __restrict keys,
                                size_t n) const {
    for (size_t i = 0; i < n; ++i) keys[i] = std::bit_cast<uint32_t>(values[i]) & 0x7FFFFFFF;
  }
};

struct DropSmall {
  double threshold;
  HIERON_INLINE void operator()(const double* __restrict base, const float* __restrict scores,
                                double* __restrict model, size_t n) const {
    for (size_t i = 0; i < n; ++i) {
      const double score = std::fabs(scores[i]);
      model[i] = choose(score >= threshold, model[i], base[i]);
    }
  }
};

size_t width(DType dtype) { return static_cast<size_t>(info(dtype).bits) / 8; }

class ArceeFusionWork final : public TensorWork {
 public:
  explicit ArceeFusionWork(const TensorTask& task)
      : out_(task.out),
        base_(*task.base),
        row_(std::max<uint64_t>(1, task.shape.empty() ? 1 : task.shape.back())),
        divergences_(task.elements / row_),
        order_(task.elements, positions(task.elements)) {}

  uint64_t grain() const override { return (kLeaf + row_ - 1) / row_ * row_; }
  uint64_t held() const override { return divergences_.size() * sizeof(double); }
  bool wants_pass() const override { return !measured_ || order_.wants_pass(); }

  void look(const Piece& piece, WorkScratch& scratch) override {
    if (!measured_) return measure_rows(piece, scratch);
    for (size_t first = 0; first < piece.count; first += kKeysAtOnce) {
      const size_t n = std::min<size_t>(kKeysAtOnce, piece.count - first);
      scratch.keys.resize(std::max(scratch.keys.size(), n));
      for (size_t at = 0; at < n; at += kStrip) {
        const Strip strip = score(piece, first + at, std::min(kStrip, n - at), scratch);
        run(best_isa(), MagnitudeKeys{}, strip.scores, scratch.keys.data() + at, strip.count);
      }
      order_.look(piece.first + first, std::span(scratch.keys).first(n), scratch);
    }
  }

  Status end_pass() override {
    if (!measured_) {
      measured_ = true;
    } else {
      order_.end_pass();
    }
    if (order_.wants_pass()) return {};
    const auto quantile = [&](size_t j) {
      return static_cast<double>(std::bit_cast<float>(order_.key_at(j)));
    };
    threshold_ = quantile(1) + 1.5 * (quantile(2) - quantile(0));
    return {};
  }

  void apply(const Piece& piece, std::byte* out, WorkScratch& scratch) const override {
    for (size_t first = 0; first < piece.count; first += kStrip) {
      const Strip strip = score(piece, first, std::min(kStrip, piece.count - first), scratch);
      run(best_isa(), DropSmall{threshold_}, strip.base, strip.scores, strip.model, strip.count);
      encode(out_, std::span<const double>(strip.model, strip.count), out + first * width(out_));
    }
  }

 private:
  // Borders whose key is the ascending score at trunc(q·(n − 1)).
  static std::vector<uint64_t> positions(uint64_t n) {
    std::vector<uint64_t> all;
    for (const double q : {0.25, 0.5, 0.75}) {
      all.push_back(n - static_cast<uint64_t>(q * static_cast<double>(n - (n > 0))));
    }
    return all;
  }

  struct Both {
    std::span<double> base, model;
  };
  Both read(const Piece& piece, size_t first, size_t n, WorkScratch& scratch) const {
    scratch.f64.resize(std::max(scratch.f64.size(), 2 * n));
    const Both both{{scratch.f64.data(), n}, {scratch.f64.data() + n, n}};
    const Operand &b = piece.operands[base_], &x = piece.operands[1 - base_];
    decode(b.dtype, b.data + first * width(b.dtype), both.base);
    decode(x.dtype, x.data + first * width(x.dtype), both.model);
    return both;
  }

  void measure_rows(const Piece& piece, WorkScratch& scratch) {
    for (size_t first = 0; first < piece.count; first += row_) {
      const auto [base, model] = read(piece, first, row_, scratch);
      divergences_[(piece.first + first) / row_] =
          softmax_divergence(model, base, kEpsilon, scratch.blend.f64);
    }
  }

  struct Strip {
    const double* base;
    double* model;
    const float* scores;
    size_t count;
  };
  Strip score(const Piece& piece, size_t first, size_t n, WorkScratch& scratch) const {
    scratch.f64.resize(std::max(scratch.f64.size(), 3 * n));
    scratch.f32.resize(std::max(scratch.f32.size(), n));
    const auto [base, model] = read(piece, first, n, scratch);
    double* divergence = scratch.f64.data() + 2 * n;
    for (size_t i = 0; i < n;) {
      const uint64_t element = piece.first + first + i;
      const size_t same = std::min<uint64_t>(row_ - element % row_, n - i);
      std::fill_n(divergence + i, same, divergences_[element / row_]);
      i += same;
    }
    run(best_isa(), Scores{}, static_cast<const double*>(base.data()),
        static_cast<const double*>(model.data()), static_cast<const double*>(divergence),
        scratch.f32.data(), n);
    return {base.data(), model.data(), scratch.f32.data(), n};
  }

  const DType out_;
  const size_t base_;
  const uint64_t row_;
  std::vector<double> divergences_;  // by row
  bool measured_ = false;
  MagnitudeOrder order_;
  double threshold_ = 0;
};

class ArceeFusion final : public Method {
 public:
  const MethodInfo& describe() const override {
    static const MethodInfo about{
        .name = "arcee_fusion",
        .summary = "only the important changes of one model",
        .formula =
            "s = |x − b|·KL(softmax(x_row) ‖ softmax(b_row)); out = x where s >= q50 + "
            "1.5·(q75 − q25), else b",
        .citation = "Arcee, 2024; mergekit (arXiv 2403.13257)",
        .parameters = {},
        .min_models = 1,
        .max_models = 1,
        .base = BaseModel::kRequired,
    };
    return about;
  }
  std::unique_ptr<TensorWork> start(const TensorTask& task) const override {
    return std::make_unique<ArceeFusionWork>(task);
  }

  // Any base and model between which the suspect chooses, element by element.
  std::vector<Hypothesis> recover(const Evidence& seen) const override {
    const WholeTensor& tensor = *seen.probes.front();
    std::vector<Hypothesis> found;
    for (const size_t base : seen.possible_bases()) {
      const std::vector<float> origin = as_suspect(tensor, base);
      for (const size_t model : seen.candidates) {
        if (model == base || !chooses(tensor, origin, as_suspect(tensor, model))) continue;
        found.push_back(plain_hypothesis(describe().name, std::array{model}, base));
      }
    }
    return found;
  }

 private:
  static constexpr float kNoiseOfChange = 0x1p-8f;  // bf16's, whatever is stored

  // The base, or the model; the model give or take the rounding of b + (x − b).
  static bool chooses(const WholeTensor& tensor, std::span<const float> base,
                      std::span<const float> model) {
    const std::vector<float>& suspect = tensor.values[0];
    const float noise = rounding_noise(tensor.dtype);
    size_t neither = 0, taken = 0, allowed = suspect.size() / 100;
    for (size_t i = 0; i < suspect.size() && neither <= allowed; ++i) {
      const float size = std::max(std::abs(base[i]), std::abs(model[i]));
      const bool is_base = suspect[i] == base[i];
      const float of_change = kNoiseOfChange * std::abs(model[i] - base[i]);
      const bool is_model = std::abs(suspect[i] - model[i]) <= noise * size + of_change;
      neither += !is_base && !is_model;
      taken += is_model && !is_base;
    }
    return neither <= allowed && taken > 0;
  }
};

}  // namespace

const Method& arcee_fusion() {
  static const ArceeFusion method;
  return method;
}

}  // namespace hieron
