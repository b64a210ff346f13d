#include "hieron/recover/gather.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <mutex>
#include <set>

#include "hieron/core/parallel.h"
#include "hieron/core/shape.h"
#include "hieron/core/text.h"
#include "hieron/fit/interval.h"
#include "hieron/kernels/decode.h"

namespace hieron {
namespace {

// docs/recovery.md §2: far from both sides (true merges 1, other fine-tunes .002 to .06).
constexpr double kOneRounding = 0.99, kSeveralRoundings = 0.985;
constexpr double kLossOneRounding = 0.02, kLossSeveral = 0.05;
constexpr double kNoWeight = 0.004;  // of a candidate that the fit does not need
constexpr size_t kRowsPerTensor = 4096, kPooledRows = 20000;
constexpr size_t kLeastInformative = 100;
constexpr size_t kThoroughTensors = 8;

constexpr uint64_t kLeastProbe = 2048;      // elements
constexpr uint64_t kUsualProbe = 1u << 17;  // larger ones only where there are no smaller
constexpr uint64_t kMostProbe = 1u << 24;
constexpr uint64_t kMostKept = 1u << 26;  // of all models, of tensors that were asked for
constexpr uint64_t kGoodProbe = 16384;    // one of them at least as large
constexpr size_t kProbes = 6;

class Gatherer {
 public:
  Gatherer(const Candidates& given, const Sample& sample) : given_(given), sample_(sample) {}

  Result<Evidence> run() {
    evidence_.candidates = given_.candidates;
    evidence_.base = given_.base;
    evidence_.seeds.which = given_.seeds;
    evidence_.seeds.threads = given_.walk.threads;
    evidence_.seeds.go_on = [cancel = given_.walk.cancel](const SeedSearch&) {
      return !cancel || !*cancel;
    };
    fit_tensors();
    classify();
    choose_used();
    HIERON_CHECK(choose_probes());
    return std::move(evidence_);
  }

 private:
  // --- fits ---

  bool complete(const SampleRow& row) const {
    if (!row.blend || row.values[0].empty() || !info(row.dtypes[0]).format) return false;
    return std::ranges::all_of(given_.candidates, [&](size_t m) { return !row.values[m].empty(); });
  }

  SpanSample sample_of(const SampleRow& row) const {
    SpanSample sample{row.dtypes[0], row.values[0], {}};
    for (const size_t m : given_.candidates) sample.models.emplace_back(row.values[m]);
    return sample;
  }

  void fit_tensors() {
    for (size_t r = 0; r < sample_.rows.size(); ++r) {
      if (complete(sample_.rows[r])) complete_.push_back(r);
    }
    rows_.assign(complete_.size(), SpanRows(given_.candidates.size()));
    std::vector<SpanFit> fits(complete_.size());
    parallel_for(complete_.size(), given_.walk.threads, [&](size_t i) {
      rows_[i].add(sample_of(sample_.rows[complete_[i]]), kRowsPerTensor);
      if (rows_[i].size() >= kLeastInformative) fits[i] = fit_span(rows_[i], SpanEffort::kQuick);
    });
    refine_largest(fits);
    share_weights(fits);
    for (size_t i = 0; i < fits.size(); ++i) {
      if (fits[i].weights.empty()) continue;
      const SampleRow& row = sample_.rows[complete_[i]];
      fitted_.push_back(i);
      evidence_.fits.push_back({given_.alignment.rows[row.row].name, row.role, fits[i]});
    }
    SpanRows pooled(given_.candidates.size());
    const size_t limit = std::max<size_t>(64, kPooledRows / std::max<size_t>(1, complete_.size()));
    for (const size_t r : complete_) pooled.add(sample_of(sample_.rows[r]), limit);
    evidence_.pooled = fit_span(pooled);
  }

  // Least squares finds what holds everywhere; what later changes hide takes more, and is only
  // looked for in the tensors that say most.
  void refine_largest(std::vector<SpanFit>& fits) const {
    uint64_t informative = 0, within = 0, near = 0;
    std::vector<size_t> order;
    for (size_t i = 0; i < fits.size(); ++i) {
      informative += fits[i].informative;
      within += fits[i].within_cell;
      near += fits[i].near_cell;
      if (!fits[i].weights.empty()) order.push_back(i);
    }
    const auto n = static_cast<double>(informative);
    if (static_cast<double>(within) >= kOneRounding * n ||
        static_cast<double>(near) >= kSeveralRoundings * n) {
      return;
    }
    std::ranges::stable_sort(order, std::ranges::greater{},
                             [&](size_t i) { return fits[i].informative; });
    order.resize(std::min(order.size(), kThoroughTensors));
    parallel_for(order.size(), given_.walk.threads, [&](size_t j) {
      SpanFit fit = fit_span(rows_[order[j]], SpanEffort::kThorough);
      if (fit.within_cell > fits[order[j]].within_cell) fits[order[j]] = std::move(fit);
    });
  }

