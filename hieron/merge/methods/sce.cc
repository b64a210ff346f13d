// Select, calculate, erase: the elements in which the models disagree most, weights from the energy
// of their changes, and only the sign of the majority.   Wan et al. 2024 (FuseChat); mergekit
// "sce".
//
//   select the elements of the largest Var_k(d_k): a share select_topk of those where it is not
//   zero w_k = mean(d_k²) / Σ_j mean(d_j²);   out = b + Σ w_k·d_k / Σ w_k over the k whose sign is
//   that of Σ d_k
//
// mergekit takes equal weights where Σ mean(d²) < 1e-6, which holds for most fine-tunes; here only
// where it is zero. Variances are compared as f32, equal ones by lower element index.
#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <limits>
#include <optional>

#include "hieron/kernels/isa.h"
#include "hieron/kernels/lanes.h"
#include "hieron/kernels/round_delta.h"
#include "hieron/kernels/tracked_sum.h"
#include "hieron/merge/methods/delta_arrays.h"
#include "hieron/merge/methods/leaf_sums.h"
#include "hieron/merge/methods/magnitude_order.h"
#include "hieron/merge/methods/table.h"
#include "hieron/merge/traces/input_choices.h"
#include "hieron/merge/traces/probe_run.h"
#include "hieron/walk/walk.h"

namespace hieron {
namespace {

constexpr std::array<ParameterInfo, 2> kParameters{{
    {"select_topk", ParameterType::kNumber, false, false, 1.0,
     "share of the elements, by variance between the models, that is merged"},
    {"int8_mask", ParameterType::kBoolean, false, false, 0.0,
     "no effect: mergekit saves memory with it"},
}};

constexpr uint64_t kKeysAtOnce = 64 * kLeaf;  // between two visits to the counters
constexpr double kDoubt = 0x1p-40;            // of a sum of differences in f64

constexpr double kInfinite = std::numeric_limits<double>::infinity();

// The key of Var_k(d_k).
template <size_t kModels>
struct VarianceKeys {
  HIERON_INLINE void operator()(Differences<kModels> d, uint32_t* __restrict keys, size_t n) const {
    const auto models = static_cast<double>(d.models());
    for (size_t i = 0; i < n; ++i) {
      double mean = 0, variance = 0;
      for (size_t m = 0; m < d.models(); ++m) mean += d(m, i);
      mean /= models;
      for (size_t m = 0; m < d.models(); ++m) {
        const double off = d(m, i) - mean;
        variance += off * off;
      }
      keys[i] = std::bit_cast<uint32_t>(static_cast<float>(variance / models)) & 0x7FFFFFFF;
    }
  }
};

struct FlagFrom {
  uint32_t least;
  HIERON_INLINE void operator()(const uint32_t* __restrict keys, uint8_t* __restrict flags,
                                size_t n) const {
    for (size_t i = 0; i < n; ++i) flags[i] = keys[i] >= least;
  }
};

// Adds d² of the selected elements to the four lanes of a leaf's sum. A strip begins at lane 0.
struct AddEnergy {
  HIERON_INLINE void operator()(const double* __restrict x, const double* __restrict base,
                                const uint8_t* __restrict selected, size_t n,
                                std::array<double, 4>* lanes) const {
    std::array<double, 4> sum = *lanes;
    size_t i = 0;
    for (; i + 4 <= n; i += 4) {
      for (size_t lane = 0; lane < 4; ++lane) {
        const double d = choose(selected[i + lane] != 0, x[i + lane] - base[i + lane], 0.0);
        sum[lane] += d * d;
      }
    }
    for (size_t lane = 0; i < n; ++i, ++lane) {
      const double d = choose(selected[i] != 0, x[i] - base[i], 0.0);
      sum[lane] += d * d;
    }
    *lanes = sum;
  }
};

// 1 and 0 as numbers: a loop over numbers of one width needs no masks of another.
struct Widen {
  HIERON_INLINE void operator()(const uint8_t* __restrict flags, double* __restrict out,
                                size_t n) const {
    for (size_t i = 0; i < n; ++i) out[i] = flags[i];
  }
};

// The ends of an interval that holds b + Σ w·d / Σ w over the models of the elected sign, which is
// that of Σ x − models·b. Across zero where f64 has no exact Σ x, or infinities are about.
template <size_t kModels>
struct EncloseElected {
  HIERON_INLINE void operator()(Differences<kModels> d, const double* __restrict weights,
                                const double* __restrict selected, double* __restrict low,
                                double* __restrict high, size_t n) const {
    const auto models = static_cast<double>(d.models());
    for (size_t i = 0; i < n; ++i) {
      const double base = d.base[i];
      double sum = d.values[0][i], lost = 0;
      for (size_t m = 1; m < d.models(); ++m) {
        double error;
        sum = two_sum(sum, d.values[m][i], error);
        lost += std::fabs(error);
      }
      const double vote = sum - models * base;
      const bool positive = vote >= 0, merges = selected[i] != 0;
      double change = 0, divisor = 0;
      for (size_t m = 0; m < d.models(); ++m) {
        const double x = d.values[m][i];
        const bool stays = merges & ((positive & (x > base)) | (!positive & (x < base)));
        const double w = choose(stays, weights[m], 0.0);
        change += w * (x - base);
        divisor += w;
      }
      const bool none = divisor == 0;
      const bool told = (selected[i] == 0) | ((lost == 0) & (std::fabs(vote) < kInfinite));
      change /= choose(none, 1.0, divisor);
      const double value = base + change;
      const double doubt = (std::fabs(base) + std::fabs(change)) * kDoubt;
      low[i] = choose(told, choose(none, base, value - doubt), -1.0);
      high[i] = choose(told, choose(none, base, value + doubt), 1.0);
    }
  }
};

class SceWork final : public TensorWork {
 public:
  explicit SceWork(const TensorTask& task)
      : out_(task.out),
        base_(*task.base),
        models_(task.inputs.size() - 1),
        sums_(std::in_place, task.elements, kLeaf, models_) {
    const double share = value_of(task.parameters->global, "select_topk", 1);
    if (share < 1) order_.emplace(task.elements, std::max(share, 0.0));
  }

