#include "hieron/assay/fitting_recipe.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <numeric>
#include <set>

#include "hieron/assay/blind.h"
#include "hieron/assay/stacked.h"
#include "hieron/core/text.h"
#include "hieron/io/file.h"
#include "hieron/merge/computed.h"
#include "hieron/merge/generation.h"
#include "hieron/merge/method.h"
#include "hieron/merge/plan_documents.h"
#include "hieron/merge/recipe_documents.h"
#include "hieron/merge/recipe_models.h"
#include "hieron/merge/recipe_text.h"
#include "hieron/merge/yaml.h"
#include "hieron/model/config.h"
#include "hieron/recover/gather.h"

namespace hieron {
namespace {

constexpr uint64_t kProbeElements = 1u << 18;  // of the tensors that a recipe is tried on first
constexpr uint64_t kLeastProbe = 2048;
constexpr size_t kProbes = 6;
constexpr size_t kMostOrders = 24;  // of four inputs
constexpr size_t kMostCandidates = 12;
// Below this share under every arithmetic more is wrong than how sums are rounded.
constexpr double kMayBeRounding = 0.3;
// A version that ignores a misspelt key, as a recipe that is read leniently does.
constexpr const char* kLenient = "mergekit-0.1.5";

// One way of computing a recipe.
struct Way {
  std::string arithmetic;
  std::optional<DType> dtype, out_dtype;
};

std::vector<std::string> arithmetic_names() {
  std::vector<std::string> names{"exact", "mergekit-0.1.5", "mergekit-0.1.4"};
  for (const ArithmeticInfo& about : arithmetics()) {
    if (about.arithmetic != Arithmetic::kExact) names.emplace_back(about.name);
  }
  return names;
}

bool complete(const Comparison& found, const Checkpoint& suspect) {
  uint64_t all = 0;
  for (const TensorInfo& tensor : suspect.tensors) all += tensor.elements;
  return found.total.elements > 0 && found.total.equal == found.total.elements &&
         static_cast<double>(found.total.elements) >=
             threshold::kAligned.value * static_cast<double>(all);
}

// What was fitted, not written: a few elements that a last digit decides may be the next number.
bool complete_but_for_rounding(const Comparison& found, const Checkpoint& suspect) {
  if (found.total.elements - found.total.equal > found.near) return false;
  Comparison forgiven = found;
  forgiven.total.equal = found.total.elements;
  return found.total.share >= threshold::kReplayShare.value && complete(forgiven, suspect);
}

class Searcher {
 public:
  Searcher(const DeclaredFile& file, std::vector<Recipe> recipes, const Comparison* declared,
           std::shared_ptr<const Checkpoint> suspect, const WalkOptions& walk)
      : file_(file),
        recipes_(std::move(recipes)),
        declared_(declared),
        suspect_(std::move(suspect)),
        walk_(walk),
        arithmetic_(file.options.arithmetic.value_or(recipes_.back().arithmetic.value_or("exact"))),
        opened_(std::make_shared<OpenedModels>()) {
    if (declared) search_.best_share = declared->total.share;
  }

  Result<FitSearch> run() {
    cut_ = cut_to_probes();
    HIERON_TRY(bool done, try_ways());
    if (!done) {
      HIERON_TRY(done, try_orders());
    }
    if (!done) {
      HIERON_TRY(done, try_edits());
    }
    if (!done) {
      HIERON_CHECK(try_blind());
    }
    return std::move(search_);
  }

 private:
  Recipe& last() { return recipes_.back(); }
  const Recipe& last() const { return recipes_.back(); }

  // A few tensors that the declared recipe does not reproduce, small ones, so that the many ways of
  // computing it are soon tried; all of them where nothing is known.
  std::shared_ptr<const Checkpoint> cut_to_probes() const {
    std::set<std::string, std::less<>> differing;
    if (declared_) {
      for (const TensorComparison& tensor : declared_->tensors) {
        if (tensor.equal < tensor.elements) differing.insert(tensor.name);
      }
    }
    std::vector<const TensorInfo*> order;
    for (const TensorInfo& tensor : suspect_->tensors) {
      if (differing.empty() || differing.contains(tensor.name)) order.push_back(&tensor);
    }
    std::ranges::stable_sort(order, [](const TensorInfo* a, const TensorInfo* b) {
      const bool small_a = a->elements < kLeastProbe, small_b = b->elements < kLeastProbe;
      return small_a != small_b ? small_b : a->elements < b->elements;
    });
    std::set<std::string, std::less<>> wanted;
    uint64_t elements = 0;
    for (const TensorInfo* tensor : order) {
      if (wanted.size() == kProbes ||
          (!wanted.empty() && elements + tensor->elements > kProbeElements)) {
        break;
      }
      wanted.insert(tensor->name);
      elements += tensor->elements;
    }
    auto cut = std::make_shared<Checkpoint>(*suspect_);
    std::erase_if(cut->tensors, [&](const TensorInfo& t) { return !wanted.contains(t.name); });
    if (!cut->index()) return suspect_;  // names were unique before
    return cut;
  }

