#include "hieron/merge/low_rank_fit.h"

#define EIGEN_DONT_PARALLELIZE
#include <Eigen/QR>
#include <Eigen/SVD>
#include <algorithm>
#include <cmath>
#include <mutex>
#include <span>

#include "hieron/core/normal.h"
#include "hieron/kernels/decode.h"

namespace hieron {
namespace {

using Matrix = Eigen::MatrixXd;
using Rows = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

constexpr uint64_t kOversampling = 10;  // Halko et al. §4.2: 5 or 10
constexpr int kPowerIterations = 2;     // §4.5: for spectra that fall off slowly
constexpr uint64_t kFirstSketch = 16;   // where only a tolerance is given; doubled until it will do
constexpr uint64_t kBlockElements = 1 << 19;
constexpr double kRankNoise = 1e-12;  // of the largest singular value: rounding of f64

// Eigen cuts its products by the size of the caches it finds, which decides the order of sums.
void fix_block_sizes() {
  static std::once_flag once;
  std::call_once(once, [] { Eigen::setCpuCacheSizes(32 << 10, 512 << 10, 4 << 20); });
}

class Difference {
 public:
  explicit Difference(const TensorPair& pair)
      : pair_(pair),
        rows_(pair.model->shape[0]),
        columns_(row_length(pair.model->shape)),
        step_(std::clamp<uint64_t>(kBlockElements / std::max<uint64_t>(1, columns_), 1, rows_)),
        block_(static_cast<Eigen::Index>(step_), static_cast<Eigen::Index>(columns_)),
        base_(step_ * columns_) {}

  Eigen::Index rows() const { return static_cast<Eigen::Index>(rows_); }
  Eigen::Index columns() const { return static_cast<Eigen::Index>(columns_); }

  // Calls visit(first row, rows of D) from top to bottom.
  template <class Visit>
  Status for_each_block(const Visit& visit) {
    for (uint64_t row = 0; row < rows_; row += step_) {
      const uint64_t count = std::min(step_, rows_ - row);
      const std::span<double> model(block_.data(), count * columns_);
      const std::span<double> base = std::span(base_).first(count * columns_);
      HIERON_CHECK(read(*pair_.model_checkpoint, *pair_.model, row, model));
      HIERON_CHECK(read(*pair_.base_checkpoint, *pair_.base, row, base));
      for (size_t i = 0; i < model.size(); ++i) model[i] -= base[i];
      visit(static_cast<Eigen::Index>(row), block_.topRows(static_cast<Eigen::Index>(count)));
    }
    return {};
  }

  // D · right
  Result<Matrix> times(const Matrix& right) {
    Matrix out(rows(), right.cols());
    HIERON_CHECK(for_each_block([&](Eigen::Index row, const auto& block) {
      out.middleRows(row, block.rows()).noalias() = block * right;
    }));
    return out;
  }

  // Dᵀ · left
  Result<Matrix> transposed_times(const Matrix& left) {
    Matrix out = Matrix::Zero(columns(), left.cols());
    HIERON_CHECK(for_each_block([&](Eigen::Index row, const auto& block) {
      out.noalias() += block.transpose() * left.middleRows(row, block.rows());
    }));
    return out;
  }

 private:
  Status read(const Checkpoint& checkpoint, const TensorInfo& tensor, uint64_t row,
              std::span<double> out) {
    raw_.resize(out.size() * static_cast<size_t>(info(tensor.dtype).bits) / 8);
    HIERON_CHECK(read_elements(checkpoint, tensor, row * columns_, raw_));
    decode(tensor.dtype, raw_.data(), out);
    return {};
  }

