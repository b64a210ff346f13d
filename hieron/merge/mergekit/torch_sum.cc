#include "hieron/merge/mergekit/torch_sum.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstdint>

namespace hieron::mergekit {
namespace {

constexpr size_t kLanes = 8;   // f32 in a vector
constexpr size_t kChains = 4;  // independent running sums
constexpr size_t kLevels = 4;  // of the cascade

// One vector, or one number, of running sums.
template <size_t kWidth>
struct Lanes {
  std::array<float, kWidth> lane{};

  Lanes& operator+=(const Lanes& other) {
    for (size_t i = 0; i < kWidth; ++i) lane[i] += other.lane[i];
    return *this;
  }
};

size_t ceil_log2(size_t n) { return n <= 2 ? 1 : static_cast<size_t>(std::bit_width(n - 1)); }

// Adds `rows` rows of kColumns terms; term(row, column).
template <class Term, size_t kColumns, class Load>
std::array<Term, kColumns> cascade(size_t rows, const Load& term) {
  const size_t power = std::max<size_t>(4, ceil_log2(rows) / kLevels);
  const size_t run = size_t{1} << power, mask = run - 1;
  std::array<std::array<Term, kColumns>, kLevels> level{};
  size_t i = 0;
  while (i + run <= rows) {
    for (size_t j = 0; j < run; ++j, ++i) {
      for (size_t k = 0; k < kColumns; ++k) level[0][k] += term(i, k);
    }
    for (size_t j = 1; j < kLevels; ++j) {
      for (size_t k = 0; k < kColumns; ++k) {
        level[j][k] += level[j - 1][k];
        level[j - 1][k] = Term{};
      }
      if ((i & (mask << (j * power))) != 0) break;
    }
  }
  for (; i < rows; ++i) {
    for (size_t k = 0; k < kColumns; ++k) level[0][k] += term(i, k);
  }
  for (size_t j = 1; j < kLevels; ++j) {
    for (size_t k = 0; k < kColumns; ++k) level[0][k] += level[j][k];
  }
  return level[0];
}

// One row, read as four chains.
template <class Term, class Load>
Term row_sum(size_t n, const Load& term) {
  auto sums = cascade<Term, kChains>(
      n / kChains, [&](size_t row, size_t column) { return term(row * kChains + column); });
  for (size_t i = n / kChains * kChains; i < n; ++i) sums[0] += term(i);
  for (size_t k = 1; k < kChains; ++k) sums[0] += sums[k];
  return sums[0];
}

using Number = Lanes<1>;
using Vector = Lanes<kLanes>;

size_t vector_elements(DType dtype) { return dtype == DType::kF32 ? kLanes : 2 * kLanes; }

// A vector of elements as one of f32: halves of BF16 are added, neighbours of F16.
Vector load(const float* data, DType dtype) {
  Vector v;
  for (size_t i = 0; i < kLanes; ++i) {
    if (dtype == DType::kF32) v.lane[i] = data[i];
    if (dtype == DType::kBF16) v.lane[i] = data[i] + data[i + kLanes];
    if (dtype == DType::kF16) v.lane[i] = data[2 * i] + data[2 * i + 1];
  }
  return v;
}

}  // namespace

float sum(std::span<const float> values, DType dtype) {
  const size_t width = vector_elements(dtype), n = values.size(), vectors = n / width;
  const auto one = [&](size_t i) { return Number{{values[i]}}; };
  if (vectors == 0) return row_sum<Number>(n, one).lane[0];
  const Vector sums =
      row_sum<Vector>(vectors, [&](size_t i) { return load(values.data() + i * width, dtype); });
  float total = 0;
  for (size_t i = vectors * width; i < n; ++i) total += values[i];
  for (float lane : sums.lane) total += lane;
  return total;
}

float norm_one_by_one(const float* values, size_t n, size_t stride) {
  float total = 0;
  for (size_t i = 0; i < n; ++i) total += values[i * stride] * values[i * stride];
  return std::sqrt(total);
}

float mean(std::span<const float> values) {
  return sum(values, DType::kF32) / static_cast<float>(values.size());
}

float norm(std::span<const float> values, DType dtype) {
  if (dtype == DType::kF16) return norm_one_by_one(values.data(), values.size(), 1);
  const size_t width = vector_elements(dtype), n = values.size();
  std::array<float, kLanes> squares{};
  size_t i = 0;
  for (; i + width <= n; i += width) {
    for (size_t j = 0; j < width; ++j) squares[j % kLanes] += values[i + j] * values[i + j];
  }
  float total = squares[0];
  for (size_t j = 1; j < kLanes; ++j) total += squares[j];
  for (size_t fours = (n - i) / 4 * 4; fours > 0; --fours, ++i) total += values[i] * values[i];
  for (; i < n; ++i) total = std::fma(values[i], values[i], total);
  return std::sqrt(total);
}

namespace {

// Folded from half to half.
template <size_t kWidth>
float fold(std::array<float, kWidth> lane) {
  for (size_t half = kWidth / 2; half > 0; half /= 2) {
    for (size_t i = 0; i < half; ++i) lane[i] += lane[i + half];
  }
  return lane[0];
}

float dot_of_narrow(std::span<const float> a, std::span<const float> b) {
  constexpr size_t kBlock = 8 * kLanes;
  const size_t n = a.size();
  std::array<float, kBlock> running{};
  std::array<float, kLanes> rest{};
  size_t i = 0;
  for (; i + kBlock <= n; i += kBlock) {
    for (size_t j = 0; j < kBlock; ++j) running[j] = std::fma(a[i + j], b[i + j], running[j]);
  }
  for (; i + 2 * kLanes <= n; i += 2 * kLanes) {
    for (size_t j = 0; j < 2 * kLanes; ++j) {
      rest[j % kLanes] = std::fma(a[i + j], b[i + j], rest[j % kLanes]);
    }
  }
  float total = fold(running) + fold(rest);
  for (; i < n; ++i) total += a[i] * b[i];
  return total;
}

float dot_of_f32(std::span<const float> a, std::span<const float> b) {
  const size_t n = a.size();
  std::array<float, 16> running{};  // four vectors of four
  size_t i = 0;
  const auto take = [&](size_t count) {
    for (size_t j = 0; j < count; ++j) running[j] += a[i + j] * b[i + j];
    i += count;
  };
  while (i + 16 <= n) take(16);
  if (i + 8 <= n) take(8);
  if (i + 4 <= n) take(4);
  while (i < n) take(1);
  for (size_t k = 1; k < 4; ++k) {
    for (size_t j = 0; j < 4; ++j) running[j] += running[4 * k + j];
  }
  return (running[0] + running[2]) + (running[1] + running[3]);
}

}  // namespace

float dot(std::span<const float> a, std::span<const float> b, DType dtype) {
  return dtype == DType::kF32 ? dot_of_f32(a, b) : dot_of_narrow(a, b);
}

float numpy_norm(std::span<const float> values) {
  const size_t n = values.size(), blocks = n / 32 * 32, wide = n / 64 * 64;
  std::array<float, 64> running{};  // four vectors of 16
  for (size_t i = 0; i < wide; ++i) {
    running[i % 64] = std::fma(values[i], values[i], running[i % 64]);
  }
  std::array<float, 32> narrow;  // four vectors of 8
  for (size_t i = 0; i < 32; ++i)
    narrow[i] = running[i / 8 * 16 + i % 8] + running[i / 8 * 16 + 8 + i % 8];
  for (size_t i = wide; i < blocks; ++i) {
    narrow[i - wide] = std::fma(values[i], values[i], narrow[i - wide]);
  }
  std::array<float, 8> lane;
  for (size_t i = 0; i < 8; ++i) {
    lane[i] = ((narrow[i] + narrow[8 + i]) + narrow[16 + i]) + narrow[24 + i];
  }
  for (size_t i = 0; i < 4; ++i) lane[i] += lane[i + 4];
  double rest = 0;
  for (size_t i = blocks; i < n; ++i) rest += static_cast<double>(values[i] * values[i]);
  const float vectors = (lane[0] + lane[1]) + (lane[2] + lane[3]);
  return std::sqrt(static_cast<float>(rest + static_cast<double>(vectors)));
}

float numpy_sum(std::span<const float> x) {
  const size_t n = x.size();
  if (n < 8) {
    float total = -0.0f;
    for (float term : x) total += term;
    return total;
  }
  if (n > 128) {
    const size_t half = n / 2 - n / 2 % 8;
    return numpy_sum(x.first(half)) + numpy_sum(x.subspan(half));
  }
  std::array<float, 8> chain;
  std::copy_n(x.begin(), 8, chain.begin());
  size_t i = 8;
  for (; i + 8 <= n; i += 8) {
    for (size_t k = 0; k < 8; ++k) chain[k] += x[i + k];
  }
  float total = ((chain[0] + chain[1]) + (chain[2] + chain[3])) +
                ((chain[4] + chain[5]) + (chain[6] + chain[7]));
  for (; i < n; ++i) total += x[i];
  return total;
}

ModelSum::ModelSum(size_t elements, DType dtype, size_t before)
    : straight_(before + elements >= vector_elements(dtype)
                    ? elements - elements % (kChains * kLanes)
                    : elements - elements % kChains) {}

float ModelSum::operator()(std::span<const float> terms, size_t element) const {
  if (element >= straight_) {
    return row_sum<Number>(terms.size(), [&](size_t i) { return Number{{terms[i]}}; }).lane[0];
  }
  if (terms.size() < 16) {
    float total = 0;
    for (float term : terms) total += term;
    return total;
  }
  return cascade<Number, 1>(terms.size(), [&](size_t i, size_t) { return Number{{terms[i]}}; })[0]
      .lane[0];
}

}  // namespace hieron::mergekit
