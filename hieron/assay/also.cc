#include "hieron/assay/also.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>

#include "hieron/assay/evidence/upload_changes.h"
#include "hieron/assay/evidence/upload_distances.h"
#include "hieron/assay/identity.h"
#include "hieron/assay/replay.h"
#include "hieron/assay/sampling.h"
#include "hieron/assay/verdict.h"
#include "hieron/core/text.h"
#include "hieron/merge/computed.h"
#include "hieron/merge/experts.h"
#include "hieron/model/config.h"
#include "hieron/recover/plan_recipe.h"

namespace hieron {
namespace {

std::string percent(double share) {
  const double percent = 100 * share;
  return percent >= 99.995 || percent == 0 ? fmt::format("{:.0f} %", percent)
         : percent >= 0.01                 ? fmt::format("{:.2f} %", percent)
                                           : fmt::format("{:.1g} %", percent);
}

std::string times(double ratio) { return fmt::format("{:.2g}", ratio); }

std::string_view plural(uint64_t n) { return n == 1 ? "" : "s"; }

std::optional<double> median(std::vector<double> values) {
  if (values.empty()) return {};
  std::ranges::sort(values);
  const size_t half = values.size() / 2;
  return values.size() % 2 == 1 ? values[half] : (values[half - 1] + values[half]) / 2;
}

class UploadComparison {
 public:
  UploadComparison(const AuditInput& input, const std::shared_ptr<const Checkpoint>& second,
                   const AuditOptions& options, const AuditResult& first)
      : input_(input),
        laid_out_(input),
        given_(second),
        second_(second),
        options_(options),
        first_(first) {}

  Result<SecondUpload> run() {
    HIERON_TRY(found_.model, identify(*given_, options_.hash, options_.walk.threads));
    HIERON_CHECK(agree_on_experts());
    HIERON_CHECK(count());
    HIERON_CHECK(measure());
    HIERON_CHECK(audit_second());
    HIERON_CHECK(replay_recipe());
    decide();
    note_sampling();
    return std::move(found_);
  }

 private:
  const std::string& first_ref() const { return input_.suspect->ref; }
  const std::string& second_ref() const { return given_->ref; }

  // Experts fused or separate are the same experts: all as the first upload has them.
  Status agree_on_experts() {
    const auto layout = expert_layout(*input_.suspect);
    if (!layout) return {};
    if (expert_layout(*second_)) {
      HIERON_TRY(second_, with_experts(second_, *layout));
    }
    return lay_out_experts(laid_out_, *layout);
  }

  Alignment aligned(std::span<const Checkpoint* const> models) const {
    Alignment alignment = align(models, 2);
    std::erase_if(alignment.rows, [&](const Row& row) {
      const bool readable = std::ranges::all_of(
          row.views, [](const auto& view) { return !view || decodable(view->tensor->dtype); });
      if (!readable) {
        alignment.ledger.push_back({0, row.name, "its elements are not decoded to numbers yet"});
      }
      return !readable;
    });
    return alignment;
  }

  Status count() {
    const std::array<const Checkpoint*, 2> models{input_.suspect.get(), second_.get()};
    const Alignment alignment = aligned(models);
    const auto config = parse_config(input_.suspect->config_json, first_ref());
    roles_ = &RoleTable::of(config ? config->architecture : "");
    double both = 0, most = 0;
    for (const Row& row : alignment.rows) both += static_cast<double>(row.elements);
    for (const Checkpoint* model : models) {
      double total = 0;
      for (const TensorInfo& tensor : model->tensors) total += static_cast<double>(tensor.elements);
      most = std::max(most, total);
    }
    aligned_share_ = most > 0 ? both / most : 0;
    selection_ = audit_selection(alignment, *roles_, options_);
    HIERON_TRY(changes_, count_changes(alignment, *roles_, selection_, options_.walk));
    found_.tensors = changes_.all.tensors;
    found_.tensors_changed = changes_.all.tensors_changed;
    found_.tensors_unpaired = alignment.ledger.size();
    found_.elements = changes_.all.elements;
    found_.changed = changes_.all.changed;
    found_.median_step = changes_.all.steps.median();
    return {};
  }

