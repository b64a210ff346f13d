#include "hieron/edit/grid.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

namespace hieron {
namespace {

template <class Float>
void round_group(const Grid& grid, double* first, size_t count, size_t stride) {
  Float low = 0, high = 0;
  for (size_t i = 0; i < count; ++i) {
    const auto value = static_cast<Float>(first[i * stride]);
    low = std::min(low, value);
    high = std::max(high, value);
  }
  const auto half = static_cast<Float>(1 << (grid.bits - 1));
  const Float largest = std::max(high, -low);
  if (largest == 0 || !std::isfinite(largest)) return;
  Float scale = 0, zero = 0, bottom = 0, top = 0;
  switch (grid.rule) {
    case ScaleRule::kSymmetric:
      scale = largest / (half - 1);
      bottom = 1 - half;
      top = half - 1;
      break;
    case ScaleRule::kFullRange:
      scale = largest / half;
      bottom = -half;
      top = half - 1;
      break;
    case ScaleRule::kAsymmetric:
      scale = (high - low) / (2 * half - 1);
      zero = std::nearbyint(-low / scale);
      bottom = 0;
      top = 2 * half - 1;
      break;
  }
  for (size_t i = 0; i < count; ++i) {
    double& value = first[i * stride];
    Float code = std::nearbyint(static_cast<Float>(value) / scale);
    if (zero != 0) code += zero;
    code = std::clamp(code, bottom, top);
    if (zero != 0) code -= zero;
    if (code == 0 && !grid.signed_zero) code = 0;
    value = static_cast<double>(code * scale);
  }
}

}  // namespace

std::vector<Grid> known_grids() {
  std::vector<Grid> grids;
  for (const int bits : {8, 4, 6, 5, 3, 2}) {
    for (const bool columns : {false, true}) {
      for (const uint64_t group : {32, 64, 128, 16, 256, 0}) {
        if (columns && group == 0) continue;
        for (const ScaleRule rule :
             {ScaleRule::kSymmetric, ScaleRule::kFullRange, ScaleRule::kAsymmetric}) {
          for (const bool single : {false, true}) {
            for (const bool signed_zero : {false, true}) {
              grids.push_back({bits, group, columns, rule, single, signed_zero});
            }
          }
        }
      }
    }
  }
  return grids;
}

std::string in_words(const Grid& grid) {
  static constexpr std::array<std::string_view, 3> kRules{"", ", of the full range",
                                                          ", with a zero point"};
  const std::string groups = grid.group == 0
                                 ? std::string("one scale a row")
                                 : fmt::format("a scale for every {} values along the {}",
                                               grid.group, grid.columns ? "columns" : "rows");
  return fmt::format("{}-bit integers, {}{}", grid.bits, groups,
                     kRules.at(static_cast<size_t>(grid.rule)));
}

void round_to_grid(const Grid& grid, double* first, size_t count, size_t stride) {
  grid.single ? round_group<float>(grid, first, count, stride)
              : round_group<double>(grid, first, count, stride);
}

void round_to_grid(const Grid& grid, std::span<double> values, size_t columns) {
  const size_t rows = values.size() / columns;
  const size_t group = grid.group == 0 ? columns : static_cast<size_t>(grid.group);
  if (!grid.columns) {
    for (size_t i = 0; i + group <= values.size(); i += group) {
      round_to_grid(grid, values.data() + i, group, 1);
    }
    return;
  }
  for (size_t row = 0; row + group <= rows; row += group) {
    for (size_t column = 0; column < columns; ++column) {
      round_to_grid(grid, values.data() + row * columns + column, group, columns);
    }
  }
}

}  // namespace hieron
