// Where the tensors of a plan will lie: shards, headers, offsets.
#pragma once

#include <cstdint>

#include "hieron/merge/plan.h"

namespace hieron {

// Fills Plan::shards and the shard and offset of every tensor: in the plan's order, greedily up to
// `shard_bytes` of data a shard; a larger tensor has a shard of its own.
void lay_out(Plan& plan, uint64_t shard_bytes);

}  // namespace hieron
