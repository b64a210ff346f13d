#include "hieron/merge/vocabulary.h"

#include <fmt/format.h>

#include <algorithm>

#include "hieron/core/text.h"
#include "hieron/merge/chat_template.h"
#include "hieron/merge/tokens.h"
#include "hieron/model/config.h"

namespace hieron {
namespace {

class VocabularyMerger {
 public:
  VocabularyMerger(const Recipe& recipe, RecipeModels& models, const VocabularyOptions& options)
      : recipe_(recipe), models_(models), options_(options), merged_(models.all().size()) {}

  Result<MergedVocabulary> run() {
    if (recipe_.tokenizer) {
      HIERON_CHECK(align());
    } else {
      for (const PlannedModel& model : models_.all()) {
        result_.checkpoints.push_back(model.checkpoint);
      }
      HIERON_CHECK(truncate());
    }
    HIERON_CHECK(choose_chat_template());
    return std::move(result_);
  }

 private:
  Result<TokenizerWish> wish() {
    const RecipeTokenizer& given = *recipe_.tokenizer;
    TokenizerWish wish{.source = static_cast<TokenizerWish::Source>(given.source),
                       .model = 0,
                       .rules = {},
                       .pad_to_multiple_of = given.pad_to_multiple_of,
                       .line = given.line};
    if (given.source == RecipeTokenizer::Source::kModel) {
      HIERON_TRY(wish.model, models_.open(given.model));
    }
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
    return wish;
  }

  Status align() {
    HIERON_TRY(const TokenizerWish wanted, wish());
    std::vector<std::shared_ptr<const Checkpoint>> checkpoints;
    std::vector<TokenModel> token_models;
    for (size_t m = 0; m < models_.all().size(); ++m) {
      const PlannedModel& model = models_.all()[m];
      checkpoints.push_back(model.checkpoint);
      TokenModel entry{.name = model.ref,
                       .tokenizer = nullptr,
                       .vocab_size = {},
                       .rows = vocabulary_rows(*model.checkpoint),
                       .merged = m < merged_};
      if (!model.checkpoint->folder.empty()) {
        HIERON_TRY(entry.tokenizer, open_tokenizer(model.checkpoint->folder));
      }
      if (const auto config = parse_config(model.checkpoint->config_json, model.ref)) {
        entry.vocab_size = config->vocab_size;
      }
      token_models.push_back(std::move(entry));
    }
    const TokenOptions token_options{.replay = options_.replay,
                                     .keep_padding = !options_.replay.has_value()};
    HIERON_TRY(
        const TokenPlan plan,
        located(plan_tokens(wanted, token_models, options_.donor, token_options), wanted.line));
    HIERON_TRY(result_.checkpoints, reindexed(checkpoints, plan, recipe_.dtype));
    HIERON_TRY(result_.files, tokenizer_files(plan));
    result_.rows = plan.rows;
    result_.warnings = plan.warnings;
    return {};
  }

  template <class T>
  Result<T> located(Result<T> result, int line) const {
    if (result || !result.error().file.empty()) return result;
    Error error = std::move(result.error());
    error.sentence = fmt::format("{}, line {}: {}", recipe_.file, line, error.sentence);
    error.file = recipe_.file;
    error.offset = static_cast<uint64_t>(line);
    return std::unexpected(std::move(error));
  }

  Status truncate() {
    if (!options_.truncate && options_.replay != mergekit::Version::k014) return {};
    uint64_t least = UINT64_MAX, most = 0;
    for (const auto& checkpoint : result_.checkpoints) {
      const uint64_t rows = vocabulary_rows(*checkpoint);
      if (rows == 0) continue;
      least = std::min(least, rows);
      most = std::max(most, rows);
    }
    if (least >= most) return {};
    for (auto& checkpoint : result_.checkpoints) {
      if (vocabulary_rows(*checkpoint) <= least) continue;
      HIERON_TRY(checkpoint, truncated(checkpoint, least));
    }
    result_.warnings.push_back(
        fmt::format("{}: the models have different vocabularies; every one is cut to {} rows, the "
                    "config stays as it is, and equal rows need not be equal tokens.",
                    recipe_.file, with_commas(least)));
    return {};
  }

  Status choose_chat_template() {
    if (!recipe_.chat_template) return {};
    std::vector<std::optional<std::string>> inputs;
    for (size_t m = 0; m < merged_; ++m) {
      const Checkpoint& checkpoint = *models_.all()[m].checkpoint;
      if (checkpoint.folder.empty()) continue;
      HIERON_TRY(const std::shared_ptr<const Tokenizer> tokenizer,
                 open_tokenizer(checkpoint.folder));
      inputs.push_back(tokenizer ? tokenizer->chat_template() : std::nullopt);
    }
    HIERON_TRY(
        const std::optional<std::string> text,
        located(chat_template_of(*recipe_.chat_template, inputs), recipe_.chat_template_line));
    if (!text) return {};
    if (result_.files.empty()) {
      const std::string& folder = models_.all()[options_.donor].checkpoint->folder;
      if (folder.empty()) return {};
      HIERON_TRY(result_.files, read_tokenizer_files(folder));
    }
    return set_chat_template(result_.files, *text);
  }

  const Recipe& recipe_;
  RecipeModels& models_;
  const VocabularyOptions& options_;
  const size_t merged_;  // models before those that only lend tokens
  MergedVocabulary result_;
};

}  // namespace

Result<MergedVocabulary> merge_vocabularies(const Recipe& recipe, RecipeModels& models,
                                            const VocabularyOptions& options) {
  return VocabularyMerger(recipe, models, options).run();
}

}  // namespace hieron
