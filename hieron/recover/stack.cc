#include "hieron/recover/stack.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <unordered_map>

#include "hieron/core/text.h"
#include "hieron/kernels/decode.h"
#include "hieron/merge/hypothesis.h"
#include "hieron/merge/layers.h"

namespace hieron {
namespace {

constexpr uint64_t kLookedAt = 16384;  // bytes of each tensor
// Where a sample is all that is read: fewer, of as many tensors of each layer.
constexpr uint64_t kSampledBytes = 4096;
constexpr size_t kSampledTensors = 6;
constexpr double kLeastMatched = 0.5;  // of the tensors of a layer
constexpr uint64_t kScaleElements = 4096;
constexpr int kScaleDigits = 5;

using Place = std::pair<size_t, uint64_t>;  // model, layer

// What a tensor is called in any layer, its shape, its dtype and the first of its bytes.
Result<std::string> key_of(const Checkpoint& model, const TensorInfo& tensor,
                           const LayerName& place, uint64_t looked_at) {
  std::string key = renumbered(tensor.name, place, 0);
  for (const uint64_t extent : tensor.shape) key += fmt::format("/{}", extent);
  key += fmt::format("/{}/", info(tensor.dtype).name);
  const auto width = static_cast<uint64_t>(info(tensor.dtype).bits) / 8;
  if (width == 0) return key;
  std::vector<std::byte> bytes(std::min(tensor.bytes(), looked_at / width * width));
  HIERON_CHECK(read_elements(model, tensor, 0, bytes));
  key.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  return key;
}

class StackFinder {
 public:
  explicit StackFinder(const Candidates& given)
      : given_(given), sampled_(!given.selection.whole()) {
    if (sampled_) choose_suffixes();
  }

  Result<std::optional<LayerStack>> run() {
    HIERON_CHECK(announce());
    HIERON_CHECK(note_candidates());
    HIERON_CHECK(vote());
    if (votes_.empty() || votes_.rbegin()->first + 1 != votes_.size()) return std::nullopt;
    LayerStack stack;
    std::optional<Place> last;
    for (const auto& [layer, votes] : votes_) {
      const std::optional<Place> place = choose(layer, votes, last);
      if (!place) return std::nullopt;
      stack.layers.push_back({place->first, place->second, {}});
      last = place;
    }
    if (in_place(stack)) return std::nullopt;
    stack.has_direction = has_direction(stack);
    HIERON_CHECK(find_scales(stack));
    return stack;
  }

 private:
  Status announce() const {
    std::vector<Wanted> wanted;
    const auto add = [&](const Checkpoint& model) {
      for (const TensorInfo& tensor : model.tensors) {
        const auto place = layer_name(given_.roles, tensor);
        const auto width = static_cast<uint64_t>(info(tensor.dtype).bits) / 8;
        if (!place || width == 0 || !looked_at(tensor, *place)) continue;
        wanted.push_back({&model, &tensor, 0, std::min(tensor.elements, bytes() / width)});
      }
    };
    add(*given_.alignment.models[0]);
    for (const size_t m : given_.candidates) add(*given_.alignment.models[m]);
    return will_read(wanted);
  }

  uint64_t bytes() const { return sampled_ ? kSampledBytes : kLookedAt; }

  // The same few in every layer and model, spread over their names.
  void choose_suffixes() {
    std::set<std::string> all;
    for (const TensorInfo& tensor : given_.alignment.models[0]->tensors) {
      const auto place = layer_name(given_.roles, tensor);
      if (place && !tensor.known) all.insert(renumbered(tensor.name, *place, 0));
    }
    const std::vector<std::string> sorted(all.begin(), all.end());
    const size_t count = std::min(sorted.size(), kSampledTensors);
    for (size_t k = 0; k < count; ++k) suffixes_.insert(sorted[k * sorted.size() / count]);
  }

  bool looked_at(const TensorInfo& tensor, const LayerName& place) const {
    if (tensor.known) return false;
    return !sampled_ || suffixes_.contains(renumbered(tensor.name, place, 0));
  }

  Status note_candidates() {
    for (const size_t m : given_.candidates) {
      const Checkpoint& model = *given_.alignment.models[m];
      for (const TensorInfo& tensor : model.tensors) {
        const auto place = layer_name(given_.roles, tensor);
        if (!place || !looked_at(tensor, *place)) continue;
        HIERON_TRY(std::string key, key_of(model, tensor, *place, bytes()));
        places_[std::move(key)].push_back({m, place->layer});
      }
    }
    return {};
  }

  Status vote() {
    const Checkpoint& suspect = *given_.alignment.models[0];
    for (const TensorInfo& tensor : suspect.tensors) {
      const auto place = layer_name(given_.roles, tensor);
      if (!place || !looked_at(tensor, *place)) continue;
      ++tensors_[place->layer];
      auto& votes = votes_[place->layer];
      HIERON_TRY(const std::string key, key_of(suspect, tensor, *place, bytes()));
      const auto found = places_.find(key);
      if (found == places_.end()) continue;
      for (const Place& where : found->second) ++votes[where];
    }
    return {};
  }

