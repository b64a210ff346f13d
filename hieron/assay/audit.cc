#include "hieron/assay/audit.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cctype>
#include <chrono>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>
#include <set>

#include "hieron/assay/blind.h"
#include "hieron/assay/edited.h"
#include "hieron/assay/evidence/after_merge.h"
#include "hieron/assay/evidence/copies.h"
#include "hieron/assay/evidence/guards.h"
#include "hieron/assay/evidence/two_ends.h"
#include "hieron/assay/evidence/unexplained.h"
#include "hieron/assay/fingerprints.h"
#include "hieron/assay/identity.h"
#include "hieron/assay/masked.h"
#include "hieron/assay/proof.h"
#include "hieron/assay/recipe_search.h"
#include "hieron/assay/recovered_yaml.h"
#include "hieron/assay/sampling.h"
#include "hieron/assay/sentences.h"
#include "hieron/assay/stacked.h"
#include "hieron/assay/turned.h"
#include "hieron/assay/verdict.h"
#include "hieron/core/parallel.h"
#include "hieron/core/text.h"
#include "hieron/kinship/hidden_units.h"
#include "hieron/merge/experts.h"
#include "hieron/model/config.h"
#include "hieron/recover/gather.h"
#include "hieron/recover/sample.h"
#include "hieron/walk/conformed.h"
#include "hieron/walk/fingerprint.h"
#include "hieron/walk/model_files.h"

namespace hieron {

std::vector<std::shared_ptr<const Checkpoint>*> models_of(AuditInput& input) {
  std::vector<std::shared_ptr<const Checkpoint>*> models{&input.suspect};
  for (auto& model : input.parents) models.push_back(&model);
  if (input.base) models.push_back(&input.base);
  for (auto& model : input.controls) models.push_back(&model);
  return models;
}

Status lay_out_experts(AuditInput& input, ExpertLayout layout) {
  for (auto* model : models_of(input)) {
    if (!expert_layout(**model)) continue;
    HIERON_TRY(*model, with_experts(*model, layout));
  }
  return {};
}

namespace {

// Who is who among the models of the alignment.
struct Cast {
  static constexpr size_t kSuspect = 0;
  std::vector<size_t> parents;
  std::optional<size_t> base;
  std::vector<size_t> controls;
  std::vector<size_t> references() const {  // whatever the suspect may have been made of
    std::vector<size_t> all = parents;
    if (base) all.push_back(*base);
    return all;
  }
};

constexpr uint64_t kGuardElements = 1 << 18;  // controls and self-checks: D16 to about .001

struct PairFit {
  Ends ends;
  EndsFit fit;
  Varies varies = Varies::kGlobal;
  GroupedFit grouped;
};

// The coarsest way of varying that explains nearly as much as the finest one.
void choose_varies(const Alignment& alignment, const Sample& sample, PairFit& pair) {
  constexpr double kNearly = 0.98;
  pair.grouped = fit_groups(alignment, sample, pair.fit, Varies::kGlobal);
  if (pair.grouped.share() >= threshold::kExactDepth.value) return;
  const GroupedFit finest = fit_groups(alignment, sample, pair.fit, Varies::kTensor);
  if (finest.share() < threshold::kChangedDepth.value) return;
  for (const Varies varies : {Varies::kGlobal, Varies::kRole, Varies::kLayer}) {
    GroupedFit grouped = fit_groups(alignment, sample, pair.fit, varies);
    if (grouped.share() < kNearly * finest.share()) continue;
    pair.varies = varies;
    pair.grouped = std::move(grouped);
    return;
  }
  pair.varies = Varies::kTensor;
  pair.grouped = finest;
}

bool away_from_ends(const GroupedFit& grouped) {
  const auto away = [](const Depth& d) {
    return std::abs(d.alpha()) > threshold::kPeakDistance.value &&
           std::abs(1 - d.alpha()) > threshold::kPeakDistance.value;
  };
  // The groups that lie away from both ends must carry the depth.
  uint64_t covered = 0, informative = 0;
  for (const auto& [key, d] : grouped.groups) {
    if (!away(d)) continue;
    covered += d.covered;
    informative += d.informative;
  }
  return static_cast<double>(informative) >= threshold::kInformative.value &&
         static_cast<double>(covered) >=
             threshold::kChangedDepth.value * static_cast<double>(grouped.informative);
}

// Full depth whose hard bounds exclude both ends: a weight of .999 is exact evidence too.
bool apart_from_ends(const GroupedFit& grouped) {
  return grouped.share() >= threshold::kExactDepth.value &&
         std::ranges::any_of(grouped.groups, [](const auto& group) {
           const Depth& d = group.second;
           return (d.low > 0 || d.high < 0) && (d.low > 1 || d.high < 1);
         });
}

// One end with all the weight, in every group: nearness to it, whatever the other end is.
bool names_one_end(const CandidateRecipe& recipe) {
  return std::ranges::all_of(recipe.groups, [](const auto& group) {
    const auto& weights = group.second.weights;
    return weights.size() == 2 && (weights[0] == 0 || weights[1] == 0);
  });
}

// Do some models have a tensor for each expert, and others one for all of a layer?
bool experts_differ(AuditInput input) {
  std::set<ExpertLayout> layouts;
  for (const auto* model : models_of(input)) {
    if (const auto layout = expert_layout(**model)) layouts.insert(*layout);
  }
  return layouts.size() > 1;
}

class Auditor {
 public:
  // `experts`: how all models are made to store them, where they differ in that.
  Auditor(const AuditInput& input, const AuditOptions& options, std::optional<ExpertLayout> experts)
      : input_(input), options_(options), experts_layout_(experts) {}

  Result<AuditResult> run() {
    const auto start = std::chrono::steady_clock::now();
    HIERON_CHECK(prepare());
    HIERON_CHECK(decide());
    finish();
    result_.seconds =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    return std::move(result_);
  }

 private:
  // --- what is given ---

  Status prepare() {
    look_for_tells();
    HIERON_CHECK(agree_on_experts());
    HIERON_CHECK(agree_on_names());
    std::vector<const Checkpoint*> models{input_.suspect.get()};
    const auto add = [&](const std::shared_ptr<const Checkpoint>& model) {
      models.push_back(model.get());
      return models.size() - 1;
    };
    for (const auto& parent : input_.parents) cast_.parents.push_back(add(parent));
    if (input_.base) cast_.base = add(input_.base);
    for (const auto& control : input_.controls) cast_.controls.push_back(add(control));
    alignment_ = align(models, 1);
    HIERON_CHECK(identify());
    if (std::ranges::none_of(alignment_.rows, [&](const Row& row) {
          return std::ranges::any_of(cast_.references(),
                                     [&](size_t m) { return row.views[m].has_value(); });
        })) {
      return refuse(
          fmt::format("{} has no tensor in common with any parent or base (by name and "
                      "shape); check that they are of one architecture and that the names "
                      "carry the same prefix.",
                      input_.suspect->ref),
          input_.suspect->ref);
    }
    const auto config = parse_config(input_.suspect->config_json, input_.suspect->ref);
    if (!config && !input_.suspect->config_json.empty()) {
      result_.warnings.push_back(config.error().sentence);
    }
    roles_ = RoleTable::of(config ? config->architecture : "");
    set_aside_codes();
    if (!is_fingerprint(*input_.suspect)) {
      selection_ = audit_selection(alignment_, roles_, options_);
    }
    const Selection fit = fit_selection(options_.seed, alignment_, selection_);
    HIERON_CHECK(announce_sample(alignment_, selection_, fit, cast_.controls));
    HIERON_TRY(sample_, draw_sample(alignment_, roles_, options_.seed, fit, options_.walk));
    if (is_fingerprint(*input_.suspect)) {
      HIERON_TRY(known_, packed_case(candidates(), options_.seed));
    }
    for (const SampleRow& row : sample_.rows) {
      for (size_t m = 0; m < row.values.size(); ++m) {
        if (!row.values[m].empty()) note_read(row.row, m, row.count);
      }
    }
    return {};
  }

