// Which tensors a sample is taken from: all of them, but of experts, of which there may be a
// hundred thousand, a few of each (layer, role), drawn by a PRF of (seed, layer, role) and so the
// same ones in every model.
//
// If none of the m drawn of a stratum is bad, at most 1 - 0.05^(1/m) of it are, at 95 %
// (docs/assay.md §10); over all strata together m is their sum.
#pragma once

#include <memory>
#include <set>
#include <span>
#include <string>

#include "hieron/core/prf.h"
#include "hieron/model/roles.h"
#include "hieron/walk/alignment.h"

namespace hieron {

inline constexpr size_t kExpertsDrawn = 8;

// Names of the rows to look at; null if that is every one.
std::shared_ptr<const std::set<std::string>> draw_tensors(std::span<const Row> rows,
                                                          const RoleTable& roles, const Seed& seed);

}  // namespace hieron
