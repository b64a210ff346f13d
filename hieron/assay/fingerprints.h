// What an audit of fingerprints (walk/fingerprint.h) does otherwise, and what it must say.
//
// All models are looked at through fingerprints then, and only what treats every element for itself
// is asked of them: copies, blends of two ends, weighted sums of several models. What needs whole
// tensors (hidden units, whole layers elsewhere, masks by magnitude, low ranks) needs the models.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "hieron/assay/result.h"
#include "hieron/core/error.h"
#include "hieron/merge/evidence.h"
#include "hieron/recover/candidates.h"
#include "hieron/recover/sample.h"

namespace hieron {

// Methods of which every element depends on that element of the models alone.
std::span<const std::string_view> elementwise_methods();

// The known elements of all models, as tensors of their own, and the sample that is all of them.
// Rows are numbered as in the alignment given.
struct PackedCase {
  std::vector<std::shared_ptr<const Checkpoint>> models;
  Alignment alignment;
  Sample sample;
};
Result<PackedCase> packed_case(const Candidates& given, const Seed& seed);

// Adds to the verdict that it was made at public positions, and what that leaves open; sets the
// bound of the sampling.
void say_fingerprints(AuditResult& result);

}  // namespace hieron