  uint64_t grain() const override { return kLeaf; }
  bool wants_pass() const override { return sums_.has_value(); }

  void look(const Piece& piece, WorkScratch& scratch) override {
    DeltaArrays arrays(piece, base_, scratch);
    if (order_ && order_->wants_pass()) return look_at_order(piece, arrays, scratch);
    sums_->each_leaf(piece, [&](size_t first, size_t, std::span<double> sums) {
      add_energies(piece, arrays, first, scratch, sums);
    });
  }

  Status end_pass() override {
    if (order_ && order_->wants_pass()) {
      order_->end_pass();
      return {};
    }
    weights_ = sums_->total();
    sums_.reset();
    double sum = 0;
    for (double w : weights_) sum += w;
    for (double& w : weights_) w = sum > 0 ? w / sum : 1;
    // Too small, their products with small changes might vanish.
    even_ = std::ranges::all_of(weights_, [](double w) { return w == 0 || w > 0x1p-200; });
    return {};
  }

  void apply(const Piece& piece, std::byte* out, WorkScratch& scratch) const override {
    DeltaArrays arrays(piece, base_, scratch);
    const size_t width = static_cast<size_t>(info(out_).bits) / 8;
    for (size_t first = 0; first < piece.count; first += kLeaf) {
      each_strip(piece, arrays, first, scratch, [&](size_t at, const uint8_t* selected) {
        round(arrays, selected, out + (first + at) * width);
      });
    }
  }

 private:
  void look_at_order(const Piece& piece, DeltaArrays& arrays, WorkScratch& scratch) {
    for (size_t first = 0; first < piece.count; first += kKeysAtOnce) {
      const size_t n = std::min<size_t>(kKeysAtOnce, piece.count - first);
      find_keys(arrays, first, n, scratch);
      order_->look(piece.first + first, std::span(scratch.keys).first(n), scratch);
    }
  }

  static void find_keys(DeltaArrays& arrays, size_t first, size_t n, WorkScratch& scratch) {
    scratch.keys.resize(std::max(scratch.keys.size(), n));
    for (size_t at = 0; at < n; at += kStrip) {
      arrays.read(first + at, std::min(kStrip, n - at));
      find_strip_keys(arrays, scratch.keys.data() + at);
    }
  }

  static void find_strip_keys(const DeltaArrays& arrays, uint32_t* keys) {
    arrays.with_differences([&]<size_t kModels>(Differences<kModels> d) {
      run(best_isa(), VarianceKeys<kModels>{}, d, keys, arrays.count());
    });
  }

