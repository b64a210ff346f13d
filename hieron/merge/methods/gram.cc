#include "hieron/merge/methods/gram.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "hieron/kernels/decode.h"
#include "hieron/kernels/exact_sum.h"
#include "hieron/kernels/isa.h"
#include "hieron/kernels/round_delta.h"
#include "hieron/merge/methods/blend_work.h"
#include "hieron/merge/methods/column_sums.h"
#include "hieron/merge/methods/leaf_sums.h"
#include "hieron/walk/walk.h"

namespace hieron {
namespace {

constexpr size_t kStretch =
    512;  // decoded at a time: some models' worth stays in the nearest cache
constexpr size_t kLanes = 16;
constexpr uint64_t kMostFigures = uint64_t{1} << 21;  // of all leaves: 16 MiB
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

size_t width(DType dtype) { return static_cast<size_t>(info(dtype).bits) / 8; }

// ---- what is gathered ----

// n is a multiple of kLanes.
template <bool kDistance>
HIERON_INLINE double pair_figure(const double* __restrict a, const double* __restrict b, size_t n) {
  double lanes[kLanes] = {};
  for (size_t i = 0; i < n; i += kLanes) {
    for (size_t l = 0; l < kLanes; ++l) {
      if constexpr (kDistance) {
        const double d = a[i + l] - b[i + l];
        lanes[l] += d * d;
      } else {
        lanes[l] += a[i + l] * b[i + l];
      }
    }
  }
  for (size_t half = kLanes / 2; half > 0; half /= 2) {
    for (size_t l = 0; l < half; ++l) lanes[l] += lanes[l + half];
  }
  return lanes[0];
}

// Vector k from x + k·kStretch on.
template <bool kDistance>
struct AddPairFigures {
  HIERON_INLINE void operator()(const double* x, size_t vectors, double* figures, size_t n) const {
    for (size_t i = 0; i < vectors; ++i) {
      for (size_t j = i; j < vectors; ++j) {
        *figures++ += pair_figure<kDistance>(x + i * kStretch, x + j * kStretch, n);
      }
    }
  }
};

struct Subtract {
  HIERON_INLINE void operator()(const double* __restrict base, double* __restrict x,
                                size_t n) const {
    for (size_t i = 0; i < n; ++i) x[i] -= base[i];
  }
};

// Which operand is which vector.
struct Vectors {
  Vectors(size_t operands, std::optional<size_t> from) : origin(from) {
    for (size_t k = 0; k < operands; ++k) {
      if (k != origin) operand.push_back(k);
    }
  }
  size_t count() const { return operand.size(); }