  // Before any model is seen in another layout than its files'.
  void look_for_tells() {
    const ModelFiles suspect = model_files(*input_.suspect);
    std::vector<ModelFiles> others;
    for (auto* model : models_of(input_)) others.push_back(model_files(**model));
    result_.tells = tells(suspect);
    for (Tell& tell : comparative_tells(suspect, std::span(others).subspan(1))) {
      result_.tells.push_back(std::move(tell));
    }
  }

  // All models with their experts as one of them has them. A recipe asks for the suspect's layout
  // if they differ: merging is done in it.
  Status agree_on_experts() {
    if (!experts_layout_) return {};
    if (*experts_layout_ == expert_layout(*input_.suspect)) {
      experts_ = *experts_layout_ == ExpertLayout::kFused ? "fused" : "separate";
    }
    return lay_out_experts(input_, *experts_layout_);
  }

  // All models under the suspect's names: recipes are replayed by name.
  Status agree_on_names() {
    const auto all = models_of(input_);
    std::vector<const Checkpoint*> models;
    for (const auto* model : all) models.push_back(model->get());
    const Alignment alignment = align(models, 1);
    if (conforms(alignment)) return {};
    std::vector<std::shared_ptr<const Checkpoint>> renamed;
    for (size_t m = 0; m < all.size(); ++m) {
      HIERON_TRY(auto model, conformed(alignment, m, *all[m]));
      renamed.push_back(std::move(model));
    }
    for (size_t m = 0; m < all.size(); ++m) *all[m] = std::move(renamed[m]);
    return {};
  }

  // Distinct bytes read, per row and model: what the fit saw again in the proof counts once.
  void note_read(size_t row, size_t model, uint64_t elements) {
    uint64_t& known = read_[{row, model}];
    if (elements <= known) return;
    const int bits = info(alignment_.rows[row].views[model]->tensor->dtype).bits;
    bytes_read_ += (elements - known) * static_cast<uint64_t>(bits) / 8;
    known = elements;
  }

  Status identify() {
    const auto identity = [&](const Checkpoint& model) -> Result<ModelIdentity> {
      for (const std::string& warning : model.warnings) result_.warnings.push_back(warning);
      return hieron::identify(model, options_.hash, options_.walk.threads);
    };
    HIERON_TRY(result_.suspect, identity(*input_.suspect));
    for (const auto& parent : input_.parents) {
      HIERON_TRY(ModelIdentity found, identity(*parent));
      result_.parents.push_back(std::move(found));
    }
    if (input_.base) {
      HIERON_TRY(ModelIdentity found, identity(*input_.base));
      result_.base = std::move(found);
    }
    for (const auto& control : input_.controls) {
      HIERON_TRY(ModelIdentity found, identity(*control));
      result_.controls.push_back(std::move(found));
    }
    if (cast_.controls.empty()) {
      result_.warnings.push_back(
          "No control was given: add another fine-tune of the same family with --control, so that "
          "the "
          "test can be seen to say no.");
    }
    return {};
  }

  // Codes whose scale is kept in another tensor are not weights: they take no part.
  void set_aside_codes() {
    std::erase_if(alignment_.rows, [&](const Row& row) {
      const bool codes = info(row.views[0]->tensor->dtype).bits == 8 &&
                         (input_.suspect->find(row.name + "_scale_inv") ||
                          input_.suspect->find(row.name + "_scale"));
      const bool packed = std::ranges::any_of(row.views, [](const auto& view) {
        return view && (info(view->tensor->dtype).bits < 8 || info(view->tensor->dtype).bits > 64);
      });
      if (packed) {
        alignment_.ledger.push_back(
            {0, row.name, "elements of less than a byte are not compared yet"});
        return true;
      }
      if (codes) {
        alignment_.ledger.push_back({0, row.name,
                                     "quantised codes with their scale in another tensor: "
                                     "this scheme is not decoded yet"});
      }
      return codes;
    });
  }

  // --- the decision ---

  Status decide() {
    HIERON_TRY(const bool copied, try_copy());
    if (copied) return {};
    HIERON_TRY(const bool exchanged, try_exchanged_tensors());
    if (exchanged) return {};
    // Where a sample is all that is read, the beginnings of tensors that a stack is known by come
    // on top of it: later then, as it is nothing that a blend explains.
    const bool sampled = !selection_.whole();
    HIERON_TRY(bool stacked, sampled ? Result<bool>(false) : try_stack());
    if (stacked) return {};
    // What one model alone predicts needs no second one.
    HIERON_TRY(const bool predicted, try_edit(EditSearch::kPredicted));
    if (predicted) return {};
    fit_pairs();
    HIERON_TRY(const bool merged, try_merge());
    if (merged && result_.verdict.kind == VerdictKind::kExactMerge) return {};
    HIERON_TRY(stacked, sampled ? try_stack() : Result<bool>(false));
    if (stacked) return {};
    HIERON_TRY(const bool recovered, try_blind());
    if (recovered || merged) {
      if (result_.verdict.kind == VerdictKind::kMergeWithChanges) doubt_direction();
      if (known_) doubt_the_faint();
      return {};
    }
    HIERON_TRY(const bool edited, try_edit(EditSearch::kEstimated));
    if (edited) return {};
    return decide_kinship();
  }

  Result<bool> try_copy() {
    for (const size_t m : cast_.references())
      copies_.push_back(compare_copy(sample_, Cast::kSuspect, m));
    for (const CopyFigures& copy : copies_) {
      if (copy.elements == 0) continue;
      const auto enough = [&](uint64_t n) {
        return static_cast<double>(n) >=
               threshold::kCopyEqual.value * static_cast<double>(copy.elements);
      };
      const bool equal = enough(copy.equal);
      const bool forward = copy.other_format && enough(copy.rounds_to_suspect);
      const bool backward = copy.other_format && enough(copy.rounds_to_model);
      if (!equal && !forward && !backward) continue;
      if (aligned_share({copy.model}) < threshold::kAligned.value) continue;
      HIERON_TRY(const bool proven, prove_copy(copy, equal || forward));
      if (proven) return true;
    }
    return false;
  }

