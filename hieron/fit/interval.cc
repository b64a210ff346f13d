#include "hieron/fit/interval.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <limits>
#include <memory>
#include <mutex>

#include "hieron/core/cell.h"

namespace hieron {
namespace {

CellEnds ends_of(DType dtype, uint64_t bits) {
  const std::optional<Cell> c = cell(dtype, bits);
  if (!c)
    return {std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::quiet_NaN()};
  return {c->low, c->high};
}

// Cells of every pattern of a format of 16 bits or fewer, made once: a look-up instead of a
// computation.
class CellTable {
 public:
  explicit CellTable(DType dtype) : ends_(size_t{1} << info(dtype).bits) {
    for (size_t bits = 0; bits < ends_.size(); ++bits) ends_[bits] = ends_of(dtype, bits);
  }
  static const CellTable* of(DType dtype) {
    if (info(dtype).bits > 16 || !info(dtype).format) return nullptr;
    static std::mutex mutex;
    static std::array<std::unique_ptr<const CellTable>, 32> tables;
    const std::lock_guard lock(mutex);
    auto& table = tables[static_cast<size_t>(dtype)];
    if (!table) table = std::make_unique<CellTable>(dtype);
    return table.get();
  }
  CellEnds operator[](uint64_t bits) const { return ends_[bits]; }

 private:
  std::vector<CellEnds> ends_;
};

// The pattern of a value that is exact in the format. bf16 and f32, the common ones, without the
// general encoder.
uint64_t pattern(DType dtype, double value) {
  if (dtype == DType::kBF16 || dtype == DType::kF32) {
    const uint32_t bits = std::bit_cast<uint32_t>(static_cast<float>(value));
    return dtype == DType::kBF16 ? bits >> 16 : bits;
  }
  return encode(dtype, value);
}

}  // namespace

IntervalCounts& IntervalCounts::operator+=(const IntervalCounts& other) {
  elements += other.elements;
  ends_equal += other.ends_equal;
  ends_equal_kept += other.ends_equal_kept;
  not_finite += other.not_finite;
  return *this;
}

IntervalCounts admissible(const BlendSample& sample, std::vector<AlphaInterval>& out) {
  const CellTable* table = CellTable::of(sample.suspect_dtype);
  IntervalCounts counts;
  for (size_t i = 0; i < sample.suspect.size(); ++i) {
    const double s = sample.suspect[i], p = sample.first[i], q = sample.second[i];
    if (!std::isfinite(s) || !std::isfinite(p) || !std::isfinite(q)) {
      ++counts.not_finite;
      continue;
    }
    ++counts.elements;
    const uint64_t bits = pattern(sample.suspect_dtype, s);
    const CellEnds ends = table ? (*table)[bits] : ends_of(sample.suspect_dtype, bits);
    const double x = p - q;
    if (x == 0) {
      ++counts.ends_equal;
      if (q >= ends.low && q <= ends.high) ++counts.ends_equal_kept;
      continue;
    }
    const double own = std::clamp((s - q) / x, -4.0, 5.0);
    const double slack = kSlack * (std::abs(own * p) + std::abs((1 - own) * q));
    const double low = ends.low - slack, high = ends.high + slack;
    const double leverage = std::abs(x) / (high - low);
    if (!(leverage >= kLeastLeverage)) continue;
    const double a = (low - q) / x, b = (high - q) / x;
    out.push_back({std::min(a, b), std::max(a, b), static_cast<float>(leverage)});
  }
  return counts;
}

void cell_ends(DType dtype, std::span<const double> values, std::span<CellEnds> out) {
  const CellTable* table = CellTable::of(dtype);
  for (size_t i = 0; i < values.size(); ++i) {
    const uint64_t bits = pattern(dtype, values[i]);
    out[i] = table ? (*table)[bits] : ends_of(dtype, bits);
  }
}

bool explains(DType dtype, double stored, double value, double slack) {
  const std::optional<Cell> c = cell(dtype, pattern(dtype, stored));
  return c && value >= c->low - slack && value <= c->high + slack;
}

DType true_dtype(DType stored, std::span<const double> values) {
  if (stored != DType::kF32 && stored != DType::kF64) return stored;
  const auto holds = [&](DType dtype) {
    return std::ranges::all_of(
        values, [&](double v) { return std::isnan(v) || decode(dtype, encode(dtype, v)) == v; });
  };
  // A tensor of zeros and ones fits every format and shows nothing: ask for some fraction digits.
  const bool telling = std::ranges::any_of(values, [](double v) {
    return std::isfinite(v) && v != 0 && decode(DType::kF8E5M2, encode(DType::kF8E5M2, v)) != v;
  });
  if (!telling) return stored;
  if (holds(DType::kBF16)) return DType::kBF16;
  if (holds(DType::kF16)) return DType::kF16;
  if (stored == DType::kF64 && holds(DType::kF32)) return DType::kF32;
  return stored;
}

}  // namespace hieron
