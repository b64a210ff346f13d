// The vocabulary of a merge: the recipe's wish carried out on its models.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "hieron/core/error.h"
#include "hieron/merge/mergekit/replay.h"
#include "hieron/merge/recipe.h"
#include "hieron/merge/recipe_models.h"
#include "hieron/model/tokenizer.h"

namespace hieron {

struct MergedVocabulary {
  // Of all models: rows aligned; and the donor's config.json with the result's token ids.
  std::vector<std::shared_ptr<const Checkpoint>> checkpoints;
  std::vector<TokenizerFile> files;  // of the result; empty: the donor's are copied as they are.
                                     // generation_config.json too, if its token ids change
  std::optional<uint64_t> rows;      // config.json's vocab_size, if it is decided here
  std::vector<std::string> warnings;
};

struct VocabularyOptions {
  std::optional<mergekit::Version> replay;
  bool truncate = false;  // no rule: cut every vocabulary to the shortest (mergekit's
                          // --unsafe-truncate-embeddings; 0.1.4 does it unasked)
  uint32_t donor = 0;  // whose config and tokenizer files are taken where the recipe does not say
};

// `models`: every model the recipe names; those that only lend tokens are opened into it (but not a
// folder that has a tokenizer and no weights). Refused: a wish that cannot be met; different
// vocabularies without a rule are left as they are.
Result<MergedVocabulary> merge_vocabularies(const Recipe& recipe, RecipeModels& models,
                                            const VocabularyOptions& options);

}  // namespace hieron
