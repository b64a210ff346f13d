#include "hieron/recover/recover.h"

#include <algorithm>
#include <array>
#include <string_view>

#include "hieron/merge/method.h"

namespace hieron {
namespace {

constexpr uint64_t kLeastTelling = 100;

// Cheap to dear, general to special: each looks at the evidence and offers nothing where it cannot
// have been.
constexpr std::array kOrder{
    std::string_view("passthrough"),     std::string_view("linear"),
    std::string_view("task_arithmetic"), std::string_view("slerp"),
    std::string_view("nuslerp"),         std::string_view("multislerp"),
    std::string_view("karcher"),         std::string_view("model_stock"),
    std::string_view("arcee_fusion"),    std::string_view("ram"),
    std::string_view("ramplus_tl"),      std::string_view("sce"),
    std::string_view("nearswap"),        std::string_view("ties"),
    std::string_view("breadcrumbs"),     std::string_view("breadcrumbs_ties"),
    std::string_view("dare_linear"),     std::string_view("dare_ties"),
    std::string_view("della_linear"),    std::string_view("della")};

// Those first, then whatever else there is.
std::vector<const Method*> in_order() {
  std::vector<const Method*> ordered;
  for (const std::string_view name : kOrder) ordered.push_back(find_method(name));
  for (const Method* method : methods()) {
    if (std::ranges::find(ordered, method) == ordered.end()) ordered.push_back(method);
  }
  std::erase(ordered, nullptr);
  return ordered;
}

}  // namespace

Recovery recover_recipe(const Candidates& given, const Evidence& evidence,
                        std::span<const std::string_view> allowed) {
  const Trial trial(given, evidence);
  Recovery recovery;
  for (const Method* method : in_order()) {
    const auto is = [&](std::string_view name) { return name == method->describe().name; };
    if (!allowed.empty() && std::ranges::none_of(allowed, is)) continue;
    const std::vector<Hypothesis> hypotheses = method->recover(evidence);
    if (hypotheses.empty()) continue;
    recovery.tried += hypotheses.size();
    std::vector<Tried> tried = trial.best_of(hypotheses);
    if (tried.empty()) continue;
    const double share = tried.front().score.share();
    if (recovery.best && recovery.best->score.share() >= share) continue;
    recovery.best = tried.front();
    recovery.holds = share >= kHolds && tried.front().score.telling >= kLeastTelling;
    if (!recovery.holds) continue;
    std::erase_if(tried, [&](const Tried& t) { return t.score.share() < share; });
    recovery.equivalents.assign(tried.begin() + 1, tried.end());
    break;
  }
  return recovery;
}

}  // namespace hieron
