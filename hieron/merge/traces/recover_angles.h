// Back from weights to the place on an arc that made them.
//
//   w_0 = sin((1−t)Ω)/sin Ω,  w_1 = sin(tΩ)/sin Ω                            (Shoemake 1985)
//   with S = w_0 + w_1 and m = (w_1 − w_0)/S:
//   t = ½ + atan(m·tan(Ω/2))/Ω,   sin²(Ω/2) = (1 − 1/S²)/(1 − m²)
//
// So two weights alone tell t and Ω, and no length has to be known; for small Ω, t is w_1/S and
// hardly depends on what Ω is taken to be.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "hieron/merge/evidence.h"

namespace hieron {

struct ArcPlace {
  double t, angle;
};

// Nothing where no arc has such weights. Weights that sum to one, nearly, are of a line: angle 0.
std::optional<ArcPlace> place_on_arc(double first, double second);

// t of two weights on an arc of this angle.
double t_on_arc(double first, double second, double angle);

// t within `tolerance` of an estimate as somebody could have written it: decimals of up to four
// digits, fewest first, then nearest, at most `limit`; and the estimate to seven digits at the end.
struct RoundPlace {
  double t, rest;  // rest: 1 − t
  int complexity;  // 10 for each digit
};
std::vector<RoundPlace> round_places(double t, double tolerance, size_t limit);

// 1 − t without the noise of binary fractions.
double rest_of(double t);

// A parameter as one tensor says it.
struct TensorEstimate {
  std::string name;
  TensorRole role;
  uint64_t informative;  // elements that it comes from
  double value;
};

// t of every tensor's own fit, from `first` to `second`; tensors whose weights are on no arc are
// left out.
std::vector<TensorEstimate> places_on_arcs(const Evidence& evidence, size_t first, size_t second);

// The median of estimates, each as heavy as it is informative; and the share of them that lies
// within `tolerance` of it. There is at least one.
struct Consensus {
  double value, share;
};
Consensus consensus(std::span<const TensorEstimate> estimates, double tolerance);

// ‖x_k − b‖ of a whole tensor (b = 0 without an origin).
double length(const WholeTensor& tensor, size_t model, std::optional<size_t> origin);

// ‖Σ a_k·(x_k − b)‖
double length(const WholeTensor& tensor, std::span<const size_t> models,
              std::span<const double> weights, std::optional<size_t> origin);

// a_k of s = b + Σ a_k·(x_k − b), from the whole tensor; empty where that explains little.
std::vector<double> weights_in(const WholeTensor& tensor, std::span<const size_t> models,
                               std::optional<size_t> origin);

// Shares of the models in a sum of their units (or of other vectors of known lengths): what
// a_k·length_k are of their sum. The median over the probes, model by model; empty where weights
// explain none of them.
using LengthOf = std::function<double(const WholeTensor& tensor, size_t model)>;
std::vector<double> shares_of_lengths(const Evidence& evidence, std::span<const size_t> models,
                                      std::optional<size_t> origin, const LengthOf& length_of);

// Vectors within a tensor that each have an arc of their own.
enum class Lines : uint8_t { kRows, kColumns };  // along the last axis; along the first

// One t for all lines of a tensor. First the median of each line's own least squares of the suspect
// on two models (on their differences from the origin), each as heavy as what the two differ by;
// then what most elements' cells allow around it.
// Nothing where the lines disagree, or where two models do not explain them but for rounding.
struct LineT {
  double t;
  bool exact;  // nearly all cells allow it: the result was rounded once
};
std::optional<LineT> t_of_lines(const WholeTensor& tensor, Lines lines, size_t first, size_t second,
                                std::optional<size_t> origin);

}  // namespace hieron
