#include "hieron/merge/vocabulary.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <iterator>
#include <span>
#include <utility>

#include "hieron/core/shape.h"
#include "hieron/core/text.h"
#include "hieron/io/file.h"
#include "hieron/merge/chat_template.h"
#include "hieron/merge/tokens.h"
#include "hieron/model/config.h"

namespace hieron {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kGeneration = "generation_config.json";
constexpr uint64_t kMostConfigBytes = 16u << 20;

uint64_t width_of_rows(const Checkpoint& checkpoint) {
  for (const TensorInfo* tensor : vocabulary_tensors(checkpoint)) {
    if (tensor->shape.size() == 2) return row_length(tensor->shape);
  }
  return 0;
}

class VocabularyMerger {
 public:
  VocabularyMerger(const Recipe& recipe, RecipeModels& models, const VocabularyOptions& options)
      : recipe_(recipe), models_(models), options_(options), merged_(models.all().size()) {}

  Result<MergedVocabulary> run() {
    HIERON_CHECK(untie());
    if (recipe_.tokenizer) {
      HIERON_CHECK(align());
    } else {
      for (const PlannedModel& model : models_.all()) {
        result_.checkpoints.push_back(model.checkpoint);
      }
      HIERON_CHECK(truncate());
      HIERON_CHECK(check_stack());
    }
    HIERON_CHECK(choose_chat_template());
    return std::move(result_);
  }

 private:
  // ---- heads

  // Where some models have a head of their own, those whose embedding is their head get it too.
  Status untie() {
    HIERON_TRY(const TensorInfo* const head, result_head());
    if (!head) return {};
    const std::string name = head->name;
    for (size_t m = 0; m < merged_; ++m) {
      PlannedModel& model = models_.all()[m];
      HIERON_TRY(auto untied, with_own_head(model.checkpoint, name));
      if (untied == model.checkpoint) continue;
      model.checkpoint = std::move(untied);
      result_.warnings.push_back(fmt::format(
          "{}: its embedding is its head too, and is merged as \"{}\" with the other models'.",
          printable(model.ref), printable(name)));
    }
    untie_config();
    return {};
  }

  // A merged head is not used while the config says that the embedding is the head.
  void untie_config() {
    bool own_head = false;
    for (size_t m = 0; m < merged_; ++m) {
      const Checkpoint& checkpoint = *models_.all()[m].checkpoint;
      own_head = own_head || (output_head(checkpoint) && !is_tied(checkpoint));
    }
    PlannedModel& donor = models_.all()[options_.donor];
    if (!own_head || !is_tied(*donor.checkpoint)) return;
    result_.warnings.push_back(fmt::format(
        "{}: tie_word_embeddings is true, but other models have a head of their own: {}.",
        printable(donor.ref),
        options_.replay ? "mergekit leaves it true, so that the merged head is not used"
                        : "the result's config says false"));
    if (options_.replay) return;
    auto untied = std::make_shared<Checkpoint>(*donor.checkpoint);
    untied->config_json = untied_config(untied->config_json);
    donor.checkpoint = std::move(untied);
  }

  // The head that the result will have, in one of the models; null if there will be none. mergekit
  // writes one if a model of the last slice has one.
  Result<const TensorInfo*> result_head() {
    std::vector<uint32_t> deciding;
    if (options_.replay && by_slices()) {
      for (const RecipeSource& source : recipe_.slices.back().sources) {
        HIERON_TRY(deciding.emplace_back(), models_.open(source.model));
      }
    } else {
      for (uint32_t m = 0; m < merged_; ++m) deciding.push_back(m);
    }
    for (const uint32_t m : deciding) {
      if (const TensorInfo* head = output_head(*models_.all()[m].checkpoint)) return head;
    }
    return nullptr;
  }

  // ---- the recipe's wish

  Result<TokenizerWish> wish() {
    const RecipeTokenizer& given = *recipe_.tokenizer;
    TokenizerWish wish{.source = static_cast<TokenizerWish::Source>(given.source),
                       .model = 0,
                       .rules = {},
                       .pad_to_multiple_of = given.pad_to_multiple_of,
                       .line = given.line};
    for (const RecipeToken& token : given.tokens) {
      TokenRule rule{.token = token.token,
                     .from = static_cast<TokenRule::From>(token.from),
                     .model = 0,
                     .other = token.other,
                     .id = token.id,
                     .force = token.force,
                     .line = token.line};
      if (token.from == RecipeToken::From::kModel || token.from == RecipeToken::From::kModelToken) {
        HIERON_TRY(rule.model, models_.open(token.model));
      }
      wish.rules.push_back(std::move(rule));
    }
    if (given.source == RecipeTokenizer::Source::kModel) {
      tokenizer_only_ = folder_without_weights(given.model);
      if (tokenizer_only_.empty()) {
        HIERON_TRY(wish.model, models_.open(given.model));
      } else {
        wish.model = models_.all().size();  // behind all that have weights
      }
    }
    return wish;
  }

