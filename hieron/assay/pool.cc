#include "hieron/assay/pool.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <functional>
#include <limits>
#include <map>
#include <numeric>

#include "hieron/assay/evidence/two_ends.h"
#include "hieron/core/parallel.h"
#include "hieron/core/text.h"
#include "hieron/fit/interval.h"
#include "hieron/fit/least_squares.h"
#include "hieron/model/config.h"

namespace hieron {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kPoolElements = 1u << 17;  // of the sample, per model
constexpr size_t kPoolRows = 48;
constexpr double kFits = 0.5;         // share of the suspect's parameters that a member must have
constexpr double kNearCopy = 0.8;     // share of equal elements …
constexpr double kNearBy = 0.1;       // … or distance, in distances to the suspect
constexpr double kNeeded = 50;        // F of a member that took part: its t is above 7
constexpr double kWorthwhile = 4e-3;  // least share of the distance to the nearest model
constexpr double kLeastGain = 1e-4;   // the same where one combination holds
constexpr double kExactRest = 1.5;    // squared roundings left: one combination holds
constexpr size_t kPeaks = 16;         // members whose blend with the base is looked at
constexpr double kPeak = 0.1;         // D16 that a masked parent shows …
constexpr double kAboveFloor = 3;     // … and so many times that of the others
constexpr double kSpanned = 0.5;  // of a control's distance: more, and it may be kin of the merge

double share_in(const Checkpoint& suspect, const Checkpoint& member) {
  double all = 0, common = 0;
  const TensorInfo* last = nullptr;
  for (const TensorInfo& tensor : suspect.tensors) {
    all += static_cast<double>(tensor.elements);
    const TensorInfo* found = member.find_after(last, tensor.name);
    if (!found) continue;
    last = found;
    if (found->shape == tensor.shape) common += static_cast<double>(tensor.elements);
  }
  return all > 0 ? common / all : 0;
}

class Chooser {
 public:
  Chooser(const std::vector<PoolEntry>& pool, AuditInput& input, const AuditOptions& options)
      : pool_(pool), input_(input), options_(options) {}

  Result<PoolReport> run() {
    report_.members.reserve(pool_.size());
    for (const PoolEntry& entry : pool_)
      report_.members.push_back({.ref = entry.ref, .state = "aside", .reason = {}});
    look_at_headers();
    if (!fitting_.empty()) {
      HIERON_CHECK(draw());
      find_copies();
      measure();
      choose();
    }
    offer();
    return std::move(report_);
  }

 private:
  PoolMember& member(size_t m) { return report_.members[m]; }

  // ---- headers

  void look_at_headers() {
    std::vector<std::pair<const Checkpoint*, const char*>> given{
        {input_.suspect.get(), "the suspect itself"}};
    for (const auto& parent : input_.parents) given.emplace_back(parent.get(), "given as a parent");
    if (input_.base) given.emplace_back(input_.base.get(), "given as the base");
    for (const auto& control : input_.controls)
      given.emplace_back(control.get(), "given as a control");
    for (size_t m = 0; m < pool_.size(); ++m) {
      if (!pool_[m].checkpoint) {
        member(m).reason = fmt::format("cannot be read: {}", pool_[m].unreadable);
        continue;
      }
      const Checkpoint& checkpoint = *pool_[m].checkpoint;
      const auto known = std::ranges::find_if(
          given, [&](const auto& g) { return same_files(*g.first, checkpoint); });
      if (known != given.end()) {
        member(m).reason = known->second;
        continue;
      }
      const double share = share_in(*input_.suspect, checkpoint);
      if (share < kFits) {
        member(m).reason = fmt::format(
            "does not fit: {:.1f} % of the suspect's parameters lie in tensors of the same name "
            "and "
            "shape",
            100 * share);
        continue;
      }
      fitting_.push_back(m);
    }
  }

  // ---- one sample of all