  std::optional<size_t> origin;
  std::vector<size_t> operand;
};

void read(const Operand& operand, size_t first, std::span<double> into) {
  decode(operand.dtype, operand.data + first * width(operand.dtype), into);
}

// Elements [first, first + n) of the piece's vectors, n <= kStretch, and zeros up to a whole number
// of lanes; one vector each kStretch. Room behind them for the origin.
double* read_vectors(const Piece& piece, const Vectors& vectors, size_t first, size_t n,
                     WorkScratch& scratch) {
  const size_t room = (vectors.count() + 1) * kStretch;
  scratch.f64.resize(std::max(scratch.f64.size(), room));
  double* x = scratch.f64.data();
  double* base = x + vectors.count() * kStretch;
  if (vectors.origin) read(piece.operands[*vectors.origin], first, {base, n});
  for (size_t k = 0; k < vectors.count(); ++k) {
    double* own = x + k * kStretch;
    read(piece.operands[vectors.operand[k]], first, {own, n});
    if (vectors.origin) run(best_isa(), Subtract{}, base, own, n);
    std::fill(own + n, own + (n + kLanes - 1) / kLanes * kLanes, 0.0);
  }
  return x;
}

// Adds the figures of elements [first, first + count) of the piece.
void add_figures(Gather gather, const Piece& piece, const Vectors& vectors, size_t first,
                 size_t count, std::span<double> figures, WorkScratch& scratch) {
  for (size_t at = 0; at < count; at += kStretch) {
    const size_t n = std::min(kStretch, count - at);
    const double* x = read_vectors(piece, vectors, first + at, n, scratch);
    const size_t padded = (n + kLanes - 1) / kLanes * kLanes;
    if (gather == Gather::kInnerProducts) {
      run(best_isa(), AddPairFigures<false>{}, x, vectors.count(), figures.data(), padded);
    } else {
      run(best_isa(), AddPairFigures<true>{}, x, vectors.count(), figures.data(), padded);
    }
  }
}

// ---- what the weights make ----

struct Mixture {
  Combination combination;
  std::vector<size_t> which;
};

// 1 − Σ w as doubles that add up to it exactly: one or two in practice.
std::vector<double> share_of_origin(std::span<const double> weights) {
  ExactSum rest;
  rest.add_product(1.0, 1.0);
  for (double w : weights) rest.add_product(w, -1.0);
  std::vector<double> terms;
  while (rest.sign() != 0) {
    terms.push_back(rest.near());
    rest.add_product(terms.back(), -1.0);
  }
  return terms;
}

// Weights of zero are left out: they would cost time, and -0 its sign.
Mixture mixture(std::span<const double> weights, const Vectors& vectors) {
  Mixture mix{{{}, false}, {}};
  const auto add = [&](double w, size_t operand) {
    if (w == 0) return;
    mix.combination.weights.push_back(w);
    mix.which.push_back(operand);
  };
  for (size_t k = 0; k < weights.size(); ++k) add(weights[k], vectors.operand[k]);
  const bool finite = std::ranges::all_of(weights, [](double w) { return std::isfinite(w); });
  if (vectors.origin && finite) {
    for (double w : share_of_origin(weights)) add(w, *vectors.origin);
  }
  if (mix.which.empty()) return {{{0.0}, false}, {vectors.operand[0]}};
  return mix;
}

// Of a row or a column.
std::vector<double> weights_or_nan(const Weigh& weigh, const PairFigures& pairs) {
  if (pairs.finite()) {
    if (Weights weights = weigh(pairs)) return *std::move(weights);
  }
  return std::vector<double>(pairs.vectors(), kNan);
}

// ---- a tensor as a whole ----

uint64_t leaf_of(uint64_t elements, size_t figures) {
  uint64_t leaf = kLeaf;
  while (elements / leaf * figures > kMostFigures) leaf *= 2;
  return leaf;
}

class WholeWork final : public TensorWork {
 public:
  WholeWork(const TensorTask& task, Gather gather, Weigh weigh, std::optional<size_t> origin)
      : name_(task.name),
        out_(task.out),
        gather_(gather),
        weigh_(std::move(weigh)),
        vectors_(task.inputs.size(), origin),
        figures_(PairFigures::count(vectors_.count())),
        leaf_(leaf_of(task.elements, figures_)),
        sums_(task.elements, leaf_, figures_),
        held_((task.elements / leaf_ + 1) * figures_ * sizeof(double)) {}

  uint64_t grain() const override { return leaf_; }
  uint64_t held() const override { return held_; }
  bool wants_pass() const override { return !blend_; }

  void look(const Piece& piece, WorkScratch& scratch) override {
    sums_.each_leaf(piece, [&](size_t first, size_t count, std::span<double> figures) {
      std::ranges::fill(figures, 0.0);
      add_figures(gather_, piece, vectors_, first, count, figures, scratch);
    });
  }

  Status end_pass() override {
    PairFigures pairs(vectors_.count());
    std::ranges::copy(sums_.total(), pairs.figures().begin());
    if (!pairs.finite()) {
      return refuse(fmt::format(
          "Tensor \"{}\" holds NaN or infinite values (or such as have no square in f64) in one of "
          "the models, so that it has no length, and every element of the result would be NaN; "
          "repair that model, or leave it out.",
          name_));
    }
    const Weights weights = weigh_(pairs);
    if (!weights) return refuse(fmt::format("Tensor \"{}\": {}.", name_, weights.error()));
    Mixture mix = mixture(*weights, vectors_);
    blend_.emplace(std::move(mix.combination), Arithmetic::kExact, out_, std::move(mix.which));
    return {};
  }

