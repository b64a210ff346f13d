#include "hieron/assay/edited.h"

#include <fmt/format.h>

#include <algorithm>

#include "hieron/core/text.h"

namespace hieron {
namespace {

// Share of the suspect's parameters that the model has too.
double aligned_share(const Alignment& alignment, size_t model) {
  double aligned = 0, all = 0;
  for (const TensorInfo& tensor : alignment.models[0]->tensors) {
    all += static_cast<double>(tensor.elements);
  }
  for (const Row& row : alignment.rows) {
    if (row.views[model]) aligned += static_cast<double>(row.elements);
  }
  return all > 0 ? aligned / all : 0;
}

std::string share_in_words(const EditFinding& finding) {
  const uint64_t read = finding.read(), equal = finding.equal();
  return equal == read
             ? fmt::format("all {} compared weights", with_commas(read))
             : fmt::format("{} of the {} compared weights", with_commas(equal), with_commas(read));
}

}  // namespace

Result<EditDecision> decide_edit(const EditCase& given, const std::vector<size_t>& models,
                                 const std::vector<size_t>& controls, EditSearch search) {
  EditDecision decision;
  std::vector<size_t> all = models;
  all.insert(all.end(), controls.begin(), controls.end());
  HIERON_TRY(std::optional<EditFinding> finding, find_edit(given, all, search, decision.reasons));
  if (!finding) return decision;
  const std::string& ref = given.alignment.models[finding->model]->ref;
  if (std::ranges::find(controls, finding->model) != controls.end()) {
    decision.reasons.push_back(
        fmt::format("The suspect is the control {} {}: no offered model explains it as well.", ref,
                    finding->what));
    return decision;
  }
  if (const double aligned = aligned_share(given.alignment, finding->model);
      aligned < threshold::kAligned.value) {
    decision.reasons.push_back(fmt::format(
        "As far as {} has the same tensors, the suspect is that model {}; but these are "
        "only {:.1f} % of its parameters ({:.0f} % needed).",
        ref, finding->what, 100 * aligned, 100 * threshold::kAligned.value));
    return decision;
  }
  decision.finding = std::move(finding);
  return decision;
}

Verdict edit_verdict(const EditFinding& finding, const Alignment& alignment) {
  const std::string &suspect = alignment.models[0]->ref, &of = alignment.models[finding.model]->ref;
  Verdict verdict;
  const bool copied = finding.kind == EditKind::kUnitsPermuted;
  verdict.kind = copied ? VerdictKind::kObfuscatedCopy : VerdictKind::kEdit;
  verdict.of = {of};
  verdict.reasons = finding.reasons;
  if (copied) {
    verdict.sentence = fmt::format(
        "{} is a copy of {} {}: once that model is put into this order, {} are equal bit for bit.",
        suspect, of, finding.what, share_in_words(finding));
  } else if (finding.predicted) {
    verdict.sentence =
        fmt::format("{} is {} {}: doing the same to that model gives {}, bit for bit.", suspect, of,
                    finding.what, share_in_words(finding));
  } else {
    verdict.sentence = fmt::format(
        "{} is {} {}: such a change, estimated from the two, gives {} bit for bit, and the others "
        "up to rounding.",
        suspect, of, finding.what, share_in_words(finding));
  }
  verdict.falsifiers.push_back(
      finding.predicted
          ? "A weight that the same edit of that model does not reproduce, beyond those counted."
          : "A tensor whose change has another form, or that rounding does not explain.");
  verdict.falsifiers.push_back(
      "Another model, not offered here, that the same edit turns into the suspect as well.");
  if (copied) {
    verdict.falsifiers.push_back(
        "An older date or hash of the suspect: the same order, undone, would make that model of "
        "it.");
  }
  return verdict;
}

Edit edit_figures(const EditFinding& finding, const Alignment& alignment) {
  return {.of = alignment.models[finding.model]->ref,
          .kind = std::string(name(finding.kind)),
          .rank = finding.rank,
          .targets = finding.targets,
          .strength = finding.strength};
}

}  // namespace hieron
