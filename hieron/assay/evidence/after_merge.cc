#include "hieron/assay/evidence/after_merge.h"

#include <algorithm>
#include <boost/math/special_functions/beta.hpp>
#include <map>

namespace hieron {
namespace {

constexpr size_t kPlacesShown = 32;  // of each scope, the most changed first

struct Tally {
  uint64_t read = 0, changed = 0;
};

void append(std::vector<ChangedPlace>& where, const std::string& scope,
            const std::map<std::string, Tally>& tallies) {
  std::vector<ChangedPlace> places;
  for (const auto& [name, tally] : tallies) {
    if (tally.changed == 0) continue;
    places.push_back(
        {scope, name, static_cast<double>(tally.changed) / static_cast<double>(tally.read)});
  }
  std::ranges::stable_sort(places, std::ranges::greater{}, &ChangedPlace::rate);
  if (places.size() > kPlacesShown) places.resize(kPlacesShown);
  where.insert(where.end(), places.begin(), places.end());
}

}  // namespace

double upper_rate_95(uint64_t hits, uint64_t trials) {
  if (hits >= trials) return 1;
  return boost::math::ibeta_inv(static_cast<double>(hits) + 1, static_cast<double>(trials - hits),
                                0.95);
}

AfterMerge after_merge(const Alignment& alignment, const RoleTable& roles,
                       std::span<const RowProof> rows) {
  AfterMerge result;
  std::map<std::string, Tally> tensors, by_role, by_layer;
  for (size_t i = 0; i < rows.size(); ++i) {
    const Row& row = alignment.rows[i];
    if (rows[i].read == 0) continue;
    result.checked += rows[i].read;
    result.changed += rows[i].changed;
    const TensorRole role = roles.classify(row.name, row.shape);
    const auto add = [&](Tally& tally) {
      tally.read += rows[i].read;
      tally.changed += rows[i].changed;
    };
    add(tensors[row.name]);
    add(by_role[std::string(name(role.role))]);
    if (role.layer) add(by_layer[std::to_string(*role.layer)]);
  }
  result.upper_rate_95 = upper_rate_95(result.changed, result.checked);
  result.mean_update_ulp_95 = result.upper_rate_95;
  append(result.where, "tensor", tensors);
  append(result.where, "role", by_role);
  append(result.where, "layer", by_layer);
  return result;
}

}  // namespace hieron
