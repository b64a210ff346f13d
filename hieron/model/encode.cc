#include "hieron/model/encode.h"

#include <fmt/format.h>
#include <simdjson.h>

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <utility>

#include "hieron/core/text.h"
#include "hieron/io/file.h"
#include "hieron/model/unicode_text.h"

namespace hieron {
namespace {

namespace dom = simdjson::dom;
using Json = nlohmann::json;

constexpr uint64_t kMaxFileBytes = 256u << 20;  // as the vocabulary's
constexpr size_t kMaxDepth = 64;
constexpr size_t kMaxSpecialTokens = 64;  // around a text

}  // namespace

// ---- added tokens

AddedTokens::AddedTokens(std::vector<Content> contents) : contents_(std::move(contents)) {
  std::erase_if(contents_, [](const Content& content) { return content.text.empty(); });
  std::ranges::stable_sort(contents_, {}, &Content::text);
}

// Narrows the sorted contents down to those that go on as the text does, byte by byte.
const AddedTokens::Content* AddedTokens::longest_at(std::string_view text, size_t at) const {
  const Content* longest = nullptr;
  auto first = contents_.begin(), last = contents_.end();
  for (size_t depth = 0; first != last && at + depth < text.size(); ++depth) {
    const auto byte = [depth](const Content& content) {
      return depth < content.text.size() ? int{static_cast<uint8_t>(content.text[depth])} : -1;
    };
    const auto range = std::ranges::equal_range(
        first, last, int{static_cast<uint8_t>(text[at + depth])}, {}, byte);
    first = range.begin();
    last = range.end();
    if (first != last && first->text.size() == depth + 1) longest = &*first;
  }
  return longest;
}

std::vector<AddedTokens::Found> AddedTokens::find(std::string_view text) const {
  std::vector<Found> found;
  size_t done = 0;
  for (size_t at = 0; at < text.size() && !contents_.empty();) {
    const Content* content = longest_at(text, at);
    if (!content) {
      ++at;
      continue;
    }
    const AddedToken& token = *content->token;
    size_t begin = at, end = at + content->text.size();
    at = end;
    const bool in_word = (begin > 0 && is_word(character_before(text, begin).code)) ||
                         (end < text.size() && is_word(character_at(text, end).code));
    if (token.single_word && in_word) continue;
    while (token.lstrip && begin > done && is_white_space(character_before(text, begin).code)) {
      begin -= character_before(text, begin).bytes;
    }
    while (token.rstrip && end < text.size() && is_white_space(character_at(text, end).code)) {
      end += character_at(text, end).bytes;
    }
    if (done < begin) found.push_back({done, begin, nullptr});
    found.push_back({begin, end, &token});
    done = end;
  }
  if (done < text.size()) found.push_back({done, text.size(), nullptr});
  return found;
}

// ---- encoding

std::unexpected<Error> Encoder::in_file(const Error& clause) const {
  return refuse(
      fmt::format("{}: a text cannot be encoded: {}.", tokenizer_->file(), clause.sentence),
      tokenizer_->file());
}

// Tokens that want it are looked for in the text as it is, the others in what it is normalised to.
Result<std::vector<Encoder::Part>> Encoder::parts(std::string_view text) const {
  std::vector<Part> parts;
  for (const auto& [begin, end, token] : raw_.find(text)) {
    std::string part(text.substr(begin, end - begin));
    if (token) {
      parts.push_back({std::move(part), false, token});
      continue;
    }
    HIERON_TRY(const std::string normal, normalise_(std::move(part)));
    for (const auto& [from, to, inner] : normalised_.find(normal)) {
      parts.push_back({normal.substr(from, to - from), begin == 0 && from == 0, inner});
    }
  }
  return parts;
}

Status Encoder::append(const Part& part, std::vector<uint32_t>& ids) const {
  if (part.token) {
    ids.push_back(part.token->id);
    return {};
  }
  HIERON_TRY(const std::vector<TextPiece> words, cut_({{part.text, part.first}}));
  for (const TextPiece& word : words) HIERON_CHECK(model_.append(word.text, ids));
  return {};
}

Result<std::vector<uint32_t>> Encoder::encode(std::string_view text,
                                              SpecialTokens special_tokens) const {
  const bool whole = special_tokens == SpecialTokens::kAdd;
  if (!valid_utf8(text)) return in_file({.sentence = "it is not valid UTF-8"});
  if (text.size() > kMaxTextBytes) {
    return in_file({.sentence = fmt::format("it is larger than {}", show_bytes(kMaxTextBytes))});
  }
  if (whole && !no_special_tokens_.empty()) return in_file({.sentence = no_special_tokens_});
  std::vector<uint32_t> ids;
  if (whole) ids = before_;
  const auto all = parts(text);
  if (!all) return in_file(all.error());
  for (const Part& part : *all) {
    if (const Status done = append(part, ids); !done) return in_file(done.error());
  }
  if (whole) ids.insert(ids.end(), after_.begin(), after_.end());
  return ids;
}

// ---- reading tokenizer.json

// Turns the file into an Encoder. Everything else that is said of tokens comes from the Tokenizer,
// which has checked it.
class EncoderParser {
 public:
  explicit EncoderParser(std::shared_ptr<const Tokenizer> tokenizer)
      : tokenizer_(std::move(tokenizer)) {}

