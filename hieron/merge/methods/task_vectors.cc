#include "hieron/merge/methods/task_vectors.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <deque>
#include <vector>

#include "hieron/core/prf.h"
#include "hieron/kernels/changes.h"
#include "hieron/kernels/decode.h"
#include "hieron/kernels/isa.h"
#include "hieron/kernels/round_delta.h"
#include "hieron/merge/methods/leaf_sums.h"
#include "hieron/merge/methods/magnitude_order.h"
#include "hieron/merge/methods/random_mask.h"
#include "hieron/walk/walk.h"

namespace hieron {
namespace {

constexpr uint64_t kKeysAtOnce = 64 * kLeaf;  // of one model, between two visits to its counters
constexpr double kDoubt = 0x1p-40;            // of a sum of products in f64
constexpr double kZeroSum = 1e-9;             // of Σ|w|: decimals that sum to zero do so nearly
constexpr double kLeastShare = 0x1p-8;        // of Σ|w|: a Σw that is smaller has lost digits

size_t width(DType dtype) { return static_cast<size_t>(info(dtype).bits) / 8; }

const std::byte* at(const Operand& operand, size_t element) {
  return operand.data + element * width(operand.dtype);
}

HIERON_INLINE uint32_t key_of(double x, double base) {
  return std::bit_cast<uint32_t>(static_cast<float>(x - base)) & 0x7FFFFFFF;
}

struct Keys {
  HIERON_INLINE void operator()(const double* __restrict x, const double* __restrict base,
                                uint32_t* __restrict keys, size_t n) const {
    for (size_t i = 0; i < n; ++i) keys[i] = key_of(x[i], base[i]);
  }
};

// Which changes of a model are kept in a leaf: those flagged, or if there are no flags those whose
// key lies in a range.
struct Kept {
  const uint8_t* flags = nullptr;
  uint32_t least = 0, below = UINT32_MAX;
  bool all() const { return !flags && least == 0 && below == UINT32_MAX; }
};

// Σ|d| and Σ|kept d| of a leaf, in eight lanes.
struct AbsoluteSums {
  HIERON_INLINE void operator()(const double* __restrict x, const double* __restrict base,
                                const double* __restrict c, size_t n, double* sums) const {
    std::array<double, 8> all{}, kept{};
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
      for (size_t lane = 0; lane < 8; ++lane) {
        const double d = std::fabs(x[i + lane] - base[i + lane]);
        all[lane] += d;
        kept[lane] += c[i + lane] != 0 ? d : 0;
      }
    }
    for (size_t lane = 0; i < n; ++i, ++lane) {
      const double d = std::fabs(x[i] - base[i]);
      all[lane] += d;
      kept[lane] += c[i] != 0 ? d : 0;
    }
    sums[0] = ((all[0] + all[1]) + (all[2] + all[3])) + ((all[4] + all[5]) + (all[6] + all[7]));
    sums[1] =
        ((kept[0] + kept[1]) + (kept[2] + kept[3])) + ((kept[4] + kept[5]) + (kept[6] + kept[7]));
  }
};

struct Coefficients {
  HIERON_INLINE void operator()(const Kept& kept, double factor, const double* __restrict x,
                                const double* __restrict base, double* __restrict c,
                                size_t n) const {
    if (kept.flags) {
      for (size_t i = 0; i < n; ++i) c[i] = kept.flags[i] ? factor : 0;
    } else {
      for (size_t i = 0; i < n; ++i) {
        const uint32_t key = key_of(x[i], base[i]);
        c[i] = ((key >= kept.least) & (key < kept.below)) ? factor : 0;
      }
    }
  }
};

struct Multiply {
  HIERON_INLINE void operator()(double factor, double* __restrict c, size_t n) const {
    for (size_t i = 0; i < n; ++i) c[i] *= factor;
  }
};

// The weights that D adds up: all of them, or after an election those that stay.
struct DivisorShare {
  HIERON_INLINE void operator()(const double* __restrict c, double weight, bool all,
                                double* __restrict w, size_t n) const {
    for (size_t i = 0; i < n; ++i) w[i] = all || c[i] != 0 ? weight : 0;
  }
};

struct AddVotes {
  HIERON_INLINE void operator()(const double* __restrict x, const double* __restrict base,
                                const double* __restrict c, double* __restrict sum,
                                double* __restrict size, size_t n) const {
    for (size_t i = 0; i < n; ++i) {
      const double v = c[i] * (x[i] - base[i]);
      sum[i] += v;
      size[i] += std::fabs(v);
    }
  }
};

struct DropMinority {
  HIERON_INLINE void operator()(const double* __restrict x, const double* __restrict base,
                                const double* __restrict elected, double* __restrict c,
                                size_t n) const {
    for (size_t i = 0; i < n; ++i) {
      const double v = c[i] * (x[i] - base[i]);
      c[i] = elected[i] >= 0 ? (v > 0 ? c[i] : 0) : (v < 0 ? c[i] : 0);
    }
  }
};

class TaskVectorWork final : public TensorWork {
 public:
  TaskVectorWork(const TensorTask& task, TaskVectorRules rules)
      : rules_(rules),
        out_(task.out),
        elements_(task.elements),
        base_(*task.base),
        row_(std::max<uint64_t>(1, task.shape.empty() ? 1 : task.shape.back())),
        lambda_(value_of(task.parameters->global, "lambda", 1)),
        normalize_(value_of(task.parameters->global, "normalize", 0) != 0),
        rescale_(value_of(task.parameters->global, "rescale", 0) != 0) {
    for (size_t k = 0; k < task.inputs.size(); ++k) {
      narrow_ = narrow_ && holds_changes(task.inputs[k]);
    }
    const bool ranked = rules_.sparsify == Sparsify::kRanked;
    hold_masks_ = ranked && rescale_ && elements_ * (task.inputs.size() - 1) <= rules_.most_masks;
    for (size_t k = 0; k < task.inputs.size(); ++k) {
      if (k != base_) add_model(task, k);
    }
    const bool sparse = std::ranges::any_of(models_, &Model::sparse);
    draw_masks_ = ranked && sparse && !hold_masks_;
    sums_wanted_ = sparse && rescale_;
    if (sums_wanted_) sums_.emplace(elements_, grain(), 2 * models_.size());
  }

