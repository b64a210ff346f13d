#include "hieron/merge/low_rank.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <mutex>
#include <span>
#include <utility>

#include "hieron/kernels/decode.h"
#include "hieron/kernels/isa.h"

namespace hieron {
namespace {

constexpr size_t kStrip = 256;    // columns worked on at a time: sums and inputs stay in L1
constexpr size_t kRows = 4;       // rows that share a strip of R while it is in registers
constexpr size_t kPassRows = 64;  // rows read at a time by the pass that takes norms …
constexpr size_t kPassElements = 1 << 18;  // … or fewer, if they are long
constexpr size_t kLanes = 8;               // partial sums of a norm

// sums[i·kStrip + j] = Σ_k left[i·rank + k] · right[k·stride + j], for `rows` rows i.
// Products of two f32 are exact in f64, so only the additions round: in the order of k.
struct MultiplyF64 {
  HIERON_INLINE void operator()(const float* left, size_t rank, size_t rows, const float* right,
                                size_t stride, double* sums, size_t count) const {
    if (rows == kRows) {
      tiles<kRows>(left, rank, right, stride, sums, count);
    } else {
      for (size_t i = 0; i < rows; ++i) {
        tiles<1>(left + i * rank, rank, right, stride, sums + i * kStrip, count);
      }
    }
  }

 private:
  static constexpr size_t kWide = 4;  // doubles in a register
  using Wide [[gnu::vector_size(kWide * sizeof(double))]] = double;
  using WideF32 [[gnu::vector_size(kWide * sizeof(float))]] = float;

  template <size_t Rows>
  HIERON_INLINE static void tiles(const float* left, size_t rank, const float* right, size_t stride,
                                  double* sums, size_t count) {
    size_t j = 0;
    for (; j + 2 * kWide <= count; j += 2 * kWide) {
      Wide low[Rows] = {}, high[Rows] = {};
      for (size_t k = 0; k < rank; ++k) {
        WideF32 a, b;
        std::memcpy(&a, right + k * stride + j, sizeof a);
        std::memcpy(&b, right + k * stride + j + kWide, sizeof b);
        const Wide first = __builtin_convertvector(a, Wide);
        const Wide second = __builtin_convertvector(b, Wide);
        for (size_t i = 0; i < Rows; ++i) {
          const double factor = left[i * rank + k];
          low[i] += factor * first;
          high[i] += factor * second;
        }
      }
      for (size_t i = 0; i < Rows; ++i) {
        std::memcpy(sums + i * kStrip + j, &low[i], sizeof low[i]);
        std::memcpy(sums + i * kStrip + j + kWide, &high[i], sizeof high[i]);
      }
    }
    for (; j < count; ++j) {
      for (size_t i = 0; i < Rows; ++i) {
        double sum = 0;
        for (size_t k = 0; k < rank; ++k) {
          sum +=
              static_cast<double>(left[i * rank + k]) * static_cast<double>(right[k * stride + j]);
        }
        sums[i * kStrip + j] = sum;
      }
    }
  }
};

struct MultiplyF32 {
  HIERON_INLINE void operator()(const float* left, size_t rank, size_t rows, const float* right,
                                size_t stride, float* sums, size_t count) const {
    for (size_t i = 0; i < rows; ++i, left += rank, sums += kStrip) {
      for (size_t j = 0; j < count; ++j) sums[j] = 0;
      for (size_t k = 0; k < rank; ++k) {
        const float factor = left[k];
        const float* row = right + k * stride;
        for (size_t j = 0; j < count; ++j) sums[j] = __builtin_fmaf(factor, row[j], sums[j]);
      }
    }
  }
};

// Stretches of up to kRows rows between the same columns, and room to work on one of them.
struct Strip {
  std::array<double, kRows * kStrip> sums;
  std::array<float, kRows * kStrip> sums32;
  std::array<double, kStrip> values;
  std::array<float, kStrip> values32;
  std::array<std::byte, 8 * kStrip> rounded;
};

class LowRankSum final : public ComputedTensor {
 public:
  LowRankSum(std::shared_ptr<const Checkpoint> checkpoint, TensorInfo base, FactorSource factors,
             const LowRankRule& rule)
      : checkpoint_(std::move(checkpoint)),
        base_(std::move(base)),
        source_(std::move(factors)),
        scaling_(rule.scaling),
        exact_(rule.arithmetic == AdapterArithmetic::kExact || base_.dtype == DType::kF64),
        product_rounded_(rule.product_rounded),
        width_(static_cast<size_t>(info(base_.dtype).bits) / 8),
        isa_(best_isa()) {}

