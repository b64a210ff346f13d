// The two-ends test: is a subject, element by element, one blend of two given models? docs/assay.md
// §3.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "hieron/fit/depth.h"
#include "hieron/recover/sample.h"

namespace hieron {

struct Ends {
  size_t first, second;  // models of the alignment; alpha is the weight of the first
};

// What is tested against the ends in one row: values, exact in dtype. Empty: this row has no
// subject.
struct Subject {
  DType dtype = DType::kF32;
  std::vector<double> values;
};
using SubjectOf = std::function<Subject(const SampleRow&)>;

// A model of the alignment as the subject.
SubjectOf model_subject(size_t model);
// The suspect's values moved to where they do not belong, for self-checks: rows of each matrix
// rotated by half of what was sampled; every sign flipped.
SubjectOf rows_permuted(size_t model);
SubjectOf signs_flipped(size_t model);
// The merge alpha·first + (1 − alpha)·second, rounded once to the suspect's dtype: for the power
// check.
SubjectOf synthetic_merge(size_t suspect, Ends ends, double alpha);

struct RowIntervals {
  size_t sample_row;  // into Sample::rows
  IntervalCounts counts;
  size_t begin, end;  // into EndsFit::intervals
};

struct EndsFit {
  std::vector<AlphaInterval> intervals;
  std::vector<RowIntervals> rows;
  Depth d16;      // one alpha for everything
  Depth d4, d64;  // only where all depths were asked for
  IntervalCounts counts;
  std::span<const AlphaInterval> of(const RowIntervals& row) const {
    return std::span(intervals).subspan(row.begin, row.end - row.begin);
  }
};

enum class Depths : uint8_t { kOnly16, kAll };
EndsFit fit_ends(const Sample& sample, const SubjectOf& subject, Ends ends, Depths depths,
                 unsigned threads);

// How the coefficients may vary: one alpha for all, or one for each role, layer or tensor.
enum class Varies : uint8_t { kGlobal, kRole, kLayer, kTensor };
std::string_view name(Varies varies);
// The group a tensor belongs to; tensors outside any layer share the layer group "".
std::string group_key(const std::string& tensor, const TensorRole& role, Varies varies);

struct GroupedFit {
  std::map<std::string, Depth> groups;    // D16 of each group that has enough informative elements
  uint64_t informative = 0, covered = 0;  // summed over them
  double share() const {
    return informative ? static_cast<double>(covered) / static_cast<double>(informative) : 0;
  }
};
GroupedFit fit_groups(const Alignment& alignment, const Sample& sample, const EndsFit& fit,
                      Varies varies);

}  // namespace hieron