  Result<bool> prove_copy(const CopyFigures& copy, bool forward) {
    std::vector<std::optional<RowClaim>> claims(alignment_.rows.size());
    bool other_storage = false;
    for (size_t i = 0; i < claims.size(); ++i) {
      const Row& row = alignment_.rows[i];
      if (!row.views[copy.model]) continue;
      const DType s = row.views[0]->tensor->dtype, m = row.views[copy.model]->tensor->dtype;
      if (info(s).bits < 8 || info(m).bits < 8) continue;
      RowClaim claim{.operands = {copy.model}, .combination = {{1.0}, false}};
      claim.raw = s == m || !info(s).format || !info(m).format;
      if (claim.raw && s != m) continue;
      claim.reverse = !claim.raw && !forward;
      claim.true_dtype = s;
      other_storage = other_storage || s != m;
      claims[i] = claim;
    }
    HIERON_CHECK(run_proof(claims));
    if (result_.replay->share < threshold::kCopyEqual.value) return false;
    for (const auto& [role, rate] : equal_by_role()) {
      if (rate < threshold::kCopyRole.value) return false;
    }
    const std::string& of = alignment_.models[copy.model]->ref;
    Verdict& verdict = result_.verdict;
    verdict.kind = other_storage ? VerdictKind::kReformattedCopy : VerdictKind::kCopy;
    verdict.of = {of};
    const uint64_t missed = result_.replay->elements - result_.replay->equal;
    const std::string all_but =
        missed == 0 ? fmt::format("all {} of its compared weights are equal",
                                  with_commas(result_.replay->elements))
                    : fmt::format("all but {} of its {} compared weights are equal",
                                  with_commas(missed), with_commas(result_.replay->elements));
    verdict.sentence =
        other_storage
            ? fmt::format("{} is {} stored in another number format: {} after rounding.",
                          input_.suspect->ref, of, all_but)
            : fmt::format("{} is a copy of {}: {} bit for bit.", input_.suspect->ref, of, all_but);
    verdict.reasons.push_back(
        fmt::format("{:.6f} of the elements compared are equal ({:.4f} needed).",
                    result_.replay->share, threshold::kCopyEqual.value));
    verdict.falsifiers.push_back(
        "A tensor of the suspect that was not compared and differs (see what "
        "was not checked).");
    return true;
  }

  // Every tensor equal to some reference, but no single reference has them all.
  Result<bool> try_exchanged_tensors() {
    std::vector<size_t> count(alignment_.models.size(), 0);
    for (const CopyFigures& copy : copies_) {
      for (size_t r = 0; r < sample_.rows.size(); ++r) count[copy.model] += copy.row_equal[r];
    }
    std::vector<std::optional<size_t>> origin(alignment_.rows.size());
    std::set<size_t> used;
    for (size_t r = 0; r < sample_.rows.size(); ++r) {
      std::optional<size_t> best;
      for (const CopyFigures& copy : copies_) {
        if (copy.row_equal[r] && (!best || count[copy.model] > count[*best])) best = copy.model;
      }
      if (!best) return false;
      origin[sample_.rows[r].row] = best;
      used.insert(*best);
    }
    const bool all_sampled = std::ranges::count_if(alignment_.rows, [&](const Row& row) {
                               return !selection_.runs(row).empty();
                             }) == static_cast<std::ptrdiff_t>(sample_.rows.size());
    if (used.size() < 2 || !all_sampled) return false;
    place_unread(origin);
    std::vector<std::optional<RowClaim>> claims(alignment_.rows.size());
    uint64_t aligned = 0;
    for (size_t i = 0; i < claims.size(); ++i) {
      if (!origin[i]) continue;
      const Row& row = alignment_.rows[i];
      if (row.views[0]->tensor->dtype != row.views[*origin[i]]->tensor->dtype) return false;
      claims[i] = RowClaim{.operands = {*origin[i]}, .combination = {{1.0}, false}, .raw = true};
      aligned += row.elements;
    }
    HIERON_CHECK(run_proof(claims));
    if (result_.replay->equal != result_.replay->elements ||
        static_cast<double>(aligned) < threshold::kAligned.value * suspect_parameters()) {
      return false;
    }
    if (!interleaved(origin)) {
      result_.verdict.kind = VerdictKind::kUndetermined;
      result_.verdict.sentence = fmt::format(
          "No verdict on {}: every tensor is also found in one of the offered models, but equality "
          "has "
          "no direction: it may be put together from them, or they may have been trained from it "
          "with "
          "some tensors frozen.",
          input_.suspect->ref);
      return true;
    }
    for (const size_t m : used) result_.verdict.of.push_back(alignment_.models[m]->ref);
    result_.verdict.kind = VerdictKind::kExactMerge;
    result_.verdict.sentence = fmt::format(
        "{} is put together from whole tensors of {}: every one of its {} weights is equal "
        "to the same weight of one of them.",
        input_.suspect->ref, fmt::join(result_.verdict.of, " and "),
        with_commas(result_.replay->elements));
    result_.verdict.reasons.push_back(
        "Every tensor equals the same tensor of one of the models bit for "
        "bit, and no single model has them all.");
    result_.verdict.falsifiers.push_back(
        "One element that differs from the model its tensor is said to "
        "come from.");
    result_.recipe = exchanged_recipe(alignment_, roles_, origin, experts_);
    return true;
  }

  // Tensors outside of a sample are said to come from where the others of their layer do.
  void place_unread(std::vector<std::optional<size_t>>& origin) const {
    std::map<std::pair<std::string_view, std::optional<int>>, size_t> of_layer;
    const auto layer_of = [&](size_t i) {
      const Row& row = alignment_.rows[i];
      const TensorRole role = roles_.classify(row.name, row.shape);
      return std::pair(role.tower, role.layer);
    };
    for (size_t i = 0; i < origin.size(); ++i) {
      if (origin[i]) of_layer.emplace(layer_of(i), *origin[i]);
    }
    for (size_t i = 0; i < origin.size(); ++i) {
      const auto found = origin[i] ? of_layer.end() : of_layer.find(layer_of(i));
      if (found != of_layer.end() && alignment_.rows[i].views[found->second]) {
        origin[i] = found->second;
      }
    }
  }

  // Whole layers that change their origin again and again. Training with frozen tensors leaves one
  // border, or splits layers by role; it does not alternate.
  bool interleaved(const std::vector<std::optional<size_t>>& origin) const {
    constexpr int kLeastChanges = 3;
    std::map<int, std::set<size_t>> by_layer;
    for (size_t i = 0; i < origin.size(); ++i) {
      const Row& row = alignment_.rows[i];
      const TensorRole role = roles_.classify(row.name, row.shape);
      if (origin[i] && role.layer && role.tower.empty()) by_layer[*role.layer].insert(*origin[i]);
    }
    int changes = 0;
    std::optional<size_t> last;
    for (const auto& [layer, models] : by_layer) {
      if (models.size() > 1) return false;
      changes += last && *last != *models.begin();
      last = *models.begin();
    }
    return changes >= kLeastChanges;
  }

  // --- two ends ---

  void fit_pairs() {
    std::vector<size_t> ends = cast_.references();
    for (size_t a = 0; a < ends.size(); ++a) {
      for (size_t b = a + 1; b < ends.size(); ++b) {
        PairFit pair{.ends = {ends[a], ends[b]}, .fit = {}, .grouped = {}};
        pair.fit = fit_ends(sample_, model_subject(Cast::kSuspect), pair.ends, Depths::kAll,
                            options_.walk.threads);
        choose_varies(alignment_, sample_, pair);
        ++pairs_tried_;
        const bool better = !best_ || pair.grouped.share() > best_->grouped.share() ||
                            (pair.grouped.share() == best_->grouped.share() &&
                             pair.grouped.informative > best_->grouped.informative);
        if (better) best_ = std::move(pair);
      }
    }
  }

