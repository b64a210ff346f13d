// What the operating system refused, as one sentence with the next step. Used inside io only.
#pragma once

#include <string>
#include <string_view>

#include "hieron/core/error.h"

namespace hieron {

// "model.safetensors cannot be opened: permission denied. Allow this user to read it."
// `verb` completes "cannot be …"; `error_number` is errno as the call left it.
std::unexpected<Error> system_failure(const std::string& path, std::string_view verb,
                                      int error_number);

}  // namespace hieron