  Result<std::shared_ptr<const Encoder>> read() {
    HIERON_TRY(std::string text, read_text(tokenizer_->file(), kMaxFileBytes));
    const size_t bytes = text.size();
    text.reserve(bytes + simdjson::SIMDJSON_PADDING);
    dom::parser parser(kMaxFileBytes);
    if (parser.allocate(std::max<size_t>(bytes, 64), kMaxDepth) != simdjson::SUCCESS) {
      return system_error(
          fmt::format("{}: no memory to parse {}.", tokenizer_->file(), show_bytes(bytes)),
          tokenizer_->file());
    }
    dom::object root, model;
    if (parser.parse(text.data(), bytes, false).get(root) != simdjson::SUCCESS ||
        root["model"].get(model) != simdjson::SUCCESS) {
      return refuse_file("it is not the JSON of a tokenizer");
    }
    HIERON_TRY(BytePairs pairs, read_model(model));
    std::shared_ptr<Encoder> made(new Encoder(tokenizer_, std::move(pairs)));
    HIERON_CHECK(read_rules(root, *made));
    HIERON_CHECK(read_added(*made));
    HIERON_CHECK(read_bos(*made));
    HIERON_CHECK(read_post_processor(root, *made));
    return made;
  }

 private:
  std::unexpected<Error> refuse_file(std::string_view clause) const {
    return refuse(fmt::format("{}: texts cannot be split into tokens by it: {}.",
                              printable(tokenizer_->file(), 400), clause),
                  tokenizer_->file());
  }

  // ---- the model

  // Absent and null are the same.
  static std::optional<dom::element> member(dom::object object, std::string_view key) {
    dom::element value;
    if (object[key].get(value) != simdjson::SUCCESS || value.is_null()) return std::nullopt;
    return value;
  }

  Status read_flag(dom::object model, std::string_view key, bool& flag) const {
    const auto value = member(model, key);
    if (!value || value->get(flag) == simdjson::SUCCESS) return {};
    return refuse_file(fmt::format("\"{}\" is not true or false", key));
  }

  Status read_token(dom::object model, std::string_view key, std::string& text) const {
    const auto value = member(model, key);
    std::string_view found;
    if (value && value->get(found) != simdjson::SUCCESS) {
      return refuse_file(fmt::format("\"{}\" is not a text", key));
    }
    text = found;
    return {};
  }