  const TensorPair pair_;
  const uint64_t rows_, columns_, step_;
  Rows block_;
  std::vector<double> base_;
  std::vector<std::byte> raw_;
};

// An orthonormal basis of the columns.
Matrix orthonormal(const Matrix& m) {
  const Eigen::HouseholderQR<Matrix> qr(m);
  return qr.householderQ() * Matrix::Identity(m.rows(), std::min(m.rows(), m.cols()));
}

Matrix gaussian(Eigen::Index rows, Eigen::Index columns, const Prf& prf) {
  Matrix out(rows, columns);
  for (Eigen::Index i = 0; i < out.size(); ++i) {
    out.data()[i] = normal(prf, static_cast<uint64_t>(i));
  }
  return out;
}

// The leading part of D = U·S·Vᵀ.
struct Svd {
  Matrix u, v;
  Eigen::VectorXd s;  // falling
};

Result<Svd> leading_part(Difference& d, uint64_t width, const Prf& prf) {
  const auto sketch = static_cast<Eigen::Index>(width);
  const bool whole = sketch == std::min(d.rows(), d.columns());
  Matrix q;
  if (whole && d.rows() <= d.columns()) {
    q = Matrix::Identity(d.rows(), d.rows());
  } else {
    HIERON_TRY(q, d.times(gaussian(d.columns(), sketch, prf)));
    q = orthonormal(q);
  }
  for (int i = 0; i < kPowerIterations && !whole; ++i) {
    HIERON_TRY(const Matrix back, d.transposed_times(q));
    HIERON_TRY(q, d.times(orthonormal(back)));
    q = orthonormal(q);
  }
  HIERON_TRY(const Matrix t, d.transposed_times(q));  // D ≈ q·tᵀ
  const Eigen::HouseholderQR<Matrix> qr(t);
  const Eigen::Index k = std::min(t.rows(), t.cols());
  const Matrix basis = qr.householderQ() * Matrix::Identity(t.rows(), k);
  const Matrix core = qr.matrixQR().topRows(k).triangularView<Eigen::Upper>();  // t = basis·core
  const Eigen::JacobiSVD<Matrix, Eigen::NoQRPreconditioner> svd(
      core.transpose(), Eigen::ComputeFullU | Eigen::ComputeFullV);
  return Svd{q * svd.matrixU(), basis * svd.matrixV(), svd.singularValues()};
}

// The smallest rank whose rest is within the tolerance; nothing if this sketch has none.
std::optional<Eigen::Index> rank_within(const Eigen::VectorXd& s, double norm, double tolerance) {
  double rest = norm * norm;
  for (Eigen::Index r = 0; r < s.size(); ++r) {
    if (rest <= tolerance * tolerance * norm * norm) return std::max<Eigen::Index>(r, 1);
    rest -= s[r] * s[r];
  }
  if (rest <= tolerance * tolerance * norm * norm) return s.size();
  return std::nullopt;
}

std::vector<float> rounded(const Rows& values, DType dtype) {
  std::vector<float> out(static_cast<size_t>(values.size()));
  std::vector<std::byte> raw(out.size() * static_cast<size_t>(info(dtype).bits) / 8);
  encode(dtype, std::span<const double>(values.data(), out.size()), raw.data());
  decode(dtype, raw.data(), std::span(out));
  return out;
}

Result<double> norm_of(Difference& d) {
  double square = 0;
  HIERON_CHECK(
      d.for_each_block([&](Eigen::Index, const auto& block) { square += block.squaredNorm(); }));
  return std::sqrt(square);
}

// ‖D − L·R‖
Result<double> distance(Difference& d, const LowRankFit& fit) {
  using Factor = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  const auto rank = static_cast<Eigen::Index>(fit.rank);
  const Matrix left = Eigen::Map<const Factor>(fit.left.data(), d.rows(), rank).cast<double>();
  const Matrix right = Eigen::Map<const Factor>(fit.right.data(), rank, d.columns()).cast<double>();
  double square = 0;
  Rows rest;
  HIERON_CHECK(d.for_each_block([&](Eigen::Index row, const auto& block) {
    rest = block;
    rest.noalias() -= left.middleRows(row, block.rows()) * right;
    square += rest.squaredNorm();
  }));
  return std::sqrt(square);
}

}  // namespace

Result<LowRankFit> fit_low_rank(const TensorPair& pair, const LowRankWish& wish,
                                const Prf& sketch) {
  fix_block_sizes();
  Difference d(pair);
  LowRankFit fit;
  HIERON_TRY(fit.norm, norm_of(d));
  if (fit.norm == 0 || !std::isfinite(fit.norm)) return fit;
  const auto full = static_cast<uint64_t>(std::min(d.rows(), d.columns()));
  const uint64_t most = std::min(full, wish.rank.value_or(full));
  Svd svd;
  Eigen::Index rank = 0;
  for (uint64_t aim = wish.tolerance ? std::min(most, kFirstSketch) : most;;
       aim = std::min(most, 2 * aim)) {
    HIERON_TRY(svd, leading_part(d, std::min(full, aim + kOversampling), sketch));
    const auto within =
        wish.tolerance ? rank_within(svd.s, fit.norm, *wish.tolerance) : std::nullopt;
    rank = std::min(within.value_or(svd.s.size()), static_cast<Eigen::Index>(most));
    if (within || aim == most) break;
  }
  while (rank > 1 && svd.s[rank - 1] <= kRankNoise * svd.s[0]) --rank;
  fit.rank = static_cast<uint64_t>(rank);
  const Eigen::VectorXd root = svd.s.head(rank).cwiseSqrt();
  fit.left = rounded(svd.u.leftCols(rank) * root.asDiagonal(), wish.dtype);
  fit.right = rounded(root.asDiagonal() * svd.v.leftCols(rank).transpose(), wish.dtype);
  HIERON_TRY(const double rest, distance(d, fit));
  fit.relative_error = rest / fit.norm;
  return fit;
}

}  // namespace hieron
