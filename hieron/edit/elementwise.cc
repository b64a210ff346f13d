// Edits that treat every element for itself: a trip through a narrower format, weights set to zero.
#include <fmt/format.h>

#include <algorithm>

#include "hieron/core/text.h"
#include "hieron/edit/kinds.h"

namespace hieron {
namespace {

double ratio(uint64_t part, uint64_t whole) {
  return whole ? static_cast<double>(part) / static_cast<double>(whole) : 0;
}

// Elements that differ from the model and that the trip explains, as a share of those that differ.
bool explains_trip(const RowProfile& total, size_t trip) {
  const uint64_t changed = total.read - total.equal, missed = total.read - total.trip[trip];
  return changed >= edit_threshold::kLeastChanged &&
         ratio(missed, changed) <= 1 - edit_threshold::kTrip;
}

bool explains_pruning(const RowProfile& total) {
  const uint64_t missed = total.kept - total.kept_equal;
  return total.zeroed >= edit_threshold::kLeastChanged &&
         total.kept >= edit_threshold::kLeastChanged &&
         ratio(total.kept_equal, total.kept) >= edit_threshold::kKept &&
         ratio(missed, total.zeroed) <= 1 - edit_threshold::kReplay;
}

// Zeros among other weights. Whole rows of zeros have no direction: the model may have been trained
// from the suspect in just these rows (tokens that were added, units that were begun at zero).
bool is_scattered(const Profile& profile) {
  uint64_t borders = 0, zeroed = 0, kept = 0;
  for (const RowProfile& row : profile.rows) {
    if (row.zeroed == 0) continue;
    borders += row.borders;
    zeroed += row.zeroed;
    kept += row.kept;
  }
  return ratio(borders, std::min(zeroed, kept)) >= edit_threshold::kScattered;
}

}  // namespace

Result<std::optional<EditFinding>> find_dtype_trip(const EditCase& given, const Profile& quick,
                                                   std::vector<std::string>&) {
  for (size_t trip = 0; trip < kTrips.size(); ++trip) {
    if (!explains_trip(quick.total, trip)) continue;
    HIERON_TRY(const Profile all, profile(given, quick.model, given.whole));
    if (!explains_trip(all.total, trip)) continue;
    const auto changed = changed_rows(all);
    EditFinding found{
        .kind = EditKind::kDtypeTrip,
        .model = quick.model,
        .targets = roles_of(given, changed),
        .what = fmt::format("after a trip through {} and back", info(kTrips[trip]).name)};
    for (const RowProfile& row : all.rows) {
      found.rows.push_back(
          {row.read, row.trip[trip], row.trip[trip] < row.read ? row.first_miss : ~uint64_t{0}});
    }
    found.reasons.push_back(fmt::format(
        "{} elements differ from the model; rounding the model to {} first explains {} of them.",
        with_commas(all.total.read - all.total.equal), info(kTrips[trip]).name,
        with_commas(all.total.trip[trip] - std::min(all.total.trip[trip], all.total.equal))));
    return found;
  }
  return std::nullopt;
}

Result<std::optional<EditFinding>> find_pruned(const EditCase& given, const Profile& quick,
                                               std::vector<std::string>& reasons) {
  if (!explains_pruning(quick.total)) return std::nullopt;
  HIERON_TRY(const Profile all, profile(given, quick.model, given.whole));
  if (!explains_pruning(all.total)) return std::nullopt;
  if (!is_scattered(all)) {
    reasons.push_back(
        fmt::format("The suspect is {} but for {} weights that are zero here; they lie together, "
                    "so they may as "
                    "well have been trained from zero there as set to zero here.",
                    given.alignment.models[quick.model]->ref, with_commas(all.total.zeroed)));
    return std::nullopt;
  }
  EditFinding found{.kind = EditKind::kPruned, .model = quick.model, .what = {}};
  std::vector<size_t> pruned;
  uint64_t zeroed = 0, elements = 0;
  bool smallest = true;
  for (size_t i = 0; i < all.rows.size(); ++i) {
    const RowProfile& row = all.rows[i];
    // An element that is zero in both is equal, or a zero of the other sign.
    const uint64_t missed = row.kept - row.kept_equal;
    found.rows.push_back({row.read, row.read - std::min(row.read, missed),
                          missed > 0 ? row.first_miss : ~uint64_t{0}});
    if (row.zeroed == 0) continue;
    pruned.push_back(i);
    zeroed += row.zeroed;
    elements += row.read;
    smallest = smallest && row.largest_zeroed <= row.smallest_kept;
  }
  found.targets = roles_of(given, pruned);
  found.strength = ratio(zeroed, elements);
  found.what =
      fmt::format("with {:.1f} % of the weights of {} tensors set to zero{}", 100 * *found.strength,
                  pruned.size(), smallest ? ", in each tensor the smallest" : "");
  found.reasons.push_back(fmt::format(
      "{} elements are zero here and not in the model; of the {} others that are not "
      "zero there {} are the model's bit for bit.",
      with_commas(zeroed), with_commas(all.total.kept), with_commas(all.total.kept_equal)));
  return found;
}

}  // namespace hieron
