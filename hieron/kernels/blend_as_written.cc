// The models that evaluate a formula in f32, with roundings to a working format on the way.
//
// A model says how one more operand enters the sum (`add`) and what the sum becomes (`finish`).
// Sums run in operand order; the working format's rounding is a type, so that f32, bf16 and f16
// share one text.
#include <algorithm>
#include <cassert>
#include <cmath>
#include <limits>

#include "hieron/kernels/blend_on.h"
#include "hieron/kernels/decode_on.h"
#include "hieron/kernels/lanes.h"

namespace hieron {
namespace {

// ---- working formats: r() of the formulas ----

struct AsF32 {
  static constexpr DType kDType = DType::kF32;
  HIERON_INLINE float operator()(float x) const { return x; }
};

struct AsBf16 {
  static constexpr DType kDType = DType::kBF16;
  HIERON_INLINE float operator()(float x) const { return bf16_to_f32(f32_to_bf16(x)); }
};

struct AsF16 {
  static constexpr DType kDType = DType::kF16;
  Narrowing narrow{float_layout(DType::kF16)};
  HIERON_INLINE float operator()(float x) const {
    return f16_to_f32(static_cast<uint16_t>(narrow(x)));
  }
};

// ---- models ----

template <class Round>
struct Once {
  static constexpr float kStart = -0.0f;  // adds to anything without a trace, -0 included
  Round round;
  float divisor;
  HIERON_INLINE float add(float acc, float x, float, float weight) const {
    return acc + weight * x;
  }
  HIERON_INLINE float finish(float acc, float) const { return round(acc / divisor); }
};

struct Fma {
  static constexpr float kStart = 0.0f;
  AsF32 round;
  float divisor;
  HIERON_INLINE float add(float acc, float x, float, float weight) const {
    return __builtin_fmaf(x, weight, acc);
  }
  HIERON_INLINE float finish(float acc, float) const { return acc / divisor; }
};

template <class Round>
struct Products {
  static constexpr float kStart = 0.0f;
  Round round;
  float divisor;
  HIERON_INLINE float add(float acc, float x, float, float weight) const {
    return acc + round(weight * x);
  }
  HIERON_INLINE float finish(float acc, float) const { return round(round(acc) / divisor); }
};

template <class Round>
struct Delta {
  static constexpr float kStart = 0.0f;
  Round round;
  HIERON_INLINE float add(float acc, float x, float base, float weight) const {
    return acc + round(round(x - base) * weight);
  }
  HIERON_INLINE float finish(float acc, float base) const { return round(base + round(acc)); }
};

// ---- loops ----

template <class Model>
struct AddOperand {
  Model model;
  float weight;
  HIERON_INLINE void operator()(const float* __restrict x, const float* __restrict base,
                                float* __restrict acc, size_t n) const {
    for (size_t i = 0; i < n; ++i) acc[i] = model.add(acc[i], x[i], base[i], weight);
  }
};

// NaN has many patterns, and which of them an operation returns depends on the order in which a
// compiler hands over its operands: one pattern for all.
HIERON_INLINE float one_nan(float x) {
  return choose(x != x, std::numeric_limits<float>::quiet_NaN(), x);
}

template <class Model>
struct Finish {
  Model model;
  HIERON_INLINE void operator()(float* __restrict acc, const float* __restrict base,
                                size_t n) const {
    for (size_t i = 0; i < n; ++i) acc[i] = one_nan(model.finish(acc[i], base[i]));
  }
};

struct Lerp {
  float t;
  HIERON_INLINE void operator()(float* __restrict p, const float* __restrict q, size_t n) const {
    for (size_t i = 0; i < n; ++i) p[i] = one_nan(q[i] + t * (p[i] - q[i]));
  }
};

template <class Round>
struct RoundAll {
  Round round;
  HIERON_INLINE void operator()(float* __restrict x, size_t n) const {
    for (size_t i = 0; i < n; ++i) x[i] = round(x[i]);
  }
};

// ---- a chunk ----

struct Chunk {
  Isa isa;
  std::span<const Operand> operands;
  size_t at, count;
  float *acc, *x, *base;  // kBlendChunk each

  // The elements of operand k, cast to the working format.
  template <class Round>
  void decode_as(const Round& round, size_t k, float* into) const {
    const Operand& operand = operands[k];
    const size_t width = static_cast<size_t>(info(operand.dtype).bits) / 8;
    decode_on(isa, operand.dtype, operand.data + at * width, std::span(into, count));
    if (operand.dtype != Round::kDType) run(isa, RoundAll<Round>{round}, into, count);
  }

