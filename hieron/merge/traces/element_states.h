// The states of all elements of one tensor, once the parents are known.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "hieron/merge/evidence.h"
#include "hieron/merge/traces/states.h"

namespace hieron {

// What one element says of one parent's mask.
struct MaskLabel {
  static constexpr uint8_t kKnown = 1;
  static constexpr uint8_t kKept = 2;  // if known
  static constexpr uint8_t kFair = 4;  // it would have been known whatever the mask: may be counted
};

struct FactorEstimate {
  std::vector<double> factors, errors;  // a_k and their standard errors, by parent
  // Rows of known state in which the factors were judged; and those in the cells, or near.
  uint64_t judged = 0, within_cell = 0;
};

class ElementStates {
 public:
  // All must outlive it.
  ElementStates(const WholeTensor& whole, size_t base, std::span<const size_t> parents,
                const States& states);

  // Better factors, from elements whose state is known under the given ones. `exactly`: within
  // their cells if that is possible, else by least squares.
  FactorEstimate fit(std::span<const double> factors, double rounding, bool exactly) const;

  // In states of several parents, whose changes are some cells wide; of them, of both signs.
  struct Consensus {
    uint64_t together = 0, against = 0;
    Consensus& operator+=(const Consensus& other);
  };
  Consensus consensus(std::span<const double> factors, double rounding) const;

  // Elements where some parent's change is many cells wide, and those in one of the states.
  struct Explained {
    uint64_t telling = 0, explained = 0;
    Explained& operator+=(const Explained& other);
  };
  Explained explained(std::span<const double> factors, double rounding) const;

  // MaskLabel by parent and element.
  std::vector<std::vector<uint8_t>> labels(std::span<const double> factors, double rounding) const;

  // Equations that an average's weights obey, from elements where several parents stay:
  // Σ_{k∈T} w_k·a_k·d_k = y·D_T. Where every step is rounded, so is D_T: it is another unknown for
  // each state.
  struct WeightEquations {
    static constexpr size_t kUnknowns = States::kMostParents + States::kMost;  // w_k, then D_T
    std::vector<double> matrix = std::vector<double>(kUnknowns * kUnknowns);   // of squares
    std::vector<uint64_t> elements = std::vector<uint64_t>(States::kMost);     // by state
  };
  void add_equations(std::span<const double> factors, double rounding,
                     WeightEquations& equations) const;

 private:
  struct Element {
    size_t i;
    std::span<const double> changes, scaled;  // by parent: d_k, a_k·d_k
    std::span<const double> y, size;          // by state; y is NaN where there is no such state
    uint32_t compatible;                      // states, as bits
  };
  template <class Use>
  void each(std::span<const double> factors, double rounding, const Use& use) const;
  bool telling(const Element& element) const;
  uint8_t label(const Element& element, size_t k, double rounding) const;
  bool outvoted(const Element& element, size_t k) const;
  bool fair(const Element& element, size_t k, double rounding) const;
  bool apart(const Element& element, size_t state, double rounding) const;
  bool apart(const Element& element, size_t a, size_t b, double rounding) const;

  const SeenChanges seen_;
  const WholeTensor& whole_;
  const States& states_;
  std::span<const float> base_;
  std::vector<std::span<const float>> values_;
};

}  // namespace hieron