  void apply(const Piece& piece, std::byte* out, WorkScratch& scratch) const override {
    blend_->apply(piece, out, scratch);
  }

 private:
  const std::string name_;
  const DType out_;
  const Gather gather_;
  const Weigh weigh_;
  const Vectors vectors_;
  const size_t figures_;
  const uint64_t leaf_;
  LeafSums sums_;
  const uint64_t held_;
  std::optional<BlendWork> blend_;
};

// ---- row by row ----

class RowsWork final : public TensorWork {
 public:
  RowsWork(const TensorTask& task, Gather gather, Weigh weigh, std::optional<size_t> origin)
      : out_(task.out),
        gather_(gather),
        weigh_(std::move(weigh)),
        vectors_(task.inputs.size(), origin),
        row_(std::max<uint64_t>(1, task.shape.back())) {}

  uint64_t grain() const override { return row_; }

  void apply(const Piece& piece, std::byte* out, WorkScratch& scratch) const override {
    PairFigures pairs(vectors_.count());
    for (size_t first = 0; first < piece.count; first += row_) {
      std::ranges::fill(pairs.figures(), 0.0);
      add_figures(gather_, piece, vectors_, first, row_, pairs.figures(), scratch);
      const Mixture mix = mixture(weights_or_nan(weigh_, pairs), vectors_);
      scratch.operands.clear();
      for (size_t k : mix.which) {
        const Operand& operand = piece.operands[k];
        scratch.operands.push_back({operand.dtype, operand.data + first * width(operand.dtype)});
      }
      blend(Arithmetic::kExact, mix.combination, scratch.operands, out_, out + first * width(out_),
            row_, scratch.blend);
    }
  }

 private:
  const DType out_;
  const Gather gather_;
  const Weigh weigh_;
  const Vectors vectors_;
  const uint64_t row_;
};

// ---- column by column ----

// Figures of neighbouring columns, `columns` apart for another pair.
struct AddColumnFigures {
  HIERON_INLINE void operator()(const double* x, size_t vectors, double* sums, size_t columns,
                                size_t n) const {
    for (size_t i = 0; i < vectors; ++i) {
      for (size_t j = i; j < vectors; ++j, sums += columns) {
        const double* __restrict a = x + i * kStretch;
        const double* __restrict b = x + j * kStretch;
        double* __restrict sum = sums;
        for (size_t c = 0; c < n; ++c) sum[c] += a[c] * b[c];
      }
    }
  }
};

class ColumnsWork final : public TensorWork {
 public:
  ColumnsWork(const TensorTask& task, Weigh weigh, std::optional<size_t> origin)
      : out_(task.out),
        weigh_(std::move(weigh)),
        vectors_(task.inputs.size(), origin),
        columns_(std::max<uint64_t>(1, row_length(task.shape))),
        sums_(1, task.shape.front(), columns_, PairFigures::count(vectors_.count())) {}

  uint64_t grain() const override { return sums_.grain(); }
  uint64_t held() const override {
    return sums_.held() + vectors_.count() * columns_ * sizeof(double);
  }
  bool wants_pass() const override { return weights_.empty(); }

  void look(const Piece& piece, WorkScratch& scratch) override {
    sums_.each_group(piece, [&](size_t first, uint64_t rows, std::span<double> sums) {
      for (uint64_t row = 0; row < rows; ++row) {
        for (size_t column = 0; column < columns_; column += kStretch) {
          const size_t n = std::min<size_t>(kStretch, columns_ - column);
          const double* x =
              read_vectors(piece, vectors_, first + row * columns_ + column, n, scratch);
          run(best_isa(), AddColumnFigures{}, x, vectors_.count(), sums.data() + column,
              static_cast<size_t>(columns_), n);
        }
      }
    });
  }

