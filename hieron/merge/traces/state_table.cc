#include "hieron/merge/traces/state_table.h"

#include <Eigen/Dense>
#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>

#include "hieron/fit/span_fit.h"
#include "hieron/kernels/decode.h"
#include "hieron/merge/traces/state_pursuit.h"

namespace hieron {
namespace {

constexpr size_t kSampled = 4000;      // elements of a tensor, for the pursuit
constexpr size_t kTensorsForBase = 2;  // of the probes, to choose among bases
constexpr double kWell = 0.9;          // explained: no other start is tried
constexpr size_t kRivals = 2;
// From a wrong base the right one is a parent more.
constexpr double kCostOfParent = 0.02, kNearlyAsMuch = 0.01;
constexpr double kWorthDenseStart = 0.25;
constexpr double kOneRounding = 0.99;  // of the rows in their cells (docs/recovery.md §2)
constexpr uint64_t kLeastTogether = 30;
constexpr double kElected = 0.05;  // of those together: changes of both signs, wrongly seen
constexpr int kWeightRounds = 3;

using Tensor = std::shared_ptr<const WholeTensor>;

Tensor rounded_inputs(const WholeTensor& whole) {
  auto rounded = std::make_shared<WholeTensor>(whole);
  std::vector<std::byte> bytes;
  for (size_t m = 1; m < rounded->values.size(); ++m) {
    auto& values = rounded->values[m];
    bytes.resize(values.size() * static_cast<size_t>(info(whole.dtype).bits) / 8);
    encode(whole.dtype, std::span<const float>(values), bytes.data());
    decode(whole.dtype, bytes.data(), std::span(values));
  }
  return rounded;
}

bool rounding_matters(const WholeTensor& whole) {
  return info(whole.dtype).bits <= 16 && rounded_inputs(whole)->values != whole.values;
}

struct Found {
  size_t base = 0;
  bool inputs_rounded = false;
  double worth = 0;  // explained, less for many parents
  std::vector<size_t> parents = {};
  States states = {};
  std::vector<Tensor> tensors = {};
  std::vector<std::vector<double>> factors = {};  // by tensor
};

// A combination of the base and the candidates, for a sample.
SpanFit combination(const SampledTensor& sample, size_t base) {
  std::vector<double> suspect;
  std::vector<std::vector<double>> models(sample.changes.size() + 1);
  for (size_t j = 0; j < sample.size(); ++j) {
    const double b = sample.whole->values[base][sample.elements[j]];
    suspect.push_back(sample.whole->values[0][sample.elements[j]]);
    models[0].push_back(b);
    for (size_t c = 0; c < sample.changes.size(); ++c) {
      models[c + 1].push_back(b + sample.changes[c][j]);
    }
  }
  SpanRows rows(models.size());
  rows.add({sample.whole->dtype, suspect, {models.begin(), models.end()}}, kSampled);
  return fit_span(rows, SpanEffort::kThorough);
}

// Over bases, and inputs as they are or rounded first.
class Search {
 public:
  explicit Search(const Evidence& evidence) : evidence_(evidence) {}

  // The best, and another that explains nearly as much: what is kept of a parent may as well be
  // what is dropped on the way back from it.
  std::vector<Found> best() const {
    const std::vector<size_t> bases = evidence_.possible_bases();
    std::vector<Found> rivals;
    for (const bool rounded : {false, true}) {
      if (rounded && !rounding_matters(*evidence_.probes.back())) continue;
      for (const size_t base : bases) {
        const size_t tensors = bases.size() > 1 ? kTensorsForBase : SIZE_MAX;
        if (auto found = search(base, rounded, tensors)) rivals.push_back(std::move(*found));
      }
    }
    std::ranges::stable_sort(rivals, std::ranges::greater{}, &Found::worth);
    if (rivals.size() > kRivals) rivals.resize(kRivals);
    std::erase_if(rivals, [&](const Found& found) {
      return found.worth < rivals.front().worth - kNearlyAsMuch;
    });
    if (bases.size() == 1) return rivals;
    std::vector<Found> whole;
    for (const Found& found : rivals) {
      auto again = search(found.base, found.inputs_rounded, SIZE_MAX);
      if (again) whole.push_back(std::move(*again));
    }
    return whole;
  }

