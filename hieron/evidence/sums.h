// SHA256SUMS of a pack: `sha256sum -c SHA256SUMS` checks it, without this program.
#pragma once

#include <string>

#include "hieron/core/error.h"
#include "hieron/io/file.h"

namespace hieron {

struct PackSums {
  std::string blocks, index, report;  // SHA-256 in hex
};

std::string sums_text(const PackSums& sums);
Result<std::string> sha256_of(const File& file);

}  // namespace hieron
