// Bytes that are not a base with an adapter added as its config says: added how, then?
//
// s − b = c·B·A over the tensors that the adapter changes: one scalar c, fitted and then replayed;
// only some of its modules; another scaling rule; PEFT's arithmetic or the exact one.
#pragma once

#include <memory>
#include <string>

#include "hieron/assay/declared.h"
#include "hieron/core/error.h"
#include "hieron/merge/adapter.h"
#include "hieron/walk/walk.h"

namespace hieron {

struct DeclaredAdapter {
  std::string folder;
  std::string arithmetic;  // "exact", or a mergekit-* name: PEFT's
  std::shared_ptr<const Checkpoint> base;
};

// `share`: of the suspect's elements, what the adapter as declared gives.
Result<FitSearch> find_fitting_adapter(const DeclaredAdapter& declared, double share,
                                       const std::shared_ptr<const Checkpoint>& suspect,
                                       const WalkOptions& walk);

}  // namespace hieron
