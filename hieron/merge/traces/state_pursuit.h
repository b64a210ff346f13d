// Which candidates' changes a masked merge is made of, and by what factors: matching pursuit over
// samples of a few tensors. docs/recovery.md §8.
//
// A parent shows as a peak: one factor a with y = v + a·d on many elements, v what is known of the
// other parents. What it explains is taken away before the next is looked for, since changes of
// relatives are alike.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "hieron/fit/depth.h"
#include "hieron/fit/span_fit.h"
#include "hieron/merge/evidence.h"
#include "hieron/merge/traces/states.h"

namespace hieron {

// Elements of one tensor where some candidate's change is many cells wide.
struct SampledTensor {
  std::shared_ptr<const WholeTensor> whole;
  std::vector<size_t> elements;
  std::vector<double> low, high, width;      // of the suspect's change and its cell
  std::vector<std::vector<double>> changes;  // by candidate
  double telling;                            // cells: "many"

  size_t size() const { return elements.size(); }
  double middle(size_t i) const { return (low[i] + high[i]) / 2; }
};

SampledTensor sample_of(const std::shared_ptr<const WholeTensor>& whole, size_t base,
                        std::span<const size_t> candidates, size_t limit);

class Pursuit {
 public:
  // `candidates`: how many the samples have. `rounding`: rounding_of() their dtype. The samples
  // must outlive it.
  Pursuit(std::span<const SampledTensor> tensors, size_t candidates, double rounding);

  // Adds parents while they explain what was not explained.
  void pursue();

  // The same if changes that stay together are averaged, and all factors are alike: for parents
  // whose changes are hardly ever alone.
  void pursue_average();

  // Begins with combinations that hold for many elements at once (fits of the base, then the
  // candidates, to each sample): where hardly anything is dropped no change is seen alone.
  void start_from(std::span<const SpanFit> fits);

  // All candidates as parents, with these factors; or with the best near them, between
  // 1/(1 + spread) and 1 + spread times what is expected.
  void set(std::span<const double> factors, const States& states);
  void place(std::span<const double> expected, double spread, const States& states);

  std::span<const size_t> parents() const { return parents_; }  // candidate numbers
  const States& states() const { return states_; }
  const std::vector<std::vector<double>>& factors() const { return factors_; }  // by tensor

  double explained() const { return share(explained_); }
  // Of the sampled elements, those that would be in a state if they had others' changes.
  double by_chance() const;

 private:
  struct Peak {
    double factor = 0;
    uint64_t covered = 0, possible = 0;
  };
  struct Range {
    double low, high;
    static Range anywhere();
    static Range around(double factor, double spread);
  };
  struct Gain {
    std::vector<double> factors;  // by tensor
    double covered = 0, by_chance = 0, possible = 0;
    double worth() const;
  };

  double share(uint64_t count) const;
  bool in_a_state(size_t tensor, size_t i, size_t seen) const;
  bool alone(size_t tensor, size_t i) const;
  void settle();
  void mark();
  std::optional<std::vector<double>> average_weights() const;
  Peak pair_peak(size_t k, size_t j) const;
  Peak peak(size_t tensor, size_t candidate, Range range, size_t shift) const;
  Gain gain_of(size_t candidate) const;
  Gain gain_in(size_t tensor, size_t candidate, Range range) const;
  bool add_best();
  bool add_to_average();
  void remove(size_t k);
  void prune();

  static void add_interval(double a, double b, Range range, std::vector<AlphaInterval>& intervals);
  static Peak peak_of(std::span<const AlphaInterval> intervals);

  std::span<const SampledTensor> tensors_;
  size_t candidates_;
  double rounding_;
  std::vector<size_t> parents_;
  std::vector<std::vector<double>> factors_;  // by tensor and parent
  States states_;
  std::vector<std::vector<bool>> open_;  // by tensor and element: not explained yet
  uint64_t explained_ = 0, total_ = 0;
};

}  // namespace hieron
