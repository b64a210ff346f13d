#include "hieron/assay/proof.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <mutex>

#include "hieron/fit/interval.h"
#include "hieron/kernels/compare.h"
#include "hieron/kernels/confirm.h"
#include "hieron/kernels/decode.h"

namespace hieron {
namespace {

constexpr size_t kChunk = 4096;  // elements computed at a time: stays in the first-level cache

struct Counts {
  uint64_t equal = 0, informative = 0, informative_equal = 0;
};

// One pass over three arrays of stored elements: how many of a equal b, and how many of those lie
// where the two operands differ.
template <class Word>
Counts count_equal(const std::byte* a, const std::byte* b, const std::byte* p, const std::byte* q,
                   size_t count) {
  Counts counts;
  const auto load = [](const std::byte* at, size_t i) {
    Word word;
    std::memcpy(&word, at + i * sizeof(Word), sizeof(Word));
    return word;
  };
  for (size_t begin = 0; begin < count; begin += kChunk) {
    const size_t end = std::min(begin + kChunk, count);
    uint32_t equal = 0, informative = 0, both = 0;
    for (size_t i = begin; i < end; ++i) {
      const uint32_t same = load(a, i) == load(b, i);
      const uint32_t differ = load(p, i) != load(q, i);
      equal += same;
      informative += differ;
      both += same & differ;
    }
    counts.equal += equal;
    counts.informative += informative;
    counts.informative_equal += both;
  }
  return counts;
}

class ProofVisitor final : public Visitor {
 public:
  ProofVisitor(std::span<const Row> rows, std::span<const RowClaim* const> claims, unsigned workers)
      : rows_(rows), claims_(claims), found_(rows.size()), scratch_(workers) {}

  Status visit(const Block& block, unsigned worker) override {
    const RowClaim& claim = *claims_[block.row];
    RowProof proof;
    proof.read = block.count;
    const bool quick = can_confirm(block, claim);
    if (!quick) {
      proof.not_finite =
          count_non_finite(rows_[block.row].views[0]->tensor->dtype, block.data[0], block.count);
    }
    if (quick) {
      confirm(block, claim, proof, scratch_[worker]);
    } else if (claim.raw) {
      compare_raw(block, claim, proof);
    } else if (claim.reverse) {
      compare_reverse(block, claim, proof, scratch_[worker]);
    } else {
      for (uint64_t at = 0; at < block.count; at += kChunk) {
        replay_chunk(block, claim, at, std::min<uint64_t>(kChunk, block.count - at), proof,
                     scratch_[worker]);
      }
    }
    const std::lock_guard lock(mutex_);
    RowProof& total = found_[block.row];
    total.read += proof.read;
    total.equal += proof.equal;
    total.informative += proof.informative;
    total.informative_equal += proof.informative_equal;
    total.changed += proof.changed;
    total.not_finite += proof.not_finite;
    total.first_miss = std::min(total.first_miss, proof.first_miss);
    total.first_change = std::min(total.first_change, proof.first_change);
    return {};
  }

  const RowProof& found(size_t row) const { return found_[row]; }

 private:
  struct Scratch {
    BlendScratch blend;
    std::vector<std::byte> made, gathered;
    std::vector<Confirmed> confirmed;
    std::vector<uint32_t> unsure;
    std::vector<double> wide;
    std::vector<Operand> operands;
  };

  const TensorInfo& tensor(const Block& block, size_t model) const {
    return *rows_[block.row].views[model]->tensor;
  }
  static size_t width(DType dtype) { return static_cast<size_t>(info(dtype).bits) / 8; }

  void compare_raw(const Block& block, const RowClaim& claim, RowProof& proof) const {
    compare_bits(block, tensor(block, 0).dtype, block.data[0], block.data[claim.operands[0]],
                 proof);
  }

  void compare_reverse(const Block& block, const RowClaim& claim, RowProof& proof,
                       Scratch& scratch) const {
    const DType narrow = tensor(block, claim.operands[0]).dtype;
    scratch.wide.resize(block.count);
    scratch.made.resize(block.count * width(narrow));
    decode(tensor(block, 0).dtype, block.data[0], std::span(scratch.wide));
    encode(narrow, std::span<const double>(scratch.wide), scratch.made.data());
    compare_bits(block, narrow, scratch.made.data(), block.data[claim.operands[0]], proof);
  }

  static void compare_bits(const Block& block, DType dtype, const std::byte* a, const std::byte* b,
                           RowProof& proof) {
    const Difference difference = compare(a, b, block.count, static_cast<int>(width(dtype)));
    proof.equal = difference.equal;
    proof.changed = block.count - difference.equal;
    if (difference.first_difference >= 0) {
      proof.first_miss = proof.first_change =
          block.first + static_cast<uint64_t>(difference.first_difference);
    }
  }

  // --- the common case: bf16 throughout, two ends, one rounding ---

