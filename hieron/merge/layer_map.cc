#include "hieron/merge/layer_map.h"

#include <algorithm>
#include <map>
#include <set>
#include <utility>

namespace hieron {
namespace {

constexpr size_t kThick = 3;  // tensors of a layer

}  // namespace

LayerMap::LayerMap(const Checkpoint& checkpoint, const RoleTable& roles,
                   std::span<const uint32_t> parts)
    : checkpoint_(checkpoint), places_(checkpoint.tensors.size()) {
  std::map<std::pair<uint32_t, std::string_view>, uint32_t> known;
  std::vector<std::set<std::string_view>> kinds;  // of each row, as far as they need counting
  for (size_t i = 0; i < places_.size(); ++i) {
    const std::string_view name = checkpoint.tensors[i].name;
    const uint32_t part = parts.empty() ? 0 : parts[i];
    const auto number = layer_number(name);
    if (!number || part == kNoPart) continue;
    const std::string_view prefix = name.substr(0, number->begin - 1);
    const auto [it, fresh] = known.try_emplace({part, prefix}, static_cast<uint32_t>(rows_.size()));
    if (fresh) {
      const auto tower = roles.classify(name, checkpoint.tensors[i].shape).tower;
      rows_.push_back({std::string(prefix), 0, part, tower, names_layers(prefix), false});
      kinds.emplace_back();
    }
    const uint32_t row = it->second;
    rows_[row].layers = std::max(rows_[row].layers, number->layer + 1);
    if (kinds[row].size() < kThick) kinds[row].insert(name.substr(number->end));
    places_[i] = {row, static_cast<uint32_t>(number->begin), static_cast<uint32_t>(number->end),
                  number->layer};
  }
  for (size_t row = 0; row < rows_.size(); ++row) {
    rows_[row].thick = rows_[row].layers > 1 && kinds[row].size() >= kThick;
  }
  choose_rows();
}

// By word, then by build; of numbers that are neither, the most.
void LayerMap::choose_rows() {
  for (const Row& row : rows_) {
    chosen_.resize(std::max<size_t>(chosen_.size(), row.part + size_t{1}));
  }
  for (uint32_t part = 0; part < chosen_.size(); ++part) {
    std::vector<uint32_t>& chosen = chosen_[part];
    const auto choose = [&](bool aside, auto fits) {
      if (!chosen.empty()) return;
      for (uint32_t r = 0; r < rows_.size(); ++r) {
        if (rows_[r].part == part && rows_[r].tower.empty() != aside && fits(rows_[r]))
          chosen.push_back(r);
      }
    };
    for (const bool aside : {false, true}) {
      choose(aside, [](const Row& row) { return row.named; });
      choose(aside, [](const Row& row) { return row.thick; });
    }
    for (const bool aside : {false, true}) {
      choose(aside, [](const Row&) { return true; });
      const auto most =
          std::ranges::max_element(chosen, {}, [&](uint32_t r) { return rows_[r].layers; });
      const bool weak = !chosen.empty() && !rows_[*most].named && !rows_[*most].thick;
      if (weak) chosen = {*most};
    }
  }
}

std::vector<const LayerMap::Row*> LayerMap::rows(uint32_t part) const {
  std::vector<const Row*> rows;
  if (part < chosen_.size()) {
    for (const uint32_t row : chosen_[part]) rows.push_back(&rows_[row]);
  }
  return rows;
}

std::vector<const LayerMap::Row*> LayerMap::rows_aside(uint32_t part) const {
  std::vector<const Row*> rows;
  for (uint32_t r = 0; r < rows_.size(); ++r) {
    const Row& row = rows_[r];
    if (row.part != part || row.tower.empty() || !(row.named || row.thick)) continue;
    if (std::ranges::find(chosen_[part], r) == chosen_[part].end()) rows.push_back(&row);
  }
  return rows;
}

void LayerMap::state_layers(uint32_t part, uint64_t layers) {
  if (part < chosen_.size() && chosen_[part].size() == 1) {
    rows_[chosen_[part].front()].layers = layers;
  }
}

uint64_t LayerMap::layers(uint32_t part) const {
  if (part >= chosen_.size() || chosen_[part].size() != 1) return 0;
  return rows_[chosen_[part].front()].layers;
}

const LayerMap::Place& LayerMap::place(const TensorInfo& tensor) const {
  return places_[static_cast<size_t>(&tensor - checkpoint_.tensors.data())];
}

bool LayerMap::is_only_row(uint32_t row) const {
  if (row >= rows_.size()) return false;
  const std::vector<uint32_t>& chosen = chosen_[rows_[row].part];
  return chosen.size() == 1 && chosen.front() == row;
}

std::optional<LayerName> LayerMap::layer(const TensorInfo& tensor) const {
  const Place& at = place(tensor);
  if (!is_only_row(at.row)) return std::nullopt;
  return LayerName{at.layer, at.begin, at.end};
}

const TensorInfo* LayerMap::only_in_first(uint32_t part) const {
  if (part >= chosen_.size() || chosen_[part].size() != 1) return nullptr;
  std::map<std::string_view, const TensorInfo*> first;
  std::set<std::string_view> second;
  for (size_t i = 0; i < places_.size(); ++i) {
    const Place& at = places_[i];
    if (at.row != chosen_[part].front() || at.layer > 1) continue;
    const TensorInfo& tensor = checkpoint_.tensors[i];
    const auto kind = std::string_view(tensor.name).substr(at.end);
    if (at.layer == 0) {
      first.emplace(kind, &tensor);
    } else {
      second.insert(kind);
    }
  }
  const bool all = std::ranges::all_of(second, [&](auto kind) { return first.contains(kind); });
  if (second.empty() || !all) return nullptr;
  for (const auto& [kind, tensor] : first) {
    if (!second.contains(kind)) return tensor;
  }
  return nullptr;
}

double LayerMap::depth(const TensorInfo& tensor) const {
  const Place& at = place(tensor);
  if (at.row >= rows_.size()) return 0;
  const Row& row = rows_[at.row];
  if (!row.named && !row.thick && !is_only_row(at.row)) return 0;
  if (row.layers <= 1) return 1;
  return std::min(1.0, static_cast<double>(at.layer) / static_cast<double>(row.layers - 1));
}

}  // namespace hieron