  Result<BytePairs> read_model(dom::object model) const {
    BytePairSettings settings;
    HIERON_CHECK(read_token(model, "continuing_subword_prefix", settings.inner_prefix));
    HIERON_CHECK(read_token(model, "end_of_word_suffix", settings.end_suffix));
    if (member(model, "unk_token")) {
      HIERON_CHECK(read_token(model, "unk_token", settings.unknown.emplace()));
    }
    HIERON_CHECK(read_flag(model, "fuse_unk", settings.fuse_unknown));
    HIERON_CHECK(read_flag(model, "byte_fallback", settings.byte_fallback));
    HIERON_CHECK(read_flag(model, "ignore_merges", settings.ignore_merges));
    double dropout = 0;
    if (const auto value = member(model, "dropout")) {
      if (value->get(dropout) != simdjson::SUCCESS || dropout != 0) {
        return refuse_file("with a dropout it merges at random");
      }
    }
    HIERON_TRY(const BytePairs::Merges merges, read_merges(model));
    auto made = BytePairs::make(tokenizer_, std::move(settings), merges);
    if (!made) return refuse_file(made.error().sentence);
    return made;
  }

  // "a b", or ["a", "b"].
  Result<BytePairs::Merges> read_merges(dom::object model) const {
    dom::array list;
    if (model["merges"].get(list) != simdjson::SUCCESS) return refuse_file("it has no merges");
    BytePairs::Merges merges;
    for (const dom::element element : list) {
      std::string_view left, right;
      dom::array pair;
      if (element.get(left) == simdjson::SUCCESS) {
        if (left.starts_with("#version")) continue;
        const size_t space = std::min(left.find(' '), left.size());
        right = left.substr(std::min(space + 1, left.size()));
        left = left.substr(0, space);
      } else if (element.get(pair) == simdjson::SUCCESS && pair.size() == 2) {
        std::ignore = pair.at(0).get(left);
        std::ignore = pair.at(1).get(right);
      }
      if (left.empty() || right.empty() || (element.is_string() && right.contains(' '))) {
        return refuse_file(fmt::format("merge {} is not two tokens", merges.size() + 1));
      }
      merges.emplace_back(left, right);
    }
    return merges;
  }

  // ---- the rules

  static std::string json_of(dom::object root, std::string_view key) {
    const auto value = member(root, key);
    return value ? simdjson::minify(*value) : "null";
  }

  Status read_rules(dom::object root, Encoder& out) const {
    auto normalizer = parse_normalizer(json_of(root, "normalizer"));
    if (!normalizer) return refuse_file(normalizer.error().sentence);
    auto pre_tokenizer = parse_pre_tokenizer(json_of(root, "pre_tokenizer"));
    if (!pre_tokenizer) return refuse_file(pre_tokenizer.error().sentence);
    out.normalise_ = *std::move(normalizer);
    out.cut_ = *std::move(pre_tokenizer);
    return {};
  }

  Status read_added(Encoder& out) const {
    std::vector<AddedTokens::Content> raw, normalised;
    for (const AddedToken& token : tokenizer_->added()) {
      if (!token.normalized) {
        raw.push_back({token.content, &token});
        continue;
      }
      auto content = out.normalise_(token.content);
      if (!content) return refuse_file(content.error().sentence);
      normalised.push_back({*std::move(content), &token});
    }
    out.raw_ = AddedTokens(std::move(raw));
    out.normalised_ = AddedTokens(std::move(normalised));
    return {};
  }

  // special_tokens_map.json counts where tokenizer_config.json is of the old kind, without a list
  // of its added tokens.
  Status read_bos(Encoder& out) const {
    HIERON_TRY(const Json config, read_json("tokenizer_config.json"));
    HIERON_TRY(const Json map, read_json("special_tokens_map.json"));
    const bool old = !config.contains("added_tokens_decoder");
    const Json& names = old && map.contains("bos_token") ? map : config;
    const Json bos = names.value("bos_token", Json());
    const Json& content = bos.is_object() ? bos.value("content", Json()) : bos;
    if (content.is_string() && !content.get_ref<const std::string&>().empty()) {
      out.bos_ = content.get<std::string>();
    }
    return {};
  }

  // Empty if there is no such file, or no object in it.
  Result<Json> read_json(std::string_view name) const {
    const std::string path = fmt::format("{}/{}", tokenizer_->folder(), name);
    std::error_code ignored;
    if (!std::filesystem::is_regular_file(path, ignored)) return Json::object();
    HIERON_TRY(const std::string text, read_text(path, kMaxFileBytes));
    Json found = Json::parse(text, nullptr, false);
    if (found.is_object()) return found;
    return Json::object();
  }