  bool can_confirm(const Block& block, const RowClaim& claim) const {
    // f32-lerp's error grows with the ends, not with the weighted terms: it is always computed.
    return !claim.raw && !claim.reverse && claim.single_rounding && claim.operands.size() == 2 &&
           claim.arithmetic != Arithmetic::kF32Lerp && claim.true_dtype == DType::kBF16 &&
           tensor(block, 0).dtype == DType::kBF16 &&
           tensor(block, claim.operands[0]).dtype == DType::kBF16 &&
           tensor(block, claim.operands[1]).dtype == DType::kBF16;
  }

  // Most elements are settled by their distance from the blend; those near the end of a cell are
  // computed.
  void confirm(const Block& block, const RowClaim& claim, RowProof& proof, Scratch& scratch) const {
    const std::byte* s = block.data[0];
    const std::byte* x = block.data[claim.operands[0]];
    const std::byte* y = block.data[claim.operands[1]];
    const auto& weights = claim.combination.weights;
    const double sum = claim.combination.normalize ? weights[0] + weights[1] : 1;
    scratch.confirmed.resize(std::max<size_t>(scratch.confirmed.size(), block.count));
    const ConfirmedCounts counts =
        confirm_bf16(static_cast<float>(weights[0] / sum), static_cast<float>(weights[1] / sum), s,
                     x, y, block.count, scratch.confirmed.data());
    proof.equal = counts.yes;
    proof.informative = counts.informative;
    proof.informative_equal = counts.informative_yes;
    proof.not_finite = counts.not_finite;
    proof.changed = counts.no;
    if (counts.no > 0) {
      const auto first =
          std::ranges::find(scratch.confirmed, Confirmed::kNo) - scratch.confirmed.begin();
      proof.first_miss = proof.first_change = block.first + static_cast<uint64_t>(first);
    }
    if (counts.yes + counts.no < block.count) compute_unsure(block, claim, proof, scratch);
  }

  // Eight at a time: nearly all are settled, and a settled byte has one of its two low bits set.
  static void find_unsure(std::span<const Confirmed> confirmed, std::vector<uint32_t>& unsure) {
    constexpr uint64_t kOnes = 0x0101010101010101;
    unsure.clear();
    size_t i = 0;
    for (; i + 8 <= confirmed.size(); i += 8) {
      uint64_t eight;
      std::memcpy(&eight, confirmed.data() + i, 8);
      for (uint64_t left = ~(eight | eight >> 1) & kOnes; left != 0; left &= left - 1) {
        unsure.push_back(static_cast<uint32_t>(i) +
                         static_cast<uint32_t>(std::countr_zero(left)) / 8);
      }
    }
    for (; i < confirmed.size(); ++i) {
      if (confirmed[i] == Confirmed::kUnsure) unsure.push_back(static_cast<uint32_t>(i));
    }
  }

  void compute_unsure(const Block& block, const RowClaim& claim, RowProof& proof,
                      Scratch& scratch) const {
    constexpr DType kDType = DType::kBF16;
    auto& unsure = scratch.unsure;
    find_unsure(std::span(scratch.confirmed).first(block.count), unsure);
    scratch.gathered.resize(3 * 2 * unsure.size());
    const std::byte* from[3] = {block.data[0], block.data[claim.operands[0]],
                                block.data[claim.operands[1]]};
    std::byte* column[3];
    for (size_t k = 0; k < 3; ++k) {
      column[k] = scratch.gathered.data() + k * 2 * unsure.size();
      for (size_t j = 0; j < unsure.size(); ++j) {
        std::memcpy(column[k] + 2 * j, from[k] + 2 * size_t{unsure[j]}, 2);
      }
    }
    scratch.operands.assign({Operand{kDType, column[1]}, Operand{kDType, column[2]}});
    scratch.made.resize(std::max(scratch.made.size(), 2 * unsure.size()));
    blend(claim.arithmetic, claim.combination, scratch.operands, kDType, scratch.made.data(),
          unsure.size(), scratch.blend);
    for (size_t j = 0; j < unsure.size(); ++j) {
      const std::byte* stored = column[0] + 2 * j;
      const bool differ = std::memcmp(column[1] + 2 * j, column[2] + 2 * j, 2) != 0;
      if (std::memcmp(stored, scratch.made.data() + 2 * j, 2) == 0) {
        ++proof.equal;
        proof.informative_equal += differ;
        continue;
      }
      const uint64_t element = block.first + unsure[j];
      proof.first_miss = std::min(proof.first_miss, element);
      if (tie_explains(claim, decode(kDType, load_bits(kDType, stored, 0)), j, scratch)) continue;
      ++proof.changed;
      proof.first_change = std::min(proof.first_change, element);
    }
  }

  // --- any formats, any arithmetic ---

  void replay_chunk(const Block& block, const RowClaim& claim, uint64_t at, size_t count,
                    RowProof& proof, Scratch& scratch) const {
    const DType stored = tensor(block, 0).dtype;
    const std::byte* suspect = block.data[0] + at * width(stored);
    scratch.operands.clear();
    for (const size_t model : claim.operands) {
      const DType dtype = tensor(block, model).dtype;
      scratch.operands.push_back({dtype, block.data[model] + at * width(dtype)});
    }
    scratch.made.resize(std::max(scratch.made.size(), kChunk * 8));
    blend(claim.arithmetic, claim.combination, scratch.operands, claim.true_dtype,
          scratch.made.data(), count, scratch.blend);
    if (claim.true_dtype != stored) widen(claim.true_dtype, stored, count, scratch);
    tally(claim, stored, suspect, count, block.first + at, proof, scratch);
  }

