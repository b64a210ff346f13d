#include "hieron/kinship/assignment.h"

#include <limits>

namespace hieron {

// Successive shortest paths on costs −score, with row and column potentials that keep reduced costs
// >= 0. Column 0 of the working arrays is a virtual column where each new row starts its path.
std::vector<uint32_t> assign(std::span<const double> score, size_t n) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  std::vector<double> row_potential(n + 1, 0), column_potential(n + 1, 0), distance(n + 1);
  std::vector<size_t> row_of(n + 1, 0), previous(n + 1, 0);
  std::vector<char> done(n + 1);
  for (size_t row = 1; row <= n; ++row) {
    row_of[0] = row;
    size_t column = 0;
    distance.assign(n + 1, kInfinity);
    done.assign(n + 1, 0);
    do {
      done[column] = 1;
      const size_t here = row_of[column];
      double least = kInfinity;
      size_t next = 0;
      for (size_t j = 1; j <= n; ++j) {
        if (done[j]) continue;
        const double reduced =
            -score[(here - 1) * n + (j - 1)] - row_potential[here] - column_potential[j];
        if (reduced < distance[j]) {
          distance[j] = reduced;
          previous[j] = column;
        }
        if (distance[j] < least) {
          least = distance[j];
          next = j;
        }
      }
      for (size_t j = 0; j <= n; ++j) {
        if (done[j]) {
          row_potential[row_of[j]] += least;
          column_potential[j] -= least;
        } else {
          distance[j] -= least;
        }
      }
      column = next;
    } while (row_of[column] != 0);
    for (; column != 0; column = previous[column]) row_of[column] = row_of[previous[column]];
  }
  std::vector<uint32_t> column_of(n);
  for (size_t j = 1; j <= n; ++j) column_of[row_of[j] - 1] = static_cast<uint32_t>(j - 1);
  return column_of;
}

}  // namespace hieron