  // Reads the strips of a leaf that begins at `first` of the piece, and calls act(at, selected) for
  // each, `at` counted from there.
  template <class Act>
  void each_strip(const Piece& piece, DeltaArrays& arrays, size_t first, WorkScratch& scratch,
                  const Act& act) const {
    const size_t n = std::min<size_t>(kLeaf, piece.count - first);
    scratch.flags.resize(std::max(scratch.flags.size(), n));
    uint8_t* flags = scratch.flags.data();
    std::optional<uint32_t> least;  // the least key that is selected, if keys alone decide
    if (order_) {
      least = order_->least_before(0, (piece.first + first) / kLeaf);
      if (!least) {
        find_keys(arrays, first, n, scratch);
        order_->before(0, piece.first + first, std::span(scratch.keys).first(n), flags);
      }
    } else {
      std::fill_n(flags, n, uint8_t{1});
    }
    for (size_t at = 0; at < n; at += kStrip) {
      arrays.read(first + at, std::min(kStrip, n - at));
      if (least) {
        std::array<uint32_t, kStrip> keys;
        find_strip_keys(arrays, keys.data());
        run(best_isa(), FlagFrom{*least}, static_cast<const uint32_t*>(keys.data()), flags + at,
            arrays.count());
      }
      act(at, static_cast<const uint8_t*>(flags + at));
    }
  }

  void add_energies(const Piece& piece, DeltaArrays& arrays, size_t first, WorkScratch& scratch,
                    std::span<double> sums) const {
    std::vector<std::array<double, 4>> lanes(sums.size());
    each_strip(piece, arrays, first, scratch, [&](size_t, const uint8_t* selected) {
      for (size_t m = 0; m < lanes.size(); ++m) {
        run(best_isa(), AddEnergy{}, arrays.value(m), arrays.base(), selected, arrays.count(),
            &lanes[m]);
      }
    });
    for (size_t m = 0; m < lanes.size(); ++m) {
      sums[m] = (lanes[m][0] + lanes[m][1]) + (lanes[m][2] + lanes[m][3]);
    }
  }

  void round(DeltaArrays& arrays, const uint8_t* selected, std::byte* out) const {
    const bool enclosed = even_ && arrays.can_enclose(out_);
    if (enclosed) {
      std::array<double, kStrip> merges;
      run(best_isa(), Widen{}, selected, merges.data(), arrays.count());
      arrays.with_differences([&]<size_t kModels>(Differences<kModels> d) {
        run(best_isa(), EncloseElected<kModels>{}, d, weights_.data(),
            static_cast<const double*>(merges.data()), arrays.low(), arrays.high(), arrays.count());
      });
    }
    arrays.round(enclosed, true, out_, out,
                 [&](size_t i, std::span<double> c, std::span<double> w) {
                   if (!selected[i]) return;
                   const bool positive = elects_positive(arrays, i);
                   for (size_t m = 0; m < models_; ++m) {
                     const double d = arrays.difference(m, i);
                     c[m] = w[m] = (positive ? d > 0 : d < 0) ? weights_[m] : 0;
                   }
                 });
  }

  bool elects_positive(const DeltaArrays& arrays, size_t i) const {
    double sum = 0, size = 0;
    for (size_t m = 0; m < models_; ++m) {
      sum += arrays.difference(m, i);
      size += std::fabs(arrays.difference(m, i));
    }
    if (std::fabs(sum) > size * kDoubt || size == 0) return sum >= 0;
    std::vector<double> values;
    for (size_t m = 0; m < models_; ++m) values.push_back(arrays.value(m)[i]);
    return sign_of_delta(arrays.base()[i], values, std::vector<double>(models_, 1.0)) >= 0;
  }

  const DType out_;
  const size_t base_, models_;
  std::optional<LeafSums> sums_;  // gone once the weights are known
  std::optional<MagnitudeOrder> order_;
  std::vector<double> weights_;
  bool even_ = false;  // no weight is so much smaller than others that enclosures would fail
};

class Sce final : public Method {
 public:
  const MethodInfo& describe() const override {
    static const MethodInfo about{
        .name = "sce",
        .summary =
            "where the models disagree most, by the energy of their changes, sign by majority",
        .formula =
            "select by Var(d_k); w_k = mean(d_k²)/Σ mean(d_j²); out = b + Σ_{sign = Σd} "
            "w_k·d_k / Σ_{sign = Σd} w_k",
        .citation = "Wan et al., FuseChat, 2024 (arXiv 2408.07990)",
        .parameters = kParameters,
        .min_models = 1,
        .max_models = 255,
        .base = BaseModel::kRequired,
    };
    return about;
  }
  std::optional<std::string> check(const TensorTask& task) const override {
    const double share = value_of(task.parameters->global, "select_topk", 1);
    if (share >= 0 && share <= 1) return std::nullopt;
    return "select_topk is not a share; give a number from 0 to 1";
  }
  std::unique_ptr<TensorWork> start(const TensorTask& task) const override {
    return std::make_unique<SceWork>(task);
  }

