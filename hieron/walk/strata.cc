#include "hieron/walk/strata.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <tuple>
#include <vector>

namespace hieron {
namespace {

// Tower, layer, role, and the parameter: a weight and its scale are strata of their own.
using Stratum = std::tuple<std::string, int, Role, std::string>;

std::string parameter_of(const std::string& name) {
  const size_t dot = name.rfind('.');
  return dot == name.npos ? std::string() : name.substr(dot);
}

}  // namespace

std::shared_ptr<const std::set<std::string>> draw_tensors(std::span<const Row> rows,
                                                          const RoleTable& roles,
                                                          const Seed& seed) {
  std::map<Stratum, std::vector<std::pair<int, const Row*>>> experts;
  auto chosen = std::make_shared<std::set<std::string>>();
  for (const Row& row : rows) {
    const TensorRole role = roles.classify(row.name, row.shape);
    if (role.expert) {
      experts[{std::string(role.tower), role.layer.value_or(-1), role.role, parameter_of(row.name)}]
          .emplace_back(*role.expert, &row);
    } else {
      chosen->insert(row.name);
    }
  }
  bool all = true;
  for (auto& [stratum, members] : experts) {
    std::ranges::sort(members, {},
                      [](const auto& m) { return std::pair(m.first, m.second->name); });
    const auto& [tower, layer, role, parameter] = stratum;
    const Prf prf(seed, fmt::format("experts/{}/{}/{}", tower, layer, name(role)));
    const size_t count = std::min(members.size(), kExpertsDrawn);
    all = all && count == members.size();
    for (size_t k = 0; k < count; ++k) {  // the first steps of a Fisher-Yates shuffle
      std::swap(members[k], members[k + prf.below(k, members.size() - k)]);
      chosen->insert(members[k].second->name);
    }
  }
  if (all) return nullptr;
  return chosen;
}

}  // namespace hieron