  Status read(uint64_t first, std::span<std::byte> out) const override {
    HIERON_TRY(const std::shared_ptr<const LowRankFactors> factors, source_());
    if (!factors->magnitudes.empty()) HIERON_CHECK(take_norms(*factors));
    HIERON_CHECK(read_elements(*checkpoint_, base_, first, out));
    Strip strip;
    for_each_block(*factors, first, out.size() / width_, [&](const Block& block) {
      multiply(*factors, block, strip);
      for (size_t i = 0; i < block.rows; ++i) {
        const uint64_t row = block.row + i;
        std::byte* place = out.data() + (row * factors->columns + block.column - first) * width_;
        add(place, i, block.count, strip);
        if (!factors->magnitudes.empty()) rescale(*factors, row, block, strip);
        store(place, block.count, strip);
      }
    });
    return {};
  }

 private:
  struct Block {
    uint64_t row, column;
    size_t rows, count;  // count: columns
  };

  // Cuts elements [first, first + count) into blocks, strips of columns outermost, so that a strip
  // of R serves all rows.
  template <class Visit>
  static void for_each_block(const LowRankFactors& factors, uint64_t first, uint64_t count,
                             const Visit& visit) {
    const uint64_t end = first + count, columns = factors.columns;
    for (uint64_t left = 0; left < columns; left += kStrip) {
      const uint64_t right = std::min<uint64_t>(left + kStrip, columns);
      const auto begin_in = [&](uint64_t row) { return std::max(first, row * columns + left); };
      const auto end_in = [&](uint64_t row) { return std::min(end, row * columns + right); };
      const auto whole = [&](uint64_t row) {
        return row * columns + left >= first && row * columns + right <= end;
      };
      for (uint64_t row = first / columns; row * columns < end;) {
        size_t rows = 1;
        while (whole(row) && rows < kRows && whole(row + rows)) ++rows;
        if (begin_in(row) < end_in(row)) {
          visit(Block{row, begin_in(row) - row * columns, rows,
                      static_cast<size_t>(end_in(row) - begin_in(row))});
        }
        row += rows;
      }
    }
  }

  void multiply(const LowRankFactors& f, const Block& block, Strip& strip) const {
    const float* left = f.left.data() + block.row * f.rank;
    const float* right = f.right.data() + block.column;
    if (exact_) {
      run(isa_, MultiplyF64(), left, f.rank, block.rows, right, f.columns, strip.sums.data(),
          block.count);
    } else {
      run(isa_, MultiplyF32(), left, f.rank, block.rows, right, f.columns, strip.sums32.data(),
          block.count);
    }
  }

  // strip.values (or values32) = W + scaling · L·R, of row i of the block
  void add(const std::byte* in, size_t i, size_t count, Strip& strip) const {
    if (exact_) {
      const double* sums = strip.sums.data() + i * kStrip;
      decode(base_.dtype, in, std::span(strip.values).first(count));
      for (size_t j = 0; j < count; ++j) strip.values[j] += scaling_ * sums[j];
      return;
    }
    decode(base_.dtype, in, std::span(strip.values32).first(count));
    const std::span<float> product = std::span(strip.sums32).subspan(i * kStrip, count);
    for (float& p : product) p *= static_cast<float>(scaling_);
    if (product_rounded_) {
      encode(base_.dtype, std::span<const float>(product), strip.rounded.data());
      decode(base_.dtype, strip.rounded.data(), product);
    }
    for (size_t j = 0; j < count; ++j) strip.values32[j] += product[j];
  }