 private:
  // On the largest `tensors` of the probes.
  std::optional<Found> search(size_t base, bool rounded, size_t tensors) const {
    std::vector<size_t> candidates;
    for (const size_t m : evidence_.candidates) {
      if (m != base) candidates.push_back(m);
    }
    if (candidates.empty()) return std::nullopt;
    Found found{.base = base, .inputs_rounded = rounded};
    std::vector<SampledTensor> samples;
    const auto& probes = evidence_.probes;
    for (size_t t = probes.size() - std::min(tensors, probes.size()); t < probes.size(); ++t) {
      found.tensors.push_back(rounded ? rounded_inputs(*probes[t]) : probes[t]);
      samples.push_back(sample_of(found.tensors.back(), base, candidates, kSampled));
    }
    const double rounding = rounding_of(probes[0]->dtype, false);
    Pursuit pursuit(samples, candidates.size(), rounding);
    pursuit.pursue();
    const auto try_other = [&](const auto& begin) {
      if (pursuit.explained() >= kWell) return;
      Pursuit other(samples, candidates.size(), rounding);
      begin(other);
      if (other.explained() > pursuit.explained()) pursuit = std::move(other);
    };
    if (!pursuit.parents().empty()) try_other([](Pursuit& other) { other.pursue_average(); });
    if (dense()) {
      try_other([&](Pursuit& other) {
        std::vector<SpanFit> fits;
        for (const SampledTensor& sample : samples) fits.push_back(combination(sample, base));
        other.start_from(fits);
        other.pursue();
      });
    }
    if (pursuit.parents().empty()) return std::nullopt;
    found.worth =
        pursuit.explained() - kCostOfParent * static_cast<double>(pursuit.parents().size());
    found.states = pursuit.states();
    found.factors = pursuit.factors();
    for (const size_t c : pursuit.parents()) found.parents.push_back(candidates[c]);
    sort_parents(found);
    return found;
  }

  bool dense() const {
    return std::ranges::any_of(evidence_.fits, [](const TensorFit& fit) {
      return std::max(fit.fit.one_rounding(), fit.fit.several_roundings()) >= kWorthDenseStart;
    });
  }

  // So that nothing depends on what was found first.
  static void sort_parents(Found& found) {
    std::vector<size_t> order(found.parents.size());
    std::iota(order.begin(), order.end(), size_t{0});
    std::ranges::sort(order, {}, [&](size_t k) { return found.parents[k]; });
    const auto sort = [&]<class T>(std::vector<T>& values) {
      std::vector<T> sorted;
      for (const size_t k : order) sorted.push_back(values[k]);
      values = std::move(sorted);
    };
    sort(found.parents);
    if (!found.states.weights.empty()) sort(found.states.weights);
    for (auto& factors : found.factors) sort(factors);
  }

  const Evidence& evidence_;
};

// --- all elements of the tensors ---

// The tensor's changes, each element having those of another one.
WholeTensor shuffled(const StateTable& table, const WholeTensor& whole) {
  const size_t n = whole.elements();
  WholeTensor moved{.name = {},
                    .shape = {},
                    .role = {},
                    .dtype = whole.dtype,
                    .values = std::vector<std::vector<float>>(whole.values.size())};
  moved.values[0] = whole.values[0];
  moved.values[table.base] = whole.values[table.base];
  const std::vector<float>& base = whole.values[table.base];
  for (const size_t m : table.parents) {
    for (size_t i = 0; i < n; ++i) {
      const size_t j = (i + n / 2) % n;
      moved.values[m].push_back(base[i] + (whole.values[m][j] - base[j]));
    }
  }
  return moved;
}

class Completion {
 public:
  Completion(StateTable& table, DType dtype) : table_(table), dtype_(dtype) {}

  void run() {
    fit_factors();
    if (table_.states.mixing == Mixing::kAverage) fit_weights();
    find_consensus();
    for (StateTensor& tensor : table_.tensors) finish(table_, tensor);
  }

  // Labels and counts, under factors that stand.
  static void finish(const StateTable& table, StateTensor& tensor) {
    const double rounding = rounding_of(tensor.whole->dtype, table.one_rounding);
    const ElementStates elements = states_of(table, *tensor.whole);
    const auto counts = elements.explained(tensor.factors, rounding);
    tensor.telling = counts.telling;
    tensor.explained = counts.explained;
    tensor.labels = elements.labels(tensor.factors, rounding);
    const WholeTensor others = shuffled(table, *tensor.whole);
    tensor.by_chance = states_of(table, others).explained(tensor.factors, rounding).explained;
  }