  // A source that is a tokenizer and nothing else; empty if it is more than that.
  std::string folder_without_weights(const ModelRef& ref) const {
    const auto weights = [](const fs::directory_entry& entry) {
      const fs::path extension = entry.path().extension();
      return extension == ".safetensors" || extension == ".bin" || extension == ".gguf";
    };
    for (const fs::path& folder :
         {fs::path(recipe_.file).parent_path() / ref.path, fs::path(ref.path)}) {
      std::error_code failed;
      const fs::directory_iterator entries(folder, failed);
      if (failed || ref.document) continue;
      return std::any_of(begin(entries), end(entries), weights) ? std::string() : folder.string();
    }
    return {};
  }

  // ---- the models' tokens

  Result<std::vector<TokenModel>> token_models() {
    std::vector<TokenModel> found;
    for (const PlannedModel& model : models_.all()) {
      const Checkpoint& checkpoint = *model.checkpoint;
      const bool merged = found.size() < merged_;
      TokenModel entry{.name = model.ref,
                       .tokenizer = nullptr,
                       .vocab_size = {},
                       .rows = vocabulary_rows(checkpoint),
                       .merged = merged,
                       .lends = merged};
      // A larger model of the family may lend its tokenizer, but no rows.
      const Checkpoint& first = *models_.all()[options_.donor].checkpoint;
      if (!merged && width_of_rows(checkpoint) != width_of_rows(first)) entry.rows = 0;
      if (!checkpoint.folder.empty()) {
        HIERON_TRY(entry.tokenizer, open_tokenizer(checkpoint.folder));
      }
      if (const auto config = parse_config(checkpoint.config_json, model.ref)) {
        entry.vocab_size = config->vocab_size;
      }
      found.push_back(std::move(entry));
    }
    if (tokenizer_only_.empty()) return found;
    HIERON_TRY(const auto tokenizer, open_tokenizer(tokenizer_only_));
    found.push_back({.name = tokenizer_only_,
                     .tokenizer = tokenizer,
                     .vocab_size = {},
                     .rows = 0,
                     .merged = false,
                     .lends = false});
    return found;
  }

  // mergekit merges the embedding of the first slice's models and the head of the last one's; no
  // other model's rows are there when a token has none.
  Status lend_as_in(const RecipeSlice& slice, std::vector<TokenModel>& token_models,
                    TokenOptions& token_options) {
    for (TokenModel& model : token_models) model.lends = false;
    for (const RecipeSource& source : slice.sources) {
      HIERON_TRY(const uint32_t model, models_.open(source.model));
      token_models[model].lends = true;
    }
    if (!slice.base_model) return {};
    HIERON_TRY(token_options.preferred, models_.open(*slice.base_model));
    return {};
  }

  Status align() {
    HIERON_TRY(const TokenizerWish wanted, wish());
    HIERON_TRY(std::vector<TokenModel> models, token_models());
    TokenOptions token_options{
        .replay = options_.replay, .keep_padding = !options_.replay.has_value(), .preferred = {}};
    if (recipe_.base_model) token_options.preferred = options_.donor;
    const auto plan = [&]() {
      return located(plan_tokens(wanted, models, options_.donor, token_options), wanted.line);
    };
    if (!options_.replay || !by_slices()) {
      HIERON_TRY(const TokenPlan all, plan());
      return take(all, all, models);
    }
    HIERON_CHECK(lend_as_in(recipe_.slices.front(), models, token_options));
    HIERON_TRY(const TokenPlan embeddings, plan());
    HIERON_TRY(const TensorInfo* const head, result_head());
    if (!head) return take(embeddings, embeddings, models);
    HIERON_CHECK(lend_as_in(recipe_.slices.back(), models, token_options));
    HIERON_TRY(const TokenPlan heads, plan());
    return take(embeddings, heads, models);
  }

  Status take(const TokenPlan& plan, const TokenPlan& heads,
              std::span<const TokenModel> token_models) {
    std::vector<std::shared_ptr<const Checkpoint>> checkpoints;
    for (size_t m = 0; m < token_models.size(); ++m) {
      const bool rows = token_models[m].rows > 0;
      checkpoints.push_back(rows ? models_.all()[m].checkpoint : nullptr);
    }
    // Under exact arithmetic nothing is cast first.
    const std::optional<DType> working = options_.replay ? recipe_.dtype : std::nullopt;
    HIERON_TRY(result_.checkpoints, reindexed(checkpoints, plan, working, &heads));
    result_.checkpoints.resize(models_.all().size());
    for (size_t m = 0; m < result_.checkpoints.size(); ++m) {
      if (!result_.checkpoints[m]) result_.checkpoints[m] = models_.all()[m].checkpoint;
    }
    HIERON_TRY(result_.files, located(tokenizer_files(plan), recipe_.tokenizer->line));
    result_.rows = plan.rows;
    result_.warnings = plan.warnings;
    if (&heads != &plan) std::ranges::copy(heads.warnings, std::back_inserter(result_.warnings));
    warn_of_the_untouched(plan);
    warn_of_stale_files(plan);
    return renumber_configs(plan, token_models);
  }

