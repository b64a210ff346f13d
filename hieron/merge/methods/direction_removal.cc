// Removes one direction from all that a model writes into its residual stream, and keeps the
// lengths.   Arditi et al. 2024 (the direction and its removal); Lai 2025, "norm-preserving
// biprojected abliteration" (the lengths).
//
//   w' = (w − strength·⟨r,w⟩·r)·‖w‖/‖w − strength·⟨r,w⟩·r‖   (without preserve_norm: the bracket
//   alone)
//
// for each vector w of the hidden size: the columns of attention-output and down projections
// ([hidden, in]; stacked experts too), the rows of embeddings, their biases. r: the vector of the
// file, made a unit. A w that is parallel to r to within 1e-6 keeps the length that is left of it.
// All other tensors, and those of vision and audio towers, are copied.
// Trace: tensors equal to a parent's up to one outer product with the same r.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <expected>
#include <utility>

#include "hieron/kernels/decode.h"
#include "hieron/kernels/isa.h"
#include "hieron/kernels/round_delta.h"
#include "hieron/merge/methods/blend_work.h"
#include "hieron/merge/methods/column_sums.h"
#include "hieron/merge/methods/table.h"
#include "hieron/merge/vector_file.h"
#include "hieron/model/roles.h"
#include "hieron/walk/walk.h"

namespace hieron {
namespace {

constexpr double kParallel = 1e-12;  // of ‖w‖²: what is left has no direction

constexpr std::array<ParameterInfo, 4> kParameters{{
    {"vector", ParameterType::kText, false, true, std::nullopt,
     "a .safetensors file with the direction, a vector of the hidden size"},
    {"vector_tensor", ParameterType::kText, false, false, std::nullopt,
     "its tensor's name, if the file has several"},
    {"strength", ParameterType::kNumber, false, false, 1.0,
     "how much of it is removed: 1 all, 0 none, negative adds"},
    {"preserve_norm", ParameterType::kBoolean, false, false, 1.0,
     "give every vector its old length again"},
}};

using Vector = std::vector<double>;

size_t width(DType dtype) { return static_cast<size_t>(info(dtype).bits) / 8; }

// ---- which vectors ----

enum class Along : uint8_t { kNone, kRows, kColumns };

// Does the tensor write into the residual stream?
bool writes(const TensorRole& role, std::string_view name) {
  if (!role.tower.empty()) return false;
  switch (role.role) {
    case Role::kAttentionO:
    case Role::kMlpDown:
    case Role::kExpertDown:
    case Role::kEmbedding:
      return true;
    case Role::kRecurrent:
      return name.find(".out_proj.") != std::string_view::npos;
    default:
      return false;
  }
}

// Along which axis the vectors of the hidden size lie; why that cannot be said, as a clause.
std::expected<Along, std::string> axis_of(std::string_view name, const Shape& shape,
                                          uint64_t hidden) {
  const TensorRole role = RoleTable::of("").classify(name, shape);
  if (!writes(role, name) || shape.empty()) return Along::kNone;
  const bool rows = shape.back() == hidden;
  const bool columns = shape.size() > 1 && shape[shape.size() - 2] == hidden;
  // Embeddings; GPT-2's projections, which are stored the other way round.
  const bool by_row =
      role.role == Role::kEmbedding || name.find(".c_proj.") != std::string_view::npos;
  if (rows && (by_row || !columns)) return Along::kRows;
  if (role.role == Role::kEmbedding) return Along::kNone;  // per-layer embeddings, for example
  if (columns && rows && shape.size() > 2) {
    return std::unexpected(
        fmt::format("has shape {}, and either of the last two axes may be the hidden one; give "
                    "strength 0 for it, or split the experts",
                    to_string(shape)));
  }
  if (columns) return Along::kColumns;
  return std::unexpected(fmt::format(
      "has shape {}, but the vector has {} numbers; give a vector of this model's hidden size",
      to_string(shape), hidden));
}

// ---- one vector ----

struct Rules {
  double strength;
  bool preserve_norm;
};

// w' = kept·w + added·r
struct Factors {
  double kept = 1, added = 0;
};

Factors factors(Rules rules, double square, double along) {
  if (along == 0) return {};
  Factors f{1, -rules.strength * along};
  const double s = rules.strength;
  const double left = square - s * (2 - s) * (along * along);
  if (rules.preserve_norm && left > kParallel * square) {
    f.kept = std::sqrt(square / left);
    f.added *= f.kept;
  }
  return f;
}

void read(const Operand& operand, size_t first, std::span<double> into) {
  decode(operand.dtype, operand.data + first * width(operand.dtype), into);
}

// ---- by rows ----

constexpr size_t kLanes = 16;

struct SumRow {
  HIERON_INLINE void operator()(const double* __restrict w, const double* __restrict r, size_t n,
                                double* square, double* along) const {
    double squares[kLanes] = {}, products[kLanes] = {};
    const size_t whole = n / kLanes * kLanes;
    for (size_t i = 0; i < whole; i += kLanes) {
      for (size_t l = 0; l < kLanes; ++l) squares[l] += w[i + l] * w[i + l];
      for (size_t l = 0; l < kLanes; ++l) products[l] += w[i + l] * r[i + l];
    }
    for (size_t i = whole; i < n; ++i) {
      squares[i - whole] += w[i] * w[i];
      products[i - whole] += w[i] * r[i];
    }
    *square = *along = 0;
    for (size_t l = 0; l < kLanes; ++l) {
      *square += squares[l];
      *along += products[l];
    }
  }
};

class RowsWork final : public TensorWork {
 public:
  RowsWork(DType out, Vector direction, Rules rules)
      : out_(out), direction_(std::move(direction)), rules_(rules) {}