  Result<bool> try_merge() {
    if (!best_) return false;
    const PairFit& pair = *best_;
    const Sample guard_sample = thinned(sample_, kGuardElements);
    const GuardInput guard{alignment_,  guard_sample,   Cast::kSuspect,        pair.ends,
                           pair.varies, cast_.controls, options_.walk.threads, options_.seed};
    Guards guards = run_guards(guard);
    result_.depth = depth_figures(guards);
    std::optional<CandidateRecipe> recipe;
    MergeFacts facts = merge_facts(guards);
    const double rival = std::max(facts.best_control, facts.best_self_check);
    const bool telling = facts.away_from_ends || facts.apart_from_ends;
    if (telling && facts.d16 >= threshold::kChangedDepth.value && facts.d16 > rival) {
      const bool single = facts.d16 >= threshold::kExactDepth.value;
      recipe = search_recipe(alignment_, sample_, Cast::kSuspect, pair.ends, pair.fit, pair.varies,
                             single, options_.walk.threads);
      if (!single) {
        auto once = search_recipe(alignment_, sample_, Cast::kSuspect, pair.ends, pair.fit,
                                  pair.varies, true, options_.walk.threads);
        if (once && (!recipe || once->equal >= recipe->equal)) recipe = std::move(once);
      }
      if (recipe && names_one_end(*recipe)) recipe.reset();
    }
    if (recipe) {
      direction_ = check_direction(guard, recipe->share());
      result_.direction = direction_->figures;
      no_direction_ = !direction_->figures.passed;
      HIERON_CHECK(prove_recipe(*recipe));
      take_proof(*recipe, facts);
    }
    result_.unexplained = unexplained_share(guard_sample, Cast::kSuspect, pair.ends, pair.varies,
                                            alignment_, pair.grouped);
    self_checks_collapsed_ = facts.best_self_check < threshold::kControlDepth.value;
    const MergeDecision decision = decide_merge(facts);
    merge_reasons_ = decision.reasons;
    if (!decision.kind) {
      // No merge: the half-finished proof of a recipe that does not hold is not shown as one.
      result_.replay.reset();
      result_.after_merge.reset();
      return false;
    }
    result_.verdict.kind = *decision.kind;
    result_.verdict.reasons = decision.reasons;
    if (*decision.kind == VerdictKind::kUndetermined) {
      result_.verdict.sentence = fmt::format(
          "No verdict on {}: {} and {} explain part of it, but {}", input_.suspect->ref,
          ref(pair.ends.first), ref(pair.ends.second), lower_first(decision.reasons.front()));
      return true;
    }
    result_.verdict.of = {ref(pair.ends.first), ref(pair.ends.second)};
    result_.recipe = recipe ? std::optional(describe(*recipe)) : std::nullopt;
    write_ends_sentence(input_.suspect->ref, facts, *result_.recipe, *result_.replay,
                        result_.verdict);
    return true;
  }

  MergeFacts merge_facts(const Guards& guards) const {
    MergeFacts facts;
    facts.d16 = best_->grouped.share();
    facts.informative_16 = best_->grouped.informative;
    facts.away_from_ends = away_from_ends(best_->grouped);
    facts.apart_from_ends = apart_from_ends(best_->grouped);
    facts.aligned = aligned_share({best_->ends.first, best_->ends.second});
    facts.controls = guards.controls.size();
    for (const NamedDepth& control : guards.controls) {
      facts.best_control = std::max(facts.best_control, control.d16);
    }
    for (const NamedDepth& check : guards.self_checks) {
      facts.best_self_check = std::max(facts.best_self_check, check.d16);
    }
    facts.power = guards.power.d16;
    facts.power_passed = guards.power.passed;
    return facts;
  }

  DepthFigures depth_figures(const Guards& guards) const {
    const PairFit& pair = *best_;
    const Depth& d4 = pair.fit.d4;
    DepthFigures figures{};
    figures.ends[0] = ref(pair.ends.first);
    figures.ends[1] = ref(pair.ends.second);
    figures.alpha = d4.alpha();
    figures.low = d4.low;
    figures.high = d4.high;
    figures.d4 = d4.share();
    figures.d16 = pair.varies == Varies::kGlobal ? pair.fit.d16.share() : pair.grouped.share();
    figures.d64 = pair.fit.d64.share();
    figures.informative = d4.informative;
    figures.informative_16 = pair.fit.d16.informative;
    figures.bits =
        evidence_bits(pair.fit.intervals, 16, d4.alpha(), static_cast<double>(pairs_tried_));
    figures.controls = guards.controls;
    figures.self_checks = guards.self_checks;
    figures.power = guards.power;
    figures.curve = guards.curve(pair.fit);
    figures.control_curves = guards.control_curves;
    return figures;
  }

  Status prove_recipe(const CandidateRecipe& recipe) {
    std::vector<std::optional<RowClaim>> claims(alignment_.rows.size());
    std::map<size_t, const SampleRow*> sampled;
    for (const SampleRow& row : sample_.rows) sampled[row.row] = &row;
    for (size_t i = 0; i < claims.size(); ++i) {
      const Row& row = alignment_.rows[i];
      if (!row.views[recipe.ends.first] || !row.views[recipe.ends.second]) continue;
      claims[i] = recipe_claim(recipe, row, sampled.contains(i) ? sampled.at(i) : nullptr);
    }
    return run_proof(claims);
  }

  std::optional<RowClaim> recipe_claim(const CandidateRecipe& recipe, const Row& row,
                                       const SampleRow* sampled) const {
    const DType s = row.views[0]->tensor->dtype;
    const DType p = row.views[recipe.ends.first]->tensor->dtype;
    const DType q = row.views[recipe.ends.second]->tensor->dtype;
    if (!info(s).blend || !info(p).blend || !info(q).blend) {
      // Counters and codes are carried over from one of the ends.
      if (s != q || info(s).bits < 8) return std::nullopt;
      return RowClaim{.operands = {recipe.ends.second},
                      .combination = {{1.0}, false},
                      .raw = true,
                      .true_dtype = s};
    }
    const std::string key =
        group_key(row.name, roles_.classify(row.name, row.shape), recipe.varies);
    const auto found = recipe.groups.find(key);
    const Combination& combination =
        found != recipe.groups.end() ? found->second : recipe.groups.begin()->second;
    const DType true_dtype = sampled ? sampled->dtypes[Cast::kSuspect] : s;
    return RowClaim{.operands = {recipe.ends.first, recipe.ends.second},
                    .combination = combination,
                    .arithmetic = recipe.arithmetic,
                    .true_dtype = true_dtype,
                    .single_rounding = rounds_once(recipe.arithmetic)};
  }