  static ElementStates states_of(const StateTable& table, const WholeTensor& whole) {
    return ElementStates(whole, table.base, table.parents, table.states);
  }

 private:
  double loose() const { return rounding_of(dtype_, false); }

  // Where the others' factors explain more than a tensor's own, its own were found wrong.
  void repair_factors() {
    std::vector<double> middle(table_.parents.size());
    for (size_t k = 0; k < middle.size(); ++k) {
      std::vector<double> factors;
      for (const StateTensor& tensor : table_.tensors) factors.push_back(tensor.factors[k]);
      std::ranges::sort(factors);
      middle[k] = factors[factors.size() / 2];
    }
    for (StateTensor& tensor : table_.tensors) {
      const ElementStates elements = states_of(table_, *tensor.whole);
      const auto own = elements.explained(tensor.factors, loose());
      const auto others = elements.explained(middle, loose());
      const auto share = [](const auto& e) {
        return e.telling ? static_cast<double>(e.explained) / static_cast<double>(e.telling) : 0;
      };
      if (share(others) > share(own)) tensor.factors = middle;
    }
  }

  void fit_factors() {
    uint64_t judged = 0, within = 0;
    std::vector<FactorEstimate> exact;
    repair_factors();
    for (StateTensor& tensor : table_.tensors) {
      const ElementStates elements = states_of(table_, *tensor.whole);
      FactorEstimate estimate = elements.fit(tensor.factors, loose(), false);
      tensor.factors = estimate.factors;
      estimate = elements.fit(tensor.factors, loose(), false);
      tensor.factors = estimate.factors;
      tensor.errors = estimate.errors;
      exact.push_back(elements.fit(tensor.factors, loose(), true));
      judged += exact.back().judged;
      within += exact.back().within_cell;
    }
    table_.one_rounding =
        judged > 0 && static_cast<double>(within) >= kOneRounding * static_cast<double>(judged);
    if (!table_.one_rounding) return;
    for (size_t t = 0; t < exact.size(); ++t) {
      table_.tensors[t].factors = std::move(exact[t].factors);
      table_.tensors[t].errors = std::move(exact[t].errors);
    }
  }

  // Weights of the average, one for all tensors: those that obey the equations best.
  void fit_weights() {
    const double rounding = rounding_of(dtype_, table_.one_rounding);
    for (int round = 0; round < kWeightRounds; ++round) {
      ElementStates::WeightEquations equations;
      for (const StateTensor& tensor : table_.tensors) {
        states_of(table_, *tensor.whole)
            .add_equations(tensor.factors, round == 0 ? loose() : rounding, equations);
      }
      const auto weights = solved(equations);
      if (!weights) return;
      table_.states.weights = *weights;
    }
  }

  std::optional<std::vector<double>> solved(const ElementStates::WeightEquations& equations) const {
    constexpr auto kAll = static_cast<Eigen::Index>(ElementStates::WeightEquations::kUnknowns);
    const size_t parents = table_.parents.size();
    std::vector<size_t> states;
    for (size_t state = 0; state < equations.elements.size(); ++state) {
      if (equations.elements[state] >= kLeastTogether) states.push_back(state);
    }
    if (states.empty()) return std::nullopt;
    // The unknowns in terms of those that are sought: the weights, and the divisors if they are
    // not the weights' sums.
    const bool free = !table_.one_rounding;
    const auto sought = static_cast<Eigen::Index>(parents + (free ? states.size() : 0));
    Eigen::MatrixXd made_of = Eigen::MatrixXd::Zero(kAll, sought);
    for (size_t k = 0; k < parents; ++k) {
      made_of(static_cast<Eigen::Index>(k), static_cast<Eigen::Index>(k)) = 1;
    }
    for (size_t j = 0; j < states.size(); ++j) {
      const auto divisor = static_cast<Eigen::Index>(States::kMostParents + states[j]);
      if (free) made_of(divisor, static_cast<Eigen::Index>(parents + j)) = 1;
      for (size_t k = 0; !free && k < parents; ++k) {
        if (states[j] >> k & 1) made_of(divisor, static_cast<Eigen::Index>(k)) = 1;
      }
    }
    Eigen::MatrixXd squares =
        Eigen::Map<const Eigen::MatrixXd>(equations.matrix.data(), kAll, kAll);
    const Eigen::SelfAdjointEigenSolver<Eigen::MatrixXd> solver(made_of.transpose() * squares *
                                                                made_of);
    const Eigen::VectorXd least =
        solver.eigenvectors().col(0).head(static_cast<Eigen::Index>(parents));
    const Eigen::VectorXd weights = least / least.sum();
    if (!(weights.minCoeff() > 0)) return std::nullopt;
    return std::vector<double>(weights.begin(), weights.end());
  }

