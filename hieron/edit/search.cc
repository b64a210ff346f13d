#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <span>
#include <utility>

#include "hieron/edit/kinds.h"

namespace hieron {
namespace {

constexpr std::array<std::pair<EditKind, std::string_view>, 7> kNames{{
    {EditKind::kDtypeTrip, "dtype-trip"},
    {EditKind::kPruned, "pruned"},
    {EditKind::kRequantised, "requantised"},
    {EditKind::kLowRank, "low-rank"},
    {EditKind::kDirectionRemoved, "direction-removed"},
    {EditKind::kTruncated, "truncated"},
    {EditKind::kUnitsPermuted, "other"},
}};

// The first kind that fits some model ends the search: cheap ones and special ones first.
constexpr std::array<EditTest, 4> kPredicted{find_dtype_trip, find_pruned, find_requantised,
                                             find_units_permuted};
constexpr std::array<EditTest, 2> kEstimated{find_truncated, find_low_rank};

// Where a sample is all that is read: element by element, and by stretches of rows.
constexpr std::array<EditTest, 3> kSampled{find_dtype_trip, find_pruned, find_requantised};

// May every matrix be read whole?
bool matrices_in_reach(const EditCase& given) {
  return std::ranges::all_of(given.alignment.rows, [&](const Row& row) {
    const TensorInfo& tensor = *row.views[0]->tensor;
    return row.shape.size() < 2 || (!tensor.known && tensor.bytes() <= given.whole.whole_bytes());
  });
}

std::span<const EditTest> tests(const EditCase& given, EditSearch search,
                                std::vector<std::string>& reasons) {
  const bool whole = matrices_in_reach(given);
  if (search == EditSearch::kPredicted)
    return whole ? std::span<const EditTest>(kPredicted) : kSampled;
  if (whole) return kEstimated;
  reasons.emplace_back(
      "Adapters that were merged in, directions that were removed and another order of the hidden "
      "units were not looked for: they take whole matrices, and a sample was read.");
  return {};
}

double share(const EditFinding& found) {
  return found.read() ? static_cast<double>(found.equal()) / static_cast<double>(found.read()) : 0;
}

}  // namespace

std::string_view name(EditKind kind) {
  for (const auto& [k, text] : kNames) {
    if (k == kind) return text;
  }
  return "other";
}

uint64_t EditFinding::read() const {
  uint64_t sum = 0;
  for (const ExplainedRow& row : rows) sum += row.read;
  return sum;
}

uint64_t EditFinding::equal() const {
  uint64_t sum = 0;
  for (const ExplainedRow& row : rows) sum += row.equal;
  return sum;
}

Result<std::optional<EditFinding>> find_edit(const EditCase& given,
                                             const std::vector<size_t>& models, EditSearch search,
                                             std::vector<std::string>& reasons) {
  std::vector<Profile> profiles;
  for (const size_t model : models) {
    HIERON_TRY(Profile one, profile(given, model, given.quick));
    if (one.total.read > one.total.equal) profiles.push_back(std::move(one));
  }
  for (const EditTest& test : tests(given, search, reasons)) {
    std::optional<EditFinding> best;
    std::vector<size_t> rivals;
    for (const Profile& one : profiles) {
      HIERON_TRY(std::optional<EditFinding> found, test(given, one, reasons));
      if (!found) continue;
      if (best && share(*found) == share(*best)) rivals.push_back(found->model);
      if (!best || share(*found) > share(*best)) {
        best = std::move(found);
        rivals.clear();
      }
    }
    if (!best) continue;
    if (rivals.empty()) return best;
    reasons.push_back(
        fmt::format("{} and {} explain the suspect equally well by such an edit ({}).",
                    given.alignment.models[best->model]->ref,
                    given.alignment.models[rivals.front()]->ref, name(best->kind)));
    return std::nullopt;
  }
  return std::nullopt;
}

}  // namespace hieron
