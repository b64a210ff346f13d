#include "hieron/assay/replay.h"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <limits>
#include <memory>
#include <mutex>

#include "hieron/kernels/compare.h"
#include "hieron/kernels/decode.h"
#include "hieron/model/config.h"

namespace hieron {
namespace {

// Floats as integers that are neighbours where the floats are.
int64_t ordered(DType dtype, uint64_t bits) {
  const int width = info(dtype).bits;
  const uint64_t sign = uint64_t{1} << (width - 1);
  return bits & sign ? -static_cast<int64_t>(bits & (sign - 1)) : static_cast<int64_t>(bits);
}

uint64_t count_near(DType dtype, const std::byte* a, const std::byte* b, uint64_t count) {
  if (!info(dtype).format || info(dtype).bits > 32) return 0;
  uint64_t near = 0;
  for (uint64_t i = 0; i < count; ++i) {
    const uint64_t x = load_bits(dtype, a, i), y = load_bits(dtype, b, i);
    near += x != y && std::abs(ordered(dtype, x) - ordered(dtype, y)) <= 1;
  }
  return near;
}

class CompareVisitor final : public Visitor {
 public:
  explicit CompareVisitor(std::span<const Row> rows) : rows_(rows), found_(rows.size()) {}

  Status visit(const Block& block, unsigned) override {
    const DType dtype = rows_[block.row].views[0]->tensor->dtype;
    const Difference difference =
        compare(block.data[0], block.data[1], block.count, info(dtype).bits / 8);
    const uint64_t near = difference.equal == block.count
                              ? 0
                              : count_near(dtype, block.data[0], block.data[1], block.count);
    const std::lock_guard lock(mutex_);
    Found& found = found_[block.row];
    found.read += block.count;
    found.equal += difference.equal;
    found.near += near;
    if (difference.first_difference >= 0) {
      found.first =
          std::min(found.first, block.first + static_cast<uint64_t>(difference.first_difference));
    }
    return {};
  }

  struct Found {
    uint64_t read = 0, equal = 0, near = 0;
    uint64_t first = std::numeric_limits<uint64_t>::max();
  };
  const Found& found(size_t row) const { return found_[row]; }

 private:
  std::span<const Row> rows_;
  std::mutex mutex_;
  std::vector<Found> found_;
};

// Bits are compared, so both sides must store the row in one dtype of whole bytes.
void drop_other_dtypes(Alignment& alignment) {
  std::erase_if(alignment.rows, [&](const Row& row) {
    const DType a = row.views[0]->tensor->dtype, b = row.views[1]->tensor->dtype;
    if (a == b && info(a).bits >= 8) return false;
    alignment.ledger.push_back(
        {0, row.name,
         a == b ? std::string("elements of less than a byte are not compared yet")
                : "it is stored as " + std::string(info(a).name) + " here and as " +
                      std::string(info(b).name) + " in " + alignment.models[1]->ref});
    return true;
  });
}

// A sample says nothing about a tensor that takes the whole of its inputs to compute.
void drop_far(Alignment& alignment, uint64_t whole_bytes) {
  std::erase_if(alignment.rows, [&](const Row& row) {
    const TensorInfo& made = *row.views[1]->tensor;
    if (made.bytes() <= whole_bytes || !made.computed || !made.computed->reads_all()) return false;
    alignment.ledger.push_back(
        {0, row.name,
         "computing it takes the whole of its inputs, and the audit reads a sample; give --sample "
         "full"});
    return true;
  });
}

}  // namespace

Result<Comparison> replay(const Checkpoint& expected, const Checkpoint& suspect,
                          const WalkOptions& options, const Selection& selection) {
  const std::array<const Checkpoint*, 2> models{&suspect, &expected};
  Alignment alignment = align(models, 2);
  drop_other_dtypes(alignment);
  drop_far(alignment, selection.whole_bytes());
  CompareVisitor visitor(alignment.rows);
  HIERON_TRY(const WalkStats stats, walk(models, alignment.rows, selection, visitor, options));

  const auto config = parse_config(suspect.config_json, suspect.ref);
  const RoleTable& roles = RoleTable::of(config ? config->architecture : "");
  Comparison comparison{.tensors = {},
                        .ledger = std::move(alignment.ledger),
                        .total = {},
                        .bytes_read = stats.bytes_read};
  Replay& total = comparison.total;
  for (size_t i = 0; i < alignment.rows.size(); ++i) {
    const Row& row = alignment.rows[i];
    const CompareVisitor::Found& found = visitor.found(i);
    TensorComparison tensor{row.name,   roles.classify(row.name, row.shape),
                            found.read, found.equal,
                            found.near, std::nullopt};
    total.elements += found.read;
    total.equal += found.equal;
    comparison.near += found.near;
    ++total.tensors;
    if (found.equal == found.read) {
      ++total.tensors_equal;
    } else {
      tensor.first_difference = found.first;
      if (!total.first_difference) {
        const TensorInfo& stored = *row.views[0]->tensor;
        const uint64_t width = static_cast<uint64_t>(info(stored.dtype).bits) / 8;
        const bool in_file = !stored.computed;
        total.first_difference = ElementPlace{
            row.name, found.first, in_file ? suspect.files[stored.stored.file].path : std::string(),
            in_file ? stored.stored.offset + found.first * width : found.first * width};
      }
    }
    comparison.tensors.push_back(std::move(tensor));
  }
  total.share =
      total.elements ? static_cast<double>(total.equal) / static_cast<double>(total.elements) : 0;
  total.share_informative = total.share;
  return comparison;
}

}  // namespace hieron
