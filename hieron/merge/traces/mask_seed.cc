#include "hieron/merge/traces/mask_seed.h"

#include "hieron/merge/traces/own_seeds.h"
#include "hieron/merge/traces/torch_seeds.h"

namespace hieron {

void find_seed(const Evidence& evidence, MaskReading& reading) {
  if (evidence.seeds.which == Seeds::kNone) return;
  const bool own = reading.states.one_rounding;  // they are only computed exactly
  if (own && find_own_seed(evidence, reading)) return;
  find_torch_seed(evidence, reading);
}

}  // namespace hieron