  Status end_pass() override {
    const std::span<const double> sums = sums_.total(0);
    weights_.resize(vectors_.count() * columns_);
    PairFigures pairs(vectors_.count());
    for (size_t column = 0; column < columns_; ++column) {
      const std::span<double> figures = pairs.figures();
      for (size_t f = 0; f < figures.size(); ++f) figures[f] = sums[f * columns_ + column];
      const std::vector<double> weights = weights_or_nan(weigh_, pairs);
      for (size_t k = 0; k < weights.size(); ++k) weights_[k * columns_ + column] = weights[k];
    }
    return {};
  }

  void apply(const Piece& piece, std::byte* out, WorkScratch& scratch) const override {
    for (size_t first = 0; first < piece.count;) {
      const size_t column = (piece.first + first) % columns_;
      const size_t n = std::min<size_t>({kLeaf, columns_ - column, piece.count - first});
      apply_stretch(piece, first, column, n, out + first * width(out_), scratch);
      first += n;
    }
  }

 private:
  // Within a row.
  void apply_stretch(const Piece& piece, size_t first, size_t column, size_t n, std::byte* out,
                     WorkScratch& scratch) const {
    scratch.f64.resize(std::max(scratch.f64.size(), (vectors_.count() + 1) * n));
    double* base = scratch.f64.data();
    std::fill_n(base, n, 0.0);
    if (vectors_.origin) read(piece.operands[*vectors_.origin], first, {base, n});
    std::vector<const double*> values, weights;
    for (size_t k = 0; k < vectors_.count(); ++k) {
      double* own = base + (k + 1) * n;
      read(piece.operands[vectors_.operand[k]], first, {own, n});
      values.push_back(own);
      weights.push_back(weights_.data() + k * columns_ + column);
    }
    round_delta({base, values, weights, {}}, out_, out, n, scratch.blend.f64);
  }

  const DType out_;
  const Weigh weigh_;
  const Vectors vectors_;
  const uint64_t columns_;
  ColumnSums sums_;
  std::vector<double> weights_;  // of vector k in column c: [k * columns + c]
};

bool one_row(const TensorTask& task) {
  return task.shape.empty() || task.shape.back() == task.elements;
}

}  // namespace

bool PairFigures::finite() const {
  return std::ranges::all_of(figures_, [](double x) { return std::isfinite(x); });
}

double PairFigures::length(size_t i) const { return std::sqrt((*this)(i, i)); }

double PairFigures::cosine(size_t i, size_t j) const {
  const auto [low, high] = std::minmax({(*this)(i, i), (*this)(j, j)});
  if (low == 0) return 0;
  return std::clamp((*this)(i, j) / high * std::sqrt(high / low), -1.0, 1.0);
}

double orderless_sum(std::vector<double> terms) {
  std::ranges::sort(terms);
  double sum = 0;
  for (double term : terms) sum += term;
  return sum;
}

std::unique_ptr<TensorWork> weigh_whole(const TensorTask& task, Gather gather, Weigh weigh,
                                        std::optional<size_t> origin) {
  return std::make_unique<WholeWork>(task, gather, std::move(weigh), origin);
}

std::unique_ptr<TensorWork> weigh_rows(const TensorTask& task, Gather gather, Weigh weigh,
                                       std::optional<size_t> origin) {
  if (one_row(task)) return weigh_whole(task, gather, std::move(weigh), origin);
  return std::make_unique<RowsWork>(task, gather, std::move(weigh), origin);
}

std::unique_ptr<TensorWork> weigh_columns(const TensorTask& task, Weigh weigh,
                                          std::optional<size_t> origin) {
  if (task.shape.size() < 2) {
    return weigh_whole(task, Gather::kInnerProducts, std::move(weigh), origin);
  }
  return std::make_unique<ColumnsWork>(task, std::move(weigh), origin);
}

}  // namespace hieron
