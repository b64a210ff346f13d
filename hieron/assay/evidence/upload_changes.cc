#include "hieron/assay/evidence/upload_changes.h"

#include <algorithm>
#include <atomic>
#include <bit>
#include <cmath>
#include <cstdlib>
#include <mutex>
#include <span>

#include "hieron/assay/thresholds.h"
#include "hieron/kernels/compare.h"
#include "hieron/kernels/decode.h"

namespace hieron {
namespace {

constexpr DType kTripFormats[] = {DType::kBF16, DType::kF16, DType::kF8E4M3, DType::kF8E5M2};
constexpr size_t kTrips = 2 * std::size(kTripFormats);
constexpr size_t kMostBytes = 8;  // of an element

size_t width(DType dtype) { return static_cast<size_t>(info(dtype).bits) / 8; }

bool steps_count(DType dtype) { return info(dtype).format && info(dtype).bits <= 32; }

// Floats as integers that are neighbours where the floats are.
int64_t ordered(DType dtype, uint64_t bits) {
  const uint64_t sign = uint64_t{1} << (info(dtype).bits - 1);
  return bits & sign ? -static_cast<int64_t>(bits & (sign - 1)) : static_cast<int64_t>(bits);
}

bool same(double a, double b) {
  return std::bit_cast<uint64_t>(a) == std::bit_cast<uint64_t>(b) ||
         (std::isnan(a) && std::isnan(b));
}

// One leaf of both uploads, and what it takes to compare them.
struct Leaf {
  DType a, b;
  const std::byte *stored_a, *stored_b;
  size_t count;
};

struct Scratch {
  std::vector<double> a = std::vector<double>(kLeaf), b = a, made = a;
  std::vector<std::byte> bytes = std::vector<std::byte>(kLeaf * kMostBytes);
};

class ChangeVisitor final : public Visitor {
 public:
  ChangeVisitor(std::span<const Row> rows, std::span<const TensorRole> roles, uint64_t elements,
                unsigned workers)
      : rows_(rows),
        roles_(roles),
        most_misfits_(static_cast<double>(elements) * (1 - threshold::kTripShare.value)),
        scratch_(workers),
        changed_(rows.size()),
        read_(rows.size()) {}

  Status visit(const Block& block, unsigned worker) override {
    const Row& row = rows_[block.row];
    const DType a = row.views[0]->tensor->dtype, b = row.views[1]->tensor->dtype;
    uint64_t changed = 0;
    StepCounts steps;
    for (uint64_t at = 0; at < block.count; at += kLeaf) {
      const size_t count = std::min(kLeaf, block.count - at);
      const Leaf leaf{a, b, block.data[0] + at * width(a), block.data[1] + at * width(b), count};
      if (a == b &&
          compare(leaf.stored_a, leaf.stored_b, count, static_cast<int>(width(a))).equal == count) {
        continue;
      }
      changed += look_at(leaf, scratch_[worker], steps);
    }
    const std::lock_guard lock(mutex_);
    read_[block.row] += block.count;
    changed_[block.row] += changed;
    if (changed == 0) return {};
    found_.all.steps.add(steps);
    const TensorRole& role = roles_[block.row];
    found_.roles[role.role].steps.add(steps);
    if (role.layer) found_.layers[*role.layer].steps.add(steps);
    return {};
  }

  UploadChanges result() && {
    for (size_t i = 0; i < rows_.size(); ++i) {
      found_.other_storage = found_.other_storage ||
                             rows_[i].views[0]->tensor->dtype != rows_[i].views[1]->tensor->dtype;
      count(i, found_.all);
      count(i, found_.roles[roles_[i].role]);
      if (roles_[i].layer) count(i, found_.layers[*roles_[i].layer]);
    }
    for (size_t t = 0; t < kTrips && found_.all.changed > 0 && !found_.trip; ++t) {
      const double most =
          static_cast<double>(found_.all.changed) * (1 - threshold::kTripShare.value);
      if (static_cast<double>(misfits_[t]) <= most) {
        found_.trip = FormatTrip{kTripFormats[t / 2], t % 2 == 0};
      }
    }
    return std::move(found_);
  }

 private:
  void count(size_t row, PartCounts& part) const {
    ++part.tensors;
    part.tensors_changed += changed_[row] > 0;
    part.elements += read_[row];
    part.changed += changed_[row];
  }