  // The models of the alignment: the suspect, those given that take part, then the pool's.
  Status draw() {
    models_ = {input_.suspect};
    for (const auto& parent : input_.parents) models_.push_back(parent);
    if (input_.base) {
      given_base_ = models_.size();
      models_.push_back(input_.base);
    }
    forced_ = models_.size();
    for (const size_t m : fitting_) models_.push_back(pool_[m].checkpoint);
    std::vector<const Checkpoint*> pointers;
    for (const auto& model : models_) pointers.push_back(model.get());
    alignment_ = align(pointers, 1);
    keep_some_rows();
    drop_incomplete();
    const auto config = parse_config(input_.suspect->config_json, input_.suspect->ref);
    const RoleTable& roles = RoleTable::of(config ? config->architecture : "");
    uint64_t bytes = 0, elements = 0;
    for (const Row& row : alignment_.rows) {
      bytes += row.views[0]->tensor->bytes();
      elements += row.elements;
    }
    if (alignment_.rows.empty()) return {};
    const uint64_t width = std::max<uint64_t>(1, bytes / std::max<uint64_t>(1, elements));
    const Selection selection = Selection::sample(
        options_.seed, {.bytes_per_tensor = kPoolElements / alignment_.rows.size() * width + 1});
    HIERON_TRY(sample_, draw_sample(alignment_, roles, options_.seed, selection, options_.walk));
    return {};
  }

  // Weights that most have, in whole; drawn by the seed where there are many.
  void keep_some_rows() {
    const auto holders = [](const Row& row) {
      return std::ranges::count_if(row.views, [](const auto& view) { return view.has_value(); });
    };
    std::erase_if(alignment_.rows, [](const Row& row) {
      return std::ranges::any_of(
          row.views, [](const auto& view) { return view && !info(view->tensor->dtype).blend; });
    });
    if (alignment_.rows.empty()) return;
    std::vector<std::ptrdiff_t> counts;
    for (const Row& row : alignment_.rows) counts.push_back(holders(row));
    const auto middle = counts.begin() + static_cast<std::ptrdiff_t>(counts.size() / 2);
    std::ranges::nth_element(counts, middle);
    const std::ptrdiff_t usual = *middle;
    std::erase_if(alignment_.rows, [&](const Row& row) { return holders(row) < usual; });
    const Prf prf(options_.seed, "pool rows");
    std::vector<std::pair<uint64_t, size_t>> order;
    for (size_t i = 0; i < alignment_.rows.size(); ++i) {
      const bool large = alignment_.rows[i].elements >= kLeastRow;
      order.emplace_back((large ? 0 : uint64_t{1} << 63) | (prf.at(i) >> 1), i);
    }
    std::ranges::sort(order);
    order.resize(std::min(order.size(), kPoolRows));
    std::ranges::sort(order, {}, &std::pair<uint64_t, size_t>::second);
    std::vector<Row> kept;
    for (const auto& [rank, i] : order) kept.push_back(std::move(alignment_.rows[i]));
    alignment_.rows = std::move(kept);
  }

  // Whoever lacks one of the rows is not compared.
  void drop_incomplete() {
    for (size_t k = 1; k < models_.size(); ++k) {
      const bool complete = std::ranges::all_of(
          alignment_.rows, [&](const Row& row) { return row.views[k].has_value(); });
      if (complete) {
        active_.push_back(k);
      } else if (k >= forced_) {
        member_of(k).reason = "does not fit: it lacks tensors that the suspect and the others have";
      }
    }
  }

  PoolMember& member_of(size_t model) { return member(fitting_[model - forced_]); }
  bool from_pool(size_t model) const { return model >= forced_; }

  // ---- the same model twice

  void find_copies() {
    std::vector<size_t> distinct;
    for (const size_t k : active_) {
      const auto twin =
          std::ranges::find_if(distinct, [&](size_t other) { return same_values(k, other); });
      if (twin == distinct.end() || !from_pool(k)) {
        distinct.push_back(k);
      } else {
        member_of(k).reason = fmt::format("identical to {}, as far as it was sampled",
                                          printable(models_[*twin]->ref));
      }
    }
    active_ = std::move(distinct);
  }

