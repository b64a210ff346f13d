#include "hieron/assay/replay.h"

#include <algorithm>
#include <array>
#include <limits>
#include <memory>
#include <mutex>

#include "hieron/kernels/compare.h"
#include "hieron/model/config.h"

namespace hieron {
namespace {

class CompareVisitor final : public Visitor {
 public:
  explicit CompareVisitor(std::span<const Row> rows) : rows_(rows), found_(rows.size()) {}

  Status visit(const Block& block, unsigned) override {
    const int width = info(rows_[block.row].views[0]->tensor->dtype).bits / 8;
    const Difference difference = compare(block.data[0], block.data[1], block.count, width);
    const std::lock_guard lock(mutex_);
    Found& found = found_[block.row];
    found.equal += difference.equal;
    if (difference.first_difference >= 0) {
      found.first =
          std::min(found.first, block.first + static_cast<uint64_t>(difference.first_difference));
    }
    return {};
  }

  struct Found {
    uint64_t equal = 0;
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

}  // namespace

Result<Comparison> replay(const Checkpoint& expected, const Checkpoint& suspect,
                          const WalkOptions& options) {
  const std::array<const Checkpoint*, 2> models{&suspect, &expected};
  Alignment alignment = align(models, 2);
  drop_other_dtypes(alignment);
  CompareVisitor visitor(alignment.rows);
  HIERON_TRY(const WalkStats stats,
             walk(models, alignment.rows, Selection::everything(), visitor, options));

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
    TensorComparison tensor{row.name, roles.classify(row.name, row.shape), row.elements,
                            found.equal, std::nullopt};
    total.elements += row.elements;
    total.equal += found.equal;
    ++total.tensors;
    if (found.equal == row.elements) {
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
