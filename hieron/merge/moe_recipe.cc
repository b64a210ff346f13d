// mergekit-moe's configuration: experts out of dense models, and a router.
#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "hieron/core/text.h"
#include "hieron/format/yaml.h"
#include "hieron/io/file.h"
#include "hieron/merge/generation.h"
#include "hieron/merge/recipe.h"
#include "hieron/merge/recipe_reader.h"

namespace hieron {
namespace {

using yaml::Kind;
using yaml::Node;

constexpr std::array<std::string_view, 8> kTopKeys{
    "base_model", "experts",           "gate_mode",    "dtype",
    "hieron",     "experts_per_token", "architecture", "shared_experts"};
constexpr std::array<std::string_view, 5> kExpertKeys{
    "source_model", "positive_prompts", "negative_prompts", "noise_scale", "residual_scale"};
constexpr std::array<std::string_view, 6> kGateModes{"hidden",      "hidden_avg", "hidden_last",
                                                     "cheap_embed", "random",     "uniform_random"};
constexpr std::array<std::string_view, 4> kArchitectures{"mixtral", "deepseek", "qwen", "qwen3"};

bool draws(GateMode mode) { return mode == GateMode::kRandom || mode == GateMode::kUniformRandom; }

class MoeReader {
 public:
  explicit MoeReader(const std::string& file) : in_(file) { recipe_.file = file; }

  void read(const Node& root) {
    if (root.kind != Kind::kMapping || (!root.find("experts") && !root.find("gate_mode"))) {
      return in_.problem(root.line,
                         "a mixture is a mapping with base_model, gate_mode and experts");
    }
    in_.check_keys(root, kTopKeys, "a mixture");
    read_settings(root.find("hieron"));
    if (const auto base = in_.model(root.find("base_model"))) recipe_.base_model = *base;
    if (!root.find("base_model") && in_.sound()) {
      in_.problem(root.line,
                  "base_model is missing; it gives everything but the experts, e.g. "
                  "base_model: path/of/model");
    }
    read_gate_mode(root.find("gate_mode"));
    recipe_.dtype = in_.dtype(root.find("dtype"), "dtype");
    read_architecture(root.find("architecture"));
    read_experts(root.find("experts"), "experts", recipe_.experts);
    read_experts(root.find("shared_experts"), "shared_experts", recipe_.shared_experts);
    if (!root.find("experts")) in_.problem(root.line, "a mixture needs a list of experts");
    read_experts_per_token(root);
    if (in_.sound()) check_prompts(root);
  }

  MoeDraft finish(std::string_view text) && {
    recipe_.warnings = in_.warnings();
    recipe_.text = text;
    return {std::move(recipe_), in_.problems()};
  }

 private:
  void read_settings(const Node* node) {
    const RecipeReader::Settings found = in_.settings(node);
    recipe_.seed = found.seed;
    recipe_.seed_number = found.seed_number;
    recipe_.threads = found.threads;
    recipe_.expert_layout = found.experts;
    recipe_.arithmetic = found.arithmetic;
    if (found.arithmetic && *found.arithmetic != "exact" && !mergekit_version(*found.arithmetic)) {
      in_.warn(node->line, fmt::format("hieron.arithmetic {} has no effect on a mixture: its "
                                       "tensors are copied",
                                       printable(*found.arithmetic, 60)));
    }
  }

  void read_gate_mode(const Node* node) {
    if (!node) return;
    const auto at = std::ranges::find(kGateModes, node->text);
    recipe_.gate_mode_line = node->line;
    if (at == kGateModes.end()) {
      const std::string_view meant = near_miss(node->text, kGateModes);
      return in_.problem(
          node->line,
          fmt::format("gate_mode \"{}\" is none of {}{}", printable(node->text), listed(kGateModes),
                      meant.empty() ? "" : fmt::format("; did you mean \"{}\"?", meant)));
    }
    recipe_.gate_mode = static_cast<GateMode>(at - kGateModes.begin());
    recipe_.gate_mode_name = *at;
  }