  bool same_values(size_t a, size_t b) const {
    return std::ranges::all_of(sample_.rows, [&](const SampleRow& row) {
      return std::ranges::equal(row.values[a], row.values[b]);
    });
  }

  // Of every 16th element: hundreds of pairs are asked for.
  double equal_share(size_t a, size_t b) const {
    uint64_t equal = 0, all = 0;
    for (const SampleRow& row : sample_.rows) {
      for (size_t i = 0; i < row.count; i += 16, ++all) {
        equal += row.values[a][i] == row.values[b][i];
      }
    }
    return all ? static_cast<double>(equal) / static_cast<double>(all) : 0;
  }

  // ---- one fit of all

  // Products of all columns over the sample, in units of the rounding of the largest number of each
  // element. Column 0 is the suspect, column j the model active_[j − 1].
  void measure() {
    const size_t n = active_.size() + 1;
    std::vector<Gram> parts(sample_.rows.size(), Gram(n));
    parallel_for(sample_.rows.size(), options_.walk.threads,
                 [&](size_t r) { add_row(sample_.rows[r], parts[r]); });
    gram_ = Gram(n);
    for (const Gram& part : parts) gram_ += part;
  }

  void add_row(const SampleRow& row, Gram& gram) const {
    constexpr double kFinest = 0x1p-13;  // finer than this says nothing more of who took part
    const std::vector<double> one{1.0};
    CellEnds ends{};
    cell_ends(row.dtypes[0], one, std::span(&ends, 1));
    const double relative = std::max(ends.high - ends.low, kFinest);
    std::vector<double> values(active_.size() + 1);
    for (size_t i = 0; i < row.count; ++i) {
      values[0] = row.values[0][i];
      double largest = std::abs(values[0]);
      bool differ = false;
      for (size_t j = 0; j < active_.size(); ++j) {
        values[j + 1] = row.values[active_[j]][i];
        largest = std::max(largest, std::abs(values[j + 1]));
        differ = differ || values[j + 1] != values[0];
      }
      if (!differ || !std::isfinite(largest) || largest == 0) continue;
      const double unit = 1 / (relative * largest);
      for (double& value : values) value *= unit;
      gram.add(values);
    }
  }

  double distance(size_t a, size_t b) const {  // of columns, squared
    return std::max(0.0, gram_.at(a, a) - 2 * gram_.at(a, b) + gram_.at(b, b));
  }

  // ---- who is needed

  void choose() {
    const size_t n = active_.size();
    if (n == 0 || gram_.rows() == 0) return;
    nearest_ = 1;
    for (size_t j = 2; j <= n; ++j) {
      if (distance(0, j) < distance(0, nearest_)) nearest_ = j;
    }
    find_near_copies();
    const double total = std::max(distance(0, nearest_), 1e-300);
    std::vector<size_t> columns;
    for (size_t j = 1; j <= n; ++j) columns.push_back(j);
    const auto is_forced = [&](size_t column) { return !from_pool(active_[column - 1]); };
    const double rows = static_cast<double>(gram_.rows());
    for (;;) {
      fit_ = fit_columns(gram_, 0, columns);
      const double noise = std::max(fit_.rest / rows, 1.0 / 100);
      size_t least = columns.size();
      for (size_t c = 0; c < columns.size(); ++c) {
        if (is_forced(columns[c])) continue;
        if (least == columns.size() || fit_.lost[c] < fit_.lost[least]) least = c;
      }
      if (least == columns.size()) break;
      const double worthwhile = fit_.rest / rows <= kExactRest ? kLeastGain : kWorthwhile;
      const bool needed =
          fit_.lost[least] >= kNeeded * noise && fit_.lost[least] >= worthwhile * total;
      const auto of_pool =
          static_cast<size_t>(std::ranges::count_if(columns, std::not_fn(is_forced)));
      if (needed && of_pool <= kMostParents) break;
      if (needed) crowded_out_.push_back(columns[least]);
      columns.erase(columns.begin() + static_cast<std::ptrdiff_t>(least));
    }
    for (size_t c = 0; c < columns.size(); ++c) {
      if (is_forced(columns[c])) continue;
      member_of(active_[columns[c] - 1]).gain = fit_.lost[c] / total;
    }
    chosen_ = columns;
    std::erase_if(chosen_, is_forced);
    exact_ = fit_.rest / rows <= kExactRest;
    find_base();
    if (!exact_) look_for_peaks(total);
    name_chosen();
    choose_controls();
  }

