// One combination of several models that explains a suspect: s = Σ w_k·x_k, each element within its
// rounding cell.
//
// K models and no constraint on Σ w_k. Without a linear program: least squares in units of the
// cell, graduated reweighting against what the combination does not explain, random exact solves in
// competition, then projections on the rows that are missed by little. docs/recovery.md §1.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "hieron/core/dtype.h"

namespace hieron {

// The same elements of a suspect and of K models.
struct SpanSample {
  DType dtype;  // of the suspect; its values are exact in it
  std::span<const double> suspect;
  std::vector<std::span<const double>> models;  // K >= 1, each as long as the suspect
};

struct SpanFit {
  std::vector<double> weights;  // per model; empty: nothing could be fitted
  uint64_t informative = 0;     // finite elements where some model lies >= kLeastLeverage cells off
  // Of them, how many the combination explains: within half a cell of the suspect (one rounding),
  // and within 2.5 cells of the largest number involved (every operation rounded).
  uint64_t within_cell = 0, near_cell = 0;

  double one_rounding() const { return share(within_cell); }     // q(.5)
  double several_roundings() const { return share(near_cell); }  // Q(2.5)

 private:
  double share(uint64_t part) const {
    return informative ? static_cast<double>(part) / static_cast<double>(informative) : 0;
  }
};

// Rows of the system; elements that say nothing are left out. Several tensors may be added to one.
class SpanRows {
 public:
  explicit SpanRows(size_t models) : models_(models) {}
  // At most `limit` informative elements, evenly spread.
  void add(const SpanSample& sample, size_t limit);

  size_t models() const { return models_; }
  size_t size() const { return rhs_.size(); }
  bool enough() const { return size() >= 10 * models_ + 20; }

 private:
  friend class SpanSolver;
  size_t models_;
  // In units of the suspect's cell, from the first model as origin: Σ_{k>0} w_k·d_k + c·x_0 = y.
  std::vector<double> columns_;              // row by row: d_1 … d_{K-1}, x_0
  std::vector<double> rhs_, half_, widest_;  // y; ½ and the slack of f32; the widest cell involved
};

enum class SpanEffort : uint8_t {
  kQuick,     // least squares, and reweighting if that explains much
  kThorough,  // all of it: for suspects that changed later
};

// Deterministic. Cost: about .05 s for 20,000 rows and four models, thorough.
SpanFit fit_span(const SpanRows& rows, SpanEffort effort = SpanEffort::kThorough);

// How well given weights explain the rows.
SpanFit judge_span(const SpanRows& rows, std::span<const double> weights);

}  // namespace hieron