  // mergekit takes the beginning of a name, in any case: "deep", "Qwen".
  void read_architecture(const Node* node) {
    if (!node) return;
    recipe_.architecture_line = node->line;
    std::string low = node->text;
    std::ranges::transform(low, low.begin(),
                           [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    std::ranges::replace(low, '_', ' ');
    if (low.ends_with(" moe")) low.resize(low.size() - 4);
    for (const std::string_view name : kArchitectures) {
      if (!low.empty() && name.starts_with(low)) {
        recipe_.architecture = name;
        return;
      }
    }
    const std::string_view meant = near_miss(low, kArchitectures);
    in_.problem(node->line,
                fmt::format("architecture \"{}\" is none of {}{}", printable(node->text),
                            listed(kArchitectures),
                            meant.empty() ? "" : fmt::format("; did you mean \"{}\"?", meant)));
  }

  void read_experts(const Node* node, std::string_view what, std::vector<MoeExpert>& experts) {
    if (!node) return;
    if (node->kind != Kind::kSequence || node->items.empty()) {
      return in_.problem(node->line, fmt::format("{} must be a list that is not empty", what));
    }
    for (const yaml::NodePtr& item : node->items) read_expert(*item, experts);
  }

  void read_expert(const Node& node, std::vector<MoeExpert>& experts) {
    if (node.kind != Kind::kMapping) {
      return in_.problem(node.line, "an expert is a mapping: `- source_model: path`");
    }
    in_.check_keys(node, kExpertKeys, "an expert");
    MoeExpert expert;
    expert.line = node.line;
    if (const auto model = in_.model(node.find("source_model"))) expert.source = *model;
    if (!node.find("source_model")) in_.problem(node.line, "an expert has no source_model");
    expert.positive_prompts = read_prompts(node.find("positive_prompts"));
    expert.negative_prompts = read_prompts(node.find("negative_prompts"));
    expert.noise_scale = read_scale(node.find("noise_scale"), "noise_scale");
    expert.residual_scale = read_scale(node.find("residual_scale"), "residual_scale");
    experts.push_back(std::move(expert));
  }

  std::vector<std::string> read_prompts(const Node* node) {
    std::vector<std::string> prompts;
    if (!node) return prompts;
    bool fits = node->kind == Kind::kSequence;
    for (const yaml::NodePtr& item : node->items) {
      fits = fits && (item->kind == Kind::kScalar || item->kind == Kind::kNull);
      prompts.push_back(item->text);
    }
    if (!fits) in_.problem(node->line, "prompts must be a list of texts");
    return prompts;
  }

  std::optional<double> read_scale(const Node* node, std::string_view what) {
    if (!node) return std::nullopt;
    const auto scale = yaml::number(*node);
    if (!scale) in_.problem(node->line, fmt::format("{} must be a finite number", what));
    return scale;
  }

  void read_experts_per_token(const Node& root) {
    constexpr uint64_t kMost = 1 << 16;
    const Node* node = root.find("experts_per_token");
    if (node) {
      const auto count = whole_number(*node, 1, kMost);
      if (!count) return in_.problem(node->line, "experts_per_token must be a whole number from 1");
      recipe_.experts_per_token = *count;
    }
    if (recipe_.experts.size() < recipe_.experts_per_token && root.find("experts")) {
      in_.problem(node ? node->line : root.find("experts")->line,
                  fmt::format("{} experts a token are more than the {} there {}; set "
                              "experts_per_token",
                              recipe_.experts_per_token, recipe_.experts.size(),
                              recipe_.experts.size() == 1 ? "is" : "are"));
    }
  }

  // A router made from prompts needs prompts that differ.
  void check_prompts(const Node& root) {
    const std::vector<MoeExpert>& experts = recipe_.experts;
    const bool same_source = std::ranges::all_of(experts, [&](const MoeExpert& e) {
      return same_model(e.source, experts[0].source) && !e.noise_scale;
    });
    if (same_source && experts.size() > 1) {
      in_.warn(root.find("experts")->line,
               "all experts are the same model, so the mixture computes what that model computes, "
               "until it is trained");
    }
    if (draws(recipe_.gate_mode)) return;
    for (const MoeExpert& expert : experts) {
      if (!expert.positive_prompts.empty()) continue;
      in_.problem(expert.line, fmt::format("the expert \"{}\" has no positive_prompts, which "
                                           "gate_mode {} makes its router from",
                                           printable(expert.source.text), recipe_.gate_mode_name));
    }
    const bool alike = std::ranges::all_of(experts, [&](const MoeExpert& e) {
      return e.positive_prompts == experts[0].positive_prompts &&
             e.negative_prompts == experts[0].negative_prompts;
    });
    if (alike && experts.size() > 1 && in_.sound()) {
      in_.problem(root.find("experts")->line,
                  "all experts have the same prompts, so the router cannot tell them apart; give "
                  "each prompts of its own, or set gate_mode: random and train the result");
    }
  }

  RecipeReader in_;
  MoeRecipe recipe_;
};

}  // namespace

MoeDraft draft_moe_recipe(std::string_view yaml, const std::string& file) {
  std::vector<Error> duplicates;
  const auto root = yaml::parse(yaml, file, &duplicates);
  if (!root) return {{}, {root.error()}};
  MoeReader reader(file);
  reader.read(**root);
  MoeDraft draft = std::move(reader).finish(yaml);
  draft.problems.insert(draft.problems.end(), duplicates.begin(), duplicates.end());
  std::ranges::stable_sort(draft.problems, {}, &Error::offset);
  return draft;
}

Result<MoeRecipe> parse_moe_recipe(std::string_view yaml, const std::string& file) {
  MoeDraft draft = draft_moe_recipe(yaml, file);
  HIERON_CHECK(none_of(draft.problems));
  return std::move(draft.recipe);
}

Result<MoeRecipe> read_moe_recipe(const std::string& path) {
  HIERON_TRY(const std::string text, read_text(path, yaml::kMaxBytes));
  return parse_moe_recipe(text, path);
}

}  // namespace hieron