  // Tensors that say less take over the weights of one that says more where those explain them as
  // well: recipes have few different weights, and small tensors poor estimates.
  void share_weights(std::vector<SpanFit>& fits) const {
    constexpr size_t kMostVectors = 64;
    constexpr double kAsWell = 0.002;  // of the rows
    std::vector<size_t> order;
    for (size_t i = 0; i < fits.size(); ++i) {
      if (rows_[i].size() > 0) order.push_back(i);
    }
    std::ranges::stable_sort(order, std::ranges::greater{},
                             [&](size_t i) { return rows_[i].size(); });
    std::vector<std::vector<double>> known;
    for (const size_t i : order) {
      const auto n = static_cast<double>(rows_[i].size());
      // The largest slack in which weights cannot be told apart from the tensor's own.
      const double own = static_cast<double>(fits[i].within_cell) - kAsWell * n;
      SpanFit best;
      for (const auto& weights : known) {
        SpanFit other = judge_span(rows_[i], weights);
        if (best.weights.empty() || other.within_cell > best.within_cell) best = std::move(other);
      }
      if (!best.weights.empty() &&
          (fits[i].weights.empty() || static_cast<double>(best.within_cell) >= own)) {
        fits[i] = std::move(best);
      } else if (!fits[i].weights.empty() && known.size() < kMostVectors &&
                 fits[i].one_rounding() >= kTrusted) {
        known.push_back(fits[i].weights);
      }
    }
  }
  static constexpr double kTrusted = 0.9;  // share within half a cell of weights worth sharing

  void classify() {
    uint64_t informative = 0, within = 0, near = 0, pooled_within = 0, pooled_near = 0;
    for (size_t j = 0; j < fitted_.size(); ++j) {
      const SpanFit& own = evidence_.fits[j].fit;
      informative += own.informative;
      within += own.within_cell;
      near += own.near_cell;
      if (evidence_.pooled.weights.empty()) continue;
      const SpanFit common = judge_span(rows_[fitted_[j]], evidence_.pooled.weights);
      pooled_within += common.within_cell;
      pooled_near += common.near_cell;
    }
    const auto share = [&](uint64_t part) {
      return informative ? static_cast<double>(part) / static_cast<double>(informative) : 0;
    };
    if (share(within) >= kOneRounding) {
      evidence_.fit_class = FitClass::kOneRounding;
      evidence_.constant = share(within) - share(pooled_within) < kLossOneRounding;
    } else if (share(near) >= kSeveralRoundings) {
      evidence_.fit_class = FitClass::kSeveralRoundings;
      evidence_.constant = share(near) - share(pooled_near) < kLossSeveral;
    } else {
      evidence_.constant = share(within) - share(pooled_within) < kLossSeveral;
    }
  }

  void choose_used() {
    if (evidence_.fit_class == FitClass::kOther) {
      evidence_.used = given_.candidates;
      return;
    }
    std::vector<std::pair<double, size_t>> weight;
    for (size_t k = 0; k < given_.candidates.size(); ++k) {
      std::vector<double> sizes;
      for (const TensorFit& fit : evidence_.fits) sizes.push_back(std::abs(fit.fit.weights[k]));
      if (sizes.empty()) continue;
      const auto middle = sizes.begin() + static_cast<std::ptrdiff_t>(sizes.size() / 2);
      std::ranges::nth_element(sizes, middle);
      if (*middle >= kNoWeight) weight.emplace_back(*middle, given_.candidates[k]);
    }
    std::ranges::stable_sort(weight, std::ranges::greater{}, &std::pair<double, size_t>::first);
    for (const auto& [size, model] : weight) evidence_.used.push_back(model);
  }

  // --- whole tensors ---

  // Sampled elements in which the suspect and all candidates that take part have numbers of their
  // own, so that a replay says something.
  uint64_t telling(const SampleRow& row) const {
    const size_t origin = given_.base.value_or(given_.candidates.front());
    const size_t n = row.values[0].size();
    uint64_t count = 0;
    for (size_t i = 0; i < n; ++i) {
      const double b = row.values[origin][i];
      bool apart = false;
      for (const size_t m : given_.candidates) apart = apart || row.values[m][i] != b;
      count += apart;
    }
    return count;
  }