  void rescale(const LowRankFactors& f, uint64_t row, const Block& block, Strip& strip) const {
    for (size_t j = 0; j < block.count; ++j) {
      const size_t line = f.magnitude_by_row ? row : block.column + j;
      if (exact_) {
        strip.values[j] = f.magnitudes[line] * strip.values[j] / norms_[line];
      } else {
        const float factor =
            static_cast<float>(f.magnitudes[line]) / static_cast<float>(norms_[line]);
        strip.values32[j] *= factor;
      }
    }
  }

  void store(std::byte* out, size_t count, const Strip& strip) const {
    if (exact_) return encode(base_.dtype, std::span(strip.values).first(count), out);
    encode(base_.dtype, std::span(strip.values32).first(count), out);
  }

  // Fills norms_, once, by whoever comes first; the others wait.
  Status take_norms(const LowRankFactors& f) const {
    const std::lock_guard lock(mutex_);
    if (!norms_.empty()) return {};
    const uint64_t rows_at_once =
        std::clamp<uint64_t>(kPassElements / std::max<uint64_t>(1, f.columns), 1, kPassRows);
    std::vector<std::byte> block(rows_at_once * f.columns * width_);
    std::vector<double> squares((f.magnitude_by_row ? f.rows : f.columns) * kLanes);
    Strip strip;
    for (uint64_t row = 0; row < f.rows; row += rows_at_once) {
      const uint64_t count = std::min(rows_at_once, f.rows - row) * f.columns;
      HIERON_CHECK(read_elements(*checkpoint_, base_, row * f.columns,
                                 std::span(block).first(count * width_)));
      for_each_block(f, row * f.columns, count, [&](const Block& part) {
        multiply(f, part, strip);
        for (size_t i = 0; i < part.rows; ++i) {
          const uint64_t at = (part.row + i - row) * f.columns + part.column;
          add(block.data() + at * width_, i, part.count, strip);
          add_squares(f, part.row + i, part, strip, squares);
        }
      });
    }
    norms_ = roots_of_sums(squares);
    return {};
  }

  // Of each line eight sums: in a row by column mod 8, in a column by row mod 8.
  void add_squares(const LowRankFactors& f, uint64_t row, const Block& block, const Strip& strip,
                   std::vector<double>& squares) const {
    for (size_t j = 0; j < block.count; ++j) {
      const uint64_t column = block.column + j;
      const double value = exact_ ? strip.values[j] : static_cast<double>(strip.values32[j]);
      const uint64_t line = f.magnitude_by_row ? row : column;
      const uint64_t lane = (f.magnitude_by_row ? column : row) % kLanes;
      squares[line * kLanes + lane] += value * value;
    }
  }

  static std::vector<double> roots_of_sums(const std::vector<double>& squares) {
    std::vector<double> out(squares.size() / kLanes);
    for (size_t line = 0; line < out.size(); ++line) {
      const double* s = squares.data() + line * kLanes;
      const double sum = ((s[0] + s[1]) + (s[2] + s[3])) + ((s[4] + s[5]) + (s[6] + s[7]));
      out[line] = std::sqrt(sum);
    }
    return out;
  }

  const std::shared_ptr<const Checkpoint> checkpoint_;
  const TensorInfo base_;
  const FactorSource source_;
  const double scaling_;
  const bool exact_, product_rounded_;
  const size_t width_;
  const Isa isa_;
  mutable std::mutex mutex_;
  mutable std::vector<double> norms_;  // written once under the mutex; of each row or column
};

}  // namespace

std::shared_ptr<const ComputedTensor> with_low_rank(std::shared_ptr<const Checkpoint> checkpoint,
                                                    TensorInfo base, FactorSource factors,
                                                    const LowRankRule& rule) {
  return std::make_shared<const LowRankSum>(std::move(checkpoint), std::move(base),
                                            std::move(factors), rule);
}

}  // namespace hieron
