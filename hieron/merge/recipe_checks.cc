#include "hieron/merge/recipe_checks.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <string_view>
#include <utility>

#include "hieron/core/text.h"
#include "hieron/merge/generation.h"
#include "hieron/merge/method.h"
#include "hieron/merge/recipe_reader.h"

namespace hieron {
namespace {

constexpr size_t kLongList = 400;  // characters of names in a message

using Rows = std::vector<const LayerMap::Row*>;

std::string listed_prefixes(const Rows& rows) {
  std::vector<std::string_view> prefixes;
  for (const LayerMap::Row* row : rows) prefixes.push_back(row->prefix);
  return printable(listed(prefixes), kLongList);
}

bool has(const OpenSlice& open, uint32_t model) {
  return std::ranges::find(open.sources, model, &SliceSource::model) != open.sources.end();
}

class Checker {
 public:
  Checker(const Plan& plan, OpenedRecipe& opened, Findings& findings)
      : plan_(plan),
        about_(plan.method->describe()),
        replayed_(casts_first(plan.arithmetic)),
        opened_(opened),
        findings_(findings) {}

  void run() {
    for (uint32_t b = 0; b < opened_.bodies.size(); ++b) {
      Body& body = opened_.bodies[b];
      for (OpenSlice& open : body.slices) {
        check_count(open, body.by_slices);
        check_repeats(open);
        check_base(open, body.by_slices);
        check_levels(open);
        if (!body.by_slices) {
          check_depths(open, b);
        } else if (check_rows(open, b)) {
          check_ranges(open, b);
        }
      }
      if (body.by_slices && plan_.problems.empty()) check_beginning(body, b);
    }
  }

 private:
  static std::string called(const SliceSource& source) {
    return printable(source.source->model.text);
  }

  // The base is not counted where it is only the origin of the differences.
  void check_count(const OpenSlice& open, bool by_slices) {
    const bool origin = about_.base == BaseModel::kOptional || about_.base == BaseModel::kRequired;
    size_t n = 0;
    for (const SliceSource& source : open.sources) n += !origin || source.model != open.base;
    if (n >= about_.min_models && n <= about_.max_models) return;
    const std::string wanted =
        about_.min_models == about_.max_models
            ? fmt::format("{} model{}", about_.min_models, about_.min_models == 1 ? "" : "s")
        : n < about_.min_models ? fmt::format("{} models at least", about_.min_models)
                                : fmt::format("{} models at most", about_.max_models);
    findings_.problem_at(open.slice->line,
                         fmt::format("{} takes {}{}{}, but {} stand{} here", about_.name, wanted,
                                     origin ? " besides base_model" : "",
                                     by_slices ? " in a slice" : "", n, n == 1 ? "s" : ""));
  }

  void check_repeats(const OpenSlice& open) {
    for (size_t i = 0; i < open.sources.size(); ++i) {
      for (size_t j = 0; j < i; ++j) {
        const RecipeSource &a = *open.sources[j].source, &b = *open.sources[i].source;
        if (open.sources[i].model != open.sources[j].model || a.layers != b.layers) continue;
        const std::string clause = fmt::format(
            "the model \"{}\" is listed twice (first in line {})", printable(b.model.text), a.line);
        if (replayed_) {
          findings_.problem_at(
              b.line,
              clause + "; " + plan_.arithmetic +
                  " would silently keep one of the two, so list it once with the weight you mean");
        } else {
          findings_.warn_at(b.line, clause + "; both count");
        }
      }
    }
  }

  // mergekit adds an unlisted base to the models; then a weight is missing, or there is one model
  // too many. Not to slices, where it only lends its config. Beside modules a base still has a use:
  // it lends what is in none of them.
  void check_base(const OpenSlice& open, bool by_slices) {
    if (about_.base == BaseModel::kRequired && !open.base) {
      return findings_.problem_at(
          open.slice->line,
          fmt::format("{} merges differences from a base model; add `base_model: …`, the model "
                      "that all the others were trained from",
                      about_.name));
    }
    if (!opened_.base || about_.base != BaseModel::kUnused || has(open, *opened_.base)) return;
    if (by_slices || (opened_.by_modules() && !replayed_)) return;
    const ModelRef& ref = *plan_.recipe.base_model;
    findings_.problem_at(
        ref.line,
        fmt::format("base_model \"{}\" is not among the models, and {} has no use for a base; "
                    "list it with its parameters, or remove base_model",
                    printable(ref.text), plan_.recipe.method));
  }

  // A parameter of the whole merge does nothing under one model, in mergekit neither.
  void check_levels(const OpenSlice& open) {
    for (const SliceSource& source : open.sources) {
      for (const ParameterSetting& setting : source.source->parameters) {
        const auto info = std::ranges::find(about_.parameters, setting.name, &ParameterInfo::name);
        if (info == about_.parameters.end() || info->per_model) continue;
        findings_.warn_at(
            setting.line,
            fmt::format("{} under a model has no effect, in mergekit neither: it is a "
                        "parameter of the whole merge; put it under the top-level "
                        "parameters",
                        setting.name));
      }
    }
  }