  template <class Model>
  void sum(const Model& model, std::span<const float> weights) const {
    std::fill_n(acc, count, Model::kStart);
    for (size_t k = 0; k < weights.size(); ++k) {
      decode_as(model.round, k, x);
      run(isa, AddOperand<Model>{model, weights[k]}, x, base, acc, count);
    }
    run(isa, Finish<Model>{model}, acc, base, count);
  }
};

// ---- weights ----

template <class Round>
std::vector<float> cast_weights(const Round& round, std::span<const double> weights) {
  std::vector<float> cast;
  for (double weight : weights) cast.push_back(round(static_cast<float>(weight)));
  return cast;
}

template <class Round>
float divisor(const Round& round, std::span<const float> weights, bool normalize) {
  if (!normalize) return 1.0f;
  float sum = 0.0f;
  for (float weight : weights) sum += weight;
  return round(sum);
}

// ---- all chunks of one model ----

struct Job {
  Isa isa;
  const Combination& combination;
  std::span<const Operand> operands;
  DType out_dtype;
  std::byte* out;
  size_t count;
  BlendScratch& scratch;

  template <class DoChunk>
  void for_each_chunk(const DoChunk& work) const {
    float* buffers = take(scratch.f32, 3 * kBlendChunk).data();
    std::fill_n(buffers, 3 * kBlendChunk, 0.0f);
    const size_t width = static_cast<size_t>(info(out_dtype).bits) / 8;
    for (size_t at = 0; at < count; at += kBlendChunk) {
      const Chunk chunk{isa,
                        operands,
                        at,
                        std::min(kBlendChunk, count - at),
                        buffers,
                        buffers + kBlendChunk,
                        buffers + 2 * kBlendChunk};
      work(chunk);
      encode_on(isa, out_dtype, std::span<const float>(chunk.acc, chunk.count), out + at * width);
    }
  }

  void f32_fma() const {
    const auto weights = cast_weights(AsF32{}, combination.weights);
    const Fma model{{}, divisor(AsF32{}, weights, combination.normalize)};
    for_each_chunk([&](const Chunk& chunk) { chunk.sum(model, weights); });
  }

  template <class Round>
  void once(const Round& round) const {
    const auto weights = cast_weights(AsF32{}, combination.weights);
    const Once<Round> model{round, divisor(AsF32{}, weights, combination.normalize)};
    for_each_chunk([&](const Chunk& chunk) { chunk.sum(model, weights); });
  }

  template <class Round>
  void products(const Round& round) const {
    const auto weights = cast_weights(round, combination.weights);
    const Products<Round> model{round, divisor(round, weights, combination.normalize)};
    for_each_chunk([&](const Chunk& chunk) { chunk.sum(model, weights); });
  }

  template <class Round>
  void delta(const Round& round) const {
    const auto weights = cast_weights(round, combination.weights);
    const auto added = std::span(weights).first(weights.size() - 1);
    const Delta<Round> model{round};
    for_each_chunk([&](const Chunk& chunk) {
      chunk.decode_as(round, operands.size() - 1, chunk.base);
      chunk.sum(model, added);
    });
  }

  void lerp() const {
    const double first = combination.weights[0];
    const double n = combination.normalize ? first + combination.weights[1] : 1.0;
    const Lerp kernel{static_cast<float>(first / n)};
    for_each_chunk([&](const Chunk& chunk) {
      chunk.decode_as(AsF32{}, 0, chunk.acc);
      chunk.decode_as(AsF32{}, 1, chunk.x);
      run(isa, kernel, chunk.acc, chunk.x, chunk.count);
    });
  }
};

}  // namespace

void blend_as_written(Isa isa, Arithmetic arithmetic, const Combination& combination,
                      std::span<const Operand> operands, DType out_dtype, std::byte* out,
                      size_t count, BlendScratch& scratch) {
  const Job job{isa, combination, operands, out_dtype, out, count, scratch};
  switch (arithmetic) {
    case Arithmetic::kExact:
      break;
    case Arithmetic::kF32Once:
      return job.once(AsF32{});
    case Arithmetic::kF32Fma:
      return job.f32_fma();
    case Arithmetic::kF32Lerp:
      return job.lerp();
    case Arithmetic::kBf16Products:
      return job.products(AsBf16{});
    case Arithmetic::kBf16Delta:
      return job.delta(AsBf16{});
    case Arithmetic::kF16Once:
      return job.once(AsF16{});
    case Arithmetic::kF16Products:
      return job.products(AsF16{});
    case Arithmetic::kF16Delta:
      return job.delta(AsF16{});
  }
  assert(false && "exact is not evaluated as written");
}

}  // namespace hieron
