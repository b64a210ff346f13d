// Kinship in the unlaundered frame: do two models number their hidden units alike?
//
// The pairing of a hidden unit with its index is arbitrary at initialisation and survives training.
// For each matrix that holds hidden units (FFN gate, experts, recurrent gates) the units of one
// model are assigned to those of the other by cosine; N0 counts those assigned to their own index.
// Between models of independent origin the labels are exchangeable, so N0 follows the law of fixed
// points of a random permutation, Poisson(1) but for terms of 1/n!; over L matrices the sum is
// Poisson(L). The p-value is exact. docs/assay.md; Zhu et al., ICML 2025 (arXiv 2502.12292).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "hieron/core/error.h"
#include "hieron/model/roles.h"
#include "hieron/walk/alignment.h"

namespace hieron {

struct UnitMatch {
  std::string tensor;
  uint64_t units = 0;    // compared
  uint64_t matched = 0;  // assigned to their own index
};

struct HiddenUnitTest {
  std::vector<UnitMatch> matrices;
  uint64_t units = 0, matched = 0;
  double p = 1;  // P(Poisson(number of matrices) >= matched)
};

// P(Poisson(mean) >= count).
double poisson_tail(double mean, uint64_t count);

// Units of `a` against units of `b` (each n × d, row-major).
uint64_t matched_to_own_index(std::span<const double> a, std::span<const double> b, size_t units,
                              size_t dimensions);

// Compares two models of an alignment over the rows that hold hidden units and that both have: at
// most effort.matrices of them, spread evenly, and at most effort.units units of each. A matrix
// whose units are bit-equal in both counts like any other.
inline constexpr size_t kMaxMatrices = 48, kMaxUnits = 128;
struct UnitEffort {
  size_t matrices = kMaxMatrices, units = kMaxUnits;
  uint64_t matrix_bytes = 64u << 20;  // a matrix with units in columns is read whole
};
// For models that are read in part: 384 units say as much for sure as 6,000.
inline constexpr UnitEffort kFewUnits{12, 32, 1u << 20};
Result<HiddenUnitTest> compare_hidden_units(const Alignment& alignment, const RoleTable& roles,
                                            size_t model_a, size_t model_b, unsigned threads,
                                            UnitEffort effort = {});

}  // namespace hieron