  // Ranks need whole rows; sums and orders need whole leaves.
  uint64_t grain() const override {
    return rules_.sparsify == Sparsify::kRanked ? (kLeaf + row_ - 1) / row_ * row_ : kLeaf;
  }
  uint64_t held() const override { return hold_masks_ ? elements_ * models_.size() : 0; }
  bool wants_pass() const override { return orders_wanted() || sums_wanted_; }

  void look(const Piece& piece, WorkScratch& scratch) override {
    if (orders_wanted()) {
      look_at_orders(piece, scratch);
    } else {
      look_at_sums(piece, scratch);
    }
  }

  Status end_pass() override {
    if (orders_wanted()) {
      for (Model& model : models_) {
        if (model.order) model.order->end_pass();
      }
      return {};
    }
    sums_wanted_ = false;
    const std::vector<double> totals = sums_->total();
    sums_.reset();
    for (size_t m = 0; m < models_.size(); ++m) {
      const double all = totals[2 * m], kept = totals[2 * m + 1];
      if (rescale_ && models_[m].sparse && kept > 0) models_[m].factor *= all / kept;
    }
    return {};
  }

  void apply(const Piece& piece, std::byte* out, WorkScratch& scratch) const override {
    const ChangeSum sum = change_sum();
    const bool narrow = narrow_ && holds_changes(out_) && sum.can_enclose();
    const size_t rows =
        draw_masks_ ? grain() : piece.count;  // elements whose masks are drawn at a time
    for (size_t block = 0; block < piece.count; block += rows) {
      const size_t end = std::min<size_t>(block + rows, piece.count);
      if (draw_masks_) draw_masks(piece, block, end - block, scratch);
      for (size_t first = block; first < end; first += kLeaf) {
        const Leaf leaf{piece, first, std::min<size_t>(kLeaf, end - first), first - block};
        std::byte* target = out + first * width(out_);
        if (narrow) {
          apply_narrow(leaf, sum, target, scratch);
        } else {
          apply_wide(leaf, target, scratch);
        }
      }
    }
  }

 private:
  struct Model {
    size_t operand;
    double weight;
    double factor;  // of its changes: the weight, rescaled
    double density, epsilon;
    bool sparse;
    std::optional<MagnitudeOrder> order;
    std::optional<RandomMask> random;
    std::unique_ptr<uint8_t[]> kept;  // kRanked, if masks are held: a byte an element, once known
  };