  // Subsets of the models that matter most, at the select_topk that the unchanged elements speak
  // for; the best few again at the tenths and hundredths around it.
  std::vector<Hypothesis> recover(const Evidence& seen) const override {
    std::vector<Hypothesis> found;
    for (const size_t base : seen.possible_bases()) {
      const double share = changed_share(seen, base);
      std::vector<std::pair<double, std::vector<size_t>>> tried;
      for (auto& some : subsets(heaviest_beside(seen, base, kHeaviest), 2)) {
        std::ranges::sort(some);
        const double same = share_reproduced(seen, *seen.probes.front(), of(some, base, share));
        if (same >= kPromising) tried.emplace_back(same, std::move(some));
      }
      std::ranges::stable_sort(tried, std::ranges::greater{},
                               &std::pair<double, std::vector<size_t>>::first);
      if (tried.size() > kMostSubsets) tried.resize(kMostSubsets);
      for (const auto& [same, models] : tried) add(seen, base, models, share, found);
    }
    return found;
  }

 private:
  static constexpr size_t kHeaviest = 5, kMostSubsets = 3, kOrdered = 4;  // models
  static constexpr size_t kMostShares = 4;
  static constexpr double kPromising = 0.15;  // of the telling elements: wrong subsets reach .09

  Hypothesis of(const std::vector<size_t>& models, size_t base, double select_topk) const {
    Hypothesis hypothesis = plain_hypothesis(describe().name, models, base);
    if (select_topk < 1) hypothesis.parameters = {{"select_topk", select_topk}};
    return hypothesis;
  }

  // Of all elements of the probes, those that are not the base's; zero variance counts for nothing.
  static double changed_share(const Evidence& seen, size_t base) {
    uint64_t changed = 0, all = 0;
    for (const auto& probe : seen.probes) {
      const std::vector<float> origin = as_suspect(*probe, base);
      for (size_t i = 0; i < origin.size(); ++i) {
        const bool apart = std::ranges::any_of(seen.candidates, [&](size_t m) {
          return probe->values[m][i] != probe->values[base][i];
        });
        all += apart;
        changed += apart && probe->values[0][i] != origin[i];
      }
    }
    return all == 0 ? 1 : static_cast<double>(changed) / static_cast<double>(all);
  }

  void add(const Evidence& seen, size_t base, const std::vector<size_t>& models, double share,
           std::vector<Hypothesis>& found) const {
    const auto same = [&](double topk) { return share_reproduced(seen, of(models, base, topk)); };
    std::vector<std::pair<double, double>> scored;  // how much is the same, select_topk
    const auto score = [&](double topk) {
      topk = std::round(topk * 1000) / 1000;
      const bool known = std::ranges::any_of(scored, [&](auto& s) { return s.second == topk; });
      if (!known && topk > 0 && topk <= 1) scored.emplace_back(same(topk), topk);
    };
    const auto best = [&] { return std::ranges::max(scored).second; };
    const double near = std::round(share * 10) / 10;
    for (int step = -2; step <= 2; ++step) score(near + 0.1 * step);
    if (scored.empty()) return;
    for (const double unit : {0.01, 0.001}) {
      const double middle = best();
      for (int step = -5; step <= 5; ++step) score(middle + unit * step);
    }
    std::ranges::sort(scored, std::ranges::greater{});
    scored.resize(std::min(scored.size(), kMostShares));
    bool first = true;
    for (const auto& [equal, topk] : scored) {
      Hypothesis hypothesis = of(models, base, topk);
      hypothesis.complexity = digits(topk);
      add_orders(seen, hypothesis, first ? kOrdered : 1, found);
      first = false;
    }
  }

  static int digits(double share) {
    const double thousandths = std::round(share * 1000);
    return std::fmod(thousandths, 1000) == 0  ? 0
           : std::fmod(thousandths, 100) == 0 ? 10
           : std::fmod(thousandths, 10) == 0  ? 20
                                              : 30;
  }
};

}  // namespace

const Method& sce() {
  static const Sce method;
  return method;
}

}  // namespace hieron