  // Fine-tunes of one base lie around it.
  void find_base() {
    if (given_base_) {
      const auto at = std::ranges::find(active_, *given_base_);
      if (at != active_.end()) base_ = static_cast<size_t>(at - active_.begin()) + 1;
      return;
    }
    const size_t n = active_.size();
    if (n < 3) return;
    double best = std::numeric_limits<double>::infinity();
    for (size_t j = 1; j <= n; ++j) {
      std::vector<double> distances;
      for (size_t k = 1; k <= n; ++k) {
        if (k != j) distances.push_back(distance(j, k));
      }
      const auto middle = distances.begin() + static_cast<std::ptrdiff_t>(distances.size() / 2);
      std::ranges::nth_element(distances, middle);
      if (*middle >= best) continue;
      best = *middle;
      base_ = j;
    }
  }

  // Where elements are masked, a parent shows as a peak: many elements that one weight of it on the
  // base explains.
  void look_for_peaks(double total) {
    if (!base_) return;
    std::vector<std::pair<double, size_t>> order;
    for (size_t j = 1; j <= active_.size(); ++j) {
      if (j == *base_) continue;
      const FittedColumns pair = fit_columns(gram_, 0, std::vector<size_t>{*base_, j});
      order.emplace_back(pair.lost[1] / total, j);
    }
    std::ranges::sort(order, std::ranges::greater{});
    order.resize(std::min(order.size(), kPeaks));
    std::vector<double> peaks(order.size());
    for (size_t i = 0; i < order.size(); ++i) {
      const Ends ends{active_[order[i].second - 1], active_[*base_ - 1]};
      peaks[i] = peak_of(ends);
      if (from_pool(ends.first)) member_of(ends.first).peak = peaks[i];
    }
    if (peaks.empty()) return;
    std::vector<double> sorted = peaks;
    std::ranges::sort(sorted);
    const double floor = sorted[sorted.size() / 4];
    for (size_t i = 0; i < order.size() && chosen_.size() < kMostParents; ++i) {
      const size_t column = order[i].second;
      if (peaks[i] < std::max(kPeak, kAboveFloor * floor) || !from_pool(active_[column - 1]))
        continue;
      if (std::ranges::find(chosen_, column) == chosen_.end()) chosen_.push_back(column);
    }
  }

  // The share of the telling elements at the peak; those that may be the base's own do not count.
  double peak_of(Ends ends) const {
    EndsFit fit = fit_ends(sample_, model_subject(0), ends, Depths::kOnly16, options_.walk.threads);
    std::erase_if(fit.intervals, [](const AlphaInterval& a) { return a.low <= 0 && a.high >= 0; });
    const uint64_t covered = depth(fit.intervals, 16).covered;
    return fit.d16.informative
               ? static_cast<double>(covered) / static_cast<double>(fit.d16.informative)
               : 0;
  }

