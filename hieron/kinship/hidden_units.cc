#include "hieron/kinship/hidden_units.h"

#include <algorithm>
#include <array>
#include <boost/math/special_functions/gamma.hpp>
#include <cmath>
#include <mutex>
#include <optional>

#include "hieron/core/parallel.h"
#include "hieron/kernels/decode.h"
#include "hieron/kinship/assignment.h"

namespace hieron {
namespace {

constexpr uint64_t kMinUnits = 4;          // below this a fixed point is no news
constexpr uint64_t kMaxDimensions = 4096;  // a longer unit is compared on its first entries

struct Candidate {
  size_t row;
  UnitLayout layout;
};

// Gate and up of one FFN number the same units, so only one of the two is an independent witness:
// the gate, or up where no model of this kind has a gate.
bool is_up(Role role) { return role == Role::kMlpUp || role == Role::kExpertUp; }

std::vector<Candidate> candidates(const Alignment& alignment, const RoleTable& roles, size_t a,
                                  size_t b, const UnitEffort& effort) {
  std::vector<Candidate> all, ups;
  for (size_t i = 0; i < alignment.rows.size(); ++i) {
    const Row& row = alignment.rows[i];
    if (!row.views[a] || !row.views[b]) continue;
    if (!info(row.views[a]->tensor->dtype).blend || !info(row.views[b]->tensor->dtype).blend)
      continue;
    const TensorRole role = roles.classify(row.name, row.shape);
    const auto layout = unit_layout(role, row.name, row.shape);
    if (!layout || layout->units < kMinUnits) continue;
    if (!layout->rows && row.elements * 8 > effort.matrix_bytes) continue;
    if (row.views[a]->tensor->known || row.views[b]->tensor->known) continue;
    (is_up(role.role) ? ups : all).push_back({i, *layout});
  }
  if (all.empty()) all = std::move(ups);
  if (all.size() <= effort.matrices) return all;
  std::vector<Candidate> spread;
  for (size_t k = 0; k < effort.matrices; ++k) {
    spread.push_back(all[k * all.size() / effort.matrices]);
  }
  return spread;
}

struct Units {
  std::vector<double> values;  // units × dimensions
  size_t units = 0, dimensions = 0;
};

// The first `most` units of one model's matrix: for each, its entries of every gate, side by
// side.
Result<Units> read_units(const Checkpoint& model, const TensorView& view, const Row& row,
                         const UnitLayout& layout, uint64_t most) {
  const TensorInfo& tensor = *view.tensor;
  const uint64_t gates = static_cast<uint64_t>(layout.gates);
  const uint64_t columns = row_length(row.shape);
  const uint64_t rows = row.elements / columns;
  Units units;
  units.units = std::min<uint64_t>(layout.units, most);
  const uint64_t inputs = std::min(layout.rows ? columns : rows, kMaxDimensions / gates);
  units.dimensions = inputs * gates;
  units.values.resize(units.units * units.dimensions);
  const uint64_t width = static_cast<uint64_t>(info(tensor.dtype).bits) / 8;
  const auto read = [&](uint64_t first, std::vector<double>& out) -> Status {
    std::vector<std::byte> raw(out.size() * width);
    HIERON_CHECK(read_elements(model, tensor, view.first + first, raw));
    decode(tensor.dtype, raw.data(), std::span<double>(out));
    return {};
  };
  if (layout.rows) {
    std::vector<double> block(units.units * columns);
    for (uint64_t g = 0; g < gates; ++g) {
      HIERON_CHECK(read(g * layout.units * columns, block));
      for (uint64_t u = 0; u < units.units; ++u) {
        std::copy_n(block.begin() + static_cast<long>(u * columns), inputs,
                    units.values.begin() + static_cast<long>(u * units.dimensions + g * inputs));
      }
    }
    return units;
  }
  std::vector<double> whole(inputs * columns);
  HIERON_CHECK(read(0, whole));
  for (uint64_t u = 0; u < units.units; ++u) {
    for (uint64_t g = 0; g < gates; ++g) {
      for (uint64_t i = 0; i < inputs; ++i) {
        units.values[u * units.dimensions + g * inputs + i] =
            whole[i * columns + g * layout.units + u];
      }
    }
  }
  return units;
}

Status announce(const Alignment& alignment, std::span<const Candidate> chosen,
                std::array<size_t, 2> models, const UnitEffort& effort) {
  std::vector<Wanted> wanted;
  for (const Candidate& candidate : chosen) {
    const Row& row = alignment.rows[candidate.row];
    const UnitLayout& layout = candidate.layout;
    const uint64_t columns = row_length(row.shape);
    for (const size_t m : models) {
      const TensorView& view = *row.views[m];
      const Checkpoint* model = alignment.models[m];
      if (!layout.rows) {
        wanted.push_back({model, view.tensor, view.first, row.elements});
        continue;
      }
      const uint64_t count = std::min<uint64_t>(layout.units, effort.units) * columns;
      for (uint64_t g = 0; g < static_cast<uint64_t>(layout.gates); ++g) {
        wanted.push_back({model, view.tensor, view.first + g * layout.units * columns, count});
      }
    }
  }
  return will_read(wanted);
}

// Rows scaled to length one; rows of zeros or with NaN become zero and match nothing in particular.
void normalise(std::span<double> values, size_t units, size_t dimensions) {
  for (size_t u = 0; u < units; ++u) {
    const std::span<double> unit = values.subspan(u * dimensions, dimensions);
    double square = 0;
    for (const double v : unit) square += v * v;
    const double scale = square > 0 && std::isfinite(square) ? 1 / std::sqrt(square) : 0;
    for (double& v : unit) v = scale > 0 ? v * scale : 0;
  }
}

// Units that have a direction in both models (after normalise()).
uint64_t usable_units(const Units& a, const Units& b) {
  const auto directed = [](const Units& units, size_t u) {
    const auto* begin = units.values.data() + u * units.dimensions;
    return std::any_of(begin, begin + units.dimensions, [](double v) { return v != 0; });
  };
  uint64_t usable = 0;
  for (size_t u = 0; u < a.units; ++u) usable += directed(a, u) && directed(b, u);
  return usable;
}

}  // namespace

double poisson_tail(double mean, uint64_t count) {
  if (count == 0) return 1;
  return boost::math::gamma_p(static_cast<double>(count), mean);
}

uint64_t matched_to_own_index(std::span<const double> a, std::span<const double> b, size_t units,
                              size_t dimensions) {
  std::vector<double> score(units * units);
  for (size_t i = 0; i < units; ++i) {
    const double* x = a.data() + i * dimensions;
    for (size_t j = 0; j < units; ++j) {
      const double* y = b.data() + j * dimensions;
      double lanes[4] = {0, 0, 0, 0};
      size_t d = 0;
      for (; d + 4 <= dimensions; d += 4) {
        for (size_t l = 0; l < 4; ++l) lanes[l] += x[d + l] * y[d + l];
      }
      for (; d < dimensions; ++d) lanes[0] += x[d] * y[d];
      score[i * units + j] = (lanes[0] + lanes[1]) + (lanes[2] + lanes[3]);
    }
  }
  // Identical scores (rows of zeros) would go to the lower column and favour the diagonal: a unit
  // that scores nothing anywhere is not counted.
  const std::vector<uint32_t> column = assign(score, units);
  uint64_t own = 0;
  for (size_t i = 0; i < units; ++i) own += column[i] == i && score[i * units + i] != 0;
  return own;
}

Result<HiddenUnitTest> compare_hidden_units(const Alignment& alignment, const RoleTable& roles,
                                            size_t model_a, size_t model_b, unsigned threads,
                                            UnitEffort effort) {
  const std::vector<Candidate> chosen = candidates(alignment, roles, model_a, model_b, effort);
  HIERON_CHECK(announce(alignment, chosen, {model_a, model_b}, effort));
  HiddenUnitTest test;
  test.matrices.resize(chosen.size());
  std::mutex mutex;
  std::optional<Error> error;
  parallel_for(chosen.size(), threads, [&](size_t i) {
    const Row& row = alignment.rows[chosen[i].row];
    const auto units_of = [&](size_t m) {
      return read_units(*alignment.models[m], *row.views[m], row, chosen[i].layout, effort.units);
    };
    auto a = units_of(model_a), b = units_of(model_b);
    if (!a || !b) {
      const std::lock_guard lock(mutex);
      if (!error) error = std::move(!a ? a.error() : b.error());
      return;
    }
    normalise(a->values, a->units, a->dimensions);
    normalise(b->values, b->units, b->dimensions);
    const uint64_t usable = usable_units(*a, *b);
    if (usable < kMinUnits) return;  // zeros and NaN say nothing
    test.matrices[i] = {row.name, usable,
                        matched_to_own_index(a->values, b->values, a->units, a->dimensions)};
  });
  if (error) return std::unexpected(std::move(*error));
  std::erase_if(test.matrices, [](const UnitMatch& match) { return match.units == 0; });
  for (const UnitMatch& match : test.matrices) {
    test.units += match.units;
    test.matched += match.matched;
  }
  if (!test.matrices.empty()) {
    test.p = poisson_tail(static_cast<double>(test.matrices.size()), test.matched);
  }
  return test;
}

}  // namespace hieron
