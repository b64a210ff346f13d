// Of which rank is a matrix's change, once rounding is set aside? And who was made of whom?
#pragma once

#include <cstdint>

#include "hieron/edit/matrices.h"

namespace hieron {

struct ChangeSpectrum {
  uint64_t side = 0;               // the shorter side of what was looked at
  uint64_t rank = 0;               // 0: the singular values have no gap
  double gap = 0;                  // σ_rank / σ_rank+1
  uint64_t rows = 0, columns = 0;  // that differ somewhere
  // What the change of that rank leaves, and what rounding the suspect once would leave.
  double left = 0, rounding = 0;
  // Evidence in nats that the suspect was rounded from the model, not the model from the suspect:
  // the rest is as large as the suspect's cells, where the two have cells of different size.
  double nats = 0;
  ExplainedRow replay;          // the model plus that change, rounded, over what was looked at
  Eigen::VectorXd left_vector;  // of the largest singular value

  // Mean square of the rest, in rounding errors; 1 for the model that the suspect was made of.
  double noise() const { return rounding > 0 ? left / rounding : left > 0 ? 1e300 : 0; }
};

// `rank`: known from elsewhere; 0: look for the gap.
ChangeSpectrum change_spectrum(const MatrixPair& pair, DType suspect, DType model, uint64_t rank);

}  // namespace hieron
