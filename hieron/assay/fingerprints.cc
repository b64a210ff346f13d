#include "hieron/assay/fingerprints.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <set>

#include "hieron/assay/sampling.h"
#include "hieron/core/text.h"
#include "hieron/walk/fingerprint.h"

namespace hieron {
namespace {

constexpr std::array<std::string_view, 2> kElementwise{"linear", "task_arithmetic"};

// What may differ unseen at 95 %, in the role of which least was read.
std::string bound(const AuditResult& result, uint64_t compared, uint64_t parameters) {
  const RoleCoverage* least = nullptr;
  for (const RoleCoverage& cover : result.coverage) {
    const bool in_part = cover.read > 0 && cover.read < cover.parameters;
    if (in_part && (!least || cover.read < least->read)) least = &cover;
  }
  std::string text = fmt::format(
      "{} elements were compared, at the public positions of a fingerprint, of {} in the tensors "
      "it was drawn from.",
      with_commas(compared), with_commas(parameters));
  if (!least) return text;
  const double unseen = 1 - std::pow(0.05, 1.0 / static_cast<double>(least->read));
  return text + fmt::format(
                    " A role of which all n compared elements agree may still differ unseen in a "
                    "share of at most 1 - 0.05^(1/n) at 95 % ({:.2e} for {}, the least read one), "
                    "if what differs lies scattered and was not placed with these positions in "
                    "mind; stretches and tensors that were not drawn are not seen.",
                    unseen, name(least->role));
}

}  // namespace

std::span<const std::string_view> elementwise_methods() { return kElementwise; }

Result<PackedCase> packed_case(const Candidates& given, const Seed& seed) {
  PackedCase packed_case;
  std::vector<const Checkpoint*> models;
  for (const auto& model : given.models) {
    HIERON_TRY(auto small, packed(model));
    models.push_back(small.get());
    packed_case.models.push_back(std::move(small));
  }
  packed_case.alignment = align(models, 1);
  std::set<std::string_view> rows;
  for (const Row& row : given.alignment.rows) rows.insert(row.name);
  std::erase_if(packed_case.alignment.rows,
                [&](const Row& row) { return !rows.contains(row.name); });
  HIERON_TRY(packed_case.sample, draw_sample(packed_case.alignment, given.roles, seed,
                                             Selection::everything(), given.walk));
  return packed_case;
}

void say_fingerprints(AuditResult& result) {
  const auto [compared, parameters] = read_of(result);
  result.sampling.mode = "fingerprint";
  result.sampling.bound = bound(result, compared, parameters);
  Verdict& verdict = result.verdict;
  verdict.sentence +=
      fmt::format(" This was judged from fingerprints: {} elements at public positions.",
                  with_commas(compared));
  verdict.falsifiers.push_back(
      "An audit of the models themselves at positions drawn from a fresh seed: the positions of a "
      "fingerprint are public, so that whoever knows them can change what stands there alone, or "
      "put another model's elements there.");
  result.warnings.push_back(
      "Fingerprints were compared: their positions are public and can be tampered with, and a "
      "fingerprint proves nothing about the model that it is said to be of. Audit the models "
      "themselves before you rely on this.");
}

}  // namespace hieron
