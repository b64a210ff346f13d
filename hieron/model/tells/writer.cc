// Who wrote the shards: mergekit fills them in the order of the tensors' names (layers 0, 1, 10,
// 11, … before 2), up to 5·10⁹ bytes; transformers in the order of the layers.
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <limits>
#include <numeric>
#include <optional>

#include "hieron/core/text.h"
#include "hieron/model/tells/looks.h"

namespace hieron {
namespace {

constexpr uint64_t kMergekitShard = 5'000'000'000;

struct Shard {
  std::string_view first, last;  // names, embeddings and head apart
  uint64_t bytes = 0;
  uint64_t first_bytes = 0;  // of the tensor `first`
  uint64_t least_layer = std::numeric_limits<uint64_t>::max(), most_layer = 0;
};

// With a tokenizer, mergekit writes the rows of tokens before everything else.
bool of_tokens(std::string_view name) {
  return name.find("embed") != name.npos || name.find("lm_head") != name.npos ||
         name.find("wte") != name.npos;
}

// The first component that is a number.
std::optional<uint64_t> layer_of(std::string_view name) {
  while (!name.empty()) {
    const size_t dot = std::min(name.find('.'), name.size());
    uint64_t layer = 0;
    const std::string_view part = name.substr(0, dot);
    const auto [end, error] = std::from_chars(part.data(), part.data() + part.size(), layer);
    if (!part.empty() && error == std::errc() && end == part.data() + part.size()) return layer;
    name.remove_prefix(std::min(dot + 1, name.size()));
  }
  return {};
}

// In the order of the files' names.
std::vector<Shard> shards_of(const ModelFiles& model) {
  std::vector<Shard> shards(model.shards.size());
  for (const TensorPlace& tensor : model.tensors) {
    Shard& shard = shards[tensor.file];
    shard.bytes += tensor.bytes;
    if (of_tokens(tensor.name)) continue;
    if (shard.first.empty() || tensor.name < shard.first) {
      shard.first = tensor.name;
      shard.first_bytes = tensor.bytes;
    }
    shard.last = std::max(shard.last, tensor.name);
    if (const auto layer = layer_of(tensor.name)) {
      shard.least_layer = std::min(shard.least_layer, *layer);
      shard.most_layer = std::max(shard.most_layer, *layer);
    }
  }
  std::vector<size_t> order(shards.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::ranges::sort(order, {}, [&](size_t i) { return std::string_view(model.shards[i]); });
  std::vector<Shard> sorted;
  for (const size_t i : order) {
    if (!shards[i].first.empty()) sorted.push_back(shards[i]);
  }
  return sorted;
}

bool in_name_order(const std::vector<Shard>& shards) {
  return std::ranges::adjacent_find(shards, [](const Shard& a, const Shard& b) {
           return a.last >= b.first;
         }) == shards.end();
}

// A high layer in a shard before one with a lower layer: no order of the layers gives that.
bool layers_jump(const std::vector<Shard>& shards) {
  uint64_t most = 0;
  for (const Shard& shard : shards) {
    if (shard.least_layer < most) return true;
    most = std::max(most, shard.most_layer);
  }
  return false;
}

// Every shard but the last is as full as mergekit's limit lets it be.
bool filled_as_mergekit(const std::vector<Shard>& shards) {
  for (size_t i = 0; i + 1 < shards.size(); ++i) {
    if (shards[i].bytes > kMergekitShard ||
        shards[i].bytes + shards[i + 1].first_bytes <= kMergekitShard) {
      return false;
    }
  }
  return true;
}

}  // namespace

void look_at_writer(const SmallFiles& files, Findings& found) {
  const std::vector<Shard> shards = shards_of(files.model);
  if (shards.size() < 2 || !in_name_order(shards) || !layers_jump(shards)) return;
  const bool full = filled_as_mergekit(shards);
  found.add(full ? "shards-in-name-order-5gb" : "shards-in-name-order",
            fmt::format("its {} shards hold the tensors in the order of their names (layer 10 "
                        "before layer 2){}: so writes mergekit, while transformers goes by the "
                        "order of the layers",
                        shards.size(), full ? ", each filled up to 5,000,000,000 bytes" : ""));
}

namespace {

// The names, shard by shard: equal for two models that were cut alike.
std::vector<std::pair<std::string_view, std::string_view>> cut(const ModelFiles& model) {
  std::vector<std::pair<std::string_view, std::string_view>> places;
  places.reserve(model.tensors.size());
  for (const TensorPlace& tensor : model.tensors) {
    places.emplace_back(tensor.name, model.shards[tensor.file]);
  }
  std::ranges::sort(places);
  return places;
}

}  // namespace

void compare_layouts(const SmallFiles& suspect, std::span<const SmallFiles> others,
                     Findings& found) {
  if (suspect.model.shards.size() < 2) return;
  const auto own = cut(suspect.model);
  std::vector<size_t> alike, other;
  for (size_t i = 0; i < others.size(); ++i) {
    if (others[i].model.shards.empty()) continue;
    (cut(others[i].model) == own ? alike : other).push_back(i);
  }
  if (alike.empty() || other.empty()) return;
  found.add(
      "shards-cut-alike",
      fmt::format("its {} shards hold the same tensors as those of {}, unlike those of {}",
                  suspect.model.shards.size(), names_of(others, alike), names_of(others, other)));
}

std::string names_of(std::span<const SmallFiles> models, std::span<const size_t> numbers) {
  constexpr size_t kShown = 3;
  std::string text;
  for (size_t i = 0; i < std::min(numbers.size(), kShown); ++i) {
    text += fmt::format("{}{}",
                        i == 0                    ? ""
                        : i + 1 == numbers.size() ? " and "
                                                  : ", ",
                        printable(models[numbers[i]].model.ref));
  }
  if (numbers.size() > kShown) text += fmt::format(" and {} more", numbers.size() - kShown);
  return text;
}

}  // namespace hieron
