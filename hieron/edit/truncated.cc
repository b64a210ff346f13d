// Matrices without their smallest singular values. The model's own singular vectors tell how many
// were kept; projecting the model on them must give the suspect.
#include <fmt/format.h>

#include <Eigen/Eigenvalues>
#include <algorithm>
#include <cmath>
#include <mutex>

#include "hieron/core/parallel.h"
#include "hieron/core/text.h"
#include "hieron/edit/kinds.h"
#include "hieron/edit/spectrum.h"

namespace hieron {
namespace {

constexpr uint64_t kMostSide = 1024;  // the eigenvectors of a larger one take too long

bool is_feasible(const Row& row, size_t model) {
  return is_matrix_of_both(row, model) && row.elements <= kMostElements &&
         std::min(row.shape[0], row.shape[1]) <= kMostSide;
}

struct Truncation {
  uint64_t rank = 0, side = 0;  // rank 0: none
  double noise = 0;
  ExplainedRow replay;
};

Truncation truncation(const MatrixPair& pair, DType dtype) {
  const Matrix& m = pair.model;
  const bool upright = m.rows() > m.cols();
  const Eigen::MatrixXd gram =
      upright ? Eigen::MatrixXd(m.transpose() * m) : Eigen::MatrixXd(m * m.transpose());
  const Eigen::SelfAdjointEigenSolver<Eigen::MatrixXd> solved(gram);
  const Eigen::MatrixXd vectors = solved.eigenvectors().rowwise().reverse();
  const Eigen::VectorXd energy = solved.eigenvalues().reverse();
  // How much of each singular vector the suspect still has.
  const Eigen::VectorXd kept =
      upright ? Eigen::VectorXd((pair.suspect * vectors).colwise().squaredNorm().transpose())
              : Eigen::VectorXd((vectors.transpose() * pair.suspect).rowwise().squaredNorm());
  Truncation found{.side = static_cast<uint64_t>(gram.rows()), .replay = {}};
  Eigen::Index rank = 0;
  while (rank < kept.size() && kept[rank] > energy[rank] / 2) ++rank;
  if (rank == 0 || rank == kept.size()) return found;
  const Eigen::MatrixXd basis = vectors.leftCols(rank);
  const Matrix made =
      upright ? Matrix((m * basis) * basis.transpose()) : Matrix(basis * (basis.transpose() * m));
  const Rounding rounding(dtype, pair.suspect);
  double left = 0, ulps = 0;
  for (Eigen::Index i = 0; i < made.size(); ++i) {
    const double rest = pair.suspect.data()[i] - made.data()[i];
    const double cell = rounding.ulp(made.data()[i]);
    left += rest * rest;
    ulps += cell * cell;
  }
  found.noise = ulps > 0 ? 12 * left / ulps : 1e300;
  if (found.noise <= edit_threshold::kRounding) found.rank = static_cast<uint64_t>(rank);
  found.replay = compare_rounded(pair.suspect, made, rounding);
  return found;
}

Result<Truncation> truncation_of(const EditCase& given, size_t row, size_t model) {
  const Row& about = given.alignment.rows[row];
  HIERON_TRY(const MatrixPair pair, read_some(given, row, model, about.shape[0], about.shape[1]));
  return truncation(pair, about.views[0]->tensor->dtype);
}

}  // namespace

Result<std::optional<EditFinding>> find_truncated(const EditCase& given, const Profile& quick,
                                                  std::vector<std::string>&) {
  const size_t model = quick.model;
  const auto feasible = [&](size_t r) { return is_feasible(given.alignment.rows[r], model); };
  const std::vector<size_t> first = changed_rows(quick);
  if (first.empty() || !std::ranges::all_of(first, feasible)) return std::nullopt;
  const size_t cheapest = *std::ranges::min_element(
      first, {}, [&](size_t r) { return given.alignment.rows[r].elements; });
  HIERON_TRY(const Truncation look, truncation_of(given, cheapest, model));
  if (look.rank == 0) return std::nullopt;

  HIERON_TRY(const Profile all, profile(given, model, given.whole));
  const std::vector<size_t> rows = changed_rows(all);
  if (!std::ranges::all_of(rows, feasible)) return std::nullopt;
  std::vector<Truncation> found(rows.size());
  std::mutex mutex;
  std::optional<Error> error;
  parallel_for(rows.size(), matrix_threads(given.walk, kMostElements), [&](size_t i) {
    auto one = truncation_of(given, rows[i], model);
    const std::lock_guard lock(mutex);
    one ? void(found[i] = *one) : void(error = std::move(one.error()));
  });
  if (error) return std::unexpected(std::move(*error));
  if (std::ranges::any_of(found, [](const Truncation& t) { return t.rank == 0; })) {
    return std::nullopt;
  }

  EditFinding edit{.kind = EditKind::kTruncated, .model = model, .what = {}};
  edit.targets = roles_of(given, rows);
  edit.rows.resize(given.alignment.rows.size());
  for (size_t i = 0; i < edit.rows.size(); ++i) {
    edit.rows[i] = {all.rows[i].read, all.rows[i].equal, all.rows[i].first_miss};
  }
  uint64_t kept = 0, of = 0;
  double noise = 0;
  bool one_rank = true;
  for (size_t i = 0; i < rows.size(); ++i) {
    edit.rows[rows[i]] = found[i].replay;
    kept += found[i].rank;
    of += found[i].side;
    noise = std::max(noise, found[i].noise);
    one_rank = one_rank && found[i].rank == found[0].rank;
  }
  if (one_rank) edit.rank = found[0].rank;
  edit.strength = static_cast<double>(kept) / static_cast<double>(of);
  edit.predicted =
      edit.read() > 0 && static_cast<double>(edit.equal()) >=
                             edit_threshold::kReplay * static_cast<double>(edit.read());
  edit.what =
      fmt::format("with {} of the {} singular values of {} matrices kept and the smallest dropped",
                  with_commas(kept), with_commas(of), rows.size());
  edit.reasons.push_back(fmt::format(
      "Each changed matrix is the model's, projected on the first of its own singular vectors; "
      "what "
      "is left is {:.2f} times the rounding of the suspect's format at most (limit {:.1f}).",
      noise, edit_threshold::kRounding));
  return edit;
}

}  // namespace hieron
