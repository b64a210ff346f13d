#include "hieron/assay/sampling.h"

#include <algorithm>

#include "hieron/walk/strata.h"

namespace hieron {
namespace {

constexpr uint64_t kRun = 16u << 10;      // bytes: a stretch that one request fetches
constexpr uint64_t kWholePerSample = 16;  // what is read whole, in shares of the sample

}  // namespace

Selection audit_selection(const Alignment& alignment, const RoleTable& roles,
                          const AuditOptions& options) {
  const uint64_t bytes = options.sample_bytes;
  if (bytes == 0) return Selection::everything();
  return Selection::sample(options.seed,
                           {.bytes_per_tensor = bytes,
                            .run_bytes = std::min(bytes, kRun),
                            .tensors = draw_tensors(alignment.rows, roles, options.seed),
                            .whole_bytes = kWholePerSample * bytes});
}

}  // namespace hieron
