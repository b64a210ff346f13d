#include "hieron/edit/profile.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <mutex>
#include <set>

#include "hieron/kernels/compare.h"
#include "hieron/kernels/decode.h"

namespace hieron {
namespace {

void add(const RowProfile& part, RowProfile& sum) {
  sum.read += part.read;
  sum.equal += part.equal;
  sum.zeroed += part.zeroed;
  sum.kept += part.kept;
  sum.kept_equal += part.kept_equal;
  sum.borders += part.borders;
  sum.largest_zeroed = std::max(sum.largest_zeroed, part.largest_zeroed);
  sum.smallest_kept = std::min(sum.smallest_kept, part.smallest_kept);
  for (size_t t = 0; t < kTrips.size(); ++t) sum.trip[t] += part.trip[t];
  sum.first_miss = std::min(sum.first_miss, part.first_miss);
}

class ProfileVisitor final : public Visitor {
 public:
  ProfileVisitor(std::span<const Row> rows, size_t model, unsigned workers)
      : rows_(rows), model_(model), found_(rows.size()), scratch_(workers) {}

  Status visit(const Block& block, unsigned worker) override {
    const DType s = rows_[block.row].views[0]->tensor->dtype;
    const DType m = rows_[block.row].views[model_]->tensor->dtype;
    RowProfile part;
    part.read = block.count;
    if (info(s).format && info(m).format) {
      compare_values(block, s, m, part, scratch_[worker]);
    } else if (s == m) {
      part.equal = compare(block.data[0], block.data[model_], block.count, info(s).bits / 8).equal;
      part.trip.fill(part.equal);
    }
    const std::lock_guard lock(mutex_);
    add(part, found_[block.row]);
    return {};
  }

  const RowProfile& found(size_t row) const { return found_[row]; }

 private:
  struct Scratch {
    std::vector<double> suspect, model, made;
    std::vector<std::byte> expected, narrow;
  };

  void compare_values(const Block& block, DType s, DType m, RowProfile& part,
                      Scratch& scratch) const {
    const auto width = static_cast<size_t>(info(s).bits) / 8;
    scratch.model.resize(block.count);
    scratch.suspect.resize(block.count);
    scratch.made.resize(block.count);
    scratch.expected.resize(block.count * width);
    decode(m, block.data[model_], std::span(scratch.model));
    decode(s, block.data[0], std::span(scratch.suspect));
    encode(s, std::span<const double>(scratch.model), scratch.expected.data());
    const Difference difference =
        compare(block.data[0], scratch.expected.data(), block.count, static_cast<int>(width));
    part.equal = difference.equal;
    if (difference.first_difference >= 0) {
      part.first_miss = block.first + static_cast<uint64_t>(difference.first_difference);
    }
    bool zeroed_before = false, kept_before = false;
    for (size_t i = 0; i < block.count; ++i) {
      const double here = scratch.suspect[i], there = std::abs(scratch.model[i]);
      const bool zeroed = here == 0 && there != 0, kept = here != 0 && there != 0;
      const bool same_leaf = (block.first + i) % kLeaf != 0;
      part.borders += same_leaf && ((zeroed && kept_before) || (kept && zeroed_before));
      zeroed_before = zeroed;
      kept_before = kept;
      if (there == 0) continue;
      if (zeroed) {
        ++part.zeroed;
        part.largest_zeroed = std::max(part.largest_zeroed, there);
        continue;
      }
      ++part.kept;
      part.kept_equal += load_bits(s, block.data[0], i) == load_bits(s, scratch.expected.data(), i);
      part.smallest_kept = std::min(part.smallest_kept, there);
    }
    for (size_t t = 0; t < kTrips.size(); ++t) part.trip[t] = after_trip(block, s, t, scratch);
  }

  uint64_t after_trip(const Block& block, DType s, size_t trip, Scratch& scratch) const {
    scratch.narrow.resize(block.count * static_cast<size_t>(info(kTrips[trip]).bits) / 8);
    encode(kTrips[trip], std::span<const double>(scratch.model), scratch.narrow.data());
    decode(kTrips[trip], scratch.narrow.data(), std::span(scratch.made));
    encode(s, std::span<const double>(scratch.made), scratch.expected.data());
    return compare(block.data[0], scratch.expected.data(), block.count, info(s).bits / 8).equal;
  }

  std::span<const Row> rows_;
  const size_t model_;
  std::mutex mutex_;  // guards found_
  std::vector<RowProfile> found_;
  std::vector<Scratch> scratch_;  // one a worker
};

}  // namespace

Result<Profile> profile(const EditCase& given, size_t model, const Selection& selection) {
  std::vector<Row> rows;
  std::vector<size_t> index;
  for (size_t i = 0; i < given.alignment.rows.size(); ++i) {
    Row row = given.alignment.rows[i];
    if (!row.views[model]) continue;
    for (size_t m = 1; m < row.views.size(); ++m) {
      if (m != model) row.views[m].reset();
    }
    rows.push_back(std::move(row));
    index.push_back(i);
  }
  ProfileVisitor visitor(rows, model, worker_count(given.walk));
  HIERON_CHECK(walk(given.alignment.models, rows, selection, visitor, given.walk));
  Profile found{.model = model, .rows = {}, .total = {}};
  found.rows.resize(given.alignment.rows.size());
  for (size_t i = 0; i < index.size(); ++i) {
    found.rows[index[i]] = visitor.found(i);
    add(visitor.found(i), found.total);
  }
  return found;
}

std::vector<size_t> changed_rows(const Profile& profile) {
  std::vector<size_t> rows;
  for (size_t i = 0; i < profile.rows.size(); ++i) {
    if (profile.rows[i].changed()) rows.push_back(i);
  }
  return rows;
}

std::vector<Role> roles_of(const EditCase& given, const std::vector<size_t>& rows) {
  std::set<Role> roles;
  for (const size_t i : rows) {
    const Row& row = given.alignment.rows[i];
    roles.insert(given.roles.classify(row.name, row.shape).role);
  }
  return {roles.begin(), roles.end()};
}

std::string in_words(const std::vector<Role>& roles) {
  std::vector<std::string_view> names;
  for (const Role role : roles) names.push_back(name(role));
  return fmt::format("{}", fmt::join(names, ", "));
}

}  // namespace hieron
