#include "hieron/edit/spectrum.h"

#include <Eigen/Eigenvalues>
#include <algorithm>
#include <cmath>

namespace hieron {
namespace {

uint64_t rank_at_gap(const Eigen::VectorXd& sigma, double& gap) {
  uint64_t rank = 0;
  gap = 0;
  for (Eigen::Index i = 0; i + 1 < sigma.size() && 2 * (i + 1) <= sigma.size(); ++i) {
    // A change that is exactly of low rank ends in the noise of the eigenvalues themselves.
    const double floor = 1e-8 * sigma[0];
    const double ratio = sigma[i] / std::max(sigma[i + 1], floor);
    if (ratio <= gap) continue;
    gap = ratio;
    rank = static_cast<uint64_t>(i + 1);
  }
  return gap > edit_threshold::kGap ? rank : 0;
}

uint64_t nonzero_rows(const Matrix& change) {
  return static_cast<uint64_t>((change.array() != 0).rowwise().any().count());
}

// Adds up the evidence. `blur`: variance of the estimated change, which widens both cells.
void weigh_rounding(const MatrixPair& pair, const Matrix& rest, const Rounding& s,
                    const Rounding& m, double freedom, ChangeSpectrum& found) {
  constexpr double kMostNats = 5;  // an element that fits neither says nothing
  double ulps = 0;
  for (Eigen::Index i = 0; i < rest.size(); ++i) {
    const double cell = s.ulp(pair.suspect.data()[i]);
    ulps += cell * cell;
  }
  found.rounding = ulps / 12 * (1 - freedom);
  found.left = rest.squaredNorm();
  const double blur = ulps / 12 / static_cast<double>(rest.size()) * freedom;
  for (Eigen::Index i = 0; i < rest.size(); ++i) {
    const double us = s.ulp(pair.suspect.data()[i]), um = m.ulp(pair.model.data()[i]);
    if (us == um) continue;
    const double vs = us * us / 12 + blur, vm = um * um / 12 + blur, r = rest.data()[i];
    const double nats = (std::log(vm / vs) + r * r * (1 / vm - 1 / vs)) / 2;
    found.nats += std::clamp(nats, -kMostNats, kMostNats);
  }
}

}  // namespace

ChangeSpectrum change_spectrum(const MatrixPair& pair, DType suspect, DType model, uint64_t rank) {
  const Matrix change = pair.suspect - pair.model;
  const bool upright = change.rows() > change.cols();
  const Eigen::MatrixXd gram = upright ? Eigen::MatrixXd(change.transpose() * change)
                                       : Eigen::MatrixXd(change * change.transpose());
  const Eigen::SelfAdjointEigenSolver<Eigen::MatrixXd> solved(gram);  // ascending
  ChangeSpectrum found;
  found.side = static_cast<uint64_t>(gram.rows());
  const Eigen::VectorXd sigma = solved.eigenvalues().reverse().cwiseMax(0).cwiseSqrt();
  const uint64_t at_gap = rank_at_gap(sigma, found.gap);
  found.rank = rank > 0 ? std::min(rank, found.side) : at_gap;
  found.rows = nonzero_rows(change);
  found.columns = nonzero_rows(change.transpose());
  const auto kept = static_cast<Eigen::Index>(std::max<uint64_t>(1, found.rank));
  const Eigen::MatrixXd basis = solved.eigenvectors().rightCols(kept);
  found.left_vector = upright ? Eigen::VectorXd((change * basis.rightCols(1)).normalized())
                              : Eigen::VectorXd(basis.rightCols(1));
  if (found.rank == 0) return found;
  const Matrix made = upright ? Matrix((change * basis) * basis.transpose())
                              : Matrix(basis * (basis.transpose() * change));
  const Rounding s(suspect, pair.suspect), m(model, pair.model);
  const double r = static_cast<double>(kept), rows = static_cast<double>(change.rows()),
               columns = static_cast<double>(change.cols());
  const double freedom = std::min(0.999, r / rows + r / columns - r * r / (rows * columns));
  weigh_rounding(pair, change - made, s, m, freedom, found);
  found.replay = compare_rounded(pair.suspect, pair.model + made, s);
  return found;
}

}  // namespace hieron