  // ---- layers

  std::optional<uint64_t> depth_of(const SliceSource& source, uint32_t b) const {
    const ModelFacts& facts = opened_.facts[source.model];
    if (!opened_.by_modules()) return facts.stated;
    const uint64_t layers = facts.layers->layers(b);
    return layers > 0 ? std::optional(layers) : std::nullopt;
  }

  // Whole models are merged layer by layer; what one has more of would stay in the result, beside a
  // configuration that does not know of it.
  void check_depths(const OpenSlice& open, uint32_t b) {
    const SliceSource* lead = nullptr;
    for (const SliceSource& source : open.sources) {
      const auto depth = depth_of(source, b);
      if (!depth) continue;
      if (!lead) lead = &source;
      const uint64_t first = *depth_of(*lead, b);
      if (first == *depth) continue;
      findings_.problem_at(
          source.source->line,
          fmt::format("\"{}\" has {} layers, but \"{}\" has {}; models of different depth are "
                      "merged by slices, which say the layers that belong together",
                      called(source), *depth, called(*lead), first));
    }
  }

  // Slices need to know which layers are meant.
  bool check_rows(const OpenSlice& open, uint32_t b) {
    for (const SliceSource& source : open.sources) {
      const LayerMap& layers = *opened_.facts[source.model].layers;
      Rows rows = layers.rows(b);
      const Rows towers = opened_.by_modules() ? Rows() : towers_of(layers, b);
      if (replayed_) rows.insert(rows.end(), towers.begin(), towers.end());  // mergekit: no slices
      if (rows.size() > 1) {
        refuse_rows(open, source, rows);
        return false;
      }
      if (!towers.empty()) note_towers(*rows.front(), towers);
    }
    return true;
  }

  void refuse_rows(const OpenSlice& open, const SliceSource& source, const Rows& rows) {
    const ModelFacts& facts = opened_.facts[source.model];
    const std::vector<std::string> names =
        ModelParts(facts.architecture, {facts.checkpoint}).names();
    const std::vector<std::string_view> views(names.begin(), names.end());
    const std::string clause = fmt::format(
        "\"{}\" has several rows of layers ({}), and slices do not say which of them "
        "they mean",
        called(source), listed_prefixes(rows));
    const std::string advice = opened_.by_modules() ? "; make one of them the name of the module"
                               : names.empty()      ? "; write them below modules:"
                                               : fmt::format("; write them below modules: ({})",
                                                             printable(listed(views), kLongList));
    findings_.problem_at(open.slice->line, clause + advice);
  }

  // Multi-token prediction is no tower: it belongs to the text model.
  static Rows towers_of(const LayerMap& layers, uint32_t b) {
    Rows towers = layers.rows_aside(b);
    std::erase_if(towers, [](const LayerMap::Row* row) { return row->tower == "mtp"; });
    return towers;
  }

  void note_towers(const LayerMap::Row& sliced, const Rows& towers) {
    findings_.warn_at(0, fmt::format("the slices are of {}; {} stay{} whole, from the first slice "
                                     "(modules: says it for each part)",
                                     printable(sliced.prefix), listed_prefixes(towers),
                                     towers.size() == 1 ? "s" : ""));
  }

  void check_ranges(OpenSlice& open, uint32_t b) {
    for (SliceSource& source : open.sources) {
      const uint64_t layers = opened_.facts[source.model].layers->layers(b);
      const auto range = source.source->layers.value_or(std::pair<uint64_t, uint64_t>{0, layers});
      source.first = range.first;
      source.last = range.second;
      if (range.second > layers) {
        findings_.problem_at(
            source.source->line,
            fmt::format(
                "layer_range [{}, {}) goes past the last layer of \"{}\", which has {} layers",
                range.first, range.second, called(source), layers));
      }
      const SliceSource& lead = open.sources.front();
      if (range.second - range.first != lead.last - lead.first) {
        findings_.problem_at(
            source.source->line,
            fmt::format(
                "layer_range [{}, {}) has {} layers, but the slice's first source has {}; all "
                "sources of a slice must have equally many",
                range.first, range.second, range.second - range.first, lead.last - lead.first));
      }
    }
  }

  // T5 keeps in the first layer what all layers use: a stack without it is another model.
  void check_beginning(const Body& body, uint32_t b) {
    const SliceSource& lead = body.slices.front().sources.front();
    if (lead.first == 0) return;
    const TensorInfo* lost = opened_.facts[lead.model].layers->only_in_first(b);
    if (!lost) return;
    findings_.warn_at(lead.source->line,
                      fmt::format("only the first layer of \"{}\" has \"{}\", and the stack begins "
                                  "with layer {}; the result goes without it",
                                  called(lead), printable(lost->name), lead.first));
  }

  const Plan& plan_;
  const MethodInfo& about_;
  const bool replayed_;
  OpenedRecipe& opened_;
  Findings& findings_;
};

}  // namespace

void check_recipe(const Plan& plan, OpenedRecipe& opened, Findings& findings) {
  if (plan.problems.empty()) Checker(plan, opened, findings).run();
}

}  // namespace hieron