  void add_model(const TensorTask& task, size_t k) {
    const ParameterMap& given = task.parameters->per_model[k];
    Model& model = models_.emplace_back();
    model.operand = k;
    model.weight = value_of(given, "weight", 1);
    model.factor = model.weight;
    model.density = value_of(given, "density", 1);
    model.epsilon = value_of(given, "epsilon", 0.15);
    model.sparse = rules_.sparsify != Sparsify::kNone && model.density < 1;
    if (!model.sparse) return;
    const auto n = static_cast<double>(elements_);
    const auto kept = static_cast<uint64_t>(model.density * n);
    switch (rules_.sparsify) {
      case Sparsify::kMagnitude:
        // A density above zero keeps one element at least.
        model.order.emplace(elements_,
                            std::vector{model.density > 0 ? std::max<uint64_t>(1, kept) : 0});
        break;
      case Sparsify::kOutliers: {
        const auto top = static_cast<uint64_t>(value_of(given, "gamma", 0.01) * n);
        const uint64_t first = std::min(top, elements_ - kept);
        model.order.emplace(elements_, std::vector{first, first + kept});
        break;
      }
      case Sparsify::kRandom:
      case Sparsify::kRanked:
        model.random.emplace(task.seed, task.name, k);
        if (hold_masks_) model.kept = std::make_unique_for_overwrite<uint8_t[]>(elements_);
        break;
      case Sparsify::kNone:
        break;
    }
  }

  bool orders_wanted() const {
    return std::ranges::any_of(models_,
                               [](const Model& m) { return m.order && m.order->wants_pass(); });
  }

  void look_at_orders(const Piece& piece, WorkScratch& scratch) {
    for (Model& model : models_) {
      if (!model.order || !model.order->wants_pass()) continue;
      for (size_t first = 0; first < piece.count; first += kKeysAtOnce) {
        const size_t n = std::min<size_t>(kKeysAtOnce, piece.count - first);
        model.order->look(piece.first + first, find_keys(piece, model, first, n, scratch), scratch);
      }
    }
  }

  // In scratch.keys. Uses the arrays of floats, too.
  std::span<const uint32_t> find_keys(const Piece& piece, const Model& model, size_t first,
                                      size_t n, WorkScratch& scratch) const {
    scratch.keys.resize(std::max(scratch.keys.size(), n));
    const Operand &b = piece.operands[base_], &m = piece.operands[model.operand];
    for (size_t i = 0; i < n; i += kChangeStrip) {
      const size_t count = std::min(kChangeStrip, n - i);
      uint32_t* keys = scratch.keys.data() + i;
      if (narrow_) {
        const auto base = read(b, first + i, count, 0, scratch.f32);
        change_keys(read(m, first + i, count, 1, scratch.f32), base.data(), keys);
      } else {
        const std::span<const double> base = read(b, first + i, count, 0, scratch.f64);
        const std::span<const double> x = read(m, first + i, count, 1, scratch.f64);
        run(best_isa(), Keys{}, x.data(), base.data(), keys, count);
      }
    }
    return std::span(scratch.keys).first(n);
  }

  // Elements of an operand, as number `slot` of the arrays of a strip.
  template <class Number>
  std::span<Number> read(const Operand& operand, size_t first, size_t n, size_t slot,
                         std::vector<Number>& arrays) const {
    arrays.resize(std::max(arrays.size(), (models_.size() + 2) * kChangeStrip));
    const std::span<Number> values(arrays.data() + slot * kChangeStrip, n);
    decode(operand.dtype, at(operand, first), values);
    return values;
  }

  // Elements [first, first + n) of a piece, n <= kLeaf unless sums are made of whole rows. `drawn`:
  // where their masks are among those of draw_masks().
  struct Leaf {
    const Piece& piece;
    size_t first, n, drawn;
  };

  // Leaf by leaf: which changes are kept, and their sums.
  void look_at_sums(const Piece& piece, WorkScratch& scratch) {
    sums_->each_leaf(piece, [&](size_t first, size_t count, std::span<double> figures) {
      if (rules_.sparsify == Sparsify::kRanked) draw_masks(piece, first, count, scratch);
      const Leaf leaf{piece, first, count, 0};
      for (size_t m = 0; m < models_.size(); ++m) {
        if (!models_[m].sparse) continue;
        const auto [all, kept] =
            narrow_ ? sums_narrow(leaf, m, scratch) : sums_wide(leaf, m, scratch);
        figures[2 * m] += all;
        figures[2 * m + 1] += kept;
      }
    });
  }

  struct Sums {
    double all, kept;
  };

