// Integers and back: groups of values rounded to multiples of a scale of their own.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace hieron {

enum class ScaleRule : uint8_t {
  kSymmetric,   // largest magnitude / (2^(bits−1) − 1)
  kFullRange,   // largest magnitude / 2^(bits−1), the top value cut off
  kAsymmetric,  // (largest − smallest) / (2^bits − 1), with an integer for zero
};

struct Grid {
  int bits;
  uint64_t group;  // values along the axis; 0: a whole row
  bool columns;    // groups run down the columns
  ScaleRule rule;
  bool single;       // arithmetic in f32, not f64
  bool signed_zero;  // what rounds to zero from below stays −0: codes never were integers
};

// All that are tried, usual ones first.
std::vector<Grid> known_grids();
// "8-bit integers, groups of 32 along the rows".
std::string in_words(const Grid& grid);

// Rounds `count` values, `stride` apart, as one group.
void round_to_grid(const Grid& grid, double* first, size_t count, size_t stride);
// Rounds a matrix, row-major; rows and columns that are no multiple of the group are the caller's
// business.
void round_to_grid(const Grid& grid, std::span<double> values, size_t columns);

}  // namespace hieron