  // Nearly all sampled elements are those of one candidate: whatever makes a copy reproduces them.
  bool copied(const SampleRow& row) const {
    const std::vector<double>& suspect = row.values[0];
    return std::ranges::any_of(given_.candidates, [&](size_t m) {
      size_t equal = 0;
      for (size_t i = 0; i < suspect.size(); ++i) equal += row.values[m][i] == suspect[i];
      return static_cast<double>(equal) >= kCopied * static_cast<double>(suspect.size());
    });
  }
  static constexpr double kCopied = 0.99;

  Status choose_probes() {
    struct Choice {
      size_t row;
      uint64_t elements;
      TensorRole role;
      bool copied;
    };
    std::vector<Choice> choices;
    for (const size_t r : complete_) {
      const SampleRow& row = sample_.rows[r];
      const uint64_t elements = given_.alignment.rows[row.row].elements;
      if (row.count == 0 || elements > kMostProbe || info(row.dtypes[0]).bits > 32) continue;
      if (!within_reach(given_, row.row, elements)) continue;
      const double share = static_cast<double>(telling(row)) / static_cast<double>(row.count);
      if (share * static_cast<double>(elements) < kLeastInformative || share < 0.01) continue;
      choices.push_back({row.row, elements, row.role, copied(row)});
    }
    if (choices.empty()) {
      return refuse(fmt::format("{} has no tensor in common with all candidates in which they "
                                "differ; give fewer, or others.",
                                given_.alignment.models[0]->ref),
                    given_.alignment.models[0]->ref);
    }
    // Usual sizes first, in ascending order; then whatever is nearest to usual; copies last.
    const auto rank = [](const Choice& choice) {
      const bool small = choice.elements<kLeastProbe, large = choice.elements> kUsualProbe;
      const int size = small ? 1 : large ? 2 : 0;
      return std::pair{size + (choice.copied ? 3 : 0), small ? ~choice.elements : choice.elements};
    };
    std::ranges::stable_sort(choices, std::ranges::less{}, rank);
    std::vector<size_t> chosen;
    std::set<std::pair<Role, int>> places;
    std::set<Role> roles;
    uint64_t total = 0;
    const auto take = [&](const Choice& choice) {
      chosen.push_back(choice.row);
      places.emplace(choice.role.role, choice.role.layer.value_or(-1));
      roles.insert(choice.role.role);
      total += choice.elements;
    };
    take(choices.front());
    // One that is large enough to tell recipes apart that differ in few elements.
    for (const Choice& choice : choices) {
      if (total >= kGoodProbe) break;
      const bool usual = choice.elements >= kGoodProbe && choice.elements <= kUsualProbe;
      if (usual && !choice.copied) take(choice);
    }
    for (const bool new_role : {true, false}) {
      for (const Choice& choice : choices) {
        if (chosen.size() >= kProbes || rank(choice).first != 0) break;
        const bool seen = places.contains({choice.role.role, choice.role.layer.value_or(-1)});
        if (seen || (new_role && roles.contains(choice.role.role))) continue;
        if (total + choice.elements <= 4 * kUsualProbe) take(choice);
      }
    }
    std::vector<Wanted> wanted;
    for (const size_t i : chosen) {
      const Row& row = given_.alignment.rows[i];
      for (size_t m = 0; m < row.views.size(); ++m) {
        if (!row.views[m]) continue;
        wanted.push_back(
            {given_.alignment.models[m], row.views[m]->tensor, row.views[m]->first, row.elements});
      }
    }
    HIERON_CHECK(will_read(wanted));
    for (const size_t row : chosen) {
      HIERON_TRY(auto tensor, read_whole(given_, row));
      evidence_.probes.push_back(std::move(tensor));
    }
    std::ranges::stable_sort(evidence_.probes, std::ranges::less{},
                             [](const auto& probe) { return probe->elements(); });
    offer_others();
    list_drawn();
    return {};
  }

  void list_drawn() {
    for (const Row& row : given_.alignment.rows) {
      const auto is_number = [&](size_t m) {
        return row.views[m] && info(row.views[m]->tensor->dtype).format;
      };
      if (row.elements > 0 && is_number(0) && std::ranges::all_of(given_.candidates, is_number)) {
        evidence_.drawn.push_back(row.name);
      }
    }
    std::ranges::sort(evidence_.drawn);
  }