  Result<std::shared_ptr<const Checkpoint>> make(const Recipe& recipe,
                                                 const std::string& arithmetic) const {
    std::vector<Recipe> recipes = recipes_;
    recipes.back() = recipe;
    PlanOptions options = file_.options;
    options.arithmetic = arithmetic;
    options.opened = opened_;
    HIERON_TRY(const std::shared_ptr<const Plan> plan, plan_documents(std::move(recipes), options));
    return computed_checkpoint(plan);
  }

  // The share of the probes that a recipe reproduces: 0 if it cannot be computed so.
  double share_of_probes(const Recipe& recipe, const std::string& arithmetic) {
    if (walk_.cancel && *walk_.cancel) return 0;
    const auto made = make(recipe, arithmetic);
    if (!made) return 0;
    ++search_.tried;
    WalkOptions quiet = walk_;
    quiet.progress = nullptr;
    const auto found = replay(**made, *cut_, quiet);
    if (!found) return 0;
    uint64_t all = 0;
    for (const TensorInfo& tensor : cut_->tensors) all += tensor.elements;
    return all ? static_cast<double>(found->total.equal) / static_cast<double>(all) : 0;
  }

  // Tried on the probes, and if it holds there on everything.
  Result<bool> try_recipe(const Recipe& recipe, const std::string& arithmetic) {
    if (share_of_probes(recipe, arithmetic) < 1) return false;
    return accept(recipe, arithmetic, /*fitted=*/false);
  }

  Result<bool> accept(const Recipe& recipe, const std::string& arithmetic, bool fitted) {
    HIERON_TRY(const std::shared_ptr<const Checkpoint> made, make(recipe, arithmetic));
    HIERON_TRY(const Comparison whole, replay(*made, *suspect_, walk_));
    const bool holds =
        complete(whole, *suspect_) || (fitted && complete_but_for_rounding(whole, *suspect_));
    if (!holds) {
      note_closest(recipe, arithmetic, whole.total.share);
      return false;
    }
    Recipe written = recipe;
    written.arithmetic = arithmetic;
    const auto yaml = recipe_text(written);
    search_.fits =
        Fit{.yaml = yaml.value_or(last().text),
            .arithmetic = arithmetic,
            .whole = whole.total,
            .differences = recipe_differences({last(), arithmetic_}, {recipe, arithmetic})};
    return true;
  }

  void note_closest(const Recipe& recipe, const std::string& arithmetic, double share) {
    if (share <= search_.best_share) return;
    Recipe written = recipe;
    written.arithmetic = arithmetic;
    search_.best_share = share;
    search_.closest = recipe_text(written).value_or("");
  }

  // ---- the declared recipe, computed otherwise

  std::vector<Way> ways() const {
    std::vector<Way> all;
    const auto stored = std::ranges::max_element(suspect_->tensors, {}, &TensorInfo::elements);
    const std::optional<DType> suspects =
        stored == suspect_->tensors.end() ? std::nullopt : std::optional(stored->dtype);
    const std::array<std::pair<std::optional<DType>, std::optional<DType>>, 4> dtypes{
        {{last().dtype, last().out_dtype},
         {suspects, std::nullopt},
         {std::nullopt, suspects},
         {DType::kF32, suspects}}};
    for (const auto& [dtype, out_dtype] : dtypes) {
      for (const std::string& arithmetic : arithmetic_names()) {
        all.push_back({arithmetic, dtype, out_dtype});
      }
    }
    std::ranges::stable_partition(all, [&](const Way& way) {
      return way.arithmetic == arithmetic_ && way.dtype == last().dtype &&
             way.out_dtype == last().out_dtype;
    });
    return all;
  }

