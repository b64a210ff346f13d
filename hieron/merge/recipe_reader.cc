#include "hieron/merge/recipe_reader.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <tuple>

#include "hieron/core/text.h"
#include "hieron/merge/dtype_names.h"
#include "hieron/merge/generation.h"

namespace hieron {
namespace {

using yaml::Kind;
using yaml::Node;

constexpr std::array<std::string_view, 5> kModelKeys{"model", "path", "revision", "lora",
                                                     "override_architecture"};
constexpr std::array<std::string_view, 2> kPathKeys{"path", "revision"};
constexpr std::array<std::string_view, 4> kHieronKeys{"arithmetic", "seed", "threads", "experts"};
constexpr std::array<std::string_view, 2> kExpertLayouts{"separate", "fused"};

std::string bare(std::string_view sentence) {
  if (sentence.ends_with('.')) sentence.remove_suffix(1);
  return std::string(sentence);
}

std::string sentence(const std::string& file, int line, std::string_view clause) {
  return fmt::format("{}, line {}: {}{}", file, line, clause, clause.ends_with('?') ? "" : ".");
}

// path[@revision]
void split_revision(std::string_view text, std::string& path, std::string& revision) {
  const size_t at = text.find('@');
  path = text.substr(0, at);
  revision = at == std::string_view::npos ? std::string() : std::string(text.substr(at + 1));
}

// path[@revision][+adapter[@revision]]; whether such a path exists as it stands is for the plan to
// see.
ModelRef split_ref(const std::string& text, int line) {
  ModelRef ref;
  ref.text = text;
  ref.line = line;
  const size_t plus = text.find('+');
  split_revision(std::string_view(text).substr(0, plus), ref.path, ref.revision);
  if (plus != std::string::npos) {
    split_revision(std::string_view(text).substr(plus + 1), ref.adapter, ref.adapter_revision);
  }
  return ref;
}

std::string in_one_line(const ModelRef& ref) {
  std::string text = ref.path;
  if (!ref.revision.empty()) text += '@' + ref.revision;
  if (!ref.adapter.empty()) text += '+' + ref.adapter;
  if (!ref.adapter_revision.empty()) text += '@' + ref.adapter_revision;
  return text;
}

}  // namespace

std::string_view near_miss(std::string_view word, std::span<const std::string_view> candidates) {
  if (word.size() < 3) return {};
  const std::string_view found = nearest(word, candidates, word.size() < 5 ? 1 : 2);
  return found.size() < 3 ? std::string_view() : found;
}

std::string listed(std::span<const std::string_view> words) {
  std::string text;
  for (size_t i = 0; i < words.size(); ++i) {
    text += i == 0 ? "" : i + 1 == words.size() ? " and " : ", ";
    text += words[i];
  }
  return text;
}

std::optional<uint64_t> whole_number(const Node& node, uint64_t low, uint64_t high) {
  const auto value = yaml::number(node);
  if (!value || *value != std::floor(*value)) return {};
  if (*value < static_cast<double>(low) || *value > static_cast<double>(high)) return {};
  return static_cast<uint64_t>(*value);
}

Status none_of(std::vector<Error> problems) {
  if (problems.empty()) return {};
  problems.front().also = static_cast<int>(problems.size()) - 1;
  return std::unexpected(std::move(problems.front()));
}

void RecipeReader::warn(int line, std::string_view clause) { warn_of_key(line, clause, {}); }

void RecipeReader::warn_of_key(int line, std::string_view clause, std::string_view key,
                               std::string_view meant) {
  warnings_.push_back({.sentence = sentence(file_, line, clause),
                       .line = line,
                       .key = std::string(key),
                       .meant = std::string(meant)});
}

void RecipeReader::check_keys(const Node& node, std::span<const std::string_view> known,
                              std::string_view where) {
  for (const yaml::Entry& entry : node.entries) {
    if (std::ranges::find(known, entry.key) != known.end()) continue;
    unknown(entry.line, fmt::format("unknown key \"{}\" in {}", printable(entry.key), where),
            entry.key, near_miss(entry.key, known));
  }
}

void RecipeReader::unknown(int line, const std::string& what, std::string_view key,
                           std::string_view meant, std::string_view hint) {
  if (meant.empty()) {
    warn_of_key(line,
                hint.empty() ? what + "; it has no effect"
                             : fmt::format("{}; it has no effect ({})", what, hint),
                key);
  } else if (lenient_) {
    warn_of_key(
        line,
        fmt::format("{}; it has no effect, as in mergekit (did you mean \"{}\"?)", what, meant),
        key, meant);
  } else {
    problem(line, fmt::format("{}; did you mean \"{}\"?", what, meant));
  }
}

std::optional<ModelRef> RecipeReader::model(const Node* node) {
  if (!node) return std::nullopt;
  if (node->kind == Kind::kScalar) {
    ModelRef ref = split_ref(node->text, node->line);
    if (!ref.path.empty()) return ref;
    problem(node->line, fmt::format("\"{}\" names no model", printable(node->text)));
    return std::nullopt;
  }
  if (node->kind != Kind::kMapping) {
    problem(node->line, "a model is a path, or a mapping with model, revision and lora");
    return std::nullopt;
  }
  check_keys(*node, kModelKeys, "a model");
  ModelRef ref;
  ref.line = node->line;
  const Node* inner = node->find("model");
  if (inner) check_keys(*inner, kPathKeys, "a path");
  if (!path(inner ? *inner : *node, ref.path, ref.revision)) return std::nullopt;
  if (const Node* revision = node->find("revision")) ref.revision = revision->text;
  if (const Node* lora = node->find("lora")) {
    check_keys(*lora, kPathKeys, "a path");
    if (!path(*lora, ref.adapter, ref.adapter_revision)) return std::nullopt;
  }
  if (const Node* other = node->find("override_architecture")) {
    ref.override_architecture = other->text;
    warn(other->line, "override_architecture has no effect; tensors are matched by name");
  }
  ref.text = in_one_line(ref);
  return ref;
}

// `path[@revision]`, or {path, revision}.
bool RecipeReader::path(const Node& node, std::string& path, std::string& revision) {
  if (node.kind == Kind::kScalar) {
    split_revision(node.text, path, revision);
  } else if (const Node* inner = node.find("path"); inner && inner->kind == Kind::kScalar) {
    path = inner->text;
    if (const Node* of = node.find("revision")) revision = of->text;
  }
  if (!path.empty()) return true;
  problem(node.line, "a model has no path");
  return false;
}

std::optional<DType> RecipeReader::dtype(const Node* node, std::string_view key) {
  if (!node) return std::nullopt;
  std::string_view name = node->text;
  if (name.starts_with("torch.")) name.remove_prefix(6);
  if (const auto known = written_dtype(name)) return known;
  const std::string_view meant = near_miss(name, kWrittenNames);
  problem(node->line,
          fmt::format("{}: \"{}\" is none of bfloat16, float16 and float32{}", key,
                      printable(node->text),
                      meant.empty() ? "" : fmt::format("; did you mean \"{}\"?", meant)));
  return std::nullopt;
}

RecipeReader::Settings RecipeReader::settings(const Node* node) {
  Settings found;
  if (!node) return found;
  if (node->kind != Kind::kMapping) {
    problem(node->line, "hieron: must be a mapping");
    return found;
  }
  check_keys(*node, kHieronKeys, "hieron");
  if (const Node* name = node->find("arithmetic")) {
    found.arithmetic = name->text;
    if (const auto known = check_arithmetic_name(name->text); !known) {
      problem(name->line, fmt::format("hieron.arithmetic: {}", bare(known.error().sentence)));
    }
  }
  if (const Node* seed = node->find("seed")) {
    found.seed = seed->text;
    found.seed_number = seed->kind == Kind::kScalar ? parse_seed(seed->text) : std::nullopt;
    if (!found.seed_number) {
      problem(seed->line,
              "hieron.seed must be a whole number from 0 to 2^64 − 1, in decimal or as "
              "0x…");
    }
  }
  if (const Node* threads = node->find("threads")) {
    const auto count = whole_number(*threads, 1, 4096);
    if (count) found.threads = static_cast<unsigned>(*count);
    if (!count) problem(threads->line, "hieron.threads must be a whole number from 1 to 4096");
  }
  if (const Node* experts = node->find("experts")) {
    const auto at = std::ranges::find(kExpertLayouts, experts->text);
    if (at == kExpertLayouts.end()) {
      problem(experts->line, fmt::format("hieron.experts: \"{}\" is neither separate nor fused",
                                         printable(experts->text)));
    } else {
      found.experts = at == kExpertLayouts.begin() ? ExpertLayout::kSeparate : ExpertLayout::kFused;
    }
  }
  return found;
}

std::vector<Error> RecipeReader::problems() const {
  std::vector<Finding> sorted = problems_;
  std::ranges::sort(sorted, {}, [](const Finding& f) { return std::tie(f.line, f.clause); });
  std::vector<Error> problems;
  for (const Finding& finding : sorted) {
    problems.push_back(refuse(sentence(file_, finding.line, finding.clause), file_, {},
                              static_cast<uint64_t>(finding.line))
                           .error());
  }
  return problems;
}

}  // namespace hieron