  // A widened file stores the true dtype's values in a wider format, exactly.
  static void widen(DType from, DType to, size_t count, Scratch& scratch) {
    scratch.wide.resize(std::max(scratch.wide.size(), kChunk));
    const std::span<double> values = std::span(scratch.wide).first(count);
    decode(from, scratch.made.data(), values);
    encode(to, std::span<const double>(values), scratch.made.data());
  }

  void tally(const RowClaim& claim, DType stored, const std::byte* suspect, size_t count,
             uint64_t first, RowProof& proof, const Scratch& scratch) const {
    const Operand& p = scratch.operands.front();
    const Operand& q = scratch.operands.back();
    const std::byte* made = scratch.made.data();
    Counts counts;
    if (p.dtype == q.dtype && p.dtype == stored && width(stored) == 2) {
      counts = count_equal<uint16_t>(suspect, made, p.data, q.data, count);
    } else if (p.dtype == q.dtype && p.dtype == stored && width(stored) == 4) {
      counts = count_equal<uint32_t>(suspect, made, p.data, q.data, count);
    } else {
      counts = count_slowly(stored, suspect, count, scratch);
    }
    proof.equal += counts.equal;
    proof.informative += counts.informative;
    proof.informative_equal += counts.informative_equal;
    if (counts.equal < count) examine_misses(claim, stored, suspect, count, first, proof, scratch);
  }

  Counts count_slowly(DType stored, const std::byte* suspect, size_t count,
                      const Scratch& scratch) const {
    const Operand& p = scratch.operands.front();
    const Operand& q = scratch.operands.back();
    Counts counts;
    for (size_t i = 0; i < count; ++i) {
      const bool same = load_bits(stored, suspect, i) == load_bits(stored, scratch.made.data(), i);
      const bool differ = value(p, i) != value(q, i);
      counts.equal += same;
      counts.informative += differ;
      counts.informative_equal += same && differ;
    }
    return counts;
  }

  static double value(const Operand& operand, size_t i) {
    return decode(operand.dtype, load_bits(operand.dtype, operand.data, i));
  }

  void examine_misses(const RowClaim& claim, DType stored, const std::byte* suspect, size_t count,
                      uint64_t first, RowProof& proof, const Scratch& scratch) const {
    for (size_t i = 0; i < count; ++i) {
      const uint64_t bits = load_bits(stored, suspect, i);
      if (bits == load_bits(stored, scratch.made.data(), i)) continue;
      proof.first_miss = std::min(proof.first_miss, first + i);
      if (tie_explains(claim, decode(stored, bits), i, scratch)) continue;
      ++proof.changed;
      proof.first_change = std::min(proof.first_change, first + i);
    }
  }

  bool tie_explains(const RowClaim& claim, double suspect, size_t i, const Scratch& scratch) const {
    if (!claim.single_rounding || claim.operands.size() < 2) return false;
    double sum = 0, size = 0, weights = 0;
    for (size_t k = 0; k < claim.operands.size(); ++k) {
      const double term = claim.combination.weights[k] * value(scratch.operands[k], i);
      sum += term;
      size += std::abs(term);
      weights += claim.combination.weights[k];
    }
    if (!claim.combination.normalize) weights = 1;
    return explains(claim.true_dtype, suspect, sum / weights, kSlack * size / std::abs(weights));
  }

  const std::span<const Row> rows_;
  const std::span<const RowClaim* const> claims_;
  std::mutex mutex_;  // guards found_
  std::vector<RowProof> found_;
  std::vector<Scratch> scratch_;  // one a worker
};

}  // namespace

Result<Proof> prove(const Alignment& alignment, std::span<const std::optional<RowClaim>> claims,
                    const Selection& selection, const WalkOptions& options) {
  std::vector<Row> rows;
  std::vector<const RowClaim*> wanted;
  std::vector<size_t> index;
  for (size_t i = 0; i < alignment.rows.size(); ++i) {
    if (!claims[i]) continue;
    Row row = alignment.rows[i];
    // Only the operands are read beside the suspect.
    for (size_t m = 1; m < row.views.size(); ++m) {
      if (std::ranges::find(claims[i]->operands, m) == claims[i]->operands.end())
        row.views[m].reset();
    }
    rows.push_back(std::move(row));
    wanted.push_back(&*claims[i]);
    index.push_back(i);
  }
  ProofVisitor visitor(rows, wanted, worker_count(options));
  HIERON_TRY(const WalkStats stats, walk(alignment.models, rows, selection, visitor, options));
  Proof proof;
  proof.rows.resize(alignment.rows.size());
  for (size_t i = 0; i < index.size(); ++i) proof.rows[index[i]] = visitor.found(i);
  proof.bytes_read = stats.bytes_read;
  return proof;
}

}  // namespace hieron
