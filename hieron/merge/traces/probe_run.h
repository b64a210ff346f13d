// A method at work on one whole tensor in memory: how `recover` tells ideas that are worth a replay
// from those that are not, and how it refines a number.
//
// A wrong recipe reproduces less than .1 of the telling elements; a right one most of them, though
// the suspect was computed in another arithmetic.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "hieron/merge/evidence.h"
#include "hieron/merge/mergekit/replay.h"
#include "hieron/merge/method.h"

namespace hieron {

// Who computes: the method itself, in an arithmetic of weighted sums; or a version of mergekit, in
// the suspect's dtype.
struct Program {
  Arithmetic arithmetic = Arithmetic::kExact;
  std::optional<mergekit::Version> version = {};
};

// What the hypothesis makes of the tensor's models, rounded to the suspect's dtype; empty if the
// method refuses it.
std::vector<float> computed_on(const WholeTensor& tensor, const Hypothesis& hypothesis,
                               Program program = {});

// At most `most` of the elements of a tensor in which these models differ, evenly; of one model, of
// all elements. A tensor of one dimension, for methods that are elementwise.
WholeTensor telling_part(const WholeTensor& whole, std::span<const size_t> models, uint64_t most);

// How many elements of the suspect's tensor it reproduces.
uint64_t elements_reproduced(const WholeTensor& tensor, const Hypothesis& hypothesis,
                             Program program = {});

// Share of the telling elements that it reproduces. Telling: the suspect or what is made differs
// from a candidate; of all candidates the one for which the share is least.
double share_reproduced(const Evidence& evidence, const WholeTensor& tensor,
                        const Hypothesis& hypothesis, Program program = {});

// Of the tensors in the evidence's probes, all together.
double share_reproduced(const Evidence& evidence, const Hypothesis& hypothesis);

// Enough of the smallest probe that a replay is worth its time.
bool promising(const Evidence& evidence, const Hypothesis& hypothesis);

// Nearly all of the smallest probe, but for the noise of an arithmetic that rounds at every step:
// what a hypothesis of weights must do, whatever the digits of its parameters.
bool explains(const Evidence& evidence, const Hypothesis& hypothesis);

// How far a few operations, each rounded to the dtype, may be off, relative to the largest number
// involved.
float rounding_noise(DType dtype);

// A model's values as the suspect would store them.
std::vector<float> as_suspect(const WholeTensor& tensor, size_t model);

}  // namespace hieron