  Sums sums_narrow(const Leaf& leaf, size_t m, WorkScratch& scratch) const {
    const Kept kept = select(leaf, m, scratch);
    AbsoluteSum all_sum, kept_sum;
    for (size_t i = 0; i < leaf.n; i += kChangeStrip) {
      const size_t count = std::min(kChangeStrip, leaf.n - i), first = leaf.first + i;
      const auto base = read(leaf.piece.operands[base_], first, count, 0, scratch.f32);
      const auto x = read(leaf.piece.operands[models_[m].operand], first, count, 1, scratch.f32);
      all_sum.add(x, base.data());
      keep(kept, i, x, base.data());
      kept_sum.add(x, base.data());
    }
    return {all_sum.total(), kept_sum.total()};
  }

  Sums sums_wide(const Leaf& leaf, size_t m, WorkScratch& scratch) const {
    const Kept kept = select(leaf, m, scratch);
    scratch.f64.resize(std::max(scratch.f64.size(), 3 * leaf.n));
    double *base = scratch.f64.data(), *x = base + leaf.n, *c = x + leaf.n;
    const Operand& operand = leaf.piece.operands[models_[m].operand];
    decode(leaf.piece.operands[base_].dtype, at(leaf.piece.operands[base_], leaf.first),
           std::span(base, leaf.n));
    decode(operand.dtype, at(operand, leaf.first), std::span(x, leaf.n));
    const double *values = x, *origin = base, *coefficients = c;
    run(best_isa(), Coefficients{}, kept, 1.0, values, origin, c, leaf.n);
    std::array<double, 2> sums;
    run(best_isa(), AbsoluteSums{}, values, origin, coefficients, leaf.n, sums.data());
    return {sums[0], sums[1]};
  }

  // Draws the masks of whole rows by their ranks, for all models: to hold them, or one behind
  // another in scratch.masks.
  void draw_masks(const Piece& piece, size_t first, size_t n, WorkScratch& scratch) const {
    if (!hold_masks_)
      scratch.masks.resize(std::max<size_t>(scratch.masks.size(), grain() * models_.size()));
    for (size_t m = 0; m < models_.size(); ++m) {
      const Model& model = models_[m];
      if (!model.sparse) continue;
      uint8_t* masks =
          hold_masks_ ? model.kept.get() + piece.first + first : scratch.masks.data() + m * grain();
      const auto keys = find_keys(piece, model, first, n, scratch);
      for (size_t i = 0; i < n; i += row_) {
        const size_t count = std::min<size_t>(row_, n - i);
        model.random->choose_ranked(piece.first + first + i, keys.subspan(i, count), model.density,
                                    model.epsilon, masks + i, scratch);
      }
    }
  }

  // Which changes of a model are kept in a leaf. Flags are valid until the next leaf.
  Kept select(const Leaf& leaf, size_t m, WorkScratch& scratch) const {
    const Model& model = models_[m];
    const uint64_t first = leaf.piece.first + leaf.first;
    if (!model.sparse) return {};
    if (hold_masks_) return {.flags = model.kept.get() + first};
    if (rules_.sparsify == Sparsify::kRanked) {
      return {.flags = scratch.masks.data() + m * grain() + leaf.drawn};
    }
    scratch.flags.resize(std::max<size_t>(scratch.flags.size(), models_.size() * kLeaf));
    uint8_t* flags = scratch.flags.data() + m * kLeaf;
    if (model.random) {
      model.random->choose(first, model.density, {flags, leaf.n}, scratch);
      return {.flags = flags};
    }
    const bool outliers = rules_.sparsify == Sparsify::kOutliers;
    const auto least = model.order->least_before(outliers ? 1 : 0, first / kLeaf);
    const auto below =
        outliers ? model.order->least_before(0, first / kLeaf) : std::optional(UINT32_MAX);
    if (least && below) return {.least = *least, .below = *below};
    const auto keys = find_keys(leaf.piece, model, leaf.first, leaf.n, scratch);
    model.order->before(outliers ? 1 : 0, first, keys, flags);
    if (outliers) {
      std::array<uint8_t, kLeaf> dropped;
      model.order->before(0, first, keys, dropped.data());
      for (size_t i = 0; i < leaf.n; ++i) flags[i] &= dropped[i] ^ 1;
    }
    return {.flags = flags};
  }

  // Undoes the changes that are not kept; x is at place `first` of the leaf.
  static void keep(const Kept& kept, size_t first, std::span<float> x, const float* base) {
    if (kept.all()) return;
    if (kept.flags) return keep_flagged(kept.flags + first, x, base, x.data());
    keep_between(kept.least, kept.below, x, base, x.data());
  }

