#include "hieron/assay/diff.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>

#include "hieron/kernels/decode.h"
#include "hieron/model/config.h"

namespace hieron {
namespace {

struct Leaf {
  double square_a = 0, square_change = 0, largest = 0;
  uint32_t compared = 0, equal = 0, not_finite = 0;
};

class DiffVisitor final : public Visitor {
 public:
  DiffVisitor(std::span<const Row> rows, unsigned workers) : rows_(rows), scratch_(workers) {
    for (const Row& row : rows) leaves_.emplace_back((row.elements + kLeaf - 1) / kLeaf);
  }

  // Block borders are multiples of kLeaf, and so are those of a fingerprint's runs or there is only
  // one of them in a leaf: no two threads share one.
  Status visit(const Block& block, unsigned worker) override {
    const Row& row = rows_[block.row];
    const DType a = row.views[0]->tensor->dtype, b = row.views[1]->tensor->dtype;
    Scratch& scratch = scratch_[worker];
    for (uint64_t at = 0, count = 0; at < block.count; at += count) {
      count = std::min(kLeaf - (block.first + at) % kLeaf, block.count - at);
      const std::span<double> x = std::span(scratch.a).first(count);
      const std::span<double> y = std::span(scratch.b).first(count);
      decode(a, block.data[0] + at * static_cast<uint64_t>(info(a).bits) / 8, x);
      decode(b, block.data[1] + at * static_cast<uint64_t>(info(b).bits) / 8, y);
      leaves_[block.row][(block.first + at) / kLeaf] = compare_leaf(x, y);
    }
    return {};
  }

  void total(size_t row, TensorDifference& difference) const {
    for (const Leaf& leaf : leaves_[row]) {
      difference.elements += leaf.compared;
      difference.equal += leaf.equal;
      difference.not_finite += leaf.not_finite;
      difference.norm_a += leaf.square_a;
      difference.norm_change += leaf.square_change;
      difference.largest_change = std::max(difference.largest_change, leaf.largest);
    }
    difference.norm_a = std::sqrt(difference.norm_a);
    difference.norm_change = std::sqrt(difference.norm_change);
  }

 private:
  struct Scratch {
    std::array<double, kLeaf> a, b;
  };

  static Leaf compare_leaf(std::span<const double> a, std::span<const double> b) {
    Leaf leaf{.compared = static_cast<uint32_t>(a.size())};
    for (size_t i = 0; i < a.size(); ++i) {
      leaf.equal += std::bit_cast<uint64_t>(a[i]) == std::bit_cast<uint64_t>(b[i]) ||
                    (std::isnan(a[i]) && std::isnan(b[i]));
      const double change = b[i] - a[i];
      if (!std::isfinite(change)) {
        ++leaf.not_finite;
        continue;
      }
      leaf.square_a += a[i] * a[i];
      leaf.square_change += change * change;
      leaf.largest = std::max(leaf.largest, std::abs(change));
    }
    return leaf;
  }

  std::span<const Row> rows_;
  std::vector<std::vector<Leaf>> leaves_;
  std::vector<Scratch> scratch_;
};

}  // namespace

Result<CheckpointDifference> diff(const Checkpoint& a, const Checkpoint& b,
                                  const WalkOptions& options) {
  const std::array<const Checkpoint*, 2> models{&a, &b};
  Alignment alignment = align(models, 2);
  std::erase_if(alignment.rows, [&](const Row& row) {
    const bool readable =
        decodable(row.views[0]->tensor->dtype) && decodable(row.views[1]->tensor->dtype);
    if (!readable)
      alignment.ledger.push_back({0, row.name, "its elements are not decoded to numbers yet"});
    return !readable;
  });
  DiffVisitor visitor(alignment.rows, worker_count(options));
  HIERON_TRY(const WalkStats stats,
             walk(models, alignment.rows, Selection::everything(), visitor, options));
  const auto config = parse_config(a.config_json, a.ref);
  const RoleTable& roles = RoleTable::of(config ? config->architecture : "");
  CheckpointDifference result{
      .tensors = {}, .ledger = std::move(alignment.ledger), .bytes_read = stats.bytes_read};
  for (size_t i = 0; i < alignment.rows.size(); ++i) {
    const Row& row = alignment.rows[i];
    TensorDifference difference{.name = row.name,
                                .role = roles.classify(row.name, row.shape),
                                .shape = row.shape,
                                .dtype_a = std::string(info(row.views[0]->tensor->dtype).name),
                                .dtype_b = std::string(info(row.views[1]->tensor->dtype).name)};
    visitor.total(i, difference);
    result.elements += difference.elements;
    result.equal += difference.equal;
    result.tensors.push_back(std::move(difference));
  }
  return result;
}

}  // namespace hieron