  void warn_of_the_untouched(const TokenPlan& plan) {
    for (size_t m = 0; m < merged_; ++m) {
      if (plan.unchanged(m)) continue;
      for (const TensorInfo* tensor : other_embeddings(*models_.all()[m].checkpoint)) {
        result_.warnings.push_back(fmt::format(
            "{}: the embedding \"{}\" has {} rows, not one for each token; it is merged "
            "as it is.",
            printable(models_.all()[m].ref), printable(tensor->name),
            with_commas(tensor->shape[0])));
      }
    }
  }

  // Formats of other programs that cannot be given the tokens.
  void warn_of_stale_files(const TokenPlan& plan) {
    if (plan.added.empty() && plan.dropped.empty()) return;
    for (const TokenizerFile& file : result_.files) {
      if (!is_opaque_vocabulary(file.name)) continue;
      result_.warnings.push_back(fmt::format(
          "{}: written as it is, without the tokens that tokenizer.json gains or loses.",
          file.name));
    }
  }

  // ---- token ids in configs

  // The config is the donor's, but the ids are those of the tokenizer.
  Status renumber_configs(const TokenPlan& plan, std::span<const TokenModel> token_models) {
    const auto& from = token_models[options_.donor].tokenizer;
    if (!from || from == plan.tokenizer) return {};
    const std::shared_ptr<const Checkpoint> donor = result_.checkpoints[options_.donor];
    const std::string config = renumbered("config.json", donor->config_json, *from, plan);
    if (config != donor->config_json) {
      auto changed = std::make_shared<Checkpoint>(*donor);
      changed->config_json = config;
      result_.checkpoints[options_.donor] = std::move(changed);
    }
    const fs::path path = fs::path(donor->folder) / kGeneration;
    std::error_code ignored;
    if (donor->folder.empty() || !fs::is_regular_file(path, ignored)) return {};
    HIERON_TRY(const std::string before, read_text(path.string(), kMostConfigBytes));
    std::string after = renumbered(kGeneration, before, *from, plan);
    if (after != before) result_.files.push_back({std::string(kGeneration), std::move(after)});
    return {};
  }

  std::string renumbered(std::string_view file, const std::string& config, const Tokenizer& from,
                         const TokenPlan& plan) {
    std::vector<std::string> missing;
    std::string changed = with_token_ids(config, from, plan, missing);
    if (!missing.empty()) {
      result_.warnings.push_back(fmt::format(
          "{}: {} {} of {}, which the result's vocabulary lacks; correct it there.", file,
          fmt::join(missing, ", "), missing.size() == 1 ? "is a token" : "are tokens",
          printable(models_.all()[options_.donor].ref)));
    }
    if (!options_.replay || changed == config) return changed;
    result_.warnings.push_back(
        fmt::format("{}: its token ids are those of {}, as mergekit leaves them; in the result's "
                    "tokenizer they are other tokens.",
                    file, printable(models_.all()[options_.donor].ref)));
    return config;
  }

  // Puts the recipe's line before a sentence that lacks a file.
  template <class T>
  Result<T> located(Result<T> result, int line) const {
    if (result || !result.error().file.empty()) return result;
    Error error = std::move(result.error());
    const auto at = error.offset.value_or(static_cast<uint64_t>(line));
    error.sentence = fmt::format("{}, line {}: {}", recipe_.file, at, error.sentence);
    error.file = recipe_.file;
    error.offset = at;
    return std::unexpected(std::move(error));
  }

  bool by_slices() const { return recipe_.by_slices && !recipe_.slices.empty(); }

  // ---- without a rule

  Status truncate() {
    if (!options_.truncate && options_.replay != mergekit::Version::k014) return {};
    if (recipe_.method == "passthrough") return {};  // one input, nothing to fit it to
    uint64_t least = UINT64_MAX, most = 0;
    for (const auto& checkpoint : result_.checkpoints) {
      const uint64_t rows = vocabulary_rows(*checkpoint);
      if (rows == 0) continue;
      least = std::min(least, rows);
      most = std::max(most, rows);
    }
    if (least >= most) return {};
    if (!options_.truncate) HIERON_CHECK(check_replayed_cut(least));
    for (auto& checkpoint : result_.checkpoints) {
      if (vocabulary_rows(*checkpoint) <= least) continue;
      HIERON_TRY(checkpoint, truncated(checkpoint, least));
    }
    // A replay leaves the config as it is, as mergekit does.
    if (!options_.replay) result_.rows = least;
    result_.warnings.push_back(fmt::format(
        "{}: the models have different vocabularies; every one is cut to {} rows, {}and "
        "equal rows need not be equal tokens.",
        recipe_.file, with_commas(least), options_.replay ? "the config stays as it is, " : ""));
    return {};
  }