  void offer_others() {
    struct Kept {
      std::mutex mutex;
      std::map<std::string, std::shared_ptr<const WholeTensor>, std::less<>> tensors;
      uint64_t elements = 0;
    };
    auto kept = std::make_shared<Kept>();
    auto rows = std::make_shared<std::map<std::string, size_t, std::less<>>>();
    for (size_t i = 0; i < given_.alignment.rows.size(); ++i) {
      rows->emplace(given_.alignment.rows[i].name, i);
    }
    for (const auto& probe : evidence_.probes) kept->tensors[probe->name] = probe;
    const auto row_of = [&given = given_, rows](const std::string& name) -> Result<size_t> {
      const auto row = rows->find(name);
      if (row != rows->end()) return row->second;
      return refuse(fmt::format("there is no tensor \"{}\" to look at.", printable(name)), name);
    };
    evidence_.whole = [&given = given_, kept, row_of](
                          const std::string& name) -> Result<std::shared_ptr<const WholeTensor>> {
      {
        const std::lock_guard lock(kept->mutex);
        const auto known = kept->tensors.find(name);
        if (known != kept->tensors.end()) return known->second;
      }
      HIERON_TRY(const size_t row, row_of(name));
      HIERON_TRY(auto tensor, read_whole(given, row));
      const uint64_t elements = tensor->elements() * tensor->values.size();
      const std::lock_guard lock(kept->mutex);
      if (kept->elements + elements <= kMostKept && kept->tensors.emplace(name, tensor).second) {
        kept->elements += elements;
      }
      return tensor;
    };
    evidence_.start = [&given = given_, row_of](
                          const std::string& name,
                          uint64_t most) -> Result<std::shared_ptr<const WholeTensor>> {
      HIERON_TRY(const size_t row, row_of(name));
      return read_rows(given, row, most);
    };
    evidence_.elements = [&given = given_, rows](const std::string& name) -> uint64_t {
      const auto row = rows->find(name);
      return row == rows->end() ? 0 : given.alignment.rows[row->second].elements;
    };
  }

 public:
  // May so many elements of a row be read in one piece?
  static bool within_reach(const Candidates& given, size_t i, uint64_t elements) {
    const Row& row = given.alignment.rows[i];
    return std::ranges::all_of(row.views, [&](const auto& view) {
      if (!view) return true;
      const auto bits = static_cast<uint64_t>(info(view->tensor->dtype).bits);
      return !view->tensor->known && elements * bits / 8 <= given.selection.whole_bytes();
    });
  }

  static Result<std::shared_ptr<const WholeTensor>> read_whole(const Candidates& given, size_t i) {
    return read_rows(given, i, given.alignment.rows[i].elements);
  }

  // The first of them, `most` elements or fewer, one at least.
  static Result<std::shared_ptr<const WholeTensor>> read_rows(const Candidates& given, size_t i,
                                                              uint64_t most) {
    const Row& row = given.alignment.rows[i];
    auto tensor = std::make_shared<WholeTensor>();
    tensor->name = row.name;
    tensor->shape = row.shape;
    tensor->role = given.roles.classify(row.name, row.shape);
    tensor->values.resize(row.views.size());
    uint64_t count = row.elements;
    if (count > most && !row.shape.empty()) {
      const uint64_t length = row_length(row.shape);
      tensor->shape[0] = std::max<uint64_t>(1, most / length);
      count = tensor->shape[0] * length;
    }
    if (!within_reach(given, i, count)) {
      return refuse(
          fmt::format("{}: the audit reads a sample of it, and this takes the whole; give "
                      "--sample full.",
                      printable(row.name)),
          given.alignment.models[0]->ref, row.name);
    }
    std::vector<std::byte> bytes;
    for (size_t m = 0; m < row.views.size(); ++m) {
      if (!row.views[m] || !info(row.views[m]->tensor->dtype).format) continue;
      const TensorView& view = *row.views[m];
      const DType dtype = view.tensor->dtype;
      bytes.resize(count * static_cast<uint64_t>(info(dtype).bits) / 8);
      HIERON_CHECK(read_elements(*given.alignment.models[m], *view.tensor, view.first, bytes));
      tensor->values[m].resize(count);
      decode(dtype, bytes.data(), std::span(tensor->values[m]));
    }
    const std::vector<double> suspect(tensor->values[0].begin(), tensor->values[0].end());
    tensor->dtype = true_dtype(row.views[0]->tensor->dtype, suspect);
    return tensor;
  }

 private:
  const Candidates& given_;
  const Sample& sample_;
  Evidence evidence_;
  std::vector<size_t> complete_;  // rows of the sample that all candidates have
  std::vector<SpanRows> rows_;    // of those
  std::vector<size_t> fitted_;    // into complete_, one per entry of evidence_.fits
};

}  // namespace

Result<Evidence> gather_evidence(const Candidates& given, const Sample& sample) {
  return Gatherer(given, sample).run();
}

}  // namespace hieron
