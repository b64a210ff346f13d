#include "hieron/fit/least_squares.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>

#include "hieron/core/prf.h"

namespace hieron {
namespace {

constexpr size_t kColumns = 6;  // 0 is the target

// Column 0 = 0.5·column 1 + 0.25·column 3, and a little noise; column 5 repeats column 4.
Gram example(double noise) {
  const Prf prf(Seed{}, "least squares");
  Gram gram(kColumns);
  for (uint64_t i = 0; i < 2000; ++i) {
    std::array<double, kColumns> row{};
    for (size_t k = 1; k < kColumns; ++k) row[k] = prf.uniform(i * kColumns + k) - 0.3;
    row[5] = row[4];
    row[0] = 0.5 * row[1] + 0.25 * row[3] + noise * (prf.uniform(i * kColumns) - 0.5);
    gram.add(row);
  }
  return gram;
}

TEST(LeastSquares, FindsTheWeights) {
  const std::array<size_t, 4> columns{1, 2, 3, 4};
  const FittedColumns fit = fit_columns(example(0), 0, columns);
  EXPECT_NEAR(fit.weights[0], 0.5, 1e-9);
  EXPECT_NEAR(fit.weights[1], 0, 1e-9);
  EXPECT_NEAR(fit.weights[2], 0.25, 1e-9);
  EXPECT_NEAR(fit.rest, 0, 1e-9);
}

TEST(LeastSquares, SaysWhatLeavingOneOutWouldCost) {
  const Gram gram = example(0.2);
  const std::array<size_t, 3> columns{1, 2, 3};
  const FittedColumns fit = fit_columns(gram, 0, columns);
  for (size_t k = 0; k < columns.size(); ++k) {
    std::vector<size_t> others;
    for (size_t j = 0; j < columns.size(); ++j) {
      if (j != k) others.push_back(columns[j]);
    }
    EXPECT_NEAR(fit.lost[k], fit_columns(gram, 0, others).rest - fit.rest, 1e-9 * gram.at(0, 0));
  }
}

TEST(LeastSquares, GivesNoWeightToAColumnThatOthersSpan) {
  const std::array<size_t, 4> columns{1, 3, 4, 5};
  const FittedColumns fit = fit_columns(example(0.1), 0, columns);
  EXPECT_EQ(fit.weights[3], 0);
  EXPECT_TRUE(std::isfinite(fit.weights[2]));
}

TEST(LeastSquares, PartsAddUpToTheWhole) {
  Gram whole(2), first(2), second(2);
  whole.add(std::array{1.0, 2.0});
  whole.add(std::array{3.0, -1.0});
  first.add(std::array{1.0, 2.0});
  second.add(std::array{3.0, -1.0});
  first += second;
  EXPECT_EQ(first.rows(), 2u);
  EXPECT_EQ(first.at(0, 1), whole.at(1, 0));
}

}  // namespace
}  // namespace hieron