  Status run_proof(const std::vector<std::optional<RowClaim>>& claims) {
    HIERON_TRY(proof_, prove(alignment_, claims, selection_, options_.walk));
    Replay replay;
    uint64_t informative = 0, informative_equal = 0;
    for (size_t i = 0; i < claims.size(); ++i) {
      const RowProof& row = proof_.rows[i];
      if (row.read == 0) continue;
      note_read(i, 0, row.read);
      for (const size_t model : claims[i]->operands) note_read(i, model, row.read);
      replay.elements += row.read;
      replay.equal += row.equal;
      informative += row.informative;
      informative_equal += row.informative_equal;
      ++replay.tensors;
      replay.tensors_equal += row.equal == row.read;
      if (!replay.first_difference && row.equal < row.read) {
        replay.first_difference = place(alignment_.rows[i], row.first_miss);
      }
    }
    replay.share = ratio(replay.equal, replay.elements);
    replay.share_informative = informative ? ratio(informative_equal, informative) : replay.share;
    result_.replay = replay;
    result_.after_merge = after_merge(alignment_, roles_, proof_.rows);
    return {};
  }

  void take_proof(const CandidateRecipe& recipe, MergeFacts& facts) const {
    facts.replayed = true;
    facts.replay_share = result_.replay->share;
    facts.single_rounding = rounds_once(recipe.arithmetic);
    facts.direction_passed = direction_->figures.passed;
    facts.direction_reason = direction_->reason;
    for (size_t i = 0; i < proof_.rows.size(); ++i) {
      const RowProof& row = proof_.rows[i];
      facts.changed += row.changed;
      if (row.changed > 0) facts.changed_tensors.push_back(alignment_.rows[i].name);
      if (static_cast<double>(row.informative) >= threshold::kInformative.value) {
        facts.worst_tensor_share = std::min(facts.worst_tensor_share, ratio(row.equal, row.read));
      }
    }
  }

  FoundRecipe describe(const CandidateRecipe& recipe) const {
    return recovered_recipe(alignment_, roles_, recipe, best_->grouped, experts_);
  }

  Candidates candidates() const {
    std::vector<std::shared_ptr<const Checkpoint>> models{input_.suspect};
    models.insert(models.end(), input_.parents.begin(), input_.parents.end());
    if (input_.base) models.push_back(input_.base);
    models.insert(models.end(), input_.controls.begin(), input_.controls.end());
    if (known_) models = known_->models;
    return {known_ ? known_->alignment : alignment_,
            std::move(models),
            roles_,
            cast_.references(),
            cast_.base,
            options_.walk,
            options_.seeds,
            selection_};
  }

  const Sample& judged_sample() const { return known_ ? known_->sample : sample_; }

  // --- whole layers in another order ---

  Result<bool> try_stack() {
    if (known_) return false;  // a layer's positions are no other layer's
    HIERON_TRY(const std::optional<StackedFinding> finding, find_stacked(candidates(), selection_));
    if (!finding) return false;
    const Replay& whole = finding->whole.total;
    const double share = static_cast<double>(whole.elements) / read_parameters();
    if (share < threshold::kAligned.value) return false;
    take_replay(finding->recipe, finding->whole);
    Verdict& verdict = result_.verdict;
    verdict = {};
    const size_t layers = finding->recipe.layers.size();
    if (!finding->has_direction) {
      verdict.kind = VerdictKind::kUndetermined;
      verdict.sentence = fmt::format(
          "No verdict on {}: its {} layers are all layers of {}, each once and in their order; it "
          "may have been cut out of that model, or that model made by adding layers to it.",
          input_.suspect->ref, layers, finding->recipe.models.front().ref);
      return true;
    }
    verdict.kind = VerdictKind::kLayerStack;
    for (const RecipeModel& model : finding->recipe.models) verdict.of.push_back(model.ref);
    verdict.sentence = fmt::format(
        "{} is a stack of {} whole layers of {}: {} of its {} compared weights are theirs, bit for "
        "bit.",
        input_.suspect->ref, layers, fmt::join(verdict.of, " and "),
        whole.equal == whole.elements ? "every one" : with_commas(whole.equal),
        with_commas(whole.elements));
    verdict.reasons.push_back(
        fmt::format("The replay of the stack reproduces {:.6f} of the elements compared ({:.3f} "
                    "needed).",
                    whole.share, threshold::kReplayShare.value));
    verdict.falsifiers.push_back(
        "One weight that differs from the layer it is said to come from (hieron verify repeats "
        "it).");
    return true;
  }

  // --- any method, any number of parents ---

  Result<bool> try_blind() {
    const Candidates given = candidates();
    const auto evidence = gather_evidence(given, judged_sample());
    if (!evidence) return false;  // nothing to work on: no finding either
    explained_by_masks_ = masked_share(*evidence);
    HIERON_TRY(const std::optional<BlindFinding> finding,
               find_blind(given, judged_sample(), *evidence, cast_.controls, selection_, experts_,
                          known_ ? elementwise_methods() : std::span<const std::string_view>{}));
    if (finding && finding->holds) return take_recipe(*finding);
    const double explained = finding ? finding->best.score.share() : 0;
    if (!known_ && evidence->fit_class != FitClass::kOneRounding) {
      HIERON_TRY(
          const std::optional<BlindFinding> nested,
          find_nested(given, sample_, *evidence, explained, cast_.controls, selection_, experts_));
      if (nested && nested->holds && take_recipe(*nested)) return true;
    }
    const bool replayable = finding.has_value();
    if (try_masks(given, *evidence, explained, replayable)) return true;
    return finding && take_recipe(*finding);
  }

  // What a merge of two ends that was changed afterwards explains already, of all elements.
  double explained_by_ends() const {
    const bool changed = result_.verdict.kind == VerdictKind::kMergeWithChanges;
    return changed && result_.replay ? result_.replay->share : 0;
  }

  bool take_recipe(const BlindFinding& finding) {
    const Replay& whole = finding.whole.total;
    const double aligned = static_cast<double>(whole.elements) / read_parameters();
    const BlindDecision decision = decide_blind(finding, aligned);
    if (whole_tensors_wanted(finding, decision, aligned)) return true;
    merge_reasons_.insert(merge_reasons_.end(), decision.reasons.begin(), decision.reasons.end());
    const bool changed = decision.kind == VerdictKind::kMergeWithChanges;
    if (changed && no_direction_) return false;
    if (!decision.kind || (changed && whole.share <= explained_by_ends())) return false;
    take_replay(finding.recipe, finding.whole);
    Verdict& verdict = result_.verdict;
    verdict = {};
    verdict.kind = *decision.kind;
    for (const RecipeModel& model : finding.recipe.models) verdict.of.push_back(model.ref);
    verdict.reasons = decision.reasons;
    if (verdict.kind == VerdictKind::kEdit) {
      result_.edit = Edit{verdict.of.front(), "other", std::nullopt, {}, std::nullopt};
    }
    write_recipe_sentence(input_.suspect->ref, finding, verdict);
    return true;
  }

  // A recipe that ranks or measures whole tensors, of which a sample holds the small ones only.
  bool whole_tensors_wanted(const BlindFinding& finding, const BlindDecision& decision,
                            double aligned) {
    const Replay& total = finding.whole.total;
    if (selection_.whole() || !decision.kind || !finding.holds) return false;
    if (total.equal < total.elements || aligned >= threshold::kAligned.value) return false;
    take_replay(finding.recipe, finding.whole);
    Verdict& verdict = result_.verdict;
    verdict = {};
    verdict.kind = VerdictKind::kUndetermined;
    verdict.sentence = fmt::format(
        "No verdict on {} yet: {} reproduces every element of the {} tensors that were read whole, "
        "and proving the others takes whole tensors, of which a sample was read (give --sample "
        "full).",
        input_.suspect->ref, recipe_in_words(finding.recipe), total.tensors);
    verdict.reasons = decision.reasons;
    return true;
  }

