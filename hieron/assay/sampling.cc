#include "hieron/assay/sampling.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "hieron/core/text.h"
#include "hieron/walk/strata.h"

namespace hieron {
namespace {

constexpr uint64_t kRun = 16u << 10;      // bytes: a stretch that one request fetches
constexpr uint64_t kWholePerSample = 16;  // what is read whole, in shares of the sample

// Of experts only some are drawn.
std::string unseen_tensors(const AuditResult& result, const Alignment& alignment,
                           const RoleTable& roles) {
  uint64_t drawn = 0, experts = 0;
  for (const Row& row : alignment.rows) {
    experts += roles.classify(row.name, row.shape).expert.has_value();
  }
  for (const TensorFigures& tensor : result.tensors) {
    drawn += tensor.role.expert && tensor.read > 0;
  }
  if (drawn == experts || drawn == 0) return "";
  return fmt::format(
      " Of the {} tensors of experts {} were drawn, some of each layer and role: if none of those "
      "is found to differ, at most {:.2f} % of them do, at 95 %.",
      with_commas(experts), with_commas(drawn),
      100 * (1 - std::pow(0.05, 1.0 / static_cast<double>(drawn))));
}

uint64_t smallest_read(const AuditResult& result) {
  uint64_t least = std::numeric_limits<uint64_t>::max();
  for (const TensorFigures& tensor : result.tensors) {
    if (tensor.read > 0) least = std::min(least, tensor.read);
  }
  return least;
}

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

Status announce_sample(const Alignment& alignment, const Selection& all, const Selection& fit,
                       std::span<const size_t> controls) {
  if (all.whole()) return {};
  std::vector<Wanted> wanted;
  for (const Row& row : alignment.rows) {
    const std::vector<Run> proof = all.runs(row), first = fit.runs(row);
    for (size_t m = 0; m < row.views.size(); ++m) {
      if (!row.views[m]) continue;
      const bool control = std::ranges::find(controls, m) != controls.end();
      for (const Run& run : control ? first : proof) {
        wanted.push_back({alignment.models[m], row.views[m]->tensor,
                          row.views[m]->first + run.first, run.count});
      }
    }
  }
  return will_read(wanted);
}

ReadElements read_of(const AuditResult& result) {
  ReadElements sum;
  for (const TensorFigures& tensor : result.tensors) {
    sum.read += tensor.read;
    sum.all += tensor.elements;
  }
  return sum;
}

std::string sample_bound(const AuditResult& result, const Alignment& alignment,
                         const RoleTable& roles) {
  const ReadElements sum = read_of(result);
  const std::string read = with_commas(sum.read), all = with_commas(sum.all);
  if (result.sampling.mode == "full" && result.replay) {
    return fmt::format(
        "Every element of every aligned tensor was compared ({} of the suspect's {}).", read, all);
  }
  const std::string unseen = unseen_tensors(result, alignment, roles);
  if (!result.replay) {
    return fmt::format(
        "{} of the suspect's {} parameters were read, a sample of every tensor: enough to see that "
        "no blend holds. There was nothing to prove on the rest.{}",
        read, all, unseen);
  }
  const double least = static_cast<double>(smallest_read(result));
  return fmt::format(
      "{} of the suspect's {} parameters were compared, at positions drawn from the seed. A tensor "
      "of which all n compared elements agree may still differ unseen in a share of at most 1 - "
      "0.05^(1/n) at 95 % ({:.2e} for the least read one), if what differs lies scattered; changes "
      "confined to a stretch that was not read are not seen.{}",
      read, all, 1 - std::pow(0.05, 1.0 / std::max(1.0, least)), unseen);
}

}  // namespace hieron