  uint64_t grain() const override { return direction_.size(); }

  void apply(const Piece& piece, std::byte* out, WorkScratch& scratch) const override {
    const size_t row = direction_.size();
    scratch.f64.resize(std::max(scratch.f64.size(), row));
    const auto* r = reinterpret_cast<const std::byte*>(direction_.data());
    for (size_t first = 0; first < piece.count; first += row) {
      const Operand& w = piece.operands[0];
      read(w, first, {scratch.f64.data(), row});
      double square = 0, along = 0;
      run(best_isa(), SumRow{}, static_cast<const double*>(scratch.f64.data()), direction_.data(),
          row, &square, &along);
      const Factors f = factors(rules_, square, along);
      scratch.operands = {{w.dtype, w.data + first * width(w.dtype)}, {DType::kF64, r}};
      Combination sum{{f.kept, f.added}, false};
      if (f.added == 0) {
        sum.weights.pop_back();
        scratch.operands.pop_back();
      }
      blend(Arithmetic::kExact, sum, scratch.operands, out_, out + first * width(out_), row,
            scratch.blend);
    }
  }

 private:
  const DType out_;
  const Vector direction_;
  const Rules rules_;
};

// ---- by columns ----

struct AddToColumns {
  HIERON_INLINE void operator()(const double* __restrict w, double r, double* __restrict square,
                                double* __restrict along, size_t n) const {
    for (size_t i = 0; i < n; ++i) square[i] += w[i] * w[i];
    for (size_t i = 0; i < n; ++i) along[i] += r * w[i];
  }
};

// A tensor as a stack of matrices of hidden × columns.
class ColumnsWork final : public TensorWork {
 public:
  ColumnsWork(const TensorTask& task, Vector direction, Rules rules)
      : out_(task.out),
        direction_(std::move(direction)),
        rules_(rules),
        columns_(std::max<uint64_t>(1, task.shape.back())),
        matrix_(direction_.size() * columns_),
        matrices_(task.elements / matrix_),
        sums_(matrices_, direction_.size(), columns_, 2) {}

  uint64_t grain() const override { return sums_.grain(); }
  uint64_t held() const override {
    return sums_.held() + 2 * matrices_ * columns_ * sizeof(double);
  }
  bool wants_pass() const override { return !ready_; }

  void look(const Piece& piece, WorkScratch& scratch) override {
    sums_.each_group(piece, [&](size_t first, uint64_t rows, std::span<double> sums) {
      scratch.f64.resize(std::max<size_t>(scratch.f64.size(), kLeaf));
      for (uint64_t row = 0; row < rows; ++row) {
        const size_t begin = first + row * columns_;
        const double r = direction_[(piece.first + begin) / columns_ % direction_.size()];
        for (size_t column = 0; column < columns_; column += kLeaf) {
          const size_t n = std::min<size_t>(kLeaf, columns_ - column);
          read(piece.operands[0], begin + column, {scratch.f64.data(), n});
          run(best_isa(), AddToColumns{}, static_cast<const double*>(scratch.f64.data()), r,
              sums.data() + column, sums.data() + columns_ + column, n);
        }
      }
    });
  }

  Status end_pass() override {
    kept_.resize(matrices_ * columns_);
    added_.resize(matrices_ * columns_);
    for (uint64_t m = 0; m < matrices_; ++m) {
      const std::span<const double> sums = sums_.total(m);
      for (size_t c = 0; c < columns_; ++c) {
        const Factors f = factors(rules_, sums[c], sums[columns_ + c]);
        kept_[m * columns_ + c] = f.kept;
        added_[m * columns_ + c] = f.added;
      }
    }
    ready_ = true;
    return {};
  }