  void find_consensus() {
    ElementStates::Consensus consensus;
    for (const StateTensor& tensor : table_.tensors) {
      consensus += states_of(table_, *tensor.whole)
                       .consensus(tensor.factors, rounding_of(dtype_, table_.one_rounding));
    }
    if (consensus.together < kLeastTogether) return;
    table_.elected =
        static_cast<double>(consensus.against) < kElected * static_cast<double>(consensus.together);
    table_.states.elected = *table_.elected;
  }

  StateTable& table_;
  const DType dtype_;
};

double share(const StateTable& table, uint64_t StateTensor::* part) {
  uint64_t sum = 0, all = 0;
  for (const StateTensor& tensor : table.tensors) {
    sum += tensor.*part;
    all += tensor.telling;
  }
  return all ? static_cast<double>(sum) / static_cast<double>(all) : 0;
}

}  // namespace

double StateTable::explained() const { return share(*this, &StateTensor::explained); }
double StateTable::by_chance() const { return share(*this, &StateTensor::by_chance); }

std::vector<StateTable> find_states(const Evidence& evidence) {
  std::vector<StateTable> tables;
  if (evidence.probes.empty()) return tables;
  for (const Found& found : Search(evidence).best()) {
    StateTable& table = tables.emplace_back();
    table.base = found.base;
    table.parents = found.parents;
    table.states = found.states;
    table.inputs_rounded = found.inputs_rounded;
    for (size_t t = 0; t < found.tensors.size(); ++t) {
      StateTensor& tensor = table.tensors.emplace_back();
      tensor.whole = found.tensors[t];
      tensor.factors = found.factors[t];
      tensor.errors.assign(tensor.factors.size(), 0);
    }
    Completion(table, table.tensors.front().whole->dtype).run();
  }
  return tables;
}

StateTensor read_states(const StateTable& table, const std::shared_ptr<const WholeTensor>& whole) {
  StateTensor tensor;
  tensor.whole = table.inputs_rounded ? rounded_inputs(*whole) : whole;
  const double loose = rounding_of(whole->dtype, false);
  const std::array sample{sample_of(tensor.whole, table.base, table.parents, kSampled)};
  std::vector<double> expected(table.parents.size());
  for (const StateTensor& other : table.tensors) {
    for (size_t k = 0; k < expected.size(); ++k) {
      expected[k] += other.factors[k] / static_cast<double>(table.tensors.size());
    }
  }
  Pursuit best(sample, table.parents.size(), loose);
  best.set(expected, table.states);
  // A few kept changes may be enlarged by much more than those of a large tensor.
  for (const double spread : {0.3, 3.0}) {
    Pursuit placed(sample, table.parents.size(), loose);
    placed.place(expected, spread, table.states);
    if (placed.explained() > best.explained()) best = placed;
  }
  if (best.explained() < kWell && table.states.mixing == Mixing::kSum) {
    const SpanFit fit = combination(sample[0], table.base);
    Pursuit dense(sample, table.parents.size(), loose);
    if (!fit.weights.empty()) dense.set(std::span(fit.weights).subspan(1), table.states);
    if (dense.explained() > best.explained()) best = dense;
  }
  tensor.factors = best.factors()[0];
  const ElementStates elements = Completion::states_of(table, *tensor.whole);
  FactorEstimate estimate = elements.fit(tensor.factors, loose, false);
  estimate = elements.fit(estimate.factors, loose, table.one_rounding);
  tensor.factors = std::move(estimate.factors);
  tensor.errors = std::move(estimate.errors);
  Completion::finish(table, tensor);
  return tensor;
}

}  // namespace hieron
