// Merging models whose vocabularies differ: which token gets which row of the result, and where in
// each model that row comes from. `tokenizer_source` and `tokenizer` of a recipe.
//
// The rules are mergekit's (docs/tokenizers.md). A model that has a token contributes its own row.
// One that lacks it takes what the recipe names; else the row of the only model that has it; else
// the base_model's; else the mean of those that have it; zero if none has. After that all models
// have the same rows, and any method merges them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "hieron/core/dtype.h"
#include "hieron/core/error.h"
#include "hieron/merge/mergekit/replay.h"
#include "hieron/model/tokenizer.h"
#include "hieron/walk/checkpoint.h"

namespace hieron {

// What the recipe says about one token. Models are numbers into the list given to plan_tokens.
struct TokenRule {
  enum class From : uint8_t { kDefault, kModel, kModelToken, kZero };
  std::string token;
  From from = From::kDefault;
  size_t model = 0;            // kModel, kModelToken
  std::string other;           // kModelToken: this token's row,
  std::optional<uint64_t> id;  // or this one
  bool force = false;          // also in models that have a row of their own
  int line = 0;
};

struct TokenizerWish {
  enum class Source : uint8_t { kUnion, kBase, kModel };
  Source source = Source::kUnion;
  size_t model = 0;  // kModel
  std::vector<TokenRule> rules;
  std::optional<uint64_t> pad_to_multiple_of;
  int line = 0;
};

// One model, or a folder that only lends its tokenizer (merged = false, rows = 0).
struct TokenModel {
  std::string name;                            // for messages
  std::shared_ptr<const Tokenizer> tokenizer;  // null: none found, taken to be the base's
  std::optional<uint64_t> vocab_size;          // config.json
  uint64_t rows = 0;                           // of its embedding (vocabulary_rows)
  bool merged = true;                          // a union takes its tokens
  bool lends = true;                           // and others without a token may take its rows
};

struct TokenOptions {
  std::optional<mergekit::Version> replay;  // refuse what that version dies of, cut what it cuts
  bool keep_padding = true;  // rows of the donor beyond its tokens stay; a replay never keeps them
  std::optional<size_t>
      preferred;  // base_model: where several models have a token, its row is lent
};

enum class RowFrom : uint8_t {
  kRow,        // rows row, row + 1, … of `model`
  kMean,       // entries row, row + 1, … of TokenPlan::means
  kZero,       //
  kMeanOfAll,  // the mean of this model's own aligned rows that have a token
};

// Where output rows [first, first + count) of one model's aligned matrix come from.
struct RowRun {
  uint64_t first, count;
  RowFrom from;
  uint32_t model = 0;
  uint64_t row = 0;
};

struct ModelRow {
  uint32_t model;
  uint64_t row;
};

struct TokenPlan {
  size_t donor = 0;                            // the model whose tokenizer files are written
  std::shared_ptr<const Tokenizer> tokenizer;  // the donor's
  std::vector<AddedToken> added;     // to be put into its files, by id: new tokens, or new settings
  std::vector<std::string> dropped;  // tokens of the donor whose rows do not exist
  uint64_t tokens = 0;               // in the output vocabulary
  uint64_t rows = 0;                 // of the output embedding: config.json's vocab_size
  std::vector<std::vector<RowRun>> models;  // by model: its runs, which tile [0, rows)
  std::vector<std::vector<ModelRow>> means;
  std::vector<uint64_t> rows_of;  // by model: rows it has now
  std::vector<bool> merged;       // by model: its own matrix is merged, and may lend rows
  std::vector<RowRun> unclaimed;  // rows without a token (first, count)
  std::vector<std::string> warnings;
  std::optional<mergekit::Version> replay;

  std::optional<uint64_t> id(std::string_view token) const;  // in the output
  bool unchanged(size_t model) const;                        // its rows stay where they are
};

// `base`: whose tokens come first: the recipe's base_model, else the first model. Cost: a lookup
// for each token and model.
Result<TokenPlan> plan_tokens(const TokenizerWish& wish, std::span<const TokenModel> models,
                              size_t base, const TokenOptions& options = {});

// The tokenizer files of the result: the donor's, with tokens inserted and dropped; all other text
// in them stays as it is. Refused: files that would not give each token the id that the plan has.
Result<std::vector<TokenizerFile>> tokenizer_files(const TokenPlan& plan);

// Tensors of a checkpoint that have a row for each token: embeddings and heads of two dimensions,
// by the role table, with as many rows as the input embedding. Empty if there is none.
std::vector<const TensorInfo*> vocabulary_tensors(const Checkpoint& checkpoint);
uint64_t vocabulary_rows(const Checkpoint& checkpoint);  // 0 if there are none

// A config.json or generation_config.json whose token ids (eos_token_id, …) are those of `from`,
// with the ids of the same tokens in the plan's vocabulary; `missing`: the keys whose token is not
// there.
std::string with_token_ids(const std::string& config, const Tokenizer& from, const TokenPlan& plan,
                           std::vector<std::string>& missing);

// The head of two dimensions; null if there is none.
const TensorInfo* output_head(const Checkpoint& checkpoint);

// Does the config say that the embedding is the head too (tie_word_embeddings)? And with false.
bool is_tied(const Checkpoint& checkpoint);
std::string untied_config(const std::string& config);

// A tied model without a head, with its embedding under this name too. Others are returned as they
// are.
Result<std::shared_ptr<const Checkpoint>> with_own_head(
    const std::shared_ptr<const Checkpoint>& checkpoint, const std::string& name);

// The checkpoints (one for each model of the plan, null for those with rows = 0) with their
// vocabulary tensors aligned: `rows` rows, of the dtype `working`, else of the widest that the
// models store that tensor in. All other tensors are as before, those that do not change too, and
// the files are the same. A head that only some models have is taken from their embedding by those
// that lend a row of it. Means: f64 and one rounding; in a replay as torch computes them. Nothing
// is read before a tensor is. `heads`: another plan of the same rows for them, unless null.
Result<std::vector<std::shared_ptr<const Checkpoint>>> reindexed(
    std::span<const std::shared_ptr<const Checkpoint>> checkpoints, const TokenPlan& plan,
    std::optional<DType> working = {}, const TokenPlan* heads = nullptr);

// Embeddings that have neither a row for each token nor one for each position: nothing here says
// what their rows are.
std::vector<const TensorInfo*> other_embeddings(const Checkpoint& checkpoint);

// The first `rows` rows of each vocabulary tensor; nothing else changes, config.json neither.
Result<std::shared_ptr<const Checkpoint>> truncated(
    const std::shared_ptr<const Checkpoint>& checkpoint, uint64_t rows);

}  // namespace hieron