  // Masks that are seen, though their seed is not known. `explained`: what a recipe does of the
  // elements that tell. Where nothing is random a recipe says more (`replayable`: there is one).
  bool try_masks(const Candidates& given, const Evidence& evidence, double explained,
                 bool replayable) {
    const auto estimate = mask_estimate(evidence);
    if (no_direction_ || !estimate || (replayable && !random_masks(*estimate))) return false;
    const auto finding = find_masked(given, judged_sample(), evidence, cast_.controls, experts_);
    const double least = std::max(explained, explained_by_ends());
    if (!finding || finding->estimate.explained <= least) return false;
    const BlindDecision decision = decide_masked(*finding);
    merge_reasons_.insert(merge_reasons_.end(), decision.reasons.begin(), decision.reasons.end());
    if (!decision.kind) return false;
    drop_ends();
    result_.recipe = finding->recipe;
    Verdict& verdict = result_.verdict;
    verdict = {};
    verdict.kind = *decision.kind;
    for (const RecipeModel& model : finding->recipe.models) verdict.of.push_back(model.ref);
    verdict.reasons = decision.reasons;
    write_masks_sentence(given, *finding, verdict);
    return true;
  }

  // What is no whole replay may read the other way round: an honest parent looks like a blend of
  // its child and the base where the child was made by dropping changes.
  void doubt_direction() {
    std::set<size_t> named;
    for (const size_t m : cast_.references()) {
      const bool of = std::ranges::find(result_.verdict.of, ref(m)) != result_.verdict.of.end();
      if (of || (result_.recipe && result_.recipe->base_model == ref(m))) named.insert(m);
    }
    const double replayed = result_.replay ? result_.replay->share : 0;
    const double explained = std::max(explained_by_masks_, replayed);
    const auto other = masked_the_other_way(candidates(), judged_sample(), named, explained);
    if (!other) return;
    drop_ends();
    result_.recipe.reset();
    Verdict& verdict = result_.verdict;
    verdict = {};
    verdict.kind = VerdictKind::kUndetermined;
    verdict.sentence = fmt::format(
        "No verdict on {}: the models offered explain part of it, but {} is explained better with "
        "the suspect among its parents, as a merge that drops some of their changes.",
        input_.suspect->ref, ref(other->model));
    verdict.reasons.push_back(
        fmt::format("Masks explain {:.4f} of {}, and nothing more than {:.4f} of the suspect: the "
                    "relation reads "
                    "the other way.",
                    other->explained, ref(other->model), explained));
  }

  // What explains little of a fingerprint may be a relation that reads the other way.
  void doubt_the_faint() {
    Verdict& verdict = result_.verdict;
    if (verdict.kind != VerdictKind::kMergeWithChanges) return;
    const double replayed = result_.replay ? result_.replay->share : 1;
    const double explained = result_.depth ? result_.depth->d16 : replayed;
    if (explained >= threshold::kKnownChanged.value) return;
    verdict = {};
    verdict.kind = VerdictKind::kUndetermined;
    verdict.sentence = fmt::format(
        "No verdict on {}: the models offered explain part of it, too little to tell from "
        "fingerprints which was made of which.",
        input_.suspect->ref);
    verdict.reasons.push_back(
        fmt::format("{:.4f} of the elements that tell are explained ({:.1f} "
                    "needed): audit the models themselves.",
                    explained, threshold::kKnownChanged.value));
    drop_ends();
    result_.recipe.reset();
  }

  // The figures of two ends, once they are not what explains the suspect.
  void drop_ends() {
    result_.depth.reset();
    result_.direction.reset();
    result_.unexplained.reset();
    result_.replay.reset();
    result_.after_merge.reset();
    best_.reset();
  }

  void take_replay(const FoundRecipe& recipe, const Comparison& whole) {
    drop_ends();
    result_.recipe = recipe;
    result_.replay = whole.total;
    if (known_) result_.replay->first_difference.reset();  // it counts known elements only
    proof_.rows.assign(alignment_.rows.size(), {});
    std::map<std::string_view, size_t> row_of;
    for (size_t i = 0; i < alignment_.rows.size(); ++i) row_of[alignment_.rows[i].name] = i;
    for (const TensorComparison& tensor : whole.tensors) {
      const auto row = row_of.find(tensor.name);
      if (row == row_of.end()) continue;
      RowProof& proof = proof_.rows[row->second];
      proof.read = tensor.elements;
      proof.equal = tensor.equal;
      proof.changed = tensor.elements - tensor.equal - tensor.near;
      if (tensor.first_difference) proof.first_miss = *tensor.first_difference;
      note_read(row->second, 0, tensor.elements);
      for (const size_t m : cast_.references()) {
        if (alignment_.rows[row->second].views[m]) note_read(row->second, m, tensor.elements);
      }
    }
    result_.after_merge = after_merge(alignment_, roles_, proof_.rows);
  }

  // Of the suspect's parameters those that the selection reads.
  double read_parameters() const {
    if (selection_.whole() && !known_) return suspect_parameters();
    double read = 0;
    for (const Row& row : alignment_.rows) {
      for (const Run& run : selection_.runs(row)) read += static_cast<double>(run.count);
    }
    return std::max(1.0, read);
  }

  // --- one model, edited ---

  Result<bool> try_edit(EditSearch search) {
    const Alignment& judged = known_ ? known_->alignment : alignment_;
    HIERON_TRY(const EditDecision decision,
               decide_edit({judged, roles_, fit_selection(options_.seed, judged, selection_),
                            selection_, options_.walk},
                           cast_.references(), cast_.controls, search));
    edit_reasons_.insert(edit_reasons_.end(), decision.reasons.begin(), decision.reasons.end());
    if (!decision.finding) return false;
    drop_ends();
    result_.verdict = edit_verdict(*decision.finding, alignment_);
    result_.edit = edit_figures(*decision.finding, alignment_);
    take_edit(*decision.finding);
    return true;
  }

  void take_edit(const EditFinding& finding) {
    Replay replay;
    proof_.rows.assign(alignment_.rows.size(), {});
    for (size_t i = 0; i < finding.rows.size(); ++i) {
      const ExplainedRow& row = finding.rows[i];
      if (row.read == 0) continue;
      RowProof& proof = proof_.rows[i];
      proof.read = row.read;
      proof.equal = row.equal;
      proof.changed = finding.predicted ? row.read - row.equal : 0;
      proof.first_miss = row.first_miss;
      replay.elements += row.read;
      replay.equal += row.equal;
      ++replay.tensors;
      replay.tensors_equal += row.equal == row.read;
      if (!known_ && !replay.first_difference && row.first_miss != ~uint64_t{0}) {
        replay.first_difference = place(alignment_.rows[i], row.first_miss);
      }
      note_read(i, 0, row.read);
      note_read(i, finding.model, row.read);
    }
    replay.share = replay.share_informative = ratio(replay.equal, replay.elements);
    result_.replay = replay;
  }

  // --- kinship, where no blend explains the suspect ---

