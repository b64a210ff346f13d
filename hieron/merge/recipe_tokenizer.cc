#include "hieron/merge/recipe_tokenizer.h"

#include <fmt/format.h>

#include <array>

#include "hieron/core/text.h"

namespace hieron {
namespace {

using yaml::Kind;
using yaml::Node;

constexpr std::array<std::string_view, 3> kTokenizerKeys{"source", "tokens", "pad_to_multiple_of"};
constexpr std::array<std::string_view, 2> kTokenKeys{"source", "force"};
constexpr std::array<std::string_view, 4> kTokenSourceKeys{"kind", "model", "token", "token_id"};
constexpr std::array<std::string_view, 2> kTokenKinds{"model_token", "zero"};
constexpr std::array<std::string_view, 2> kSources{"union", "base"};
constexpr uint64_t kMostTokens = 1ull << 31;

class TokenizerReader {
 public:
  explicit TokenizerReader(RecipeReader& in) : in_(in) {}

  void read_source(const Node& node, RecipeTokenizer& tokenizer) {
    if (node.text == "union") return;
    if (node.text == "base") {
      tokenizer.source = RecipeTokenizer::Source::kBase;
      return;
    }
    if (const std::string_view meant = near_miss(node.text, kSources); !meant.empty()) {
      return in_.problem(node.line,
                         fmt::format("the tokenizer \"{}\" is neither union nor base; did you mean "
                                     "\"{}\"? (a model of that name: \"./{}\")",
                                     printable(node.text), meant, printable(node.text)));
    }
    const auto model = in_.model(&node);
    if (!model) return;
    tokenizer.source = RecipeTokenizer::Source::kModel;
    tokenizer.model = *model;
  }

  void read_mapping(const Node& node, RecipeTokenizer& tokenizer) {
    if (node.kind != Kind::kMapping) {
      return in_.problem(node.line,
                         "tokenizer is a mapping with source, tokens and "
                         "pad_to_multiple_of; for a source alone write "
                         "tokenizer_source: …");
    }
    in_.check_keys(node, kTokenizerKeys, "tokenizer");
    if (const Node* source = node.find("source")) read_source(*source, tokenizer);
    if (const Node* pad = node.find("pad_to_multiple_of")) {
      tokenizer.pad_to_multiple_of = whole_number(*pad, 1, kMostTokens);
      if (!tokenizer.pad_to_multiple_of) {
        in_.problem(pad->line, "pad_to_multiple_of must be a whole number from 1, e.g. 64");
      }
    }
    const Node* tokens = node.find("tokens");
    if (!tokens) return;
    if (tokens->kind != Kind::kMapping) {
      return in_.problem(tokens->line, "tokens must be a mapping from tokens to {source, force}");
    }
    for (const yaml::Entry& entry : tokens->entries) read_token(entry, tokenizer);
  }

 private:
  void read_token(const yaml::Entry& entry, RecipeTokenizer& tokenizer) {
    RecipeToken token;
    token.token = entry.key;
    token.line = entry.line;
    const Node& node = *entry.value;
    if (node.kind != Kind::kMapping) {
      return in_.problem(entry.line,
                         fmt::format("the token \"{}\" needs {{source: …}} or {{force: true}}",
                                     printable(entry.key)));
    }
    in_.check_keys(node, kTokenKeys, "a token");
    if (const Node* force = node.find("force")) {
      const auto truth = yaml::boolean(*force);
      if (!truth) in_.problem(force->line, "force is true or false");
      token.force = truth.value_or(false);
    }
    if (const Node* source = node.find("source")) read_token_source(*source, token);
    tokenizer.tokens.push_back(std::move(token));
  }

  void read_token_source(const Node& node, RecipeToken& token) {
    const Node* kind = node.find("kind");
    if (!kind) {
      const auto model = in_.model(&node);
      if (!model) return;
      token.from = RecipeToken::From::kModel;
      token.model = *model;
      return;
    }
    in_.check_keys(node, kTokenSourceKeys, "a token's source");
    if (kind->text == "zero") {
      token.from = RecipeToken::From::kZero;
    } else if (kind->text == "model_token") {
      token.from = RecipeToken::From::kModelToken;
      read_model_token(node, token);
    } else {
      const std::string_view meant = near_miss(kind->text, kTokenKinds);
      in_.problem(
          kind->line,
          fmt::format("kind: \"{}\" is neither model_token nor zero{}", printable(kind->text),
                      meant.empty() ? "" : fmt::format("; did you mean \"{}\"?", meant)));
    }
  }

  void read_model_token(const Node& node, RecipeToken& token) {
    if (!node.find("model")) in_.problem(node.line, "a model_token needs its model");
    if (const auto model = in_.model(node.find("model"))) token.model = *model;
    const Node* other = node.find("token");
    const Node* id = node.find("token_id");
    if ((other != nullptr) == (id != nullptr)) {
      return in_.problem(node.line, "a model_token needs either token or token_id");
    }
    if (other) token.other = other->text;
    if (!id) return;
    token.id = whole_number(*id, 0, kMostTokens);
    if (!token.id) in_.problem(id->line, "token_id must be a whole number from 0");
  }

  RecipeReader& in_;
};

}  // namespace

std::optional<RecipeTokenizer> read_tokenizer(const Node& root, RecipeReader& in) {
  const Node* source = root.find("tokenizer_source");
  const Node* mapping = root.find("tokenizer");
  if (!source && !mapping) return std::nullopt;
  if (source && mapping) {
    in.problem(std::max(source->line, mapping->line),
               "tokenizer_source and tokenizer exclude each other; keep one of them");
    return std::nullopt;
  }
  RecipeTokenizer tokenizer;
  tokenizer.line = source ? source->line : mapping->line;
  TokenizerReader reader(in);
  if (source) reader.read_source(*source, tokenizer);
  if (mapping) reader.read_mapping(*mapping, tokenizer);
  return tokenizer;
}

}  // namespace hieron
