// What a model's card claims: that it is a merge, of what, and whether that is among the models
// offered. Other cached commits of the same repository show how the card changed.
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

#include "hieron/core/text.h"
#include "hieron/model/tells/looks.h"

namespace hieron {
namespace {

std::string quoted(std::span<const std::string> names) {
  constexpr size_t kShown = 4;
  std::string text;
  for (size_t i = 0; i < std::min(names.size(), kShown); ++i) {
    text += fmt::format("{}\"{}\"", i == 0 ? "" : ", ", printable(names[i]));
  }
  if (names.size() > kShown) text += fmt::format(" and {} more", names.size() - kShown);
  return text;
}

bool tagged_as_merge(const ModelCard& card) {
  return std::ranges::any_of(card.tags, [](const std::string& tag) {
    const std::string lower = lower_case(tag);
    return lower == "merge" || lower == "merged" || lower == "mergekit" || lower == "frankenmerge";
  });
}

}  // namespace

void look_at_card(const SmallFiles& files, Findings& found) {
  if (!files.card) return;
  const ModelCard& card = *files.card;
  const std::string lower = lower_case(card.text);
  if (const size_t at = lower.find("mergekit"); at != lower.npos) {
    found.add("mergekit-card",
              fmt::format("README.md mentions mergekit (line {})", line_at(lower, at)));
  }
  if (lower_case(card.relation) == "merge") {
    found.add("card-relation-merge", "README.md declares base_model_relation: merge");
  }
  if (tagged_as_merge(card)) {
    found.add("card-tag-merge", fmt::format("README.md bears the tags {}", quoted(card.tags)));
  }
  if (card.base_models.size() > 1) {
    found.add("card-several-bases", fmt::format("README.md names {} base models: {}",
                                                card.base_models.size(), quoted(card.base_models)));
  }
  for (const std::string_view claim : {"trained from scratch", "from-scratch pretrain",
                                       "pretrained from scratch", "pre-trained from scratch"}) {
    const size_t at = lower.find(claim);
    if (at == lower.npos) continue;
    found.add("card-from-scratch",
              fmt::format("README.md says \"{}\" (line {})", claim, line_at(lower, at)));
    break;
  }
}

void compare_cards(const SmallFiles& suspect, std::span<const SmallFiles> others, Findings& found) {
  if (!suspect.card) return;
  const ModelCard& card = *suspect.card;
  std::vector<size_t> named_in_text;
  const std::string lower = lower_case(card.text);
  for (size_t i = 0; i < others.size(); ++i) {
    const bool declared = std::ranges::any_of(card.base_models, [&](const std::string& base) {
      return same_model(base, others[i].model.ref);
    });
    constexpr size_t kLeastName = 6;  // "base" and "code" are words, not names
    if (!declared && others[i].name.size() >= kLeastName &&
        mentions(lower, lower_case(others[i].name))) {
      named_in_text.push_back(i);
    }
  }
  const std::string relation =
      card.relation.empty() ? "" : fmt::format(" (relation: {})", printable(card.relation, 40));
  std::vector<std::string> offered, absent;
  for (const std::string& base : card.base_models) {
    const bool known = std::ranges::any_of(
        others, [&](const SmallFiles& other) { return same_model(base, other.model.ref); });
    (known ? offered : absent).push_back(base);
  }
  if (!offered.empty()) {
    found.add("card-base-offered",
              fmt::format("README.md names {} as base model{}, among the models compared here",
                          quoted(offered), relation));
  }
  if (!absent.empty()) {
    found.add("card-base-not-offered",
              fmt::format("README.md names {} as base model{}, which is not among the models "
                          "compared here by name",
                          quoted(absent), relation));
  }
  if (!named_in_text.empty()) {
    found.add("card-names-offered", fmt::format("README.md mentions {}, but not as base model",
                                                names_of(others, named_in_text)));
  }
}

// The hub's cache keeps commits side by side: models--org--name/snapshots/<commit>/. It does not
// know their order in time.
void look_at_history(const SmallFiles& files, Findings& found) {
  namespace fs = std::filesystem;
  constexpr size_t kMostCommits = 64;
  if (!files.card) return;
  fs::path folder = fs::path(files.model.folder).lexically_normal();
  if (folder.filename().empty()) folder = folder.parent_path();
  const fs::path snapshots = folder.parent_path();
  if (snapshots.filename() != "snapshots" ||
      !snapshots.parent_path().filename().string().starts_with("models--")) {
    return;
  }
  std::vector<std::string> commits;
  std::error_code error;
  for (auto it = fs::directory_iterator(snapshots, error); !error && it != fs::directory_iterator();
       it.increment(error)) {
    if (commits.size() == kMostCommits) break;
    const std::string commit = it->path().filename().string();
    if (commit != folder.filename().string()) commits.push_back(commit);
  }
  std::ranges::sort(commits);
  for (const std::string& commit : commits) {
    auto text = small_text((snapshots / commit).string(), "README.md");
    if (!text) continue;
    const ModelCard other = parse_card(*std::move(text));
    const ModelCard& own = *files.card;
    std::vector<std::string> changes;
    const auto note = [&](std::string_view what, const std::string& here,
                          const std::string& there) {
      if (here == there) return;
      changes.push_back(fmt::format("{} is {} here and {} there", what,
                                    here.empty() ? "absent" : here,
                                    there.empty() ? "absent" : there));
    };
    const auto shown = [](const std::string& value) {
      return value.empty() ? std::string() : fmt::format("\"{}\"", printable(value, 60));
    };
    note("base_model", quoted(own.base_models), quoted(other.base_models));
    note("base_model_relation", shown(own.relation), shown(other.relation));
    note("license", shown(own.licence), shown(other.licence));
    const auto merge_word = [](const ModelCard& card) {
      const std::string lower = lower_case(card.text);
      return mentions(lower, "merge") ? std::string("mentioned") : std::string();
    };
    note("a merge", merge_word(own), merge_word(other));
    if (changes.empty()) continue;
    std::string all;
    for (const std::string& change : changes) all += (all.empty() ? "" : "; ") + change;
    found.add("card-changed", fmt::format("README.md differs from that of the cached commit {}: {}",
                                          printable(commit, 12), all));
  }
}

}  // namespace hieron