  // ---- the tokens around a text

  Status read_post_processor(dom::object root, Encoder& out) const {
    const auto rule = member(root, "post_processor");
    return rule ? read_around(*rule, out) : Status();
  }

  // ByteLevel moves offsets, which nobody asks for here.
  Status read_around(dom::element rule, Encoder& out) const {
    std::string_view kind;
    dom::object object;
    if (rule.get(object) != simdjson::SUCCESS || object["type"].get(kind) != simdjson::SUCCESS) {
      return refuse_file("its post_processor has no type");
    }
    if (kind == "ByteLevel") return {};
    if (kind == "TemplateProcessing") return read_template(object, out);
    dom::array inner;
    if (kind == "Sequence" && object["processors"].get(inner) == simdjson::SUCCESS) {
      for (const dom::element one : inner) HIERON_CHECK(read_around(one, out));
      return {};
    }
    out.no_special_tokens_ = fmt::format(
        "its post_processor \"{}\" is none that is understood here", printable(kind, 60));
    return {};
  }

  // "single": the text ("Sequence") and special tokens around it. What comes later in a Sequence is
  // put around what came before.
  Status read_template(dom::object rule, Encoder& out) const {
    dom::array pieces;
    if (rule["single"].get(pieces) != simdjson::SUCCESS) {
      return refuse_file("its post_processor has no template for a single text");
    }
    std::vector<uint32_t> before, after;
    bool passed = false;  // the text
    for (const dom::element piece : pieces) {
      std::string_view name;
      if (piece["SpecialToken"]["id"].get(name) == simdjson::SUCCESS) {
        HIERON_CHECK(read_special(rule, name, passed ? after : before));
      } else if (piece["Sequence"].error() == simdjson::SUCCESS && !passed) {
        passed = true;
      } else {
        return refuse_file("its post_processor's template is not a text among special tokens");
      }
    }
    out.before_.insert(out.before_.begin(), before.begin(), before.end());
    out.after_.insert(out.after_.end(), after.begin(), after.end());
    return {};
  }

  Status read_special(dom::object rule, std::string_view name, std::vector<uint32_t>& ids) const {
    const auto missing = [&] {
      return refuse_file(
          fmt::format("the ids of its special token \"{}\" are missing", printable(name, 60)));
    };
    dom::object tokens;
    dom::array list;
    if (rule["special_tokens"].get(tokens) != simdjson::SUCCESS ||
        tokens[name]["ids"].get(list) != simdjson::SUCCESS) {
      return missing();
    }
    for (const dom::element element : list) {
      uint64_t id = 0;
      if (element.get(id) != simdjson::SUCCESS || id >= kMaxTokenIds) return missing();
      if (ids.size() >= kMaxSpecialTokens) {
        return refuse_file(fmt::format("it puts over {} tokens around a text", kMaxSpecialTokens));
      }
      ids.push_back(static_cast<uint32_t>(id));
    }
    return {};
  }

  const std::shared_ptr<const Tokenizer> tokenizer_;
};

Result<std::shared_ptr<const Encoder>> open_encoder(const std::string& folder) {
  HIERON_TRY(std::shared_ptr<const Tokenizer> tokenizer, open_tokenizer(folder));
  const auto unfit = [&](std::string_view what) {
    return refuse(fmt::format("{}: texts cannot be split into tokens: {}; add the tokenizer.json "
                              "that transformers writes with save_pretrained.",
                              printable(folder, 400), what),
                  folder);
  };
  if (!tokenizer) return unfit("there is no tokenizer in the folder");
  if (!tokenizer->file().ends_with("tokenizer.json")) return unfit("there is no tokenizer.json");
  if (tokenizer->kind() != "BPE") {
    return refuse(fmt::format("{}: texts cannot be split into tokens by it: it is of kind {}, and "
                              "only BPE is understood here.",
                              printable(tokenizer->file(), 400), printable(tokenizer->kind(), 40)),
                  tokenizer->file());
  }
  return EncoderParser(std::move(tokenizer)).read();
}

}  // namespace hieron