  Status decide_kinship() {
    const std::vector<size_t> models = cast_.references();
    uint64_t units = 0;
    std::optional<size_t> kin;
    bool doubtful = false;
    for (const size_t m : models) {
      if (known_) break;  // they are matched by whole matrices
      HIERON_TRY(const HiddenUnitTest test,
                 compare_hidden_units(alignment_, roles_, Cast::kSuspect, m, options_.walk.threads,
                                      unit_effort()));
      if (test.matrices.empty()) continue;
      units += test.units;
      const double p = std::min(1.0, test.p * static_cast<double>(models.size()));
      result_.kinship.push_back({ref(m), test.matrices.size(), test.units, test.matched, p});
      if (p < threshold::kKinP.value && (!kin || nearer(m, *kin))) kin = m;
      doubtful = doubtful || p <= threshold::kStrangerP.value;
    }
    Verdict& verdict = result_.verdict;
    verdict.reasons = merge_reasons_;
    verdict.reasons.insert(verdict.reasons.end(), edit_reasons_.begin(), edit_reasons_.end());
    const bool sees = can_see_kinship();
    if (kin) {
      const Kinship& match = *std::ranges::find(result_.kinship, ref(*kin), &Kinship::with);
      verdict.kind = VerdictKind::kFineTune;
      verdict.of = {ref(*kin)};
      verdict.sentence = fmt::format(
          "{} shares its origin with {}{}; no blend of two of the offered models was found that "
          "explains it.",
          input_.suspect->ref, ref(*kin), nearness(*kin));
      verdict.reasons.push_back(fmt::format(
          "{} of {} hidden units match their own index in {}; strangers match about {} (p {}).",
          match.matched, match.units, match.with, match.matrices,
          match.p > 1e-300 ? fmt::format("= {:.1e}", match.p) : "< 1e-300"));
      verdict.falsifiers.push_back(
          "A pair of parents, offered to the same test, whose blend reproduces its weights.");
      verdict.falsifiers.push_back(
          "An independent run from the same random initialisation, which this test cannot tell "
          "from "
          "training on.");
    } else if (!result_.kinship.empty() && !doubtful && sees && self_checks_collapsed_) {
      verdict.kind = VerdictKind::kIndependent;
      verdict.sentence = fmt::format(
          "{} shows no common origin with any of the offered models: its hidden units are numbered "
          "independently of theirs.",
          input_.suspect->ref);
      verdict.reasons.push_back(fmt::format(
          "{} hidden units were compared; they match their own index no more often than strangers' "
          "do.",
          with_commas(units)));
      verdict.falsifiers.push_back(
          "A rotation or another order of its units that maps it onto one of the offered models "
          "(of these only the order of whole feed-forward units, bit for bit, was searched).");
    } else {
      verdict.kind = VerdictKind::kUndetermined;
      verdict.sentence =
          fmt::format("No verdict on {}: no blend of the offered models explains it, and {}.",
                      input_.suspect->ref,
                      known_ ? "the test for a common origin needs the models themselves"
                      : result_.kinship.empty()
                          ? "it has no matrix of hidden units that the kinship test can use"
                          : "its hidden units neither prove nor exclude a common origin");
    }
    return {};
  }

  UnitEffort unit_effort() const { return selection_.whole() ? UnitEffort{} : kFewUnits; }

  double equal_share(size_t model) const {
    const auto found = std::ranges::find(copies_, model, &CopyFigures::model);
    return found == copies_.end() ? 0 : ratio(found->equal, found->elements);
  }

  // The model with more equal weights is named; where neither has many, the base is.
  bool nearer(size_t model, size_t than) const {
    constexpr double kMany = 0.5;
    const double a = equal_share(model), b = equal_share(than);
    return std::max(a, b) >= kMany ? a > b : cast_.base == model;
  }

  std::string nearness(size_t model) const {
    const double share = equal_share(model);
    return share < 0.5 ? ""
                       : fmt::format(" and {:.2f} % of its sampled weights equal that model's",
                                     100 * share);
  }

  // Enough hidden units that kin would have been found beyond doubt.
  bool can_see_kinship() const {
    return std::ranges::any_of(result_.kinship, [](const Kinship& k) {
      return poisson_tail(static_cast<double>(k.matrices), k.units) < threshold::kKinP.value;
    });
  }

  // --- the figures every verdict carries ---

  void finish() {
    fill_tensors();
    fill_skipped();
    fill_sampling();
  }

  void fill_tensors() {
    const std::map<size_t, RowDepths> fitted = row_depths();
    std::map<size_t, uint64_t> sampled;
    for (const SampleRow& row : sample_.rows) sampled[row.row] = row.count;
    std::map<Role, RoleCoverage> coverage;
    const bool proven = result_.replay.has_value();
    for (size_t i = 0; i < alignment_.rows.size(); ++i) {
      const Row& row = alignment_.rows[i];
      TensorFigures figures{.name = row.name,
                            .role = roles_.classify(row.name, row.shape),
                            .elements = row.elements,
                            .state = {}};
      figures.read = sampled.contains(i) ? sampled[i] : 0;
      if (const auto fit = fitted.find(i); fit != fitted.end()) fill_fit(fit->second, figures);
      if (proven && proof_.rows[i].read > 0) {
        figures.read = proof_.rows[i].read;
        figures.equal = ratio(proof_.rows[i].equal, proof_.rows[i].read);
        if (proof_.rows[i].not_finite > 0) {
          result_.warnings.push_back(fmt::format("Tensor \"{}\" holds {} NaN or infinite values.",
                                                 printable(row.name),
                                                 with_commas(proof_.rows[i].not_finite)));
        }
      }
      figures.state = state_of(i, figures);
      RoleCoverage& cover = coverage[figures.role.role];
      cover.role = figures.role.role;
      cover.parameters += figures.elements;
      cover.read += figures.read;
      cover.informative += figures.informative;
      result_.tensors.push_back(std::move(figures));
    }
    for (const Skipped& skipped : alignment_.ledger) {
      if (skipped.model != 0) continue;
      const TensorInfo* tensor = input_.suspect->find(skipped.tensor);
      if (!tensor) continue;
      const TensorRole role = roles_.classify(tensor->name, tensor->shape);
      coverage[role.role].role = role.role;
      coverage[role.role].parameters += tensor->elements;
      result_.tensors.push_back(TensorFigures{
          .name = tensor->name, .role = role, .elements = tensor->elements, .state = "skipped"});
    }
    for (auto& [role, cover] : coverage) result_.coverage.push_back(cover);
  }

  struct RowDepths {
    uint64_t informative = 0;
    Depth d4, d16;
  };

  std::map<size_t, RowDepths> row_depths() const {
    if (!best_) return {};
    const EndsFit& fit = best_->fit;
    std::vector<RowDepths> depths(fit.rows.size());
    parallel_for(fit.rows.size(), options_.walk.threads, [&](size_t i) {
      const auto intervals = fit.of(fit.rows[i]);
      depths[i] = {intervals.size(), depth(intervals, 4), depth(intervals, 16)};
    });
    std::map<size_t, RowDepths> by_row;
    for (size_t i = 0; i < depths.size(); ++i) {
      by_row.emplace(sample_.rows[fit.rows[i].sample_row].row, depths[i]);
    }
    return by_row;
  }

