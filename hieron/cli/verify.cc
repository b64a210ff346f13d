// hieron verify WHAT [REF]: do these bytes equal this recipe, adapter or manifest? If not: what
// would fit instead. Of an evidence pack: does its verdict follow from its bytes?
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <array>
#include <filesystem>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>

#include "hieron/assay/adapter_fit.h"
#include "hieron/assay/fitting_recipe.h"
#include "hieron/assay/replay.h"
#include "hieron/cli/command.h"
#include "hieron/cli/evidence.h"
#include "hieron/cli/fits.h"
#include "hieron/cli/hub_session.h"
#include "hieron/cli/mergekit_flags.h"
#include "hieron/cli/progress.h"
#include "hieron/core/text.h"
#include "hieron/merge/adapter.h"
#include "hieron/merge/computed.h"
#include "hieron/merge/execute.h"
#include "hieron/merge/generation.h"
#include "hieron/merge/plan.h"
#include "hieron/pack/verify.h"
#include "hieron/walk/fingerprint.h"

namespace hieron {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr const char* kExample =
    "  hieron verify recovered.yml suspect     do these bytes equal this recipe?\n"
    "  hieron verify ties.yml suspect --arithmetic mergekit-0.1.5 --random-seed 7\n"
    "  hieron verify adapter merged --base base    is this the base with the adapter?\n"
    "  hieron verify merged                    do the files equal the manifest in the folder?\n"
    "  hieron verify evidence                  does the verdict follow from the pack alone?";

struct Asked {
  std::string what, ref, base;
  PlanOptions plan;
  bool no_search = false;
  AskedCheck check;  // of an evidence pack
};

// What fits instead, given how the declared one compares (null: it is refused as it stands). May
// have nothing to say.
using Search = std::function<Result<std::optional<FitSearch>>(
    const Comparison* declared, const std::shared_ptr<const Checkpoint>& suspect)>;

Outcome finish(const Context& context, const std::string& text, const Json& json, bool equal) {
  HIERON_CHECK(deliver(context.options, text,
                       json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n"));
  return equal ? 0 : 1;
}

constexpr size_t kShown = 20;

// ---- a recipe or an adapter against a checkpoint

std::string difference_text(const Replay& total) {
  if (!total.first_difference) return {};
  const ElementPlace& place = *total.first_difference;
  std::string text = fmt::format("first difference: tensor \"{}\", element {}",
                                 printable(place.tensor), with_commas(place.element));
  if (!place.file.empty())
    text += fmt::format(", byte {} of {}", with_commas(place.offset), printable(place.file));
  return text + "\n";
}

std::string ledger_text(const Comparison& found) {
  std::string text;
  for (size_t i = 0; i < std::min(kShown, found.ledger.size()); ++i) {
    const Skipped& skipped = found.ledger[i];
    text += fmt::format("not compared: \"{}\" of the {}: {}\n", printable(skipped.tensor),
                        skipped.model == 0 ? "checkpoint" : "recipe", skipped.reason);
  }
  if (found.ledger.size() > kShown)
    text += fmt::format("and {} more not compared\n", found.ledger.size() - kShown);
  return text;
}

Json comparison_json(const Asked& asked, const Comparison& found, bool equal) {
  const Replay& total = found.total;
  Json first;
  if (total.first_difference) {
    const ElementPlace& place = *total.first_difference;
    first = {{"tensor", place.tensor},
             {"element", place.element},
             {"file", place.file},
             {"offset", place.offset}};
  }
  Json differing = Json::array();
  for (const TensorComparison& tensor : found.tensors) {
    if (tensor.equal == tensor.elements) continue;
    differing.push_back(
        {{"name", tensor.name},
         {"elements", tensor.elements},
         {"equal", tensor.equal},
         {"first_difference", tensor.first_difference ? Json(*tensor.first_difference) : Json()}});
  }
  Json skipped = Json::array();
  for (const Skipped& s : found.ledger) {
    skipped.push_back({{"of", s.model == 0 ? "checkpoint" : "recipe"},
                       {"tensor", s.tensor},
                       {"reason", s.reason}});
  }
  return {{"schema", "hieron.verify/1"},
          {"kind", asked.base.empty() ? "recipe" : "adapter"},
          {"what", asked.what},
          {"ref", asked.ref},
          {"equal", equal},
          {"elements", total.elements},
          {"elements_equal", total.equal},
          {"tensors", total.tensors},
          {"tensors_equal", total.tensors_equal},
          {"first_difference", std::move(first)},
          {"differing", std::move(differing)},
          {"skipped", std::move(skipped)}};
}

void add_search(const std::optional<FitSearch>& search, std::string_view what, std::string& text,
                Json& json) {
  if (search) text += fits_text(*search, what);
  json["fits"] = search ? fits_json(*search) : Json();
  json["search"] = search ? search_json(*search) : Json();
}

Outcome compare(const Asked& asked, const Context& context,
                std::shared_ptr<const Checkpoint> expected, const Search& look) {
  HIERON_TRY(const ModelSource source, model_source(context, Access::kWhole));
  HIERON_TRY(std::shared_ptr<const Checkpoint> suspect, open_ref(asked.ref, source));
  HIERON_TRY(const bool fingerprints, match_fingerprints(std::array{&suspect, &expected}));
  HIERON_TRY(const Comparison found, [&] {
    ProgressBar bar(context.options, "comparing");
    return replay(*expected, *suspect, walk_options(context, bar));
  }());
  const Replay& total = found.total;
  const bool equal = total.equal == total.elements && found.ledger.empty() && total.elements > 0;
  std::string text = fmt::format("{}: {} equals {}: {} of {} elements, {} of {} tensors\n",
                                 equal ? "yes" : "no", printable(asked.ref), printable(asked.what),
                                 with_commas(total.equal), with_commas(total.elements),
                                 with_commas(total.tensors_equal), with_commas(total.tensors));
  if (!equal)
    text = fmt::format("no: {} does not equal {}: {} of {} elements, {} of {} tensors\n",
                       printable(asked.ref), printable(asked.what), with_commas(total.equal),
                       with_commas(total.elements), with_commas(total.tensors_equal),
                       with_commas(total.tensors));
  text += difference_text(total) + ledger_text(found);
  for (const std::string& warning : expected->warnings) text += "note: " + warning + "\n";
  Json json = comparison_json(asked, found, equal);
  json["warnings"] = expected->warnings;
  if (fingerprints) {
    text += "note: compared at the public positions of a fingerprint only\n";
    json["warnings"].push_back(
        "Compared at the public positions of a fingerprint only, which can be tampered with.");
  }
  std::optional<FitSearch> search;
  if (!equal && !asked.no_search && !fingerprints) {
    HIERON_TRY(search, look(&found, suspect));
  }
  add_search(search, asked.base.empty() ? "recipe of its models" : "way of adding it", text, json);
  return finish(context, text, json, equal);
}

// A recipe that is refused as it stands may still be the one that was used: other programs ignore
// what they do not know.
Outcome refused_recipe(const Asked& asked, const Context& context, const Error& why,
                       const Search& look) {
  const Outcome refused = std::unexpected(why);
  if (asked.no_search || why.code != ErrorCode::kRefused) return refused;
  const auto suspect = open_ref(asked.ref, asked.plan.source);
  if (!suspect) return refused;
  HIERON_TRY(const std::optional<FitSearch> search, look(nullptr, *suspect));
  if (!search || !search->fits) return refused;
  std::string text =
      fmt::format("no: {} is not what {} declares, which is refused as it stands: {}\n",
                  printable(asked.ref), printable(asked.what), why.sentence);
  Json json = comparison_json(asked, {}, false);
  json["warnings"] = Json::array({why.sentence});
  add_search(search, "recipe of its models", text, json);
  return finish(context, text, json, false);
}

Outcome verify_recipe(Asked asked, const Context& context) {
  HIERON_TRY(asked.plan.source, model_source(context, Access::kWhole));
  const Search look = [&](const Comparison* declared,
                          const std::shared_ptr<const Checkpoint>& suspect) {
    ProgressBar bar(context.options, "searching");
    return find_fitting_recipe({asked.what, asked.plan}, declared, suspect,
                               walk_options(context, bar));
  };
  const auto expected = open_recipe(asked.what, asked.plan);
  if (!expected) return refused_recipe(asked, context, expected.error(), look);
  return compare(asked, context, *expected, look);
}

// The base with the adapter added, as hieron or (under mergekit-*) as PEFT adds it.
Outcome verify_adapter(const Asked& asked, const Context& context) {
  if (asked.ref.empty() || asked.base.empty()) {
    return usage_error(
        "verify ADAPTER needs the merged checkpoint and the base: hieron verify ADAPTER REF --base "
        "BASE.");
  }
  const bool peft = casts_first(asked.plan.arithmetic.value_or("exact"));
  HIERON_TRY(const ModelSource source, model_source(context, Access::kWhole));
  HIERON_TRY(const std::shared_ptr<const Checkpoint> base, open_ref(asked.base, source));
  HIERON_TRY(
      const std::shared_ptr<const Checkpoint> expected,
      with_adapter(base, asked.what, peft ? AdapterArithmetic::kPeft : AdapterArithmetic::kExact));
  const Search look =
      [&](const Comparison* declared,
          const std::shared_ptr<const Checkpoint>& suspect) -> Result<std::optional<FitSearch>> {
    ProgressBar bar(context.options, "searching");
    HIERON_TRY(FitSearch found,
               find_fitting_adapter({asked.what, asked.plan.arithmetic.value_or("exact"), base},
                                    declared->total.share, suspect, walk_options(context, bar)));
    return found;
  };
  return compare(asked, context, expected, look);
}

// ---- a folder against its manifest

Outcome verify_manifest(const Asked& asked, const Context& context) {
  ProgressBar bar(context.options, "hashing");
  HIERON_TRY(const ManifestCheck check, check_manifest(asked.what, walk_options(context, bar)));
  const bool equal = check.differences.empty();
  std::string text =
      fmt::format("{}: {} of {} files have the size and SHA-256 that {}/{} says\n",
                  equal ? "yes" : "no", check.files.size() - check.differences.size(),
                  check.files.size(), printable(asked.what), kManifestName);
  for (const std::string& difference : check.differences) text += difference + "\n";
  const Json json{{"schema", "hieron.verify/1"}, {"kind", "manifest"},
                  {"what", asked.what},          {"equal", equal},
                  {"files", check.files.size()}, {"differences", check.differences}};
  return finish(context, text, json, equal);
}

Outcome verify(const Asked& asked, const Context& context) {
  if (asked.plan.arithmetic) {
    if (const Status known = check_arithmetic_name(*asked.plan.arithmetic); !known) {
      return usage_error(known.error().sentence);
    }
  }
  std::error_code ignored;
  const fs::path what(asked.what);
  const bool adapter = fs::exists(what / "adapter_config.json", ignored) &&
                       !fs::exists(what / kManifestName, ignored);
  if (adapter) return verify_adapter(asked, context);
  if (!asked.base.empty()) {
    return usage_error(fmt::format("--base is for adapters, but {} is none.", asked.what));
  }
  if (is_evidence(asked.what) && asked.ref.empty()) {
    AskedCheck check = asked.check;
    check.pack = asked.what;
    return verify_evidence(check, context);
  }
  if (!asked.check.against.empty() || asked.check.refetch != "auto") {
    return usage_error(fmt::format(
        "--against and --refetch are for evidence packs, but {} is none.", printable(asked.what)));
  }
  if (what.extension() == ".yml" || what.extension() == ".yaml") {
    if (asked.ref.empty())
      return usage_error(
          "verify RECIPE needs the checkpoint to compare: hieron verify recipe.yml REF.");
    return verify_recipe(asked, context);
  }
  if (!fs::exists(what, ignored)) {
    return system_error(fmt::format("{}: there is no such file or folder.", asked.what),
                        asked.what);
  }
  if (fs::is_directory(what, ignored) && asked.ref.empty()) {
    if (fs::exists(what / kManifestName, ignored)) return verify_manifest(asked, context);
    return refuse(
        fmt::format("{}: the folder has no {}: hieron did not write it, or has not finished "
                    "(run the same merge again).",
                    asked.what, kManifestName),
        asked.what);
  }
  return usage_error(fmt::format(
      "{}: verify takes a recipe (.yml) with a REF, a folder with a {}, or an evidence pack; "
      "`hieron diff` compares two checkpoints.",
      asked.what, kManifestName));
}

}  // namespace

void add_verify(CLI::App& app, Context& context) {
  auto asked = std::make_shared<Asked>();
  CLI::App* command = add_command(
      app, context, "verify",
      "do these bytes equal this recipe, adapter, manifest or evidence pack?", kExample);
  command
      ->add_option("WHAT", asked->what,
                   "a recipe, an adapter, a folder with a manifest, or an evidence pack")
      ->required();
  command->add_option("REF", asked->ref, "the checkpoint that should equal it");
  command->add_option("--base", asked->base, "What an adapter was added to")->type_name("REF");
  command
      ->add_option("--arithmetic", asked->plan.arithmetic,
                   "exact, mergekit-0.1.5, … (default: the recipe's)")
      ->type_name("NAME");
  add_random_seed(*command, asked->plan.seed);
  command->add_flag("--no-search", asked->no_search,
                    "compare only: do not look for what would fit instead");
  add_evidence_check_options(*command, asked->check);
  on_run(*command, context, [asked, &context] { return verify(*asked, context); });
}

}  // namespace hieron
