#include "hieron/edit/direction.h"

#include <algorithm>
#include <cmath>

namespace hieron {
namespace {

// The change of one tensor as left · rightᵀ; `left` has length one.
struct RankOne {
  Eigen::VectorXd left, right;
  double size() const { return right.norm(); }
};

// Power iterations over the whole tensor: the gap behind rank one is large, so few will do.
Result<RankOne> rank_one(const EditCase& given, size_t row, size_t model) {
  constexpr int kRounds = 3;
  const Shape& shape = given.alignment.rows[row].shape;
  RankOne found;
  found.left.resize(static_cast<Eigen::Index>(shape[0]));
  // Something that no change is orthogonal to: the first row of the change that is not zero.
  HIERON_CHECK(for_each_rows(given, row, model, [&](Eigen::Index, const MatrixPair& pair) {
    for (Eigen::Index i = 0; i < pair.suspect.rows() && found.right.size() == 0; ++i) {
      const Eigen::VectorXd change = (pair.suspect.row(i) - pair.model.row(i)).transpose();
      if (change.squaredNorm() > 0) found.right = change;
    }
  }));
  if (found.right.size() == 0) return found;
  for (int round = 0; round < kRounds; ++round) {
    HIERON_CHECK(for_each_rows(given, row, model, [&](Eigen::Index first, const MatrixPair& pair) {
      found.left.segment(first, pair.suspect.rows()) = (pair.suspect - pair.model) * found.right;
    }));
    found.left.normalize();
    Eigen::VectorXd right = Eigen::VectorXd::Zero(found.right.size());
    HIERON_CHECK(for_each_rows(given, row, model, [&](Eigen::Index first, const MatrixPair& pair) {
      right +=
          (pair.suspect - pair.model).transpose() * found.left.segment(first, pair.suspect.rows());
    }));
    found.right = right;
  }
  return found;
}

// The common vector: the mean of the tensors' own, large changes counting more.
std::optional<Eigen::VectorXd> common_vector(const std::vector<RankOne>& tensors, bool left,
                                             double& agreement) {
  const auto own = [&](const RankOne& tensor) {
    return left ? tensor.left : Eigen::VectorXd(tensor.right.normalized());
  };
  Eigen::VectorXd sum;
  for (const RankOne& tensor : tensors) {
    if (tensor.right.size() == 0 || !(tensor.size() > 0)) return std::nullopt;
    const Eigen::VectorXd v = own(tensor);
    if (sum.size() == 0) sum = Eigen::VectorXd::Zero(v.size());
    if (v.size() != sum.size()) return std::nullopt;
    sum += v * (v.dot(sum) < 0 ? -tensor.size() : tensor.size());
  }
  sum.normalize();
  agreement = 1;
  for (const RankOne& tensor : tensors) {
    agreement = std::min(agreement, std::abs(own(tensor).dot(sum)));
  }
  return agreement >= edit_threshold::kSameDirection ? std::optional(sum) : std::nullopt;
}

// How much of the model's component along v went, in one tensor.
struct Removal {
  double strength = 0, cosine = 0;
};

Result<Removal> removal(const EditCase& given, size_t row, size_t model, const Eigen::VectorXd& v,
                        bool left, Eigen::VectorXd& own) {
  const Shape& shape = given.alignment.rows[row].shape;
  own = Eigen::VectorXd::Zero(static_cast<Eigen::Index>(shape[left ? 1 : 0]));
  Eigen::VectorXd gone = own;
  HIERON_CHECK(for_each_rows(given, row, model, [&](Eigen::Index first, const MatrixPair& pair) {
    const Eigen::Index count = pair.model.rows();
    if (left) {
      own += pair.model.transpose() * v.segment(first, count);
      gone += (pair.model - pair.suspect).transpose() * v.segment(first, count);
    } else {
      own.segment(first, count) = pair.model * v;
      gone.segment(first, count) = (pair.model - pair.suspect) * v;
    }
  }));
  const double square = own.squaredNorm();
  if (!(square > 0) || !(gone.squaredNorm() > 0)) return Removal{};
  return Removal{gone.dot(own) / square, gone.dot(own) / std::sqrt(square * gone.squaredNorm())};
}

Result<ExplainedRow> replay(const EditCase& given, size_t row, size_t model,
                            const Eigen::VectorXd& v, bool left, const Eigen::VectorXd& own,
                            double strength) {
  ExplainedRow total;
  const DType dtype = given.alignment.rows[row].views[0]->tensor->dtype;
  HIERON_CHECK(for_each_rows(given, row, model, [&](Eigen::Index first, const MatrixPair& pair) {
    const Eigen::Index count = pair.model.rows();
    const Matrix made =
        left ? Matrix(pair.model - strength * v.segment(first, count) * own.transpose())
             : Matrix(pair.model - strength * own.segment(first, count) * v.transpose());
    const ExplainedRow part = compare_rounded(pair.suspect, made, Rounding(dtype, pair.suspect));
    total.read += part.read;
    total.equal += part.equal;
  }));
  return total;
}

}  // namespace

Result<std::optional<RemovedDirection>> removed_direction(const EditCase& given,
                                                          const std::vector<size_t>& rows,
                                                          size_t model) {
  std::vector<RankOne> tensors;
  for (const size_t row : rows) {
    HIERON_TRY(RankOne one, rank_one(given, row, model));
    tensors.push_back(std::move(one));
  }
  for (const bool left : {true, false}) {
    RemovedDirection found{
        .strength = 0, .least = 1e300, .most = -1e300, .agreement = 0, .replays = {}};
    const auto v = common_vector(tensors, left, found.agreement);
    if (!v) continue;
    bool own_component = true;
    for (size_t i = 0; i < rows.size() && own_component; ++i) {
      Eigen::VectorXd own;
      HIERON_TRY(const Removal gone, removal(given, rows[i], model, *v, left, own));
      own_component = std::abs(gone.cosine) >= edit_threshold::kSameDirection;
      found.strength += gone.strength / static_cast<double>(rows.size());
      found.least = std::min(found.least, gone.strength);
      found.most = std::max(found.most, gone.strength);
      HIERON_TRY(const ExplainedRow row,
                 replay(given, rows[i], model, *v, left, own, gone.strength));
      found.replays.push_back(row);
    }
    if (own_component) return found;
  }
  return std::nullopt;
}

}  // namespace hieron
