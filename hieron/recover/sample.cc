#include "hieron/recover/sample.h"

#include <algorithm>
#include <map>
#include <numeric>

#include "hieron/core/parallel.h"
#include "hieron/fit/interval.h"
#include "hieron/kernels/decode.h"

namespace hieron {
namespace {

// Which rows the fit looks at: all, or kFitRows of them, one of each (role, layer) in turn.
std::vector<size_t> choose_rows(const Alignment& alignment, const RoleTable& roles,
                                const Seed& seed, const Selection& selection) {
  std::vector<size_t> all(alignment.rows.size());
  std::iota(all.begin(), all.end(), size_t{0});
  std::erase_if(all, [&](size_t i) { return selection.runs(alignment.rows[i]).empty(); });
  if (all.size() <= kFitRows) return all;
  std::map<std::pair<Role, int>, std::vector<size_t>> strata;
  for (const size_t i : all) {
    const Row& row = alignment.rows[i];
    const TensorRole role = roles.classify(row.name, row.shape);
    strata[{role.role, role.layer.value_or(-1)}].push_back(i);
  }
  const Prf prf(seed, "rows of the fit");
  uint64_t counter = 0;
  std::vector<size_t> chosen;
  while (chosen.size() < kFitRows) {
    for (auto& [key, rows] : strata) {
      if (rows.empty() || chosen.size() == kFitRows) continue;
      std::swap(rows[prf.below(counter++, rows.size())], rows.back());
      chosen.push_back(rows.back());
      rows.pop_back();
    }
  }
  std::ranges::sort(chosen);
  return chosen;
}

// Decodes the blocks of the drawn runs into the rows' values, side by side.
class SampleVisitor final : public Visitor {
 public:
  SampleVisitor(std::span<const Row> rows, std::span<SampleRow> sample)
      : rows_(rows), sample_(sample) {}

  Status visit(const Block& block, unsigned) override {
    SampleRow& row = sample_[block.row];
    uint64_t at = 0;
    for (const Run& run : row.runs) {
      if (block.first >= run.first && block.first < run.first + run.count) {
        at += block.first - run.first;
        break;
      }
      at += run.count;
    }
    for (size_t m = 0; m < row.values.size(); ++m) {
      if (row.values[m].empty()) continue;
      decode(rows_[block.row].views[m]->tensor->dtype, block.data[m],
             std::span(row.values[m]).subspan(at, block.count));
    }
    return {};
  }

 private:
  std::span<const Row> rows_;
  std::span<SampleRow> sample_;
};

SampleRow prepare(const Row& row, size_t index, const RoleTable& roles,
                  const Selection& selection) {
  SampleRow sample{.row = index,
                   .runs = selection.runs(row),
                   .role = roles.classify(row.name, row.shape),
                   .dtypes = {},
                   .values = {}};
  for (const Run& run : sample.runs) sample.count += run.count;
  sample.blend = true;
  sample.values.resize(row.views.size());
  sample.dtypes.resize(row.views.size(), DType::kF32);
  for (size_t m = 0; m < row.views.size(); ++m) {
    if (!row.views[m]) continue;
    const DType dtype = row.views[m]->tensor->dtype;
    sample.dtypes[m] = dtype;
    sample.blend = sample.blend && info(dtype).blend;
    if (decodable(dtype)) sample.values[m].resize(sample.count);
  }
  return sample;
}

}  // namespace

Selection fit_selection(const Seed& seed, const Alignment& alignment, const Selection& selection) {
  const size_t rows = std::clamp<size_t>(alignment.rows.size(), 1, kFitRows);
  uint64_t elements = 0, bytes = 0;
  for (const Row& row : alignment.rows) {
    elements += row.elements;
    bytes += row.views[0]->tensor->bytes();
  }
  const uint64_t width = std::max<uint64_t>(1, bytes / std::max<uint64_t>(1, elements));
  // Few elements in all: read them all. Otherwise an equal share for each row.
  const uint64_t per_row = elements <= kFitElements ? bytes + 1 : kFitElements / rows * width;
  if (!selection.whole()) return selection.at_most(per_row);
  return Selection::sample(seed, {.bytes_per_tensor = per_row});
}

Sample thinned(const Sample& sample, uint64_t elements) {
  uint64_t total = 0;
  for (const SampleRow& row : sample.rows) total += row.count;
  Sample thin = sample;
  if (total <= elements) return thin;
  for (SampleRow& row : thin.rows) {
    const uint64_t share = row.count * elements / total;
    row.count = std::min(row.count, std::max(share, kLeastRow));
    for (auto& values : row.values) {
      if (!values.empty()) values.resize(row.count);
    }
  }
  return thin;
}

Result<Sample> draw_sample(const Alignment& alignment, const RoleTable& roles, const Seed& seed,
                           const Selection& selection, const WalkOptions& options) {
  Sample sample;
  std::vector<Row> rows;
  for (const size_t i : choose_rows(alignment, roles, seed, selection)) {
    sample.rows.push_back(prepare(alignment.rows[i], i, roles, selection));
    rows.push_back(alignment.rows[i]);
    // Views that cannot be decoded are not read.
    for (size_t m = 0; m < rows.back().views.size(); ++m) {
      if (sample.rows.back().values[m].empty()) rows.back().views[m].reset();
    }
    if (!rows.back().views[0]) {
      rows.pop_back();
      sample.rows.pop_back();
    }
  }
  SampleVisitor visitor(rows, sample.rows);
  HIERON_TRY([[maybe_unused]] const WalkStats stats,
             walk(alignment.models, rows, selection, visitor, options));
  parallel_for(sample.rows.size(), options.threads, [&](size_t i) {
    SampleRow& row = sample.rows[i];
    for (size_t m = 0; m < row.values.size(); ++m) {
      if (!row.values[m].empty()) row.dtypes[m] = true_dtype(row.dtypes[m], row.values[m]);
    }
  });
  return sample;
}

}  // namespace hieron