  static void fill_fit(const RowDepths& row, TensorFigures& figures) {
    figures.informative = row.informative;
    figures.informative_16 = row.d16.informative;
    if (static_cast<double>(row.d16.informative) < threshold::kInformative.value) return;
    figures.alpha = row.d4.alpha();
    figures.low = row.d4.low;
    figures.high = row.d4.high;
    figures.d16 = row.d16.share();
  }

  std::string state_of(size_t i, const TensorFigures& figures) const {
    if (result_.replay && proof_.rows[i].read > 0) {
      const RowProof& row = proof_.rows[i];
      if (row.equal == row.read) return "equal";
      if (row.changed == 0) return "explained";
      const bool mostly = ratio(row.informative_equal, std::max<uint64_t>(1, row.informative)) >=
                          threshold::kChangedDepth.value;
      return row.informative == 0 || mostly ? "changed" : "unexplained";
    }
    if (figures.read == 0) return "skipped";
    const bool present = std::ranges::any_of(
        cast_.references(), [&](size_t m) { return alignment_.rows[i].views[m].has_value(); });
    if (!present) return "unexplained";
    if (std::isnan(figures.d16)) return "uninformative";
    return figures.d16 >= threshold::kExactDepth.value ? "explained" : "unexplained";
  }

  void fill_skipped() {
    constexpr size_t kShown = 10000;
    for (const Skipped& skipped : alignment_.ledger) {
      if (result_.skipped.size() == kShown) {
        result_.warnings.push_back(fmt::format("{} more skipped tensors are not listed.",
                                               alignment_.ledger.size() - kShown));
        break;
      }
      const std::string of =
          skipped.model == 0 ? std::string() : alignment_.models[skipped.model]->ref + ": ";
      result_.skipped.push_back({skipped.tensor, of + skipped.reason});
    }
    for (const size_t m : cast_.references()) {
      const double share = aligned_share({m});
      if (share >= threshold::kAligned.value) continue;
      result_.warnings.push_back(
          fmt::format("{} has a counterpart for only {:.1f} % of the suspect's "
                      "parameters.",
                      alignment_.models[m]->ref, 100 * share));
    }
  }

  void fill_sampling() {
    Sampling& sampling = result_.sampling;
    sampling.mode = selection_.whole() ? "full" : "sample";
    sampling.seed = options_.seed.hex();
    sampling.bytes_read = bytes_read_;
    for (const Checkpoint* model : alignment_.models) sampling.bytes_total += model->weight_bytes();
    if (known_) {
      say_fingerprints(result_);
    } else {
      sampling.bound = sample_bound(result_, alignment_, roles_);
    }
  }

  // --- small things ---

  static double ratio(uint64_t part, uint64_t whole) {
    return whole ? static_cast<double>(part) / static_cast<double>(whole) : 0;
  }
  const std::string& ref(size_t model) const { return alignment_.models[model]->ref; }

  static std::string lower_first(std::string text) {
    if (!text.empty())
      text[0] = static_cast<char>(std::tolower(static_cast<unsigned char>(text[0])));
    return text;
  }

  double suspect_parameters() const {
    double total = 0;
    for (const TensorInfo& tensor : input_.suspect->tensors)
      total += static_cast<double>(tensor.elements);
    return total;
  }

  // Share of the suspect's parameters that all of these models have too.
  double aligned_share(const std::vector<size_t>& models) const {
    double aligned = 0;
    for (const Row& row : alignment_.rows) {
      if (std::ranges::all_of(models, [&](size_t m) { return row.views[m].has_value(); })) {
        aligned += static_cast<double>(row.elements);
      }
    }
    return aligned / std::max(1.0, suspect_parameters());
  }

  std::map<Role, double> equal_by_role() const {
    std::map<Role, std::pair<uint64_t, uint64_t>> sums;
    for (size_t i = 0; i < alignment_.rows.size(); ++i) {
      auto& [equal, read] =
          sums[roles_.classify(alignment_.rows[i].name, alignment_.rows[i].shape).role];
      equal += proof_.rows[i].equal;
      read += proof_.rows[i].read;
    }
    std::map<Role, double> rates;
    for (const auto& [role, sum] : sums) {
      if (sum.second > 0) rates[role] = ratio(sum.first, sum.second);
    }
    return rates;
  }

  ElementPlace place(const Row& row, uint64_t element) const {
    const TensorInfo& tensor = *row.views[0]->tensor;
    const uint64_t width = static_cast<uint64_t>(info(tensor.dtype).bits) / 8;
    if (tensor.computed) return {row.name, element, "", element * width};
    return {row.name, element, input_.suspect->files[tensor.stored.file].path,
            tensor.stored.offset + element * width};
  }

  AuditInput input_;
  const AuditOptions& options_;
  AuditResult result_;
  const std::optional<ExpertLayout> experts_layout_;
  std::string experts_;  // how the suspect stores them, where the models differ in that
  Cast cast_;
  Alignment alignment_;
  RoleTable roles_ = RoleTable::of("");
  Sample sample_;
  std::map<std::pair<size_t, size_t>, uint64_t> read_;  // by (row, model): elements
  uint64_t bytes_read_ = 0;
  std::vector<CopyFigures> copies_;
  std::optional<PairFit> best_;
  size_t pairs_tried_ = 0;
  std::optional<DirectionCheck> direction_;
  Selection selection_;  // what a proof covers
  Proof proof_;
  std::vector<std::string> merge_reasons_, edit_reasons_;
  bool self_checks_collapsed_ = true;
  double explained_by_masks_ = 0;  // of the suspect
  // A model is explained by the suspect and another one: a recipe that does not hold says nothing.
  bool no_direction_ = false;
  std::optional<PackedCase> known_;  // where all models are looked at through fingerprints
};

}  // namespace

namespace {

// As the suspect has its experts, which is how most tools that leave them so merge them; if that
// does not settle it, the other way.
Result<AuditResult> audit_once(const AuditInput& input, const AuditOptions& options) {
  if (!experts_differ(input)) return Auditor(input, options, std::nullopt).run();
  const bool fused = expert_layout(*input.suspect) == ExpertLayout::kFused;
  const ExpertLayout own = fused ? ExpertLayout::kFused : ExpertLayout::kSeparate;
  HIERON_TRY(AuditResult as_it_is, Auditor(input, options, own).run());
  if (!fused || settled(as_it_is.verdict.kind)) return as_it_is;
  HIERON_TRY(AuditResult apart, Auditor(input, options, ExpertLayout::kSeparate).run());
  const auto explained = [](const AuditResult& result) {
    return result.replay ? result.replay->share : 0;
  };
  const bool better = settled(apart.verdict.kind) || explained(apart) > explained(as_it_is);
  return better ? std::move(apart) : std::move(as_it_is);
}

}  // namespace

Result<AuditResult> audit(const AuditInput& given, const AuditOptions& options) {
  AuditInput input = given;
  HIERON_TRY(const bool fingerprints, match_fingerprints(models_of(input)));
  if (fingerprints) return Auditor(input, options, std::nullopt).run();
  HIERON_TRY(AuditResult result, audit_once(input, options));
  const bool open = result.verdict.kind == VerdictKind::kUndetermined;
  if (!open || options.more_bytes <= options.sample_bytes) return result;
  AuditOptions more = options;
  more.sample_bytes = options.more_bytes;
  return audit_once(input, more);
}

}  // namespace hieron