  uint64_t look_at(const Leaf& leaf, Scratch& scratch, StepCounts& steps) {
    const std::span<double> a = std::span(scratch.a).first(leaf.count);
    const std::span<double> b = std::span(scratch.b).first(leaf.count);
    decode(leaf.a, leaf.stored_a, a);
    decode(leaf.b, leaf.stored_b, b);
    uint64_t changed = 0;
    for (size_t i = 0; i < leaf.count; ++i) {
      if (same(a[i], b[i])) continue;
      ++changed;
      if (!steps_count(leaf.a) || !std::isfinite(a[i]) || !std::isfinite(b[i])) continue;
      const int64_t from = ordered(leaf.a, encode(leaf.a, a[i]));
      const int64_t to = ordered(leaf.a, encode(leaf.a, b[i]));
      steps.add(static_cast<uint64_t>(std::abs(to - from)));
    }
    for (size_t t = 0; changed > 0 && t < kTrips; ++t) {
      const bool forward = t % 2 == 0;
      try_trip(t, forward ? a : b, forward ? leaf.b : leaf.a, forward ? b : a, scratch);
    }
    return changed;
  }

  // Does `from`, rounded to the trip's format and stored, give `to`? Once it cannot explain enough
  // of all elements any more, it is not asked again.
  void try_trip(size_t trip, std::span<const double> from, DType storage,
                std::span<const double> to, Scratch& scratch) {
    const DType format = kTripFormats[trip / 2];
    if (static_cast<double>(misfits_[trip]) > most_misfits_ || !info(storage).format) {
      if (!info(storage).format) misfits_[trip] += from.size();
      return;
    }
    const std::span<double> made = std::span(scratch.made).first(from.size());
    encode(format, from, scratch.bytes.data());
    decode(format, scratch.bytes.data(), made);
    encode(storage, std::span<const double>(made), scratch.bytes.data());
    decode(storage, scratch.bytes.data(), made);
    uint64_t misfits = 0;
    for (size_t i = 0; i < from.size(); ++i) misfits += !same(made[i], to[i]);
    misfits_[trip] += misfits;
  }

  std::span<const Row> rows_;
  std::span<const TensorRole> roles_;
  const double most_misfits_;
  std::vector<Scratch> scratch_;
  std::array<std::atomic<uint64_t>, kTrips> misfits_{};
  std::mutex mutex_;
  std::vector<uint64_t> changed_, read_;
  UploadChanges found_;
};

}  // namespace

void StepCounts::add(const StepCounts& other) {
  for (size_t i = 0; i < counts_.size(); ++i) counts_[i] += other.counts_[i];
}

size_t StepCounts::bucket(uint64_t step) {
  if (step <= kSingle) return static_cast<size_t>(step);
  const auto octave = static_cast<size_t>(std::bit_width(step)) - 7;  // 64 … 127 is the first
  const auto within = static_cast<size_t>(step >> (octave + 2)) & (kPerOctave - 1);
  return std::min(kSingle + 1 + octave * kPerOctave + within, kSingle + kPerOctave * kOctaves);
}

double StepCounts::step_of(size_t bucket) {
  if (bucket <= kSingle) return static_cast<double>(bucket);
  const size_t octave = (bucket - kSingle - 1) / kPerOctave;
  const size_t within = (bucket - kSingle - 1) % kPerOctave;
  return std::ldexp(static_cast<double>(kPerOctave + within) + 0.5, static_cast<int>(octave) + 2);
}

double StepCounts::median() const {
  uint64_t total = 0, below = 0;
  for (const uint64_t n : counts_) total += n;
  for (size_t i = 0; i < counts_.size(); ++i) {
    below += counts_[i];
    if (total > 0 && 2 * below >= total) return step_of(i);
  }
  return 0;
}

Result<UploadChanges> count_changes(const Alignment& alignment, const RoleTable& roles,
                                    const Selection& selection, const WalkOptions& options) {
  uint64_t elements = 0;
  std::vector<TensorRole> of_rows;
  for (const Row& row : alignment.rows) {
    of_rows.push_back(roles.classify(row.name, row.shape));
    for (const Run& run : selection.runs(row)) elements += run.count;
  }
  ChangeVisitor visitor(alignment.rows, of_rows, elements, worker_count(options));
  HIERON_TRY([[maybe_unused]] const WalkStats stats,
             walk(alignment.models, alignment.rows, selection, visitor, options));
  return std::move(visitor).result();
}

}  // namespace hieron