  ChangeSum change_sum() const {
    ChangeSum sum{
        .models = models_.size(), .elect = rules_.elect, .divide = normalize_ && rules_.elect};
    if (models_.size() > kMostChangedModels) return sum;
    double divisor = 0, size = 0;
    for (size_t m = 0; m < models_.size(); ++m) {
      sum.c[m] = models_[m].factor;
      sum.l[m] = models_[m].factor * lambda_;
      sum.w[m] = models_[m].weight;
      divisor += models_[m].weight;
      size += std::abs(models_[m].weight);
    }
    if (!normalize_ || rules_.elect || divisor == 0) return sum;
    if (std::abs(divisor) < size * kLeastShare) return {};  // for apply_wide()
    for (double& l : sum.l) {
      const double share = l / divisor;
      sum.rounded_l = sum.rounded_l || std::fma(share, divisor, -l) != 0;
      l = share;
    }
    return sum;
  }

  void apply_narrow(const Leaf& leaf, const ChangeSum& sum, std::byte* out,
                    WorkScratch& scratch) const {
    std::array<Kept, kMostChangedModels> kept;
    for (size_t m = 0; m < models_.size(); ++m) kept[m] = select(leaf, m, scratch);
    std::array<const float*, kMostChangedModels> values{};
    std::array<uint32_t, kChangeStrip> open;
    for (size_t i = 0; i < leaf.n; i += kChangeStrip) {
      const size_t n = std::min(kChangeStrip, leaf.n - i), first = leaf.first + i;
      const auto base = read(leaf.piece.operands[base_], first, n, 0, scratch.f32);
      for (size_t m = 0; m < models_.size(); ++m) {
        const Operand& operand = leaf.piece.operands[models_[m].operand];
        const auto x = read(operand, first, n, m + 1, scratch.f32);
        keep(kept[m], i, x, base.data());
        values[m] = x.data();
      }
      std::byte* target = out + i * width(out_);
      const size_t left = round_changes(sum, base, values, out_, target, open.data());
      settle(std::span(open).first(left), base.data(), values, target, scratch);
    }
  }

  // The elements that round_changes() leaves open. A change that is not kept is none by now, so all
  // coefficients may stay.
  void settle(std::span<const uint32_t> open, const float* base,
              const std::array<const float*, kMostChangedModels>& values, std::byte* out,
              WorkScratch& scratch) const {
    if (open.empty()) return;
    Arrays arrays = take_arrays(open.size(), scratch);
    for (size_t j = 0; j < open.size(); ++j) arrays.base[j] = base[open[j]];
    for (size_t m = 0; m < models_.size(); ++m) {
      for (size_t j = 0; j < open.size(); ++j) arrays.x[m][j] = values[m][open[j]];
      std::fill_n(arrays.c[m], open.size(), models_[m].factor);
    }
    std::array<std::byte, kChangeStrip * sizeof(float)> rounded;
    merge(arrays, rounded.data(), scratch);
    for (size_t j = 0; j < open.size(); ++j) {
      std::memcpy(out + open[j] * width(out_), rounded.data() + j * width(out_), width(out_));
    }
  }

  // Of n elements: base, x and c of each model; and room for what merge() makes of them.
  struct Arrays {
    size_t n;
    double *base, *votes, *size;
    std::vector<double*> x, c, w;
  };

  Arrays take_arrays(size_t n, WorkScratch& scratch) const {
    scratch.f64.resize(std::max(scratch.f64.size(), (3 + 3 * models_.size()) * n));
    double* next = scratch.f64.data();
    const auto take = [&] { return std::exchange(next, next + n); };
    Arrays arrays{n, take(), take(), take(), {}, {}, {}};
    for (size_t m = 0; m < models_.size(); ++m) {
      arrays.x.push_back(take());
      arrays.c.push_back(take());
      arrays.w.push_back(take());
    }
    return arrays;
  }

  void apply_wide(const Leaf& leaf, std::byte* out, WorkScratch& scratch) const {
    std::vector<Kept> kept;
    for (size_t m = 0; m < models_.size(); ++m) kept.push_back(select(leaf, m, scratch));
    Arrays arrays = take_arrays(leaf.n, scratch);
    const double* base = arrays.base;
    decode(leaf.piece.operands[base_].dtype, at(leaf.piece.operands[base_], leaf.first),
           std::span(arrays.base, leaf.n));
    for (size_t m = 0; m < models_.size(); ++m) {
      const Operand& operand = leaf.piece.operands[models_[m].operand];
      decode(operand.dtype, at(operand, leaf.first), std::span(arrays.x[m], leaf.n));
      const double* x = arrays.x[m];
      run(best_isa(), Coefficients{}, kept[m], models_[m].factor, x, base, arrays.c[m], leaf.n);
    }
    merge(arrays, out, scratch);
  }

