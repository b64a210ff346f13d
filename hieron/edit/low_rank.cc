// An adapter merged in: the tensors it targets changed by matrices of low rank, all others stayed.
// A direction taken out is a special case: rank one, and what was added is the model's own
// component along one vector.
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <mutex>

#include "hieron/core/parallel.h"
#include "hieron/core/text.h"
#include "hieron/edit/direction.h"
#include "hieron/edit/kinds.h"
#include "hieron/edit/spectrum.h"

namespace hieron {
namespace {

// Any part of a matrix of rank r has rank r, unless it is smaller: a part is enough.
constexpr uint64_t kRows = 512, kColumns = 4096;
constexpr double kTelling = 0.8;  // share of the changed parameters in matrices that can tell

struct Target {
  size_t row = 0;
  ChangeSpectrum spectrum;
  bool faint = false;  // the rank is that of the others
};

Result<ChangeSpectrum> spectrum_of(const EditCase& given, size_t row, size_t model, uint64_t rank) {
  HIERON_TRY(const MatrixPair pair, read_some(given, row, model, kRows, kColumns));
  const Row& about = given.alignment.rows[row];
  return change_spectrum(pair, about.views[0]->tensor->dtype, about.views[model]->tensor->dtype,
                         rank);
}

// Too small beside its own rank for a gap to show.
bool is_small(uint64_t side, uint64_t rank) { return side < 2 * rank + 2; }

// Rows of tokens that were set anew have low rank too, and are no adapter.
bool spread(const ChangeSpectrum& found) {
  return found.rows > 2 * found.rank && found.columns > 2 * found.rank;
}

// The tensor in which an adapter would show best, if it has changed: large, and changed throughout.
size_t clearest(const EditCase& given, const Profile& profile, const std::vector<size_t>& rows) {
  return *std::ranges::max_element(rows, {}, [&](size_t r) {
    const Shape& shape = given.alignment.rows[r].shape;
    const RowProfile& row = profile.rows[r];
    return std::pair(std::min(shape[0], shape[1]),
                     static_cast<double>(row.read - row.equal) / static_cast<double>(row.read));
  });
}

Result<std::vector<Target>> spectra(const EditCase& given, const std::vector<size_t>& rows,
                                    size_t model) {
  std::vector<Target> targets(rows.size());
  std::mutex mutex;
  std::optional<Error> error;
  parallel_for(rows.size(), matrix_threads(given.walk, kRows * kColumns), [&](size_t i) {
    auto found = spectrum_of(given, rows[i], model, 0);
    if (!found) {
      const std::lock_guard lock(mutex);
      error = std::move(found.error());
      return;
    }
    targets[i] = {rows[i], *std::move(found), false};
  });
  if (error) return std::unexpected(std::move(*error));
  return targets;
}

// Changes hardly above rounding have no gap of their own; the rank that the others have must leave
// no more than rounding there too.
Status fit_faint(const EditCase& given, size_t model, std::vector<Target>& targets) {
  uint64_t rank = 0;
  for (const Target& target : targets) rank = std::max(rank, target.spectrum.rank);
  for (Target& target : targets) {
    if (rank == 0 || target.spectrum.rank > 0 || is_small(target.spectrum.side, rank)) continue;
    HIERON_TRY(target.spectrum, spectrum_of(given, target.row, model, rank));
    target.faint = true;
    if (target.spectrum.noise() > edit_threshold::kRounding) return {};  // it is no adapter
  }
  return {};
}

struct Adapter {
  uint64_t rank = 0;   // the largest
  double gap = 1e300;  // the least
  double noise = 0, nats = 0;
  bool one_rank = true;
};

// One adapter behind all the changes?
std::optional<Adapter> adapter_of(const EditCase& given, const std::vector<Target>& targets) {
  Adapter adapter;
  for (const Target& target : targets) adapter.rank = std::max(adapter.rank, target.spectrum.rank);
  if (adapter.rank == 0) return std::nullopt;
  double left = 0, rounding = 0;
  uint64_t telling = 0, all = 0;
  for (const Target& target : targets) {
    const ChangeSpectrum& spectrum = target.spectrum;
    const uint64_t elements = given.alignment.rows[target.row].elements;
    all += elements;
    if (spectrum.rank == 0) {
      if (!is_small(spectrum.side, adapter.rank)) return std::nullopt;
      continue;
    }
    if (is_small(spectrum.side, spectrum.rank)) continue;
    if (target.faint) {
      if (spectrum.noise() > edit_threshold::kRounding) return std::nullopt;
      continue;
    }
    if (!spread(spectrum) || spectrum.noise() > 2 * edit_threshold::kRounding) return std::nullopt;
    telling += elements;
    left += spectrum.left;
    rounding += spectrum.rounding;
    adapter.nats += spectrum.nats;
    adapter.gap = std::min(adapter.gap, spectrum.gap);
    adapter.one_rank = adapter.one_rank && spectrum.rank == adapter.rank;
  }
  if (static_cast<double>(telling) < kTelling * static_cast<double>(all)) return std::nullopt;
  adapter.noise = rounding > 0 ? left / rounding : 0;
  if (adapter.noise > edit_threshold::kRounding) return std::nullopt;
  return adapter;
}

std::vector<ExplainedRow> explained(const EditCase& given, const Profile& profile,
                                    const std::vector<Target>& targets) {
  std::vector<ExplainedRow> rows(given.alignment.rows.size());
  for (size_t i = 0; i < rows.size(); ++i) {
    const RowProfile& row = profile.rows[i];
    rows[i] = {row.read, row.equal, row.changed() ? row.first_miss : ~uint64_t{0}};
  }
  for (const Target& target : targets) {
    // Without a change of its own a small matrix counts as it is.
    if (target.spectrum.replay.read > 0) rows[target.row] = target.spectrum.replay;
  }
  return rows;
}

}  // namespace

Result<std::optional<EditFinding>> find_low_rank(const EditCase& given, const Profile& quick,
                                                 std::vector<std::string>& reasons) {
  const size_t model = quick.model;
  const auto usable = [&](size_t r) { return is_matrix_of_both(given.alignment.rows[r], model); };
  const std::vector<size_t> first = changed_rows(quick);
  if (first.empty() || !std::ranges::all_of(first, usable)) return std::nullopt;
  HIERON_TRY(const ChangeSpectrum look,
             spectrum_of(given, clearest(given, quick, first), model, 0));
  if (look.rank == 0) return std::nullopt;

  HIERON_TRY(const Profile all, profile(given, model, given.whole));
  const std::vector<size_t> rows = changed_rows(all);
  if (!std::ranges::all_of(rows, usable)) return std::nullopt;
  HIERON_TRY(std::vector<Target> targets, spectra(given, rows, model));
  HIERON_CHECK(fit_faint(given, model, targets));
  const std::optional<Adapter> adapter = adapter_of(given, targets);
  if (!adapter) return std::nullopt;

  EditFinding found{.kind = EditKind::kLowRank, .model = model, .what = {}};
  found.rank = adapter->rank;
  found.targets = roles_of(given, rows);
  found.rows = explained(given, all, targets);
  found.predicted = false;
  if (adapter->rank == 1) {
    HIERON_TRY(const std::optional<RemovedDirection> removed,
               removed_direction(given, rows, model));
    if (removed && removed->strength < 0) {
      reasons.push_back(
          fmt::format("{} has a direction less than the suspect, not the other way round.",
                      given.alignment.models[model]->ref));
      return std::nullopt;
    }
    if (removed) {
      found.kind = EditKind::kDirectionRemoved;
      found.rank.reset();
      found.strength = removed->strength;
      for (size_t i = 0; i < rows.size(); ++i) found.rows[rows[i]] = removed->replays[i];
      found.what = fmt::format(
          "with one direction taken out of {} tensors ({}), {:.3f} of it{}", rows.size(),
          in_words(found.targets), removed->strength,
          removed->most - removed->least > 0.02
              ? fmt::format(" on average ({:.3f} to {:.3f})", removed->least, removed->most)
              : "");
      found.reasons.push_back(fmt::format(
          "The changes of all {} tensors have one vector in common (|cosine| at least {:.5f}), and "
          "each is the model's own component along it.",
          rows.size(), removed->agreement));
    }
  }
  if (adapter->nats < edit_threshold::kDirectionNats) {
    reasons.push_back(fmt::format(
        "The suspect and {} differ by matrices of rank {}{}, but the rounding does not show that "
        "the "
        "suspect was made of that model and not the other way round ({:.0f} nats, {:.0f} needed).",
        given.alignment.models[model]->ref, adapter->rank, adapter->one_rank ? "" : " or less",
        adapter->nats, edit_threshold::kDirectionNats));
    return std::nullopt;
  }
  if (found.kind == EditKind::kLowRank) {
    found.what =
        fmt::format("with an adapter of rank {}{} merged into {} tensors ({})", adapter->rank,
                    adapter->one_rank ? "" : " or less", rows.size(), in_words(found.targets));
  }
  found.reasons.push_back(fmt::format(
      "The singular values of the change fall by a factor of {:.0f} or more behind rank {} ({:.0f} "
      "needed; full training has no such gap).",
      adapter->gap, adapter->rank, edit_threshold::kGap));
  found.reasons.push_back(fmt::format(
      "What the change leaves unexplained is {:.2f} times the rounding of the suspect's format (at "
      "most {:.1f}; a model rounded on another way from a common origin leaves 2).",
      adapter->noise, edit_threshold::kRounding));
  found.reasons.push_back(fmt::format(
      "Where the two store a weight with different precision, what is left has the size of the "
      "suspect's rounding, not of the model's ({:.0f} nats, {:.0f} needed): the suspect is the "
      "later "
      "one.",
      adapter->nats, edit_threshold::kDirectionNats));
  return found;
}

}  // namespace hieron