  // The place with most votes; of several the one after the last, then the one with the layer's own
  // number.
  std::optional<Place> choose(uint64_t layer, const std::map<Place, uint64_t>& votes,
                              const std::optional<Place>& last) const {
    uint64_t most = 0;
    for (const auto& [place, count] : votes) most = std::max(most, count);
    if (static_cast<double>(most) < kLeastMatched * static_cast<double>(tensors_.at(layer))) {
      return std::nullopt;
    }
    std::optional<Place> best;
    int best_rank = -1;
    for (const auto& [place, count] : votes) {
      if (count < most) continue;
      const bool follows = last && place == Place{last->first, last->second + 1};
      const int rank = follows ? 2 : place.second == layer ? 1 : 0;
      if (rank > best_rank) {
        best = place;
        best_rank = rank;
      }
    }
    return best;
  }

  static bool in_place(const LayerStack& stack) {
    for (size_t i = 0; i < stack.layers.size(); ++i) {
      if (stack.layers[i].layer != i) return false;
    }
    return true;
  }

  static bool has_direction(const LayerStack& stack) {
    std::set<size_t> models;
    std::set<Place> places;
    for (const StackedLayer& layer : stack.layers) {
      models.insert(layer.model);
      places.insert({layer.model, layer.layer});
    }
    return models.size() > 1 || places.size() < stack.layers.size();
  }

  // Tensors that differ from their source by a factor.
  Status find_scales(LayerStack& stack) const {
    const Checkpoint& suspect = *given_.alignment.models[0];
    for (const TensorInfo& tensor : suspect.tensors) {
      const auto place = layer_name(given_.roles, tensor);
      if (!place || !info(tensor.dtype).format) continue;
      StackedLayer& layer = stack.layers[place->layer];
      const Checkpoint& model = *given_.alignment.models[layer.model];
      const TensorInfo* source = model.find(renumbered(tensor.name, *place, layer.layer));
      if (!source || source->shape != tensor.shape || source->dtype != tensor.dtype) continue;
      const uint64_t count = std::min(tensor.elements, kScaleElements);
      HIERON_TRY(const std::vector<double> made, values(suspect, tensor, count));
      HIERON_TRY(const std::vector<double> from, values(model, *source, count));
      if (made == from) continue;
      if (const auto scale = scale_of(tensor.dtype, made, from)) {
        layer.scales.emplace_back(tensor.name.substr(place->end), *scale);
      }
    }
    return {};
  }

  static Result<std::vector<double>> values(const Checkpoint& model, const TensorInfo& tensor,
                                            uint64_t count) {
    std::vector<std::byte> bytes(count * static_cast<uint64_t>(info(tensor.dtype).bits) / 8);
    HIERON_CHECK(read_elements(model, tensor, 0, bytes));
    std::vector<double> out(count);
    decode(tensor.dtype, bytes.data(), std::span(out));
    return out;
  }

  // The shortest decimal by which every element of `from`, rounded, is that of `made`.
  static std::optional<double> scale_of(DType dtype, const std::vector<double>& made,
                                        const std::vector<double>& from) {
    const auto largest = std::ranges::max_element(
        from, std::ranges::less{}, [](double x) { return std::isfinite(x) ? std::abs(x) : 0; });
    if (largest == from.end() || *largest == 0) return std::nullopt;
    const double ratio = made[static_cast<size_t>(largest - from.begin())] / *largest;
    for (int digits = 0; digits <= kScaleDigits; ++digits) {
      const double unit = std::pow(10.0, digits);
      // The ratio of rounded numbers is near the scale, not equal to it.
      for (int step = -60; step <= 60; ++step) {
        const double scale = (std::round(ratio * unit) + step) / unit;
        if (std::abs(scale - ratio) > 0.006 * std::max(std::abs(ratio), 1e-3)) continue;
        const bool all = std::ranges::equal(made, from, [&](double m, double f) {
          return decode(dtype, encode(dtype, scale * f)) == m;
        });
        if (all) return scale;
      }
    }
    return std::nullopt;
  }

  const Candidates& given_;
  const bool sampled_;
  std::set<std::string> suffixes_;  // of the tensors that a sample looks at
  std::unordered_map<std::string, std::vector<Place>> places_;
  std::map<uint64_t, uint64_t> tensors_;                 // by layer of the suspect
  std::map<uint64_t, std::map<Place, uint64_t>> votes_;  // by layer of the suspect
};

}  // namespace

Result<std::optional<LayerStack>> find_stack(const Candidates& given) {
  return StackFinder(given).run();
}

std::string stack_yaml(const LayerStack& stack, const std::vector<std::string>& refs,
                       const std::string& dtype) {
  std::string text = "merge_method: passthrough\nslices:\n";
  const auto& layers = stack.layers;
  for (size_t begin = 0; begin < layers.size();) {
    size_t end = begin + 1;
    while (end < layers.size() && layers[end].model == layers[begin].model &&
           layers[end].layer == layers[end - 1].layer + 1 &&
           layers[end].scales == layers[begin].scales) {
      ++end;
    }
    text += fmt::format("  - sources:\n      - model: {}\n        layer_range: [{}, {}]\n",
                        yaml_quoted(refs[layers[begin].model]), layers[begin].layer,
                        layers[end - 1].layer + 1);
    if (!layers[begin].scales.empty()) {
      text += "        parameters:\n          scale:\n";
      for (const auto& [tensor, scale] : layers[begin].scales) {
        text += fmt::format("            - {{filter: {}, value: {}}}\n", yaml_quoted(tensor),
                            shortest(scale));
      }
      text += "            - value: 1\n";
    }
    begin = end;
  }
  if (!dtype.empty()) text += fmt::format("dtype: {}\n", dtype);
  return text + "hieron:\n  arithmetic: exact\n";
}

}  // namespace hieron