  static Recipe computed(Recipe recipe, const Way& way) {
    recipe.dtype = way.dtype;
    recipe.out_dtype = way.out_dtype;
    return recipe;
  }

  Result<bool> try_ways() {
    const bool writable = recipe_text(last()).has_value();
    best_way_ = {arithmetic_, last().dtype, last().out_dtype};
    for (const Way& way : ways()) {
      if (!writable && (way.dtype != last().dtype || way.out_dtype != last().out_dtype)) continue;
      const Recipe recipe = computed(last(), way);
      const double share = share_of_probes(recipe, way.arithmetic);
      if (share > best_share_) {
        best_share_ = share;
        best_way_ = way;
      }
      if (share < 1) continue;
      HIERON_TRY(const bool held, accept(recipe, way.arithmetic, false));
      if (held) return true;
    }
    return false;
  }

  // ---- its inputs in another order, which shows where sums are rounded on the way

  Result<bool> try_orders() {
    if (last().by_slices || last().slices.size() != 1 || !recipe_text(last())) return false;
    const std::vector<RecipeSource> sources = last().slices.front().sources;
    if (sources.size() < 2 || best_share_ < kMayBeRounding) return false;
    std::vector<size_t> order(sources.size());
    std::iota(order.begin(), order.end(), size_t{0});
    for (size_t n = 0; n < kMostOrders && std::ranges::next_permutation(order).found; ++n) {
      Recipe turned = last();
      for (size_t k = 0; k < order.size(); ++k) {
        turned.slices.front().sources[k] = sources[order[k]];
      }
      for (const Way& way : ways()) {
        if (way.dtype != best_way_.dtype || way.out_dtype != best_way_.out_dtype) continue;
        HIERON_TRY(const bool held, try_recipe(computed(turned, way), way.arithmetic));
        if (held) return true;
      }
    }
    return false;
  }

  // ---- one thing in it changed

  static void leave_out(std::vector<ParameterSetting>& settings, std::string_view name) {
    std::erase_if(settings, [&](const ParameterSetting& s) { return s.name == name; });
  }

  std::vector<Recipe> without_a_parameter() const {
    std::set<std::string> names;
    const auto note = [&](const std::vector<ParameterSetting>& settings) {
      for (const ParameterSetting& setting : settings) names.insert(setting.name);
    };
    note(last().parameters);
    for (const RecipeSlice& slice : last().slices) {
      note(slice.parameters);
      for (const RecipeSource& source : slice.sources) note(source.parameters);
    }
    std::vector<Recipe> all;
    for (const std::string& name : names) {
      Recipe& edited = all.emplace_back(last());
      leave_out(edited.parameters, name);
      for (RecipeSlice& slice : edited.slices) {
        leave_out(slice.parameters, name);
        for (RecipeSource& source : slice.sources) leave_out(source.parameters, name);
      }
    }
    return all;
  }

  std::vector<Recipe> without_a_parent() const {
    std::vector<Recipe> all;
    if (last().slices.size() != 1) return all;
    const size_t n = last().slices.front().sources.size();
    for (size_t k = 0; k < n && n > 1; ++k) {
      Recipe& edited = all.emplace_back(last());
      auto& sources = edited.slices.front().sources;
      sources.erase(sources.begin() + static_cast<std::ptrdiff_t>(k));
    }
    return all;
  }

  // Truths the other way round.
  std::vector<Recipe> with_a_truth_turned() const {
    std::vector<Recipe> all;
    if (last().slices.size() != 1) return all;
    for (const ParameterInfo& info : find_method(last().method)->describe().parameters) {
      if (info.type != ParameterType::kBoolean || info.per_model) continue;
      const auto& own = last().parameters;
      const auto set = std::ranges::find(own, info.name, &ParameterSetting::name);
      const bool was = set == own.end() ? info.standard.value_or(0) != 0
                                        : set->rules.front().values == std::vector<double>{1};
      Recipe& edited = all.emplace_back(last());
      leave_out(edited.parameters, info.name);
      auto& settings = edited.slices.front().parameters.empty() ? edited.parameters
                                                                : edited.slices.front().parameters;
      leave_out(settings, info.name);
      settings.push_back({.name = std::string(info.name),
                          .rules = {{.filter = {}, .values = {was ? 0.0 : 1.0}, .texts = {}}}});
    }
    return all;
  }

