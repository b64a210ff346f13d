#include "hieron/merge/opened_recipe.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <utility>

#include "hieron/core/text.h"
#include "hieron/merge/generation.h"
#include "hieron/merge/recipe_reader.h"
#include "hieron/model/config.h"

namespace hieron {
namespace {

constexpr size_t kLongList = 400;  // characters of names in a message

bool graded(const std::vector<ParameterSetting>& settings) {
  return std::ranges::any_of(settings, [](const ParameterSetting& setting) {
    return std::ranges::any_of(setting.rules,
                               [](const ParameterRule& r) { return r.values.size() > 1; });
  });
}

class Learner {
 public:
  Learner(const Plan& plan, OpenedRecipe& opened, Findings& findings)
      : plan_(plan), opened_(opened), findings_(findings) {}

  void run() {
    for (const PlannedModel& model : plan_.models) learn_config(model);
    if (!plan_.recipe.modules.empty()) find_parts();
    if (plan_.problems.empty() && layers_matter()) learn_layers();
  }

 private:
  void learn_config(const PlannedModel& model) {
    ModelFacts facts{.checkpoint = model.checkpoint.get(),
                     .roles = &RoleTable::of(""),
                     .architecture = {},
                     .quantization = {},
                     .stated = {},
                     .bodies = {},
                     .layers = {}};
    if (!model.checkpoint->config_json.empty()) {
      if (const auto config = parse_config(model.checkpoint->config_json, model.ref)) {
        facts.roles = &RoleTable::of(config->architecture);
        facts.architecture = config->architecture;
        facts.quantization = config->quantization;
        facts.stated = config->layers;
      } else {
        findings_.warn(config.error().sentence);
      }
    }
    opened_.facts.push_back(std::move(facts));
  }

  // ---- modules

  void find_parts() {
    std::vector<const Checkpoint*> models;
    for (const ModelFacts& facts : opened_.facts) models.push_back(facts.checkpoint);
    const std::string& architecture = architecture_of_parts();
    opened_.parts.emplace(architecture, std::move(models));
    for (const RecipeModule& module : plan_.recipe.modules) {
      if (!casts_first(plan_.arithmetic) || !opened_.parts->unknown_to_mergekit(module.name))
        continue;
      refuse_part(module, fmt::format("{} knows no module \"{}\" of {}", plan_.arithmetic,
                                      printable(module.name), printable(architecture)));
    }
    for (Body& body : opened_.bodies) {
      if (!body.module || body.module->name == kDefaultModule) continue;
      body.part = opened_.parts->find(body.module->name);
      if (body.part) continue;
      refuse_part(*body.module,
                  fmt::format("the models have no module \"{}\"", printable(body.module->name)));
    }
    if (opened_.by_modules() && plan_.problems.empty()) assign_tensors();
  }

  // The donor's; if nothing is known of that, the first of which something is.
  const std::string& architecture_of_parts() const {
    const std::string& donor = opened_.facts[plan_.donor].architecture;
    if (ModelParts::knows(donor)) return donor;
    const auto known =
        std::ranges::find_if(opened_.facts, ModelParts::knows, &ModelFacts::architecture);
    return known == opened_.facts.end() ? donor : known->architecture;
  }

  void refuse_part(const RecipeModule& module, const std::string& clause) {
    const std::vector<std::string> names = opened_.parts->names();
    const std::vector<std::string_view> views(names.begin(), names.end());
    const std::string_view meant = near_miss(module.name, views);
    std::string advice;
    if (!meant.empty()) {
      advice = fmt::format("; did you mean \"{}\"?", printable(meant));
    } else if (names.empty()) {
      advice = ": they are of one part; write models: or slices: without modules:";
    } else {
      advice = fmt::format("; there {} {}", names.size() == 1 ? "is" : "are",
                           printable(listed(views), kLongList));
    }
    findings_.problem_at(module.line, clause + advice);
  }

  void assign_tensors() {
    const auto& bodies = opened_.bodies;
    const auto rest = std::ranges::find_if(bodies, [](const Body& b) { return !b.part; });
    const auto others =
        rest == bodies.end() ? kNoPart : static_cast<uint32_t>(rest - bodies.begin());
    for (ModelFacts& facts : opened_.facts) {
      facts.bodies.reserve(facts.checkpoint->tensors.size());
      for (const TensorInfo& tensor : facts.checkpoint->tensors) {
        const uint32_t body = taker_of(tensor.name);
        facts.bodies.push_back(body == kNoPart ? others : body);
      }
    }
  }

