#include "hieron/merge/methods/column_sums.h"

#include <algorithm>
#include <bit>
#include <utility>

namespace hieron {
namespace {

constexpr uint64_t kGroup = uint64_t{1} << 18;  // elements, about: the sums are small beside them

}  // namespace

ColumnSums::ColumnSums(uint64_t matrices, uint64_t rows, uint64_t columns, size_t figures)
    : rows_(std::max<uint64_t>(1, rows)),
      columns_(std::max<uint64_t>(1, columns)),
      figures_(figures),
      group_rows_(std::clamp<uint64_t>(kGroup / columns_, 1, rows_)),
      totals_(matrices, std::vector<double>(figures * columns_)) {
  // No group reaches from one matrix into the next.
  while (matrices > 1 && rows_ % group_rows_ != 0) --group_rows_;
  groups_ = (rows_ + group_rows_ - 1) / group_rows_;
}

uint64_t ColumnSums::held() const {
  const auto levels = static_cast<uint64_t>(std::bit_width(groups_));
  return (totals_.size() + levels) * figures_ * columns_ * sizeof(double);
}

void ColumnSums::put(uint64_t row, std::vector<double> sums) {
  const uint64_t matrix = row / rows_;
  uint64_t index = row % rows_ / group_rows_;
  int level = 0;
  for (uint64_t nodes = groups_; nodes > 1; nodes = (nodes + 1) / 2, index /= 2, ++level) {
    if (index == nodes - 1 && nodes % 2 == 1) continue;  // the last one without a neighbour
    std::vector<double> other;
    {
      const std::lock_guard lock(mutex_);
      const auto neighbour = waiting_.find({matrix, level, index ^ 1});
      if (neighbour == waiting_.end()) {
        waiting_.emplace(std::tuple{matrix, level, index}, std::move(sums));
        return;
      }
      other = std::move(neighbour->second);
      waiting_.erase(neighbour);
    }
    for (size_t j = 0; j < sums.size(); ++j) sums[j] += other[j];
  }
  const std::lock_guard lock(mutex_);
  totals_[matrix] = std::move(sums);
}

}  // namespace hieron
