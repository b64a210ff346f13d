// The SHA-256 of a whole file, in hex, wherever its bytes lie.
#pragma once

#include <string>

#include "hieron/core/error.h"
#include "hieron/io/file.h"

namespace hieron {

Result<std::string> sha256_of(const File& file);

}  // namespace hieron