  Result<bool> try_edits() {
    if (!recipe_text(last())) return false;
    HIERON_TRY(const bool corrected, try_corrections());
    if (corrected) return true;
    std::vector<Recipe> edits = without_a_parameter();
    std::ranges::move(without_a_parent(), std::back_inserter(edits));
    std::ranges::move(with_a_truth_turned(), std::back_inserter(edits));
    std::vector<Way> few{{arithmetic_, last().dtype, last().out_dtype}, best_way_};
    for (const char* name : {"exact", "mergekit-0.1.5", "mergekit-0.1.4"}) {
      few.push_back({name, best_way_.dtype, best_way_.out_dtype});
    }
    for (const Recipe& edited : edits) {
      for (const Way& way : few) {
        HIERON_TRY(const bool held, try_recipe(computed(edited, way), way.arithmetic));
        if (held) return true;
      }
    }
    return false;
  }

  // A misspelt key taken for the one that was meant.
  Result<bool> try_corrections() {
    for (const RecipeWarning& warning : last().warnings) {
      if (warning.meant.empty() || recipes_.size() > 1) continue;
      const auto corrected = parse_recipe(with_key_corrected(warning), file_.path, kLenient);
      if (!corrected) continue;
      for (const std::string& arithmetic : arithmetic_names()) {
        if (share_of_probes(*corrected, arithmetic) < 1) continue;
        HIERON_TRY(const bool held, accept(*corrected, arithmetic, false));
        if (!held) continue;
        std::erase_if(search_.fits->differences,
                      [&](const RecipeDifference& d) { return d.what == warning.key; });
        search_.fits->differences.insert(
            search_.fits->differences.begin(),
            {warning.key, fmt::format("line {}", warning.line), warning.meant,
             fmt::format("declared {} is misspelt, the bytes say {}", printable(warning.key),
                         warning.meant)});
        return true;
      }
    }
    return false;
  }

  std::string with_key_corrected(const RecipeWarning& warning) const {
    std::string text = last().text;
    size_t begin = 0;
    for (int line = 1; line < warning.line && begin != std::string::npos; ++line) {
      begin = text.find('\n', begin);
      if (begin != std::string::npos) ++begin;
    }
    const size_t at = begin == std::string::npos ? begin : text.find(warning.key, begin);
    if (at != std::string::npos && at < text.find('\n', begin)) {
      text.replace(at, warning.key.size(), warning.meant);
    }
    return text;
  }

  // ---- any recipe of the models it names

  Status try_blind() {
    HIERON_TRY(const std::vector<std::shared_ptr<const Checkpoint>> models, named_models());
    if (models.size() < 2) return {};
    std::vector<const Checkpoint*> pointers;
    for (const auto& model : models) pointers.push_back(model.get());
    Alignment alignment = align(pointers, 1);
    std::erase_if(alignment.rows, [](const Row& row) {
      return std::ranges::any_of(row.views, [](const auto& view) {
        return view && (info(view->tensor->dtype).bits < 8 || info(view->tensor->dtype).bits > 64);
      });
    });
    const auto config = parse_config(suspect_->config_json, suspect_->ref);
    const RoleTable& roles = RoleTable::of(config ? config->architecture : "");
    Candidates given{alignment, models, roles, {}, base_, walk_};
    given.walk.progress = nullptr;
    for (size_t m = 1; m < models.size(); ++m) given.candidates.push_back(m);
    const Seed seed{};  // the same answer every time
    HIERON_TRY(const Sample sample,
               draw_sample(alignment, roles, seed,
                           fit_selection(seed, alignment, Selection::everything()), given.walk));
    const std::array<std::string_view, 1> own{last().method};
    const auto evidence = gather_evidence(given, sample);
    for (const bool any : {false, true}) {
      if (!evidence) break;  // nothing to work on
      HIERON_TRY(const auto finding,
                 find_blind(given, sample, *evidence, {}, Selection::everything(), "",
                            any ? std::span<const std::string_view>() : std::span(own)));
      if (!finding) continue;
      HIERON_TRY(const bool held, take_finding(finding->recipe, finding->whole));
      if (held) return {};
    }
    HIERON_TRY(const auto stack, find_stacked(given, Selection::everything()));
    if (!stack) return {};
    HIERON_TRY([[maybe_unused]] const bool held, take_finding(stack->recipe, stack->whole));
    return {};
  }

