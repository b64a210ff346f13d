#include "hieron/merge/methods/task_vectors.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <deque>
#include <vector>

#include "hieron/core/prf.h"
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

const std::byte* at(const Operand& operand, size_t element) {
  return operand.data + element * static_cast<size_t>(info(operand.dtype).bits) / 8;
}

struct Keys {
  HIERON_INLINE void operator()(const double* __restrict x, const double* __restrict base,
                                uint32_t* __restrict keys, size_t n) const {
    for (size_t i = 0; i < n; ++i) {
      keys[i] = std::bit_cast<uint32_t>(static_cast<float>(x[i] - base[i])) & 0x7FFFFFFF;
    }
  }
};

// Σ|d| and Σ|kept d| of a leaf, in eight lanes.
struct AbsoluteSums {
  HIERON_INLINE void operator()(const double* __restrict x, const double* __restrict base,
                                const uint8_t* __restrict keep, size_t n, double* sums) const {
    std::array<double, 8> all{}, kept{};
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
      for (size_t lane = 0; lane < 8; ++lane) {
        const double d = std::fabs(x[i + lane] - base[i + lane]);
        all[lane] += d;
        kept[lane] += keep[i + lane] ? d : 0;
      }
    }
    for (size_t lane = 0; i < n; ++i, ++lane) {
      const double d = std::fabs(x[i] - base[i]);
      all[lane] += d;
      kept[lane] += keep[i] ? d : 0;
    }
    sums[0] += ((all[0] + all[1]) + (all[2] + all[3])) + ((all[4] + all[5]) + (all[6] + all[7]));
    sums[1] +=
        ((kept[0] + kept[1]) + (kept[2] + kept[3])) + ((kept[4] + kept[5]) + (kept[6] + kept[7]));
  }
};