  void name_chosen() {
    for (const size_t column : chosen_) {
      PoolMember& found = member_of(active_[column - 1]);
      found.state = "parent";
      found.reason = exact_ ? "the combination that explains the suspect needs it"
                            : "part of the suspect follows it";
    }
    // An audit needs two ends: the nearest model, and the one the others lie around.
    const auto add = [&](size_t column, const char* state, const char* reason) {
      if (!from_pool(active_[column - 1])) return;
      if (chosen_.size() >= kMostParents || std::ranges::find(chosen_, column) != chosen_.end())
        return;
      chosen_.push_back(column);
      member_of(active_[column - 1]).state = state;
      member_of(active_[column - 1]).reason = reason;
    };
    if (base_ && !given_base_ && !(exact_ && chosen_.size() > 1)) {
      add(*base_, "base", "lies between the others, as a common ancestor does");
    }
    if (chosen_.size() + (forced_ - 1) < 2) add(nearest_of_pool(), "parent", kNearest);
  }

  static constexpr const char* kNearest = "of all members the nearest to the suspect";

  // By column; not the base, if there is another.
  size_t nearest_of_pool() const {
    size_t best = base_.value_or(nearest_);
    double least = std::numeric_limits<double>::infinity();
    for (size_t j = 1; j <= active_.size(); ++j) {
      if (!from_pool(active_[j - 1]) || j == base_ || distance(0, j) >= least) continue;
      least = distance(0, j);
      best = j;
    }
    return best;
  }

  // ---- who else

  void find_near_copies() {
    std::vector<size_t> group(active_.size());
    std::iota(group.begin(), group.end(), size_t{0});
    for (size_t a = 0; a < active_.size(); ++a) {
      for (size_t b = 0; b < a; ++b) {
        if (group[a] != a || group[b] != b || !near(a + 1, b + 1)) continue;
        group[a] = b;
      }
    }
    std::map<size_t, std::vector<std::string>> groups;
    for (size_t a = 0; a < active_.size(); ++a) {
      if (group[a] != a && groups[group[a]].empty()) {
        groups[group[a]].push_back(models_[active_[group[a]]]->ref);
      }
      if (group[a] != a) groups[group[a]].push_back(models_[active_[a]]->ref);
    }
    for (auto& [first, refs] : groups) {
      if (refs.size() > 1) report_.near_copies.push_back(std::move(refs));
    }
  }

  bool near(size_t a, size_t b) const {
    const double far = std::min(distance(0, a), distance(0, b));
    return distance(a, b) < kNearBy * kNearBy * far ||
           equal_share(active_[a - 1], active_[b - 1]) >= kNearCopy;
  }

  // Fine-tunes that took no part, the nearest first: the hardest to say no to. Not such as the
  // chosen ones span in part, which may be merges of the same parents.
  void choose_controls() {
    std::vector<std::pair<double, size_t>> order;
    for (size_t j = 1; j <= active_.size(); ++j) {
      if (!from_pool(active_[j - 1]) || j == base_) continue;
      if (std::ranges::find(chosen_, j) != chosen_.end()) continue;
      PoolMember& found = member_of(active_[j - 1]);
      if (std::ranges::find(crowded_out_, j) != crowded_out_.end()) {
        found.reason =
            fmt::format("the combination needs it, but no more than {} are offered", kMostParents);
        continue;
      }
      found.reason = "took no part that the fit can tell";
      if (std::ranges::any_of(chosen_, [&](size_t c) { return near(j, c); }) || near_suspect(j))
        continue;
      if (base_ && near(j, *base_)) continue;
      std::vector<size_t> span = chosen_;
      if (base_ && std::ranges::find(span, *base_) == span.end()) span.push_back(*base_);
      const double rest = span.empty() ? 1 : fit_columns(gram_, j, span).rest;
      double whole = std::numeric_limits<double>::infinity();
      for (const size_t c : span) whole = std::min(whole, distance(j, c));
      if (!span.empty() && rest < kSpanned * whole) {
        found.reason =
            "took no part that the fit can tell, but is itself near the span of those "
            "that did";
        continue;
      }
      order.emplace_back(distance(0, j), j);
    }
    std::ranges::sort(order);
    if (!input_.controls.empty()) return;
    order.resize(std::min(order.size(), kMostControls));
    for (const auto& [far, j] : order) {
      controls_.push_back(j);
      member_of(active_[j - 1]).state = "control";
    }
  }

