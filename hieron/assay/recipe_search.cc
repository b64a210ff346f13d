#include "hieron/assay/recipe_search.h"

#include <algorithm>
#include <array>

#include "hieron/core/parallel.h"
#include "hieron/kernels/compare.h"
#include "hieron/kernels/decode.h"
#include "hieron/merge/ends_weights.h"

namespace hieron {
namespace {

constexpr size_t kScreenElements =
    8192;  // per group: enough to tell recipes apart that differ in .1 % of elements
constexpr size_t kReplayElements =
    1 << 17;  // all groups together: what the chosen recipe is ranked by
constexpr std::array kGenerations{std::string_view("mergekit-0.1.5"),
                                  std::string_view("mergekit-0.1.4")};

// The elements of one group that can tell recipes apart (the ends differ there), side by side.
struct GroupSample {
  std::vector<double> first, second;
  std::map<DType, std::vector<size_t>> by_dtype;  // positions, by the suspect's dtype
  std::vector<double> suspect;
};

std::map<std::string, GroupSample> gather(const Alignment& alignment, const Sample& sample,
                                          size_t suspect, const EndsFit& fit, Ends ends,
                                          Varies varies) {
  std::map<std::string, GroupSample> groups;
  for (const RowIntervals& fitted : fit.rows) {
    const SampleRow& row = sample.rows[fitted.sample_row];
    GroupSample& group = groups[group_key(alignment.rows[row.row].name, row.role, varies)];
    std::vector<size_t>& positions = group.by_dtype[row.dtypes[suspect]];
    const auto& s = row.values[suspect];
    const auto& p = row.values[ends.first];
    const auto& q = row.values[ends.second];
    for (size_t i = 0; i < s.size(); ++i) {
      if (p[i] == q[i]) continue;
      positions.push_back(group.suspect.size());
      group.suspect.push_back(s[i]);
      group.first.push_back(p[i]);
      group.second.push_back(q[i]);
    }
  }
  return groups;
}

// How many of at most `limit` elements (evenly spread) the recipe reproduces; {replayed, equal}.
std::pair<uint64_t, uint64_t> replay_group(const GroupSample& group, Arithmetic arithmetic,
                                           const Combination& combination, size_t limit) {
  uint64_t replayed = 0, equal = 0;
  BlendScratch scratch;
  for (const auto& [dtype, positions] : group.by_dtype) {
    const size_t step = std::max<size_t>(1, positions.size() / limit);
    std::vector<double> s, p, q;
    for (size_t i = 0; i < positions.size(); i += step) {
      s.push_back(group.suspect[positions[i]]);
      p.push_back(group.first[positions[i]]);
      q.push_back(group.second[positions[i]]);
    }
    const size_t width = static_cast<size_t>(info(dtype).bits) / 8;
    std::vector<std::byte> stored(s.size() * width), made(s.size() * width);
    encode(dtype, std::span<const double>(s), stored.data());
    const std::array<Operand, 2> operands{
        Operand{DType::kF64, reinterpret_cast<const std::byte*>(p.data())},
        Operand{DType::kF64, reinterpret_cast<const std::byte*>(q.data())}};
    blend(arithmetic, combination, operands, dtype, made.data(), s.size(), scratch);
    replayed += s.size();
    equal += compare(stored.data(), made.data(), s.size(), static_cast<int>(width)).equal;
  }
  return {replayed, equal};
}

// Bounds for each group: its own peak, or everything where it has too little to say.
struct GroupEstimate {
  std::string key;
  const GroupSample* sample;
  std::optional<Depth> peak;
};

DType most_common_dtype(const GroupSample& group) {
  DType best = DType::kBF16;
  size_t most = 0;
  for (const auto& [dtype, positions] : group.by_dtype) {
    if (positions.size() > most) {
      most = positions.size();
      best = dtype;
    }
  }
  return best;
}

// The best recipe under one arithmetic.
CandidateRecipe under(Arithmetic arithmetic, Ends ends, Varies varies,
                      std::span<const GroupEstimate> groups, bool single_rounding) {
  CandidateRecipe candidate{
      .ends = ends, .varies = varies, .arithmetic = arithmetic, .groups = {}, .shares = {}};
  std::vector<EndsWeights>
      seen;  // recipes of groups that speak: tried where a group says too little
  const auto best_of = [&](const GroupSample& sample, std::span<const EndsWeights> list) {
    const EndsWeights* best = nullptr;
    uint64_t most = 0;
    for (const EndsWeights& hypothesis : list) {
      const uint64_t equal =
          replay_group(sample, arithmetic, hypothesis.combination, kScreenElements).second;
      if (!best || equal > most) {
        best = &hypothesis;
        most = equal;
      }
    }
    return best;
  };
  for (const GroupEstimate& group : groups) {
    if (!group.peak) continue;
    const EndsObservation observation{group.peak->alpha(), group.peak->low, group.peak->high,
                                      single_rounding};
    const std::vector<EndsWeights> list = weights_within(observation);
    if (const EndsWeights* best = best_of(*group.sample, list)) {
      candidate.groups[group.key] = best->combination;
      seen.push_back(*best);
    }
  }
  for (const GroupEstimate& group : groups) {
    if (group.peak || seen.empty()) continue;
    if (const EndsWeights* best = best_of(*group.sample, seen)) {
      candidate.groups[group.key] = best->combination;
    }
  }
  for (const GroupEstimate& group : groups) {
    const auto found = candidate.groups.find(group.key);
    if (found == candidate.groups.end()) continue;
    const auto [replayed, equal] =
        replay_group(*group.sample, arithmetic, found->second,
                     std::max(kScreenElements, kReplayElements / groups.size()));
    candidate.elements += replayed;
    candidate.equal += equal;
  }
  return candidate;
}

// The program-level names beside the arithmetic they stand for in `linear`.
void add_generations(std::vector<ArithmeticShare>& shares, DType dtype) {
  const auto share_of = [&](std::string_view wanted) {
    const auto it = std::ranges::find(shares, wanted, &ArithmeticShare::name);
    return it == shares.end() ? 0 : it->share;
  };
  const std::string_view products = dtype == DType::kF16    ? "f16-products"
                                    : dtype == DType::kBF16 ? "bf16-products"
                                                            : "f32-once";
  const std::array<double, 2> share{share_of("f32-fma"), share_of(products)};
  for (size_t i = 0; i < kGenerations.size(); ++i) {
    shares.push_back({std::string(kGenerations[i]), share[i]});
  }
  std::ranges::stable_sort(shares, std::ranges::greater{}, &ArithmeticShare::share);
}

}  // namespace

bool rounds_once(Arithmetic arithmetic) {
  switch (arithmetic) {
    case Arithmetic::kExact:
    case Arithmetic::kF32Once:
    case Arithmetic::kF32Fma:
    case Arithmetic::kF32Lerp:
      return true;
    default:
      return false;
  }
}

std::optional<CandidateRecipe> search_recipe(const Alignment& alignment, const Sample& sample,
                                             size_t suspect, Ends ends, const EndsFit& fit,
                                             Varies varies, bool single_rounding,
                                             unsigned threads) {
  const auto samples = gather(alignment, sample, suspect, fit, ends, varies);
  const GroupedFit fitted = fit_groups(alignment, sample, fit, varies);
  std::vector<GroupEstimate> groups;
  size_t largest = 0;
  DType dtype = DType::kBF16;
  for (const auto& [key, group] : samples) {
    const auto peak = fitted.groups.find(key);
    groups.push_back(
        {key, &group, peak == fitted.groups.end() ? std::nullopt : std::optional(peak->second)});
    if (group.suspect.size() > largest) {
      largest = group.suspect.size();
      dtype = most_common_dtype(group);
    }
  }
  const auto table = arithmetics();
  std::vector<CandidateRecipe> tried(table.size());
  parallel_for(table.size(), threads, [&](size_t i) {
    const Arithmetic arithmetic = table[i].arithmetic;
    tried[i] = under(arithmetic, ends, varies, groups, single_rounding && rounds_once(arithmetic));
  });
  const CandidateRecipe* best = nullptr;
  std::vector<ArithmeticShare> shares;
  for (const CandidateRecipe& candidate : tried) {
    if (candidate.groups.empty()) continue;
    shares.push_back({std::string(info(candidate.arithmetic).name), candidate.share()});
    if (!best || candidate.equal > best->equal) best = &candidate;
  }
  if (!best) return std::nullopt;
  std::ranges::stable_sort(shares, std::ranges::greater{}, &ArithmeticShare::share);
  add_generations(shares, dtype);
  CandidateRecipe found = *best;
  found.shares = std::move(shares);
  return found;
}

}  // namespace hieron