  // The suspect, then the models at the leaves, under the names that the recipe gives them.
  Result<std::vector<std::shared_ptr<const Checkpoint>>> named_models() {
    std::vector<std::shared_ptr<const Checkpoint>> models{suspect_};
    RecipeModels opened(
        file_.path, casts_first(arithmetic_) ? AdapterArithmetic::kPeft : AdapterArithmetic::kExact,
        opened_, file_.options.source);
    Status fine;
    for (const Recipe& recipe : recipes_) {
      for_each_model(recipe, [&](const ModelRef& ref) {
        if (!fine || ref.document || ref.path.empty()) return;
        const auto number = opened.open(ref);
        if (!number) fine = std::unexpected(number.error());
      });
    }
    HIERON_CHECK(fine);
    for (const PlannedModel& model : opened.all()) {
      if (models.size() > kMostCandidates) break;
      auto named = std::make_shared<Checkpoint>(*model.checkpoint);
      named->ref = model.ref;
      models.push_back(std::move(named));
    }
    if (const auto& base = last().base_model; base && !base->document) {
      const auto number = opened.open(*base);
      if (number && *number + 1 < models.size()) base_ = *number + 1;
    }
    return models;
  }

  // Of the recipes with the same bytes the one that differs least from what was declared.
  Result<bool> take_finding(const FoundRecipe& found, const Comparison& whole) {
    if (whole.total.share > search_.best_share) {
      search_.best_share = whole.total.share;
      search_.closest = found.yaml;
    }
    if (!complete(whole, *suspect_) && !complete_but_for_rounding(whole, *suspect_)) return false;
    std::vector<std::string> texts{found.yaml};
    texts.insert(texts.end(), found.equivalent.begin(), found.equivalent.end());
    std::optional<Fit> best;
    for (const std::string& text : texts) {
      const auto recipe = parse_recipe(text, file_.path);
      if (!recipe) continue;
      const std::string own = recipe->arithmetic.value_or("exact");
      const Recipe as_declared = computed(*recipe, {{}, last().dtype, last().out_dtype});
      const std::array<std::pair<const Recipe*, std::string>, 4> likes{{{&as_declared, arithmetic_},
                                                                        {&*recipe, arithmetic_},
                                                                        {&as_declared, own},
                                                                        {&*recipe, own}}};
      for (const auto& [like, arithmetic] : likes) {
        search_.fits.reset();
        const bool fitted = text == found.yaml && like == &*recipe && arithmetic == own;
        if (!fitted && share_of_probes(*like, arithmetic) < 1) continue;
        HIERON_TRY(const bool held, accept(*like, arithmetic, fitted));
        if (!held) continue;
        const bool nearer = !best || search_.fits->whole.equal > best->whole.equal ||
                            (search_.fits->whole.equal == best->whole.equal &&
                             search_.fits->differences.size() < best->differences.size());
        if (nearer) best = std::move(search_.fits);
        break;
      }
    }
    search_.fits = std::move(best);
    return search_.fits.has_value();
  }

  const DeclaredFile& file_;
  std::vector<Recipe> recipes_;  // the last is the one that is declared
  const Comparison* declared_;
  const std::shared_ptr<const Checkpoint> suspect_;
  const WalkOptions& walk_;
  const std::string arithmetic_;
  const std::shared_ptr<OpenedModels> opened_;
  std::shared_ptr<const Checkpoint> cut_;
  std::optional<size_t> base_;
  double best_share_ = 0;  // of the probes, under the best way
  Way best_way_;
  FitSearch search_;
};

}  // namespace

Result<std::optional<FitSearch>> find_fitting_recipe(
    const DeclaredFile& file, const Comparison* declared,
    const std::shared_ptr<const Checkpoint>& suspect, const WalkOptions& walk) {
  HIERON_TRY(const std::string text, read_text(file.path, yaml::kMaxBytes));
  if (recipe_kind(text, file.path) == RecipeKind::kMoe) return std::nullopt;
  auto recipes = parse_recipes(text, file.path, kLenient);
  if (!recipes || !find_method(recipes->back().method)) return std::nullopt;
  HIERON_TRY(FitSearch found, Searcher(file, *std::move(recipes), declared, suspect, walk).run());
  return found;
}

}  // namespace hieron
