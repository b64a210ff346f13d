#include "hieron/assay/turned.h"

#include <algorithm>
#include <array>
#include <string_view>

#include "hieron/merge/traces/mask_reading.h"
#include "hieron/recover/gather.h"
#include "hieron/recover/recover.h"

namespace hieron {
namespace {

constexpr double kClearlyMore = 0.02;  // of the elements that tell: samples and borders err by less

// Were an input that is stored with fewer digits made from the suspect, it would have lost those by
// which the recipe reproduces the suspect.
bool has_fewer_digits(const Candidates& given, const Evidence& evidence, size_t model) {
  const WholeTensor& probe = *evidence.probes.front();
  const TensorInfo* input = given.alignment.models[model]->find(probe.name);
  const auto suspect = info(probe.dtype).format;
  return input && suspect && info(input->dtype).format &&
         info(input->dtype).format->mantissa_bits < suspect->mantissa_bits;
}

// The model as the suspect; the suspect is an input like any other.
Candidates candidates_of(const Candidates& given, const Turned& turned, size_t model) {
  Candidates others{turned.alignment, turned.models, given.roles,
                    given.candidates, given.base,    given.walk};
  if (others.base == model) others.base.reset();
  others.selection = given.selection;
  return others;
}

}  // namespace

Turned::Turned(const Candidates& given, const Sample& of, size_t parent)
    : alignment(given.alignment), sample(of), models(given.models) {
  std::swap(models[0], models[parent]);
  std::swap(alignment.models[0], alignment.models[parent]);
  for (Row& row : alignment.rows) std::swap(row.views[0], row.views[parent]);
  for (SampleRow& row : sample.rows) {
    std::swap(row.values[0], row.values[parent]);
    std::swap(row.dtypes[0], row.dtypes[parent]);
    row.blend = row.blend && !row.values[0].empty();
  }
}

std::string reversed_input(const Candidates& given, const Sample& sample, const Evidence& forward,
                           const Tried& best) {
  const std::array<std::string_view, 3> methods{best.hypothesis.method, "linear",
                                                "task_arithmetic"};
  std::set<size_t> used;
  for (const HypothesisInput& input : best.hypothesis.inputs) used.insert(input.model);
  if (best.hypothesis.base) used.insert(*best.hypothesis.base);
  for (const size_t model : used) {
    if (model >= given.models.size()) continue;  // nobody published it
    const bool holds = best.score.share() >= kHolds;
    if (holds && has_fewer_digits(given, forward, model)) continue;
    const Turned turned(given, sample, model);
    const Candidates others = candidates_of(given, turned, model);
    const auto evidence = gather_evidence(others, turned.sample);
    if (!evidence) continue;
    const Recovery recovery = recover_recipe(others, *evidence, methods);
    if (recovery.holds && recovery.best->score.share() >= best.score.share()) {
      return given.alignment.models[model]->ref;
    }
  }
  return "";
}

std::optional<Unmasked> masked_the_other_way(const Candidates& given, const Sample& sample,
                                             const std::set<size_t>& models, double explained) {
  for (const size_t model : models) {
    const Turned turned(given, sample, model);
    Candidates others = candidates_of(given, turned, model);
    others.seeds = Seeds::kNone;
    const auto evidence = gather_evidence(others, turned.sample);
    if (!evidence) continue;
    const double share = masked_share(*evidence);
    if (share > explained + kClearlyMore) return Unmasked{model, share};
  }
  return std::nullopt;
}

}  // namespace hieron