  // A stack has the embedding of its first model and the head of its last one.
  Status check_stack() {
    if (!by_slices()) return {};
    HIERON_TRY(const uint32_t first, models_.open(recipe_.slices.front().sources.front().model));
    HIERON_TRY(const uint32_t last, models_.open(recipe_.slices.back().sources.front().model));
    const uint64_t rows = vocabulary_rows(*result_.checkpoints[first]);
    const TensorInfo* head = output_head(*result_.checkpoints[last]);
    if (rows == 0 || !head || head->shape[0] == rows) return {};
    std::string sentence = fmt::format(
        "{}: the embedding of \"{}\" has {} rows and the head of \"{}\" has {}: no program opens "
        "such a model; say how their tokens match (tokenizer_source: union, or base).",
        recipe_.file, printable(models_.all()[first].ref), with_commas(rows),
        printable(models_.all()[last].ref), with_commas(head->shape[0]));
    if (!options_.replay) return refuse(std::move(sentence), recipe_.file);
    result_.warnings.push_back(std::move(sentence));
    return {};
  }

  // 0.1.4 cuts within some methods: to the shortest, or to the base, which must be that.
  Status check_replayed_cut(uint64_t least) const {
    constexpr std::array<std::string_view, 5> kToTheShortest{"linear", "slerp", "nuslerp",
                                                             "model_stock", "arcee_fusion"};
    constexpr std::array<std::string_view, 4> kNever{"multislerp", "karcher", "nearswap", "sce"};
    const std::string_view method = recipe_.method;
    if (std::ranges::find(kToTheShortest, method) != kToTheShortest.end()) return {};
    const bool never = std::ranges::find(kNever, method) != kNever.end();
    if (!never && vocabulary_rows(*result_.checkpoints[options_.donor]) == least) return {};
    return refuse(
        fmt::format("{}: mergekit 0.1.4 fails because {} needs {} (RuntimeError); add "
                    "tokenizer_source: union (or base).",
                    recipe_.file, method,
                    never ? "equally large vocabularies" : "a base with the smallest vocabulary"),
        recipe_.file);
  }

  // ---- the chat template

  Status choose_chat_template() {
    if (!recipe_.chat_template) return {};
    HIERON_TRY(const auto inputs, input_templates());
    HIERON_TRY(
        const std::optional<std::string> chosen,
        located(chat_template_of(*recipe_.chat_template, inputs), recipe_.chat_template_line));
    if (!chosen) {
      result_.warnings.push_back(
          fmt::format("{}, line {}: chat_template is auto, but no model has one; none is written.",
                      recipe_.file, recipe_.chat_template_line));
      return {};
    }
    if (result_.files.empty()) {
      const PlannedModel& donor = models_.all()[options_.donor];
      if (donor.checkpoint->folder.empty()) {
        return refuse(
            fmt::format(
                "{}, line {}: the chat_template needs tokenizer files, which \"{}\" does not "
                "have; name a tokenizer_source.",
                recipe_.file, recipe_.chat_template_line, printable(donor.ref)),
            recipe_.file, {}, static_cast<uint64_t>(recipe_.chat_template_line));
      }
      HIERON_TRY(result_.files, read_tokenizer_files(donor.checkpoint->folder));
    }
    return set_chat_template(result_.files, *chosen);
  }

  Result<std::vector<std::optional<std::string>>> input_templates() const {
    std::vector<std::optional<std::string>> inputs;
    for (size_t m = 0; m < merged_ && *recipe_.chat_template == "auto"; ++m) {
      const std::string& folder = models_.all()[m].checkpoint->folder;
      if (folder.empty()) continue;
      HIERON_TRY(inputs.emplace_back(), read_chat_template(folder));
    }
    return inputs;
  }

  const Recipe& recipe_;
  RecipeModels& models_;
  const VocabularyOptions& options_;
  const size_t merged_;         // models before those that only lend tokens
  std::string tokenizer_only_;  // the folder of a tokenizer_source without weights
  MergedVocabulary result_;
};

}  // namespace

Result<MergedVocabulary> merge_vocabularies(const Recipe& recipe, RecipeModels& models,
                                            const VocabularyOptions& options) {
  return VocabularyMerger(recipe, models, options).run();
}

}  // namespace hieron