  void apply(const Piece& piece, std::byte* out, WorkScratch& scratch) const override {
    for (size_t first = 0; first < piece.count;) {
      const uint64_t element = piece.first + first;
      const size_t column = element % columns_;
      const size_t n = std::min<size_t>({kLeaf, columns_ - column, piece.count - first});
      const double r = direction_[element / columns_ % direction_.size()];
      const size_t factor = element / matrix_ * columns_ + column;
      apply_stretch(piece.operands[0], first, n, r, factor, out + first * width(out_), scratch);
      first += n;
    }
  }

 private:
  // Within a row; `factor`: of its first element.
  void apply_stretch(const Operand& operand, size_t first, size_t n, double r, size_t factor,
                     std::byte* out, WorkScratch& scratch) const {
    scratch.f64.resize(std::max(scratch.f64.size(), 3 * n));
    double *zero = scratch.f64.data(), *w = zero + n, *direction = w + n;
    std::fill_n(zero, n, 0.0);
    read(operand, first, {w, n});
    std::fill_n(direction, n, r);
    const std::array<const double*, 2> values{w, direction},
        coefficients{kept_.data() + factor, added_.data() + factor};
    round_delta({zero, values, coefficients, {}}, out_, out, n, scratch.blend.f64);
  }

  const DType out_;
  const Vector direction_;
  const Rules rules_;
  const uint64_t columns_, matrix_, matrices_;
  ColumnSums sums_;
  bool ready_ = false;
  Vector kept_, added_;
};

// Says at the end of a pass why there is no result.
class RefusedWork final : public TensorWork {
 public:
  explicit RefusedWork(Error why) : why_(std::move(why)) {}
  bool wants_pass() const override { return true; }
  Status end_pass() override { return std::unexpected(why_); }
  void apply(const Piece&, std::byte*, WorkScratch&) const override {}

 private:
  const Error why_;
};

// ---- the method ----

Rules rules_of(const TensorTask& task) {
  const ParameterMap& global = task.parameters->global;
  return {value_of(global, "strength", 1), value_of(global, "preserve_norm", 1) != 0};
}

Result<Vector> direction_of(const TensorTask& task) {
  const auto text = [&](std::string_view name) {
    const auto it = task.text.find(name);
    return it == task.text.end() ? std::string() : it->second;
  };
  HIERON_TRY(Vector direction, read_vector(text("vector"), text("vector_tensor")));
  double largest = 0, square = 0;
  for (double x : direction) largest = std::max(largest, std::abs(x));
  for (double& x : direction) x /= largest;  // no square overflows
  for (double x : direction) square += x * x;
  for (double& x : direction) x /= std::sqrt(square);
  return direction;
}

class DirectionRemoval final : public Method {
 public:
  const MethodInfo& describe() const override {
    static const MethodInfo about{
        .name = "direction_removal",
        .summary = "one direction less in all that the model writes into its residual stream",
        .formula =
            "w' = (w − strength·⟨r,w⟩·r)·‖w‖/‖w − strength·⟨r,w⟩·r‖ for the columns of "
            "output and down projections and the rows of embeddings; the rest is copied",
        .citation =
            "Arditi et al., NeurIPS 2024 (arXiv 2406.11717); Lai, Norm-preserving "
            "biprojected abliteration, 2025",
        .parameters = kParameters,
        .min_models = 1,
        .max_models = 1,
    };
    return about;
  }

  std::optional<std::string> check(const TensorTask& task) const override {
    const Result<Vector> direction = direction_of(task);
    if (!direction) return without_stop(direction.error().sentence);
    if (rules_of(task).strength == 0) return std::nullopt;
    const auto axis = axis_of(task.name, task.shape, direction->size());
    if (axis) return std::nullopt;
    return fmt::format("\"{}\" {}", task.name, axis.error());
  }

  std::unique_ptr<TensorWork> start(const TensorTask& task) const override {
    const Rules rules = rules_of(task);
    const auto copy = [&] {
      return std::make_unique<BlendWork>(Combination{{1}, false}, Arithmetic::kExact, task.out);
    };
    if (rules.strength == 0) return copy();
    Result<Vector> direction = direction_of(task);
    if (!direction) return std::make_unique<RefusedWork>(std::move(direction.error()));
    const auto axis = axis_of(task.name, task.shape, direction->size());
    if (!axis) {
      return std::make_unique<RefusedWork>(
          refuse(fmt::format("Tensor \"{}\" {}.", task.name, axis.error()), {}, task.name).error());
    }
    if (*axis == Along::kRows) {
      return std::make_unique<RowsWork>(task.out, *std::move(direction), rules);
    }
    if (*axis == Along::kColumns && task.elements > 0) {
      return std::make_unique<ColumnsWork>(task, *std::move(direction), rules);
    }
    return copy();
  }

 private:
  static std::string without_stop(std::string sentence) {
    if (sentence.ends_with('.')) sentence.pop_back();
    return sentence;
  }
};

}  // namespace

const Method& direction_removal() {
  static const DirectionRemoval method;
  return method;
}

}  // namespace hieron