  bool near_suspect(size_t column) const {
    return equal_share(0, active_[column - 1]) >= kNearCopy;
  }

  // ---- into the audit

  void offer() {
    for (const size_t column : chosen_) input_.parents.push_back(models_[active_[column - 1]]);
    for (const size_t column : controls_) input_.controls.push_back(models_[active_[column - 1]]);
  }

  const std::vector<PoolEntry>& pool_;
  AuditInput& input_;
  const AuditOptions& options_;
  PoolReport report_;
  std::vector<size_t> fitting_;  // members that share tensors with the suspect
  std::vector<std::shared_ptr<const Checkpoint>> models_;
  size_t forced_ = 1;                 // models from here on are the pool's
  std::optional<size_t> given_base_;  // model
  Alignment alignment_;
  Sample sample_;
  std::vector<size_t> active_;  // models that are compared
  Gram gram_{0};
  FittedColumns fit_;
  size_t nearest_ = 1;  // columns of the fit, as all below
  std::optional<size_t> base_;
  bool exact_ = false;
  std::vector<size_t> chosen_, controls_;
  std::vector<size_t> crowded_out_;  // needed too, but too many
};

}  // namespace

bool same_files(const Checkpoint& a, const Checkpoint& b) {
  if (a.files.empty() || a.files.size() != b.files.size()) return false;
  for (size_t i = 0; i < a.files.size(); ++i) {
    if (a.files[i].file == b.files[i].file) continue;
    const std::string& sha256 = a.files[i].origin.sha256;
    if (!sha256.empty() && sha256 == b.files[i].origin.sha256) continue;
    std::error_code ignored;
    if (!fs::equivalent(fs::path(a.folder) / a.files[i].path, fs::path(b.folder) / b.files[i].path,
                        ignored)) {
      return false;
    }
  }
  return true;
}

Result<PoolReport> choose_from_pool(const std::vector<PoolEntry>& pool, AuditInput& input,
                                    const AuditOptions& options) {
  return Chooser(pool, input, options).run();
}

std::vector<std::string> pool_sentences(const PoolReport& report) {
  constexpr size_t kShown = 10;
  std::map<std::string, std::vector<std::string>> by_state;
  std::vector<std::string> sentences(1);
  size_t strange = 0;
  for (const PoolMember& member : report.members) {
    by_state[member.state].push_back(printable(member.ref));
    const bool speaks = member.reason.starts_with("cannot") ||
                        member.reason.starts_with("does not") ||
                        member.reason.starts_with("identical") ||
                        member.reason.starts_with("the combination needs it, but") ||
                        member.reason.starts_with("the suspect");
    if (!speaks || ++strange > kShown) continue;
    const std::string end = member.reason.ends_with('.') ? "" : ".";
    sentences.push_back(
        fmt::format("{}: set aside, {}{}", printable(member.ref), member.reason, end));
  }
  if (strange > kShown)
    sentences.push_back(fmt::format("{} more were set aside.", strange - kShown));
  for (const auto& refs : report.near_copies) {
    sentences.push_back(fmt::format("Near copies of one another: {}.", fmt::join(refs, ", ")));
  }
  const auto named = [&](const char* state) {
    const auto& refs = by_state[state];
    return refs.empty() ? std::string("none") : fmt::format("{}", fmt::join(refs, ", "));
  };
  sentences.front() = fmt::format(
      "{} checkpoint{} of the pool {} looked at. Offered as parents: {}; as the possible base: {}; "
      "as "
      "controls: {}; set aside: {}.",
      report.members.size(), report.members.size() == 1 ? "" : "s",
      report.members.size() == 1 ? "was" : "were", named("parent"), named("base"), named("control"),
      by_state["aside"].size());
  return sentences;
}

void add_pool(AuditResult& result, PoolReport report) {
  for (std::string& sentence : pool_sentences(report)) {
    result.warnings.push_back(std::move(sentence));
  }
  result.pool = std::move(report);
}

}  // namespace hieron