  Status measure() {
    std::vector<const Checkpoint*> models{input_.suspect.get(), second_.get()};
    const auto add = [&](const std::shared_ptr<const Checkpoint>& model) {
      models.push_back(model.get());
      return models.size() - 1;
    };
    UploadCast cast;
    if (laid_out_.base) cast.base = add(laid_out_.base);
    for (const auto& parent : laid_out_.parents) cast.parents.push_back(add(parent));
    for (const auto& control : laid_out_.controls) cast.controls.push_back(add(control));
    const Alignment alignment = aligned(models);
    if (alignment.rows.empty()) return {};
    const Selection drawn =
        fit_selection(options_.seed, alignment, audit_selection(alignment, *roles_, options_));
    HIERON_TRY(const Sample sample,
               draw_sample(alignment, *roles_, options_.seed, drawn, options_.walk));
    const UploadDistances distances = measure_uploads(sample, cast);
    found_.change = distances.size.root();
    found_.outside = distances.outside;
    double most = 1;
    for (const auto& [m, near] : distances.nearness) {
      const double nearer = near.change > 0 && near.other == 0 ? 1e300 : near.root().value_or(0);
      if (nearer <= most) continue;
      most = nearer;
      found_.nearest = models[m]->ref;
    }
    const bool controls = !cast.controls.empty();
    yardsticks_ = controls ? cast.controls : cast.parents;
    std::vector<double> ratios;
    for (const size_t m : yardsticks_) {
      const auto training = distances.training.find(m);
      if (training == distances.training.end() || !training->second.root()) continue;
      const auto& spread = distances.spread.at(m);
      found_.yardsticks.push_back({.ref = models[m]->ref,
                                   .role = controls ? "control" : "parent",
                                   .distance = spread.root().value_or(0),
                                   .ratio = *training->second.root()});
      ratios.push_back(found_.yardsticks.back().ratio);
    }
    found_.ratio = median(std::move(ratios));
    list_parts(distances);
    return {};
  }

  void list_parts(const UploadDistances& distances) {
    const auto add = [&](std::string_view scope, std::string part_name, const PartCounts& counts,
                         const std::map<size_t, SquareRatio>* training) {
      if (counts.changed == 0) return;
      std::vector<double> ratios;
      for (const size_t m : yardsticks_) {
        if (!training || !training->contains(m)) continue;
        if (const auto ratio = training->at(m).root()) ratios.push_back(*ratio);
      }
      found_.where.push_back({.scope = std::string(scope),
                              .name = std::move(part_name),
                              .tensors = counts.tensors,
                              .tensors_changed = counts.tensors_changed,
                              .elements = counts.elements,
                              .changed = counts.changed,
                              .median_step = counts.steps.median(),
                              .ratio = median(std::move(ratios))});
    };
    for (const auto& [role, counts] : changes_.roles) {
      const auto it = distances.roles.find(role);
      add("role", std::string(name(role)), counts,
          it == distances.roles.end() ? nullptr : &it->second);
    }
    for (const auto& [layer, counts] : changes_.layers) {
      const auto it = distances.layers.find(layer);
      add("layer", std::to_string(layer), counts,
          it == distances.layers.end() ? nullptr : &it->second);
    }
  }

  Status audit_second() {
    AuditInput input = input_;
    input.suspect = given_;
    AuditOptions options = options_;
    options.hash = false;  // done
    auto result = audit(input, options);
    if (result) {
      // Masks of which no recipe is known: other draws of them look like any change.
      masked_ = result->verdict.kind == VerdictKind::kMergeWithChanges && result->recipe &&
                !result->replay;
      found_.verdict = std::move(result->verdict);
      return {};
    }
    // A model of another shape cannot be audited against these parents; that is an answer.
    if (result.error().code != ErrorCode::kRefused) return std::unexpected(result.error());
    found_.verdict.kind = VerdictKind::kUndetermined;
    found_.verdict.sentence = result.error().sentence;
    return {};
  }

