// One session with the hub for all that a command opens.
#pragma once

#include "hieron/cli/command.h"
#include "hieron/hub/access.h"

namespace hieron {

// Where references that are no paths come from. The first call opens the session: the environment
// (HF_ENDPOINT, HF_TOKEN, …), --offline and --max-download say which.
Result<ModelSource> model_source(const Context& context, Access access);

// Requests sent to the hub so far by this command.
uint64_t hub_requests(const Context& context);

}  // namespace hieron
