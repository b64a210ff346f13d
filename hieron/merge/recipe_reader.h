// What the readers of recipes share (merges in recipe.cc, mixtures of experts in moe_recipe.cc):
// findings with their lines, keys nobody knows, model references, dtypes, the `hieron:` mapping.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "hieron/core/dtype.h"
#include "hieron/core/error.h"
#include "hieron/format/yaml.h"
#include "hieron/merge/recipe.h"

namespace hieron {

// A candidate that `word` is nearly. Short words are left alone: any two letters are near any
// other.
std::string_view near_miss(std::string_view word, std::span<const std::string_view> candidates);

// Two or more as "a, b and c".
std::string listed(std::span<const std::string_view> words);

// A whole number in [low, high].
std::optional<uint64_t> whole_number(const yaml::Node& node, uint64_t low, uint64_t high);

// The first problem as an Error that counts the others; success if there are none.
Status none_of(std::vector<Error> problems);

class RecipeReader {
 public:
  explicit RecipeReader(std::string file) : file_(std::move(file)) {}

  // Clauses: no capital, no full stop; problems() and warnings() make them sentences with file and
  // line.
  void problem(int line, std::string clause) { problems_.push_back({line, std::move(clause)}); }
  void warn(int line, std::string_view clause);
  // Of a key that has no effect; `meant`: the one that it is nearly, or empty.
  void warn_of_key(int line, std::string_view clause, std::string_view key,
                   std::string_view meant = {});
  bool sound() const { return problems_.empty(); }

  // A misspelt key is a warning, as mergekit ignores it; else a problem.
  void be_lenient(bool lenient) { lenient_ = lenient; }

  // An unknown key that is nearly a known one is a typing error; any other is only mentioned.
  void check_keys(const yaml::Node& node, std::span<const std::string_view> known,
                  std::string_view where);
  void unknown(int line, const std::string& what, std::string_view key, std::string_view meant,
               std::string_view hint = {});

  std::optional<ModelRef> model(const yaml::Node* node);
  std::optional<DType> dtype(const yaml::Node* node, std::string_view key);

  struct Settings {  // of the `hieron:` mapping
    std::optional<std::string> arithmetic, seed;
    std::optional<uint64_t> seed_number;
    std::optional<unsigned> threads;
    std::optional<ExpertLayout> experts;
  };
  Settings settings(const yaml::Node* node);

  // By line.
  std::vector<Error> problems() const;
  const std::vector<RecipeWarning>& warnings() const { return warnings_; }

 private:
  struct Finding {
    int line;
    std::string clause;
  };

  bool path(const yaml::Node& node, std::string& path, std::string& revision);

  const std::string file_;
  bool lenient_ = false;
  std::vector<Finding> problems_;
  std::vector<RecipeWarning> warnings_;
};

}  // namespace hieron
