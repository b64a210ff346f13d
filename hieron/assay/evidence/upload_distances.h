// How far a second upload lies from the first, measured with what training changed in the family,
// and whether another mix of the offered models would give the change. From the sample alone.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <vector>

#include "hieron/recover/sample.h"

namespace hieron {

// Numbers of models in the alignment that the sample was drawn from; 0 is the first upload, 1 the
// second.
struct UploadCast {
  std::optional<size_t> base;
  std::vector<size_t> parents, controls;
};

// Σ of squares over the rows that all of those concerned have.
struct SquareRatio {
  double change = 0, other = 0;
  std::optional<double> root() const;  // √(change / other), if there is anything to compare with
};

struct UploadDistances {
  SquareRatio size;                                     // the change, over the first upload
  std::map<size_t, SquareRatio> training;               // by control or parent: over it − base
  std::map<size_t, SquareRatio> spread;                 // the same model: its change, over the base
  std::map<size_t, SquareRatio> nearness;               // by offered model: over second − model
  std::map<Role, std::map<size_t, SquareRatio>> roles;  // training, by role
  std::map<int, std::map<size_t, SquareRatio>> layers;  // and by layer
  std::optional<double> outside;  // share of the change's square outside the span, row by row, of
                                  // the differences of the offered models
};

UploadDistances measure_uploads(const Sample& sample, const UploadCast& cast);

}  // namespace hieron