  Status replay_recipe() {
    if (!first_.recipe || first_.recipe->yaml.empty()) return {};
    std::vector<std::string> names;
    std::vector<std::shared_ptr<const Checkpoint>> models = input_.parents;
    if (input_.base) models.push_back(input_.base);
    for (const auto& model : models) names.push_back(model->ref);
    // A recipe of a form that only files can be planned from is not replayed.
    const auto plan = plan_recipe(first_.recipe->yaml, names, models);
    if (!plan) return {};
    const auto made = computed_checkpoint(*plan);
    if (!made) return {};
    HIERON_TRY(Comparison whole, replay(**made, *given_, options_.walk, selection_));
    if (whole.total.elements > 0) found_.recipe_replay = std::move(whole.total);
    return {};
  }

  // --- what it means ---

  void decide() {
    // Where training itself changes much, much change is not strange.
    constexpr double kFar = 2;
    if (masked_ && found_.changed > 0) return drawn_anew();
    const bool strange = found_.change.value_or(0) > threshold::kStrange.value &&
                         found_.ratio.value_or(kFar) >= kFar;
    if (aligned_share_ < threshold::kAligned.value || strange || !found_.nearest.empty()) {
      // Wholly made of the offered models: then that is the better answer.
      if (found_.changed > 0 && settled(found_.verdict.kind)) return remade();
      return another(strange);
    }
    if (found_.changed == 0) return unchanged();
    if (changes_.trip) return tripped();
    if (settled(found_.verdict.kind)) return remade();
    changed();
  }

  // "b is a with 3 of 30 tensors changed (1.2 % of its weights, half of them by 2 steps or less)"
  std::string what_changed() const {
    return fmt::format(
        "{} is {} with {} of {} tensors changed ({} of its {}weights, half of these by {:.0f} "
        "step{} between neighbouring numbers or less)",
        second_ref(), first_ref(), with_commas(found_.tensors_changed), with_commas(found_.tensors),
        percent(static_cast<double>(found_.changed) / static_cast<double>(found_.elements)),
        options_.sample_bytes == 0 ? "" : "compared ", found_.median_step,
        plural(static_cast<uint64_t>(found_.median_step)));
  }

  void unchanged() {
    found_.kind = changes_.other_storage ? "reformatted" : "identical";
    found_.sentence = fmt::format(
        "{} {} {}{}: all {} {}weights are equal{}. It carries no training that {} lacks.",
        second_ref(), changes_.other_storage ? "holds the numbers of" : "is", first_ref(),
        changes_.other_storage ? " in another number format" : "", with_commas(found_.elements),
        options_.sample_bytes == 0 ? "" : "compared ",
        found_.tensors_unpaired == 0
            ? ""
            : fmt::format(" ({} tensor{} only one of them has, or cannot be compared)",
                          with_commas(found_.tensors_unpaired), plural(found_.tensors_unpaired)),
        first_ref());
  }

  void tripped() {
    found_.kind = "reformatted";
    const auto format = info(changes_.trip->format).name;
    found_.sentence = fmt::format(
        "{}, and {} is what {} becomes when it is rounded to {} and stored again. It carries no "
        "training that {} lacks.",
        what_changed(), changes_.trip->forward ? second_ref() : first_ref(),
        changes_.trip->forward ? first_ref() : second_ref(), format, first_ref());
  }

  void remade() {
    found_.kind = "remade";
    found_.sentence = fmt::format(
        "{}, and the offered models alone explain it as well: {} It carries no "
        "training of its own.",
        what_changed(), found_.verdict.sentence);
    note_figures();
  }

  void drawn_anew() {
    found_.kind = "changed";
    found_.sentence = fmt::format(
        "{}. But {} is a merge by masks whose draw is not known: masks drawn anew give such a "
        "change "
        "too, and it is not told from training.",
        what_changed(), second_ref());
    note_figures();
  }

