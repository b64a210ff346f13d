// A model rounded to integers, group by group, and turned back into floats. The grid is found on a
// probe; the proof rounds the whole model to it and compares bits.
#include <fmt/format.h>

#include <algorithm>
#include <mutex>

#include "hieron/core/text.h"
#include "hieron/edit/grid.h"
#include "hieron/edit/kinds.h"
#include "hieron/kernels/decode.h"

namespace hieron {
namespace {

constexpr uint64_t kProbeRows = 256;
constexpr uint64_t kProbeElements = 1 << 16;
constexpr size_t kFirstLook = 2048;  // most grids are ruled out by so many elements
constexpr double kProbe = 0.99;      // share of the changed elements of the probe

bool applies(const Grid& grid, const Row& row) {
  if (row.shape.size() < 2) return false;
  const uint64_t columns = row_length(row.shape), rows = row.elements / columns;
  return grid.columns ? rows % grid.group == 0 : grid.group == 0 || columns % grid.group == 0;
}

// The least stretch of a row that holds whole groups only.
uint64_t unit_of(const Grid& grid, const Row& row) {
  const uint64_t columns = row_length(row.shape);
  if (grid.columns) return grid.group * columns;
  return grid.group == 0 ? columns : grid.group;
}

// The first rows of a matrix, of the suspect as stored and of the model as values.
struct Probe {
  DType dtype;
  size_t columns;
  std::vector<std::byte> suspect, model;  // as stored in `dtype`
  std::vector<double> values;             // of the model
};

Result<Probe> read_probe(const EditCase& given, size_t index, size_t model) {
  const Row& row = given.alignment.rows[index];
  const TensorView &s = *row.views[0], &m = *row.views[model];
  const uint64_t columns = row_length(row.shape);
  const uint64_t rows = std::min(
      {row.elements / columns, kProbeRows, std::max<uint64_t>(1, kProbeElements / columns)});
  Probe probe{s.tensor->dtype, columns, {}, {}, std::vector<double>(rows * columns)};
  probe.suspect.resize(probe.values.size() * static_cast<size_t>(info(probe.dtype).bits) / 8);
  std::vector<std::byte> raw(probe.values.size() * static_cast<size_t>(info(m.tensor->dtype).bits) /
                             8);
  HIERON_CHECK(read_elements(*given.alignment.models[0], *s.tensor, s.first, probe.suspect));
  HIERON_CHECK(read_elements(*given.alignment.models[model], *m.tensor, m.first, raw));
  decode(m.tensor->dtype, raw.data(), std::span(probe.values));
  probe.model.resize(probe.suspect.size());
  encode(probe.dtype, std::span<const double>(probe.values), probe.model.data());
  return probe;
}

// Share of the elements that differ from the model which the grid explains.
double explained(const Grid& grid, const Probe& probe, size_t elements) {
  std::vector<double> values(probe.values.begin(),
                             probe.values.begin() + static_cast<std::ptrdiff_t>(elements));
  round_to_grid(grid, values, probe.columns);
  std::vector<std::byte> made(elements * static_cast<size_t>(info(probe.dtype).bits) / 8);
  encode(probe.dtype, std::span<const double>(values), made.data());
  uint64_t changed = 0, right = 0;
  for (size_t i = 0; i < elements; ++i) {
    const uint64_t s = load_bits(probe.dtype, probe.suspect.data(), i);
    const bool differs = s != load_bits(probe.dtype, probe.model.data(), i);
    const bool same = s == load_bits(probe.dtype, made.data(), i);
    changed += differs || !same;
    right += differs && same;
  }
  return changed ? static_cast<double>(right) / static_cast<double>(changed) : 0;
}

// The grid that explains most of the probe: arithmetics differ in a few elements only.
std::optional<Grid> fitting_grid(const Probe& probe, const Row& row) {
  std::optional<Grid> best;
  double most = kProbe;
  for (const Grid& grid : known_grids()) {
    if (!applies(grid, row)) continue;
    const size_t unit = unit_of(grid, row);
    const size_t all = probe.values.size() / unit * unit;
    const size_t look = std::min(all, (kFirstLook + unit - 1) / unit * unit);
    if (look == 0 || explained(grid, probe, look) < kProbe / 2) continue;
    const double share = explained(grid, probe, all);
    if (share < most || (best && share == most)) continue;
    most = share;
    best = grid;
    if (share == 1) break;
  }
  return best;
}

class GridVisitor final : public Visitor {
 public:
  GridVisitor(std::span<const Row> rows, size_t model, const Grid& grid, unsigned workers)
      : rows_(rows), model_(model), grid_(grid), found_(rows.size()), scratch_(workers) {}

  struct Found {
    ExplainedRow as_it_is, rounded;
  };

