#include "hieron/merge/manifest.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>

#include "hieron/core/hash.h"
#include "hieron/core/parallel.h"
#include "hieron/core/text.h"
#include "hieron/io/file.h"

namespace hieron {
namespace {

using Json = nlohmann::ordered_json;

constexpr uint64_t kMaxManifestBytes = 256u << 20;

std::string last_component(std::string_view path) {
  while (path.size() > 1 && (path.ends_with('/') || path.ends_with('\\'))) path.remove_suffix(1);
  const size_t slash = path.find_last_of("/\\");
  return std::string(slash == std::string_view::npos ? path : path.substr(slash + 1));
}

// "textgenrnn/base-bf16/model.safetensors" is called base-bf16.
std::string short_name(std::string_view ref) {
  std::string last = last_component(ref);
  if (!last.ends_with(".safetensors") && !last.ends_with(".index.json")) return last;
  const std::string_view folder = ref.substr(0, ref.size() - last.size());
  return folder.size() > 1 ? last_component(folder) : last;
}

void replace_all(std::string& text, const std::string& from, const std::string& to) {
  if (from.empty() || from == to) return;
  for (size_t at = 0; (at = text.find(from, at)) != std::string::npos; at += to.size()) {
    text.replace(at, from.size(), to);
  }
}

// A hub's names tell nothing of this machine, and anybody can use them.
bool on_hub(const PlannedModel& model) { return !model.checkpoint->commit.empty(); }

// The recipe with its models by short names; longer references first, as one may begin another.
std::string public_recipe(const Plan& plan) {
  std::set<std::string> refs;
  const auto note = [&refs](const std::vector<RecipeSlice>& slices) {
    for (const RecipeSlice& slice : slices) {
      for (const RecipeSource& source : slice.sources) refs.insert(source.model.text);
      if (slice.base_model) refs.insert(slice.base_model->text);
    }
  };
  note(plan.recipe.slices);
  for (const RecipeModule& module : plan.recipe.modules) note(module.slices);
  if (plan.recipe.base_model) refs.insert(plan.recipe.base_model->text);
  for (const PlannedModel& model : plan.models) {
    if (on_hub(model)) refs.erase(model.ref);
  }
  std::vector<std::string> ordered(refs.begin(), refs.end());
  std::ranges::sort(ordered, std::ranges::greater(),
                    [](const std::string& ref) { return std::pair(ref.size(), ref); });
  std::string text = plan.recipe.text;
  for (const std::string& ref : ordered) {
    if (ref.find_first_of("/\\") != std::string::npos) replace_all(text, ref, short_name(ref));
  }
  return text;
}

Json inputs_json(const Plan& plan) {
  Json inputs = Json::array();
  for (const PlannedModel& model : plan.models) {
    Json files = Json::array();
    for (const CheckpointFile& file : model.checkpoint->files) {
      const std::string& sha256 = file.origin.sha256;
      files.push_back({{"path", last_component(file.path)},
                       {"bytes", file.bytes},
                       {"sha256", sha256.empty() ? Json() : Json(sha256)}});
    }
    Json input{{"ref", on_hub(model) ? model.ref : short_name(model.ref)},
               {"files", std::move(files)}};
    if (on_hub(model)) input["commit"] = model.checkpoint->commit;
    inputs.push_back(std::move(input));
  }
  return inputs;
}

Json accounting_json(const Plan& plan) {
  Json table = Json::array();
  for (const AccountedTensor& a : plan.accounting) {
    table.push_back({{"model", a.model},
                     {"tensor", a.tensor->name},
                     {"rule", name(a.rule)},
                     {"reason", a.reason}});
  }
  return table;
}

Result<std::string> hash_file(const File& file, std::span<std::byte> buffer,
                              const WalkOptions& options) {
  Sha256 hash;
  for (uint64_t at = 0; at < file.size(); at += buffer.size()) {
    if (options.cancel && options.cancel->load(std::memory_order_relaxed))
      return system_error("Interrupted.");
    const auto piece = buffer.first(std::min<uint64_t>(buffer.size(), file.size() - at));
    HIERON_CHECK(file.read_at(at, piece));
    hash.update(piece);
  }
  return to_hex(hash.finish());
}

// Only names inside the folder: a manifest must not lead anywhere else.
bool plain_name(const std::string& name) {
  return !name.empty() && name != "." && name != ".." && name.find('/') == std::string::npos &&
         name.find('\0') == std::string::npos;
}

Result<std::vector<WrittenFile>> listed_files(const std::string& path) {
  HIERON_TRY(const std::string text, read_text(path, kMaxManifestBytes));
  const Json manifest = Json::parse(text, nullptr, false);
  const auto damaged = [&](std::string_view what) {
    return refuse(
        fmt::format("{}: {}; it is not a manifest of hieron, or it is damaged.", path, what), path);
  };
  if (!manifest.is_object() || manifest.value("schema", Json()) != "hieron.manifest/1") {
    return damaged("the schema is not hieron.manifest/1");
  }
  const Json files = manifest.value("files", Json());
  if (!files.is_array()) return damaged("there is no list of files");
  std::vector<WrittenFile> listed;
  for (const Json& file : files) {
    const bool whole = file.is_object() && file.value("path", Json()).is_string() &&
                       file.value("bytes", Json()).is_number_unsigned() &&
                       file.value("sha256", Json()).is_string();
    if (!whole || !plain_name(file["path"]))
      return damaged("an entry of files has no path, bytes and sha256");
    listed.push_back({file["path"], file["bytes"], file["sha256"]});
  }
  return listed;
}

}  // namespace

std::string manifest_json(const Plan& plan, std::span<const WrittenFile> files) {
  Json written = Json::array();
  for (const WrittenFile& file : files) {
    written.push_back({{"path", file.name}, {"bytes", file.bytes}, {"sha256", file.sha256}});
  }
  const Json manifest{{"schema", "hieron.manifest/1"},
                      {"tool", {{"name", "hieron"}, {"version", HIERON_VERSION}}},
                      {"plan", plan.digest()},
                      {"method", plan.method->describe().name},
                      {"arithmetic", plan.arithmetic},
                      {"seed", plan.draws ? Json(plan.seed) : Json()},
                      {"recipe", public_recipe(plan)},
                      {"inputs", inputs_json(plan)},
                      {"files", std::move(written)},
                      {"reasons", plan.reasons},
                      {"accounting", accounting_json(plan)},
                      {"warnings", plan.warnings}};
  return manifest.dump(1, ' ', false, Json::error_handler_t::replace) + "\n";
}

namespace {

std::string quoted(const std::string& text) {
  return Json(text).dump(-1, ' ', false, Json::error_handler_t::replace);
}

// `license:` in the front matter of a model's README.md; nothing if it does not say.
std::optional<std::string> licence_of(const std::string& folder) {
  const auto text = read_text((std::filesystem::path(folder) / "README.md").string(), 16u << 20);
  if (!text || !text->starts_with("---")) return std::nullopt;
  constexpr std::string_view kKey = "\nlicense:";
  const size_t at = text->find(kKey), end = text->find("\n---", 3);
  if (at == std::string::npos || end == std::string::npos || at >= end) return std::nullopt;
  std::string value = text->substr(at + kKey.size(), text->find('\n', at + 1) - at - kKey.size());
  std::erase_if(value, [](char c) { return c == ' ' || c == '"' || c == '\'' || c == '\r'; });
  if (value.empty()) return std::nullopt;
  return printable(value);
}

std::set<std::string> licences_of(const Plan& plan) {
  std::set<std::string> all;
  for (const PlannedModel& model : plan.models) {
    if (model.checkpoint->folder.empty()) continue;
    if (auto licence = licence_of(model.checkpoint->folder)) all.insert(*std::move(licence));
  }
  return all;
}

std::string licence_text(const std::set<std::string>& licences) {
  if (licences.empty()) {
    return "The cards of the models name no licence; ask their authors before you share this.\n\n";
  }
  std::string list;
  for (const std::string& licence : licences) list += (list.empty() ? "`" : ", `") + licence + "`";
  return fmt::format(
      "Licences of the models, as their cards say: {}. The terms of each hold for "
      "the merge.\n\n",
      list);
}

}  // namespace

std::string model_card(const Plan& plan) {
  std::string card = "---\nbase_model:\n";
  for (const std::string& parent : plan.parents)
    card += fmt::format("- {}\n", quoted(short_name(parent)));
  const std::set<std::string> licences = licences_of(plan);
  if (licences.size() == 1) card += fmt::format("license: {}\n", quoted(*licences.begin()));
  card += fmt::format(
      "base_model_relation: merge\ntags:\n- merge\n- hieron\n---\n\n# A merge\n\n"
      "Made by hieron {} with the method `{}` ({}) in the arithmetic `{}`. The manifest, "
      "`hieron.json`, lists the "
      "inputs, what became of every tensor, and the SHA-256 of every file; `hieron verify` checks "
      "them.\n\n"
      "{}"
      "```yaml\n{}{}```\n",
      HIERON_VERSION, plan.method->describe().name, plan.method->describe().citation,
      plan.arithmetic, licence_text(licences), public_recipe(plan),
      plan.recipe.text.ends_with('\n') ? "" : "\n");
  return card;
}

Result<ManifestCheck> check_manifest(const std::string& folder, const WalkOptions& options) {
  const std::filesystem::path root(folder);
  HIERON_TRY(std::vector<WrittenFile> files, listed_files((root / kManifestName).string()));
  std::vector<Status> outcomes(files.size());
  std::vector<std::string> differences(files.size());
  const uint64_t piece = std::clamp<uint64_t>(options.memory / 16 / 4096 * 4096, 4096, 4u << 20);
  const unsigned threads = std::min(worker_count(options), 8u);
  parallel_for(files.size(), threads, [&](size_t i) {
    const WrittenFile& listed = files[i];
    const std::string path = (root / listed.name).string();
    std::error_code ignored;
    if (!std::filesystem::is_regular_file(path, ignored)) {
      differences[i] =
          fmt::format("{}: listed in the manifest, but missing.", printable(listed.name));
      return;
    }
    auto file = open_file(path);
    if (!file) {
      outcomes[i] = std::unexpected(file.error());
      return;
    }
    if ((*file)->size() != listed.bytes) {
      differences[i] =
          fmt::format("{}: has {} bytes, the manifest says {}.", printable(listed.name),
                      with_commas((*file)->size()), with_commas(listed.bytes));
      return;
    }
    const AlignedBuffer buffer(std::min<uint64_t>(piece, std::max<uint64_t>(1, listed.bytes)));
    const auto hash = hash_file(**file, buffer.span(), options);
    if (!hash) {
      outcomes[i] = std::unexpected(hash.error());
    } else if (*hash != listed.sha256) {
      differences[i] = fmt::format("{}: SHA-256 is {}, the manifest says {}.",
                                   printable(listed.name), *hash, printable(listed.sha256));
    }
  });
  ManifestCheck check{std::move(files), {}};
  for (size_t i = 0; i < outcomes.size(); ++i) {
    if (!outcomes[i]) return std::unexpected(outcomes[i].error());
    if (!differences[i].empty()) check.differences.push_back(std::move(differences[i]));
  }
  return check;
}

}  // namespace hieron