  void another(bool strange) {
    found_.kind = "another-model";
    std::string why =
        aligned_share_ < threshold::kAligned.value
            ? fmt::format("only {} of the weights have a counterpart", percent(aligned_share_))
        : !found_.nearest.empty()
            ? fmt::format("it is nearer to {} than to {}", found_.nearest, first_ref())
            : std::string();
    if (strange && why.empty()) {
      why = fmt::format("the two differ by {} of the size of the weights, as strangers do",
                        percent(*found_.change));
    }
    found_.sentence = fmt::format(
        "{} is not {} with changes: {}. What training it carries cannot be told from the two.",
        second_ref(), first_ref(), why);
    note_figures();
  }

  std::string measured() const {
    std::vector<std::string> refs;
    for (const Yardstick& one : found_.yardsticks) refs.push_back(one.ref);
    return fmt::format("{} times what training changed in {}", times(*found_.ratio),
                       fmt::join(refs, ", "));
  }

  void changed() {
    const bool outside = found_.outside.value_or(1) >= threshold::kTrainedOutside.value;
    if (!found_.ratio) {
      found_.kind = "changed";
      found_.sentence = fmt::format(
          "{}. Whether that is as much as training changes is not known: give --base and "
          "--control.",
          what_changed());
    } else if (!outside) {
      found_.kind = "changed";
      found_.sentence = fmt::format(
          "{}: {}. But {} of it is what another mix of the offered models gives: that part is no "
          "training.",
          what_changed(), measured(), percent(1 - *found_.outside));
    } else if (*found_.ratio >= threshold::kTrainedRatio.value) {
      found_.kind = "trained";
      found_.sentence = fmt::format(
          "{}: {}{}. It carries changes of the size of training that {} lacks.", what_changed(),
          measured(),
          found_.outside ? fmt::format(", and no other mix of the offered models gives {} of it",
                                       percent(*found_.outside))
                         : "",
          first_ref());
    } else {
      found_.kind = "little-changed";
      found_.sentence = fmt::format(
          "{}: {}. If that is training that {} lacks, it is far less than in the models compared.",
          what_changed(), measured(), first_ref());
    }
    note_figures();
    found_.reasons.push_back(
        "Bytes show that weights changed, not why: noise of the same size would look like this, "
        "and training may change little.");
  }

  void note_sampling() {
    if (options_.sample_bytes == 0) return;
    found_.reasons.push_back(fmt::format(
        "{} weights were compared, at positions drawn from the seed: changes confined to what was "
        "not read are not seen.",
        with_commas(found_.elements)));
  }

  void note_figures() {
    std::vector<std::string>& reasons = found_.reasons;
    if (found_.change) {
      reasons.push_back(
          fmt::format("The change is {} of the size of the weights.", percent(*found_.change)));
    }
    for (const Yardstick& one : found_.yardsticks) {
      reasons.push_back(
          fmt::format("{} ({}) lies {} of the size of the weights from the base: the change is {} "
                      "times that.",
                      one.ref, one.role, percent(one.distance), times(one.ratio)));
    }
    if (found_.recipe_replay) {
      reasons.push_back(fmt::format(
          "The recipe found for {} reproduces {} of the weights of {}, and {} of its own.",
          first_ref(), percent(found_.recipe_replay->share), second_ref(),
          first_.replay ? percent(first_.replay->share) : "an unknown share"));
    }
    if (found_.kind != "remade") {
      reasons.push_back(fmt::format("Audited in the same way ({}): {}", name(found_.verdict.kind),
                                    found_.verdict.sentence));
    }
  }

  const AuditInput& input_;
  AuditInput laid_out_;  // with experts as the first upload has them
  const std::shared_ptr<const Checkpoint> given_;
  std::shared_ptr<const Checkpoint> second_;  // likewise
  const AuditOptions& options_;
  const AuditResult& first_;
  const RoleTable* roles_ = nullptr;
  Selection selection_;  // what is compared
  UploadChanges changes_;
  double aligned_share_ = 0;
  bool masked_ = false;
  std::vector<size_t> yardsticks_;
  SecondUpload found_;
};

}  // namespace

Result<SecondUpload> compare_uploads(const AuditInput& input,
                                     const std::shared_ptr<const Checkpoint>& second,
                                     const AuditOptions& options, const AuditResult& first) {
  return UploadComparison(input, second, options, first).run();
}

}  // namespace hieron
