// SHA256SUMS of a pack: `sha256sum -c SHA256SUMS` checks it, without this program.
#pragma once

#include <string>

namespace hieron {

struct PackSums {
  std::string blocks, index, report;  // SHA-256 in hex
};

std::string sums_text(const PackSums& sums);

}  // namespace hieron
