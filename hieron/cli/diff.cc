// hieron diff A B: what changed between two checkpoints.
#include "hieron/assay/diff.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>

#include "hieron/cli/command.h"
#include "hieron/cli/hub_session.h"
#include "hieron/cli/progress.h"
#include "hieron/core/text.h"
#include "hieron/merge/computed.h"

namespace hieron {
namespace {

constexpr const char* kExample =
    "  hieron diff base fine-tune            a table by role, then the tensors that changed most\n"
    "  hieron diff base fine-tune --all      every tensor\n\n"
    "Exit status 0 if the two hold the same tensors with the same values, else 1.";

struct Asked {
  std::string a, b;
  bool all = false;
};

struct RoleTotal {
  uint64_t tensors = 0, elements = 0, equal = 0;
  double square_a = 0, square_change = 0;
};

std::string percent(uint64_t part, uint64_t whole) {
  if (part == whole) return "100 %";
  const double share =
      100.0 * static_cast<double>(part) / static_cast<double>(std::max<uint64_t>(1, whole));
  return fmt::format("{:.2f} %", std::min(share, 99.99));
}

std::map<Role, RoleTotal> by_role(const CheckpointDifference& difference) {
  std::map<Role, RoleTotal> totals;
  for (const TensorDifference& tensor : difference.tensors) {
    RoleTotal& total = totals[tensor.role.role];
    ++total.tensors;
    total.elements += tensor.elements;
    total.equal += tensor.equal;
    total.square_a += tensor.norm_a * tensor.norm_a;
    total.square_change += tensor.norm_change * tensor.norm_change;
  }
  return totals;
}

void append_tensors(std::string& text, const CheckpointDifference& difference, bool all) {
  constexpr size_t kShown = 12;
  std::vector<const TensorDifference*> changed;
  for (const TensorDifference& tensor : difference.tensors) {
    if (all || tensor.equal < tensor.elements) changed.push_back(&tensor);
  }
  if (changed.empty()) return;
  if (!all) {
    // Among equals in file order: they lie in one vector.
    std::ranges::sort(
        changed, {}, [](const TensorDifference* t) { return std::pair(-t->relative_change(), t); });
  }
  const size_t shown = all ? changed.size() : std::min(changed.size(), kShown);
  text += fmt::format("\n{:<52} {:>14} {:>10} {:>12} {:>12}\n", all ? "tensor" : "changed most",
                      "elements", "equal", "|b-a|/|a|", "max |b-a|");
  for (size_t i = 0; i < shown; ++i) {
    const TensorDifference& t = *changed[i];
    text += fmt::format("{:<52} {:>14} {:>10} {:>12.3e} {:>12.3e}\n", printable(t.name, 52),
                        with_commas(t.elements), percent(t.equal, t.elements), t.relative_change(),
                        t.largest_change);
  }
  if (shown < changed.size()) {
    text += fmt::format("… and {} more (--all, or --json)\n", changed.size() - shown);
  }
}

std::string to_text(const Asked& asked, const CheckpointDifference& difference) {
  const size_t changed = static_cast<size_t>(std::ranges::count_if(
      difference.tensors, [](const auto& t) { return t.equal < t.elements; }));
  std::string text =
      difference.identical()
          ? fmt::format("The same: {} tensors, {} elements, equal in every one.\n",
                        difference.tensors.size(), with_commas(difference.elements))
          : fmt::format("{} of {} common tensors differ; {} of {} elements are equal ({}).\n",
                        changed, difference.tensors.size(), with_commas(difference.equal),
                        with_commas(difference.elements),
                        percent(difference.equal, difference.elements));
  text += fmt::format("\n{:<16} {:>8} {:>16} {:>10} {:>12}\n", "role", "tensors", "elements",
                      "equal", "|b-a|/|a|");
  for (const auto& [role, t] : by_role(difference)) {
    text += fmt::format("{:<16} {:>8} {:>16} {:>10} {:>12.3e}\n", name(role), t.tensors,
                        with_commas(t.elements), percent(t.equal, t.elements),
                        t.square_a > 0 ? std::sqrt(t.square_change / t.square_a) : 0.0);
  }
  append_tensors(text, difference, asked.all);
  for (size_t i = 0; i < difference.ledger.size(); ++i) {
    const Skipped& skipped = difference.ledger[i];
    if (i == 0) text += "\nnot compared\n";
    if (i == 12 && !asked.all) {
      text += fmt::format("  … and {} more\n", difference.ledger.size() - i);
      break;
    }
    text += fmt::format("  {} of {}: {}\n", printable(skipped.tensor),
                        skipped.model == 0 ? "A" : "B", skipped.reason);
  }
  return text;
}

std::string to_json(const Asked& asked, const CheckpointDifference& difference) {
  nlohmann::ordered_json json;
  json["schema"] = "hieron.diff/1";
  json["tool"] = {{"name", "hieron"}, {"version", HIERON_VERSION}};
  json["a"] = asked.a;
  json["b"] = asked.b;
  json["identical"] = difference.identical();
  json["elements"] = difference.elements;
  json["equal"] = difference.equal;
  json["tensors"] = nlohmann::ordered_json::array();
  for (const TensorDifference& t : difference.tensors) {
    json["tensors"].push_back(
        {{"name", t.name},
         {"role", name(t.role.role)},
         {"layer", t.role.layer ? nlohmann::ordered_json(*t.role.layer) : nlohmann::ordered_json()},
         {"dtype_a", t.dtype_a},
         {"dtype_b", t.dtype_b},
         {"elements", t.elements},
         {"equal", t.equal},
         {"norm_a", t.norm_a},
         {"norm_change", t.norm_change},
         {"largest_change", t.largest_change},
         {"not_finite", t.not_finite}});
  }
  json["skipped"] = nlohmann::ordered_json::array();
  for (const Skipped& skipped : difference.ledger) {
    json["skipped"].push_back({{"of", skipped.model == 0 ? "a" : "b"},
                               {"tensor", skipped.tensor},
                               {"reason", skipped.reason}});
  }
  return json.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
}

Outcome run_diff(const Asked& asked, const Context& context) {
  HIERON_TRY(const ModelSource source, model_source(context, Access::kWhole));
  HIERON_TRY(const auto a, open_ref(asked.a, source));
  HIERON_TRY(const auto b, open_ref(asked.b, source));
  HIERON_TRY(const CheckpointDifference difference, [&] {
    ProgressBar progress(context.options, "comparing");
    return diff(*a, *b, walk_options(context, progress));
  }());
  HIERON_CHECK(deliver(context.options, to_text(asked, difference), to_json(asked, difference)));
  return difference.identical() ? 0 : 1;
}

}  // namespace

void add_diff(CLI::App& app, Context& context) {
  auto asked = std::make_shared<Asked>();
  CLI::App* command =
      add_command(app, context, "diff", "what changed between two checkpoints", kExample);
  command->add_option("A", asked->a, "the one to compare with")->required();
  command->add_option("B", asked->b, "the one that may have changed")->required();
  command->add_flag("--all", asked->all, "list every tensor");
  on_run(*command, context, [asked, &context] { return run_diff(*asked, context); });
}

}  // namespace hieron
