#include "hieron/merge/methods/delta_arrays.h"

#include <algorithm>
#include <cstring>
#include <numeric>
#include <utility>

#include "hieron/kernels/decode.h"

namespace hieron {
namespace {

constexpr size_t kCompared = 32;  // elements at a time: few strips have more than a few in doubt

size_t width(DType dtype) { return static_cast<size_t>(info(dtype).bits) / 8; }

}  // namespace

DeltaArrays::DeltaArrays(const Piece& piece, size_t base, WorkScratch& scratch)
    : piece_(piece), scratch_(scratch) {
  const size_t models = piece.operands.size() - 1;
  scratch.f64.resize(std::max(scratch.f64.size(), (4 + 4 * models) * kStrip));
  double* next = scratch.f64.data();
  const auto take = [&] { return std::exchange(next, next + kStrip); };
  base_ = take();
  low_ = take();
  high_ = take();
  open_base_ = take();
  for (size_t k = 0; k < piece.operands.size(); ++k) {
    narrow_ = narrow_ && info(piece.operands[k].dtype).bits <= 32;
    read_.push_back(k == base ? base_ : take());
    if (k != base) values_.push_back(read_.back());
  }
  for (size_t m = 0; m < models; ++m) {
    open_values_.push_back(take());
    open_coefficients_.push_back(take());
    open_weights_.push_back(take());
  }
}

void DeltaArrays::read(size_t first, size_t count) {
  count_ = count;
  for (size_t k = 0; k < read_.size(); ++k) {
    const Operand& operand = piece_.operands[k];
    decode(operand.dtype, operand.data + first * width(operand.dtype), std::span(read_[k], count));
  }
}

std::span<const uint32_t> DeltaArrays::store_enclosed(DType out_dtype, std::byte* out) {
  encode(out_dtype, std::span<const double>(low_, count_), out);
  if (std::memcmp(low_, high_, count_ * sizeof(double)) == 0) return {};
  // The array of the lower ends is free now, and as large as any stored form.
  auto* upper = reinterpret_cast<std::byte*>(low_);
  encode(out_dtype, std::span<const double>(high_, count_), upper);
  const size_t step = width(out_dtype);
  size_t open = 0;
  for (size_t at = 0; at < count_; at += kCompared) {
    const size_t n = std::min(kCompared, count_ - at);
    if (std::memcmp(out + at * step, upper + at * step, n * step) == 0) continue;
    for (size_t i = at; i < at + n; ++i) {
      open_[open] = static_cast<uint32_t>(i);
      open += load_bits(out_dtype, out, i) != load_bits(out_dtype, upper, i);
    }
  }
  return std::span(open_).first(open);
}

std::span<const uint32_t> DeltaArrays::all_elements() {
  std::iota(open_.begin(), open_.end(), 0u);
  return std::span(open_).first(count_);
}

void DeltaArrays::gather(size_t j, size_t i, std::span<const double> c, std::span<const double> w) {
  open_base_[j] = base_[i];
  for (size_t m = 0; m < models(); ++m) {
    open_values_[m][j] = values_[m][i];
    open_coefficients_[m][j] = c[m];
    open_weights_[m][j] = w[m];
  }
}

void DeltaArrays::round_gathered(std::span<const uint32_t> elements, bool divided, DType out_dtype,
                                 std::byte* out) {
  const std::vector<const double*> values(open_values_.begin(), open_values_.end()),
      coefficients(open_coefficients_.begin(), open_coefficients_.end()),
      weights(open_weights_.begin(), open_weights_.end());
  auto* rounded = reinterpret_cast<std::byte*>(high_);
  round_delta(
      {open_base_, values, coefficients,
       divided ? std::span<const double* const>(weights) : std::span<const double* const>()},
      out_dtype, rounded, elements.size(), scratch_.blend.f64);
  for (size_t j = 0; j < elements.size(); ++j) {
    store_bits(out_dtype, out, elements[j], load_bits(out_dtype, rounded, j));
  }
}

}  // namespace hieron