  void merge(Arrays& a, std::byte* out, WorkScratch& scratch) const {
    if (rules_.elect) elect(a);
    const std::vector<const double*> x(a.x.begin(), a.x.end()), c(a.c.begin(), a.c.end());
    std::vector<const double*> w;
    for (size_t m = 0; m < models_.size(); ++m) {
      if (normalize_) {
        run(best_isa(), DivisorShare{}, c[m], models_[m].weight, !rules_.elect, a.w[m], a.n);
        w.push_back(a.w[m]);
      }
      if (lambda_ != 1) run(best_isa(), Multiply{}, lambda_, a.c[m], a.n);
    }
    round_delta({a.base, x, c, w}, out_, out, a.n, scratch.blend.f64);
  }

  void elect(Arrays& a) const {
    const Isa isa = best_isa();
    const double *base = a.base, *votes = a.votes;
    std::fill_n(a.votes, a.n, 0.0);
    std::fill_n(a.size, a.n, 0.0);
    for (size_t m = 0; m < models_.size(); ++m) {
      const double *x = a.x[m], *c = a.c[m];
      run(isa, AddVotes{}, x, base, c, a.votes, a.size, a.n);
    }
    std::vector<double> values(models_.size()), weights(models_.size());
    for (size_t i = 0; i < a.n; ++i) {
      if (std::fabs(a.votes[i]) > a.size[i] * kDoubt || a.size[i] == 0) continue;
      for (size_t m = 0; m < models_.size(); ++m) {
        values[m] = a.x[m][i];
        weights[m] = a.c[m][i];
      }
      a.votes[i] = sign_of_delta(a.base[i], values, weights);
    }
    for (size_t m = 0; m < models_.size(); ++m) {
      const double* x = a.x[m];
      run(isa, DropMinority{}, x, base, votes, a.c[m], a.n);
    }
  }

  const TaskVectorRules rules_;
  const DType out_;
  const uint64_t elements_;
  const size_t base_;
  const uint64_t row_;
  const double lambda_;
  const bool normalize_, rescale_;
  std::deque<Model> models_;  // not movable: they hold counters that several threads add to
  bool narrow_ = true;        // f32 holds all inputs
  bool hold_masks_ = false;   // else they are drawn twice: for the sums, and to apply them
  bool draw_masks_ = false;   // to apply them
  bool sums_wanted_ = false;
  std::optional<LeafSums> sums_;
};

}  // namespace

std::unique_ptr<TensorWork> task_vector_work(const TensorTask& task, TaskVectorRules rules) {
  return std::make_unique<TaskVectorWork>(task, rules);
}

std::optional<std::string> check_task_vectors(const TensorTask& task, TaskVectorRules rules) {
  double sum = 0, size = 0;
  for (size_t k = 0; k < task.parameters->per_model.size(); ++k) {
    if (k == task.base) continue;
    const ParameterMap& given = task.parameters->per_model[k];
    const double weight = value_of(given, "weight", 1), density = value_of(given, "density", 1);
    sum += weight;
    size += std::abs(weight);
    if (rules.sparsify == Sparsify::kNone) continue;
    if (density < 0 || density > 1) {
      return fmt::format("density {} is not a share; give a number from 0 to 1", density);
    }
    const double epsilon = value_of(given, "epsilon", 0.15);
    if (rules.sparsify == Sparsify::kRanked && density < 1 &&
        (density - epsilon < 0 || density + epsilon > 1)) {
      return fmt::format(
          "density {} ± epsilon {} leaves the range from 0 to 1; make epsilon smaller", density,
          epsilon);
    }
    const double gamma = value_of(given, "gamma", 0.01);
    if (rules.sparsify == Sparsify::kOutliers && (gamma < 0 || gamma > 1)) {
      return fmt::format("gamma {} is not a share; give a number from 0 to 1", gamma);
    }
  }
  const bool normalize = value_of(task.parameters->global, "normalize", rules.elect ? 1 : 0) != 0;
  if (normalize && !rules.elect && std::abs(sum) <= kZeroSum * size) {
    return "the weights sum to zero, and dividing by the sum gives no numbers; change a weight, or "
           "set normalize: false";
  }
  return std::nullopt;
}

}  // namespace hieron
