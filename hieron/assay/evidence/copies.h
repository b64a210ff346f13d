// Is the suspect one of the offered models, bit for bit or in another format? docs/assay.md §8.
#pragma once

#include <cstdint>
#include <vector>

#include "hieron/recover/sample.h"

namespace hieron {

// The suspect's sample against one model's, over the rows both have.
struct CopyFigures {
  size_t model = 0;
  uint64_t elements = 0;
  uint64_t equal = 0;              // same value
  uint64_t rounds_to_suspect = 0;  // the model's value lies in the suspect's cell
  uint64_t rounds_to_model = 0;    // the suspect's value lies in the model's cell
  bool other_format = false;       // some row is stored in another dtype
  std::vector<bool> row_equal;     // per sample row: every element is the same value
};

CopyFigures compare_copy(const Sample& sample, size_t suspect, size_t model);

}  // namespace hieron
