#include "hieron/pack/sums.h"

#include <fmt/format.h>

#include "hieron/pack/pack.h"

namespace hieron {

std::string sums_text(const PackSums& sums) {
  return fmt::format("{}  {}\n{}  {}\n{}  {}\n", sums.blocks, kBlocksName, sums.index, kIndexName,
                     sums.report, kReportName);
}

}  // namespace hieron