struct Coefficients {
  HIERON_INLINE void operator()(const uint8_t* __restrict keep, double factor, double* __restrict c,
                                size_t n) const {
    for (size_t i = 0; i < n; ++i) c[i] = keep[i] ? factor : 0;
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
    hold_masks_ =
        rules_.sparsify == Sparsify::kRanked && elements_ * (task.inputs.size() - 1) <= rules_.most_masks;
    for (size_t k = 0; k < task.inputs.size(); ++k) {
      if (k != base_) add_model(task, k);
    }
    const bool sparse = std::ranges::any_of(models_, &Model::sparse);
    sums_wanted_ = sparse && (rescale_ || hold_masks_);
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
    const size_t width = static_cast<size_t>(info(out_).bits) / 8;
    const bool draws = rules_.sparsify == Sparsify::kRanked && !hold_masks_;
    const size_t rows = draws ? grain() : piece.count;  // elements whose masks are drawn at a time
    for (size_t block = 0; block < piece.count; block += rows) {
      const size_t end = std::min<size_t>(block + rows, piece.count);
      if (draws) draw_masks(piece, block, end - block, scratch);
      for (size_t first = block; first < end; first += kLeaf) {
        const size_t n = std::min<size_t>(kLeaf, end - first);
        apply_leaf(piece, first, n, first - block, out + first * width, scratch);
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
    std::vector<uint8_t> kept;  // kRanked, if masks are held: a byte an element, once known
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
        if (hold_masks_) model.kept.resize(elements_);
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
    scratch.f64.resize(std::max<size_t>(scratch.f64.size(), 2 * kLeaf));
    for (Model& model : models_) {
      if (!model.order || !model.order->wants_pass()) continue;
      for (size_t first = 0; first < piece.count; first += kKeysAtOnce) {
        const size_t n = std::min<size_t>(kKeysAtOnce, piece.count - first);
        compute_keys(piece, model, first, n, scratch);
        model.order->look(piece.first + first, std::span(scratch.keys).first(n), scratch);
      }
    }
  }

  void compute_keys(const Piece& piece, const Model& model, size_t first, size_t n,
                    WorkScratch& scratch) const {
    scratch.keys.resize(std::max(scratch.keys.size(), n));
    for (size_t i = 0; i < n; i += kLeaf) {
      const size_t count = std::min<size_t>(kLeaf, n - i);
      const std::span<double> base(scratch.f64.data(), count);
      const std::span<double> x(scratch.f64.data() + kLeaf, count);
      const Operand &b = piece.operands[base_], &m = piece.operands[model.operand];
      decode(b.dtype, at(b, first + i), base);
      decode(m.dtype, at(m, first + i), x);
      run(best_isa(), Keys{}, static_cast<const double*>(x.data()),
          static_cast<const double*>(base.data()), scratch.keys.data() + i, count);
    }
  }

  // Leaf by leaf: which changes are kept, and their sums.
  void look_at_sums(const Piece& piece, WorkScratch& scratch) {
    sums_->each_leaf(piece, [&](size_t first, size_t count, std::span<double> figures) {
      scratch.f64.resize(std::max<size_t>(scratch.f64.size(), 2 * count));
      scratch.flags.resize(std::max(scratch.flags.size(), count));
      const std::span<double> base(scratch.f64.data(), count);
      const std::span<double> x(scratch.f64.data() + count, count);
      decode(piece.operands[base_].dtype, at(piece.operands[base_], first), base);
      for (size_t m = 0; m < models_.size(); ++m) {
        Model& model = models_[m];
        if (!model.sparse) continue;
        const Operand& operand = piece.operands[model.operand];
        decode(operand.dtype, at(operand, first), x);
        uint8_t* flags = scratch.flags.data();
        if (rules_.sparsify == Sparsify::kRanked) {
          if (hold_masks_) flags = model.kept.data() + piece.first + first;
          choose_ranked(model, piece.first + first, x, base, flags, scratch);
        } else {
          choose(model, piece.first + first, x, base, flags, scratch);
        }
        run(best_isa(), AbsoluteSums{}, static_cast<const double*>(x.data()),
            static_cast<const double*>(base.data()), static_cast<const uint8_t*>(flags), count,
            &figures[2 * m]);
      }
    });
  }

  // Draws the mask of whole rows by their ranks.
  void choose_ranked(const Model& model, uint64_t first, std::span<const double> x,
                     std::span<const double> base, uint8_t* keep, WorkScratch& scratch) const {
    scratch.keys.resize(std::max(scratch.keys.size(), x.size()));
    run(best_isa(), Keys{}, x.data(), base.data(), scratch.keys.data(), x.size());
    for (size_t i = 0; i < x.size(); i += row_) {
      const size_t n = std::min<size_t>(row_, x.size() - i);
      model.random->choose_ranked(first + i, std::span(scratch.keys).subspan(i, n), model.density,
                                  model.epsilon, keep + i, scratch);
    }
  }

  // Of whole rows, for each model, one behind another in scratch.masks.
  void draw_masks(const Piece& piece, size_t first, size_t n, WorkScratch& scratch) const {
    scratch.masks.resize(std::max<size_t>(scratch.masks.size(), grain() * models_.size()));
    scratch.f64.resize(std::max<size_t>(scratch.f64.size(), 2 * n));
    const std::span<double> base(scratch.f64.data(), n), x(scratch.f64.data() + n, n);
    decode(piece.operands[base_].dtype, at(piece.operands[base_], first), base);
    for (size_t m = 0; m < models_.size(); ++m) {
      if (!models_[m].sparse) continue;
      const Operand& operand = piece.operands[models_[m].operand];
      decode(operand.dtype, at(operand, first), x);
      choose_ranked(models_[m], piece.first + first, x, base, scratch.masks.data() + m * grain(),
                    scratch);
    }
  }

  // flags[i] = 1 where the model keeps its change; not for ranked ones whose masks are not held.
  void choose(const Model& model, uint64_t first, std::span<const double> x,
              std::span<const double> base, uint8_t* flags, WorkScratch& scratch) const {
    const size_t n = x.size();
    if (!model.sparse) {
      std::fill_n(flags, n, uint8_t{1});
    } else if (!model.kept.empty()) {
      std::copy_n(model.kept.begin() + static_cast<ptrdiff_t>(first), n, flags);
    } else if (model.random) {
      model.random->choose(first, model.density, {flags, n}, scratch);
    } else {
      scratch.keys.resize(std::max(scratch.keys.size(), n));
      run(best_isa(), Keys{}, x.data(), base.data(), scratch.keys.data(), n);
      const auto keys = std::span<const uint32_t>(scratch.keys).first(n);
      if (rules_.sparsify == Sparsify::kMagnitude)
        return model.order->before(0, first, keys, flags);
      std::array<uint8_t, kLeaf> outliers;
      model.order->before(0, first, keys, outliers.data());
      model.order->before(1, first, keys, flags);
      for (size_t i = 0; i < n; ++i) flags[i] &= outliers[i] ^ 1;
    }
  }

  // base, then x, c and (if normalized) w of each model, then two arrays for the election. `drawn`:
  // where the leaf's masks are in those of draw_masks().
  void apply_leaf(const Piece& piece, size_t first, size_t n, size_t drawn, std::byte* out,
                  WorkScratch& scratch) const {
    const size_t models = models_.size(), arrays = 3 + (normalize_ ? 3 : 2) * models;
    scratch.f64.resize(std::max(scratch.f64.size(), arrays * n));
    scratch.flags.resize(std::max(scratch.flags.size(), n));
    double* next = scratch.f64.data();
    const auto take = [&] { return std::exchange(next, next + n); };
    double* base = take();
    decode(piece.operands[base_].dtype, at(piece.operands[base_], first), std::span(base, n));
    std::vector<const double*> x, c, w;
    std::vector<double*> coefficients;
    for (size_t m = 0; m < models; ++m) {
      const Model& model = models_[m];
      double *value = take(), *own = take();
      const Operand& operand = piece.operands[model.operand];
      decode(operand.dtype, at(operand, first), std::span(value, n));
      const uint8_t* flags = scratch.flags.data();
      if (model.sparse && rules_.sparsify == Sparsify::kRanked && !hold_masks_) {
        flags = scratch.masks.data() + m * grain() + drawn;
      } else {
        choose(model, piece.first + first, {value, n}, {base, n}, scratch.flags.data(), scratch);
      }
      run(best_isa(), Coefficients{}, flags, model.factor, own, n);
      x.push_back(value);
      c.push_back(own);
      coefficients.push_back(own);
    }
    if (rules_.elect) elect(base, x, coefficients, n, take(), take());
    for (size_t m = 0; m < models; ++m) {
      if (normalize_) w.push_back(divisor_share(models_[m], c[m], take(), n));
      if (lambda_ != 1) {
        for (size_t i = 0; i < n; ++i) coefficients[m][i] *= lambda_;
      }
    }
    round_delta({base, x, c, w}, out_, out, n, scratch.blend.f64);
  }

  // The weights that D adds up: all of them, or after an election those that stay.
  const double* divisor_share(const Model& model, const double* c, double* w, size_t n) const {
    for (size_t i = 0; i < n; ++i) w[i] = !rules_.elect || c[i] != 0 ? model.weight : 0;
    return w;
  }

  void elect(const double* base, std::span<const double* const> x,
             std::span<double* const> coefficients, size_t n, double* sum, double* size) const {
    std::fill_n(sum, n, 0.0);
    std::fill_n(size, n, 0.0);
    const Isa isa = best_isa();
    for (size_t m = 0; m < x.size(); ++m) {
      run(isa, AddVotes{}, x[m], base, static_cast<const double*>(coefficients[m]), sum, size, n);
    }
    std::vector<double> values(x.size()), weights(x.size());
    for (size_t i = 0; i < n; ++i) {
      if (std::fabs(sum[i]) > size[i] * kDoubt || size[i] == 0) continue;
      for (size_t m = 0; m < x.size(); ++m) {
        values[m] = x[m][i];
        weights[m] = coefficients[m][i];
      }
      sum[i] = sign_of_delta(base[i], values, weights);
    }
    for (size_t m = 0; m < x.size(); ++m) {
      run(isa, DropMinority{}, x[m], base, static_cast<const double*>(sum), coefficients[m], n);
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
  bool hold_masks_ = false;   // else they are drawn twice: for the sums, and to apply them
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