  uint32_t taker_of(const std::string& tensor) {
    uint32_t taker = kNoPart;
    for (uint32_t b = 0; b < opened_.bodies.size(); ++b) {
      const Body& body = opened_.bodies[b];
      if (!body.part || !body.part->takes(tensor)) continue;
      if (taker == kNoPart) {
        taker = b;
      } else if (claims_.insert({taker, b}).second) {
        const RecipeModule& first = *opened_.bodies[taker].module;
        findings_.problem_at(
            body.module->line,
            fmt::format(
                "the modules \"{}\" (line {}) and \"{}\" both take the tensor \"{}\"; every "
                "tensor may be in one only",
                printable(first.name), first.line, printable(body.module->name), printable(tensor)),
            tensor);
      }
    }
    return taker;
  }

  // ---- layers

  bool layers_matter() const {
    if (opened_.by_modules() || opened_.by_slices() || graded(plan_.recipe.parameters)) return true;
    const RecipeSlice& slice = *opened_.bodies.front().slices.front().slice;
    return graded(slice.parameters) ||
           std::ranges::any_of(slice.sources, [&](const RecipeSource& s) {
             return s.layers || graded(s.parameters);
           });
  }

  void learn_layers() {
    for (ModelFacts& facts : opened_.facts) {
      LayerMap& layers = facts.layers.emplace(*facts.checkpoint, *facts.roles, facts.bodies);
      if (!opened_.by_modules() && facts.stated.value_or(0) > 0) {
        layers.state_layers(0, *facts.stated);
      }
    }
    if (!opened_.by_modules()) return;
    for (uint32_t b = 0; b < opened_.bodies.size(); ++b) state_layers_of(b);
  }

  // A module's layers, as the configurations count them.
  void state_layers_of(uint32_t b) {
    Body& body = opened_.bodies[b];
    for (const OpenSlice& open : body.slices) {
      for (const SliceSource& source : open.sources) {
        ModelFacts& facts = opened_.facts[source.model];
        const auto rows = facts.layers->rows(b);
        if (rows.empty()) continue;
        if (body.counts.empty()) find_counts(body, *rows.front(), *facts.checkpoint);
        const auto stated = stated_layers(facts.checkpoint->config_json, body.counts);
        if (stated.value_or(0) > 0) facts.layers->state_layers(b, *stated);
      }
    }
  }

  // By the table; where it has no row, the language model's count if the figure fits.
  void find_counts(Body& body, const LayerMap::Row& row, const Checkpoint& checkpoint) {
    body.rule = opened_.parts->rule_of(row.prefix + ".0");
    if (body.rule) {
      body.counts = body.rule->counts;
    } else if (stated_layers(checkpoint.config_json, text_layer_counts()) == row.layers) {
      body.counts = text_layer_counts();
    }
  }

  const Plan& plan_;
  OpenedRecipe& opened_;
  Findings& findings_;
  std::set<std::pair<uint32_t, uint32_t>> claims_;  // bodies said to overlap
};

}  // namespace

bool OpenedRecipe::by_slices() const { return std::ranges::any_of(bodies, &Body::by_slices); }

uint32_t OpenedRecipe::body_of(uint32_t model, const TensorInfo& tensor) const {
  const ModelFacts& known = facts[model];
  if (known.bodies.empty()) return 0;
  return known.bodies[static_cast<size_t>(&tensor - known.checkpoint->tensors.data())];
}

std::optional<LayerName> OpenedRecipe::layer_of(uint32_t model, const TensorInfo& tensor) const {
  return facts[model].layers ? facts[model].layers->layer(tensor) : std::nullopt;
}

double OpenedRecipe::depth_of(uint32_t model, const TensorInfo& tensor) const {
  return facts[model].layers ? facts[model].layers->depth(tensor) : 0;
}

bool OpenedRecipe::comes_after(uint32_t model, const TensorInfo& tensor) const {
  const ModelFacts& known = facts[model];
  const auto rows = known.layers->rows(body_of(model, tensor));
  const std::string_view sliced = rows.empty() ? "" : rows.front()->tower;
  const std::string_view own = known.roles->classify(tensor.name, tensor.shape).tower;
  return own == sliced ? after_layers(*known.roles, tensor) : own == "mtp";
}

void learn_models(const Plan& plan, OpenedRecipe& opened, Findings& findings) {
  Learner(plan, opened, findings).run();
}

}  // namespace hieron
