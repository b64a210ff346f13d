// What is said of a second upload, for the terminal and the page alike.
#include <fmt/format.h>

#include <algorithm>

#include "hieron/core/text.h"
#include "hieron/report/figures.h"

namespace hieron {
namespace {

// "embedding 46,210 of 46,500 (3 steps, 0.41 times)": the most changed first, for one scope.
std::string parts(const SecondUpload& also, std::string_view scope) {
  constexpr size_t kShown = 6;
  std::vector<const ChangedPart*> chosen;
  for (const ChangedPart& part : also.where) {
    if (part.scope == scope) chosen.push_back(&part);
  }
  std::ranges::stable_sort(chosen, std::ranges::greater(), [](const ChangedPart* part) {
    return static_cast<double>(part->changed) / static_cast<double>(part->elements);
  });
  std::string text;
  for (size_t i = 0; i < std::min(chosen.size(), kShown); ++i) {
    const ChangedPart& part = *chosen[i];
    text += fmt::format("{}{} {} of {} weights (half by {:.0f} steps or less", i == 0 ? "" : "; ",
                        part.name, show_percent(part.changed, part.elements),
                        with_commas(part.elements), part.median_step);
    if (part.ratio) text += fmt::format(", {:.2g} times", *part.ratio);
    text += ")";
  }
  if (chosen.size() > kShown) text += fmt::format("; and {} more", chosen.size() - kShown);
  return text;
}

}  // namespace

std::vector<Statement> second_upload(const AuditResult& result) {
  if (!result.also) return {};
  const SecondUpload& also = *result.also;
  std::vector<Statement> all{{"Second upload", also.sentence}};
  if (const std::string roles = parts(also, "role"); !roles.empty()) {
    all.push_back({"Roles changed", roles + "."});
  }
  if (const std::string layers = parts(also, "layer"); !layers.empty()) {
    all.push_back({"Layers changed", layers + "."});
  }
  for (const std::string& reason : also.reasons) all.push_back({"", reason});
  return all;
}

}  // namespace hieron
