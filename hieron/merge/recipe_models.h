// The models that a recipe names, each opened once however often it is named.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "hieron/core/error.h"
#include "hieron/merge/low_rank.h"
#include "hieron/merge/recipe.h"
#include "hieron/walk/checkpoint.h"

namespace hieron {

// A model of the recipe.
struct PlannedModel {
  std::string ref;  // as written
  std::shared_ptr<const Checkpoint> checkpoint;
};

// Models that several recipes share, by what they are opened from. One caller at a time.
using OpenedModels = std::map<std::string, std::shared_ptr<const Checkpoint>>;

class RecipeModels {
 public:
  // `file`: the recipe's, where relative paths start. `adapters`: how adapters are added. `shared`:
  // what other recipes have opened, and what this one adds to it. `source`: of models and adapters
  // that are no paths.
  explicit RecipeModels(std::string file, AdapterArithmetic adapters = AdapterArithmetic::kExact,
                        std::shared_ptr<OpenedModels> shared = nullptr, ModelSource source = {})
      : file_(std::move(file)),
        adapters_(adapters),
        shared_(std::move(shared)),
        source_(std::move(source)) {}

  // A model that is another document of the recipe's file, under the document's name.
  void provide(const std::string& document, std::shared_ptr<const Checkpoint> checkpoint) {
    documents_[document] = std::move(checkpoint);
  }

  // The number of the model, in the order of first mention.
  Result<uint32_t> open(const ModelRef& ref);

  const std::vector<PlannedModel>& all() const { return models_; }
  std::vector<PlannedModel>& all() { return models_; }

 private:
  std::string locate(std::initializer_list<std::string_view> candidates) const;
  Result<std::shared_ptr<const Checkpoint>> open_once(const ModelRef& ref, const std::string& path,
                                                      const std::string& key) const;
  Result<std::shared_ptr<const Checkpoint>> open_files(const ModelRef& ref,
                                                       const std::string& path) const;
  Result<uint32_t> open_document(const ModelRef& ref);
  Result<std::string> adapter_folder(const ModelRef& ref) const;

  const std::string file_;
  const AdapterArithmetic adapters_;
  const std::shared_ptr<OpenedModels> shared_;
  const ModelSource source_;
  std::map<std::string, std::shared_ptr<const Checkpoint>> documents_;
  std::vector<PlannedModel> models_;
  std::map<std::string, uint32_t> opened_;  // canonical path -> model
};

}  // namespace hieron