  Status visit(const Block& block, unsigned worker) override {
    const Row& row = rows_[block.row];
    const DType s = row.views[0]->tensor->dtype, m = row.views[model_]->tensor->dtype;
    Scratch& scratch = scratch_[worker];
    // A sample may begin inside a group; what belongs to a broken one is left out.
    const bool grid = applies(grid_, row) && info(s).format && info(m).format;
    const uint64_t unit = grid ? unit_of(grid_, row) : 1;
    const uint64_t skip = (unit - block.first % unit) % unit;
    if (skip >= block.count) return {};
    const uint64_t count = (block.count - skip) / unit * unit;
    const auto width = static_cast<size_t>(info(s).bits) / 8;
    const std::byte* suspect = block.data[0] + skip * width;
    const std::byte* model = block.data[model_] + skip * static_cast<size_t>(info(m).bits) / 8;
    Found part;
    if (!info(s).format || !info(m).format) {
      if (s == m) part.as_it_is = compared(s, suspect, model, block.first + skip, count);
    } else {
      scratch.values.resize(count);
      scratch.made.resize(count * width);
      decode(m, model, std::span(scratch.values));
      encode(s, std::span<const double>(scratch.values), scratch.made.data());
      part.as_it_is = compared(s, suspect, scratch.made.data(), block.first + skip, count);
      if (grid) {
        round_to_grid(grid_, scratch.values, row_length(row.shape));
        encode(s, std::span<const double>(scratch.values), scratch.made.data());
        part.rounded = compared(s, suspect, scratch.made.data(), block.first + skip, count);
      }
    }
    const std::lock_guard lock(mutex_);
    add(part.as_it_is, found_[block.row].as_it_is);
    add(part.rounded, found_[block.row].rounded);
    return {};
  }

  const Found& found(size_t row) const { return found_[row]; }

 private:
  struct Scratch {
    std::vector<double> values;
    std::vector<std::byte> made;
  };

  static ExplainedRow compared(DType dtype, const std::byte* a, const std::byte* b, uint64_t first,
                               uint64_t count) {
    ExplainedRow row{.read = count};
    for (uint64_t i = 0; i < count; ++i) {
      if (load_bits(dtype, a, i) == load_bits(dtype, b, i)) {
        ++row.equal;
      } else {
        row.first_miss = std::min(row.first_miss, first + i);
      }
    }
    return row;
  }
  static void add(const ExplainedRow& part, ExplainedRow& sum) {
    sum.read += part.read;
    sum.equal += part.equal;
    sum.first_miss = std::min(sum.first_miss, part.first_miss);
  }

  std::span<const Row> rows_;
  const size_t model_;
  const Grid grid_;
  std::mutex mutex_;  // guards found_
  std::vector<Found> found_;
  std::vector<Scratch> scratch_;  // one a worker
};

// The tensor with most changes: the probe.
std::optional<size_t> probe_row(const EditCase& given, const Profile& profile) {
  std::optional<size_t> best;
  for (const size_t i : changed_rows(profile)) {
    const Row& row = given.alignment.rows[i];
    const bool usable = row.shape.size() >= 2 && info(row.views[0]->tensor->dtype).format &&
                        info(row.views[profile.model]->tensor->dtype).format;
    const auto changed = [&](size_t r) { return profile.rows[r].read - profile.rows[r].equal; };
    if (usable && (!best || changed(i) > changed(*best))) best = i;
  }
  return best;
}

}  // namespace

Result<std::optional<EditFinding>> find_requantised(const EditCase& given, const Profile& quick,
                                                    std::vector<std::string>&) {
  const auto row = probe_row(given, quick);
  if (!row) return std::nullopt;
  HIERON_TRY(const Probe probe, read_probe(given, *row, quick.model));
  const auto grid = fitting_grid(probe, given.alignment.rows[*row]);
  if (!grid) return std::nullopt;

  std::vector<Row> rows;
  std::vector<size_t> index;
  for (size_t i = 0; i < given.alignment.rows.size(); ++i) {
    Row one = given.alignment.rows[i];
    if (!one.views[quick.model]) continue;
    for (size_t m = 1; m < one.views.size(); ++m) {
      if (m != quick.model) one.views[m].reset();
    }
    if (applies(*grid, one) && kLeaf % unit_of(*grid, one) != 0) one.grain = unit_of(*grid, one);
    rows.push_back(std::move(one));
    index.push_back(i);
  }
  GridVisitor visitor(rows, quick.model, *grid, worker_count(given.walk));
  HIERON_CHECK(walk(given.alignment.models, rows, given.whole, visitor, given.walk));

  EditFinding found{.kind = EditKind::kRequantised, .model = quick.model, .what = {}};
  found.rows.resize(given.alignment.rows.size());
  std::vector<size_t> rounded;
  uint64_t changed = 0, missed = 0;
  for (size_t i = 0; i < index.size(); ++i) {
    const auto& [as_it_is, on_grid] = visitor.found(i);
    const bool on = on_grid.equal > as_it_is.equal;
    found.rows[index[i]] = on ? on_grid : as_it_is;
    changed += as_it_is.read - as_it_is.equal;
    missed += found.rows[index[i]].read - found.rows[index[i]].equal;
    if (on) rounded.push_back(index[i]);
  }
  if (changed < edit_threshold::kLeastChanged ||
      static_cast<double>(missed) > (1 - edit_threshold::kReplay) * static_cast<double>(changed)) {
    return std::nullopt;
  }
  found.targets = roles_of(given, rounded);
  found.what = fmt::format("rounded to {}, and back ({} tensors)", in_words(*grid), rounded.size());
  found.reasons.push_back(
      fmt::format("{} elements differ from the model; rounding the model to {} explains all but {} "
                  "of them.",
                  with_commas(changed), in_words(*grid), with_commas(missed)));
  return found;
}

}  // namespace hieron
