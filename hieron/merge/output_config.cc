#include "hieron/merge/output_config.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <string_view>

#include "hieron/core/text.h"
#include "hieron/merge/dtype_names.h"
#include "hieron/merge/generation.h"
#include "hieron/merge/layers.h"
#include "hieron/merge/modules.h"

namespace hieron {
namespace {

class ConfigWriter {
 public:
  ConfigWriter(const Plan& plan, const OpenedRecipe& opened, Findings& findings)
      : plan_(plan), opened_(opened), findings_(findings) {}

  std::string run(std::optional<uint64_t> vocabulary) {
    std::string config = plan_.models[plan_.donor].checkpoint->config_json;
    if (config.empty()) return config;
    for (uint32_t b = 0; b < opened_.bodies.size(); ++b) {
      const Body& body = opened_.bodies[b];
      if (!body.by_slices) continue;
      config = body.module ? with_module(b, config) : with_stack(b, config);
    }
    const auto written = dtype_to_state();
    if (written && !torch_name(*written).empty()) {
      config = retyped_config(config, torch_name(*written));
    }
    if (vocabulary) config = resized_config(config, *vocabulary);
    return config;
  }

 private:
  // The dtype that config.json has to speak of, where it is not the donor's: what the recipe says;
  // else that of most weights, if any is not as in the donor. Replays leave it, as mergekit does.
  std::optional<DType> dtype_to_state() const {
    if (plan_.recipe.out_dtype) return plan_.recipe.out_dtype;
    if (plan_.recipe.dtype || casts_first(plan_.arithmetic)) return plan_.recipe.dtype;
    const Checkpoint& donor = *plan_.models[plan_.donor].checkpoint;
    std::map<DType, uint64_t> elements;
    bool other = false;
    for (const PlannedTensor& tensor : plan_.tensors) {
      elements[tensor.dtype] += tensor.elements;
      const TensorInfo* own = donor.find(tensor.name);
      other = other || (own && own->dtype != tensor.dtype);
    }
    if (!other) return std::nullopt;
    return std::ranges::max_element(elements, {}, [](const auto& e) { return e.second; })->first;
  }

  std::string with_stack(uint32_t b, const std::string& config) {
    const Body& body = opened_.bodies[b];
    if (!opened_.facts[plan_.donor].stated && !keeps_layers(b)) {
      findings_.warn_at(body.slices.front().slice->line,
                        fmt::format("config.json of \"{}\" does not say how many layers there are; "
                                    "the result has {}",
                                    printable(plan_.models[plan_.donor].ref), body.stack.size()));
    }
    return stacked_config(config, body.stack);
  }

  std::string with_module(uint32_t b, std::string config) {
    const Body& body = opened_.bodies[b];
    if (body.counts.empty()) {
      if (!keeps_layers(b)) refuse_count(body);
      return config;
    }
    // Where a number goes without saying, it is said before the one that it follows changes.
    for (const ModuleRule& rule : opened_.parts->rules()) {
      if (rule.unsaid.empty() || stated_layers(config, rule.counts)) continue;
      if (const auto same = stated_layers(config, {&rule.unsaid, 1})) {
        config = with_number(config, rule.counts.front(), *same);
      }
    }
    if (body.rule && !keeps_layers(b)) note_numbering(body, config);
    return stacked_config(config, body.stack, body.counts);
  }

  // Is every layer where it was?
  bool keeps_layers(uint32_t b) const {
    const Body& body = opened_.bodies[b];
    for (size_t i = 0; i < body.stack.size(); ++i) {
      if (body.stack[i].layer != i) return false;
    }
    const SliceSource& first = body.slices.front().sources.front();
    return opened_.facts[first.model].layers->layers(b) == body.stack.size();
  }

  void refuse_count(const Body& body) {
    findings_.problem_at(
        body.module->line,
        fmt::format("config.json of \"{}\" has no known place for the number of layers of the "
                    "module \"{}\", so that it cannot be told of {}",
                    printable(plan_.models[plan_.donor].ref), printable(body.module->name),
                    body.stack.size()));
  }

  void note_numbering(const Body& body, const std::string& config) {
    for (const std::string_view place : body.rule->numbering) {
      if (!states(config, place)) continue;
      findings_.warn_at(body.module->line,
                        fmt::format("{} in config.json speaks of layers of the module \"{}\" by "
                                    "their number; it is kept as it is, but the layers have moved",
                                    place, printable(body.module->name)));
    }
  }

  const Plan& plan_;
  const OpenedRecipe& opened_;
  Findings& findings_;
};

}  // namespace

std::string output_config(const Plan& plan, const OpenedRecipe& opened,
                          std::optional<uint64_t> vocabulary, Findings& findings) {
  return ConfigWriter(plan, opened, findings).run(vocabulary);
}

}  // namespace hieron
