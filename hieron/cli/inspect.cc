// hieron inspect REF: what is in a checkpoint: tensors, roles, config, tells. Reads headers and
// small files only.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <chrono>
#include <iterator>
#include <memory>
#include <nlohmann/json.hpp>
#include <vector>

#include "hieron/assay/identity.h"
#include "hieron/cli/command.h"
#include "hieron/cli/hub_session.h"
#include "hieron/cli/inspection.h"
#include "hieron/core/text.h"
#include "hieron/walk/checkpoint.h"

namespace hieron {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kExample =
    "  hieron inspect path/to/model\n"
    "  hieron inspect model-00001-of-00004.safetensors --tensors\n"
    "  hieron inspect path/to/model --json - | jq '.roles[] | {role, parameters}'";

struct Asked {
  std::string ref;
  bool tensors = false;
};

// ---- terminal

// Left-aligned first column, the rest right-aligned but for the last; two spaces between.
template <size_t N>
std::string table(const std::vector<std::array<std::string, N>>& rows) {
  std::array<size_t, N> width{};
  for (const auto& row : rows) {
    for (size_t i = 0; i < N; ++i) width[i] = std::max(width[i], row[i].size());
  }
  std::string text;
  for (const auto& row : rows) {
    text += fmt::format("  {:<{}}", row[0], width[0]);
    for (size_t i = 1; i + 1 < N; ++i) text += fmt::format("  {:>{}}", row[i], width[i]);
    text += row[N - 1].empty() ? "\n" : fmt::format("  {}\n", row[N - 1]);
  }
  return text;
}

std::string names_of(const std::set<DType>& dtypes) {
  std::vector<std::string_view> names;
  for (DType dtype : dtypes) names.push_back(info(dtype).name);
  return fmt::format("{}", fmt::join(names, " "));
}

std::string percent(uint64_t part, uint64_t whole) {
  return whole == 0 ? "-"
                    : fmt::format("{:.2f} %",
                                  100 * static_cast<double>(part) / static_cast<double>(whole));
}

std::string plural(uint64_t n, std::string_view one) {
  return fmt::format("{} {}{}", with_commas(n), one, n == 1 ? "" : "s");
}

// "0 to 93", "1, 2", or nothing.
std::string range_of(const std::set<int>& numbers) {
  if (numbers.empty()) return "none numbered";
  if (numbers.size() <= 2) return fmt::format("{}", fmt::join(numbers, ", "));
  return fmt::format("{} to {} ({})", *numbers.begin(), *numbers.rbegin(), numbers.size());
}

std::string config_text(const ModelConfig& config) {
  std::string text = "config       ";
  text += config.architecture.empty() ? "no architecture named" : printable(config.architecture);
  if (!config.model_type.empty()) text += fmt::format(" ({})", printable(config.model_type));
  const auto figure = [&](const std::optional<uint64_t>& value, std::string_view what) {
    if (value) text += fmt::format(", {} {}", what, with_commas(*value));
  };
  figure(config.layers, "layers");
  figure(config.experts, "experts");
  figure(config.hidden_size, "hidden size");
  figure(config.vocab_size, "vocabulary");
  if (!config.dtype.empty()) text += ", " + printable(config.dtype);
  if (config.tied) text += *config.tied ? ", tied head" : ", separate head";
  if (!config.quantization.empty()) text += ", quantised: " + printable(config.quantization);
  return text + "\n";
}

std::string summary_text(const Inspection& found) {
  uint64_t bytes = 0;
  for (const FileIdentity& file : found.identity.files) bytes += file.bytes;
  std::string text = fmt::format("{}\n\n", printable(found.identity.ref, 400));
  text += fmt::format("files        {}, {}\n", plural(found.identity.files.size(), "file"),
                      show_bytes(bytes));
  if (found.config) text += config_text(*found.config);

  text += fmt::format("tensors      {}, {}\n", with_commas(found.total.tensors),
                      plural(found.total.parameters, "parameter"));
  text += fmt::format("layers       {}\n", range_of(found.layers));
  if (!found.experts.empty()) text += fmt::format("experts      {}\n", range_of(found.experts));
  for (const auto& [dtype, count] : found.dtypes) {
    text += fmt::format("{:<12} {}, {}, {}\n", info(dtype).name, plural(count.tensors, "tensor"),
                        plural(count.parameters, "parameter"), show_bytes(count.bytes));
  }
  return text;
}

std::string roles_text(const Inspection& found) {
  std::vector<std::array<std::string, 6>> rows{
      {"role", "tensors", "parameters", "share", "bytes", "dtypes"}};
  const auto add = [&](std::string name, const Count& count, std::string dtypes) {
    rows.push_back({std::move(name), with_commas(count.tensors), with_commas(count.parameters),
                    percent(count.parameters, found.total.parameters), show_bytes(count.bytes),
                    std::move(dtypes)});
  };
  for (const RoleCount& row : found.roles) {
    const std::string tower = row.tower.empty() ? "" : fmt::format("{}: ", row.tower);
    add(tower + std::string(name(row.role)), row.count, names_of(row.dtypes));
  }
  add("all", found.total, "");
  return table(rows);
}

std::string tensors_text(const Checkpoint& checkpoint, const Inspection& found) {
  std::vector<std::array<std::string, 6>> rows{
      {"tensor", "role", "layer", "expert", "dtype", "shape"}};
  const auto number = [](const std::optional<int>& n) { return n ? std::to_string(*n) : "-"; };
  for (size_t i = 0; i < checkpoint.tensors.size(); ++i) {
    const TensorInfo& tensor = checkpoint.tensors[i];
    const TensorRole& place = found.of_tensor[i];
    rows.push_back({printable(tensor.name), std::string(name(place.role)), number(place.layer),
                    number(place.expert), std::string(info(tensor.dtype).name),
                    to_string(tensor.shape)});
  }
  return table(rows);
}

std::string list_text(std::string_view title, const std::vector<std::string>& sentences) {
  if (sentences.empty()) return {};
  constexpr size_t kShown = 20;
  std::string text = fmt::format("\n{}\n", title);
  for (size_t i = 0; i < std::min(kShown, sentences.size()); ++i) {
    text += fmt::format("  - {}\n", sentences[i]);
  }
  if (sentences.size() > kShown) {
    text += fmt::format("  - and {} more (all of them in --json)\n", sentences.size() - kShown);
  }
  return text;
}

std::string files_text(const Inspection& found) {
  std::string text;
  for (const FileIdentity& file : found.identity.files) {
    if (!file.sha256.empty()) text += fmt::format("  {}  {}\n", file.sha256, printable(file.path));
  }
  return text.empty() ? text : "\nSHA-256\n" + text;
}

std::string terminal_text(const Checkpoint& checkpoint, const Inspection& found, bool tensors) {
  std::vector<std::string> hints;
  for (const Tell& tell : found.tells) {
    hints.push_back(fmt::format("{} ({})", tell.sentence, tell.weight));
  }
  std::string text = summary_text(found) + "\n" + roles_text(found);
  if (tensors) text += "\n" + tensors_text(checkpoint, found);
  text += files_text(found);
  text += list_text("Worth a look", found.oddities);
  text += list_text("Tells (hints in small files, never evidence)", hints);
  text += list_text("Warnings", found.warnings);
  return text;
}

// ---- JSON

std::string dump(const Json& json, int indent) {
  return json.dump(indent, ' ', false, Json::error_handler_t::replace);
}

template <class T>
Json or_null(const std::optional<T>& value) {
  return value ? Json(*value) : Json();
}

Json text_or_null(const std::string& text) { return text.empty() ? Json() : Json(text); }

Json config_json(const std::optional<ModelConfig>& config) {
  if (!config) return {};
  return {{"architecture", text_or_null(config->architecture)},
          {"model_type", text_or_null(config->model_type)},
          {"layers", or_null(config->layers)},
          {"experts", or_null(config->experts)},
          {"hidden_size", or_null(config->hidden_size)},
          {"vocab_size", or_null(config->vocab_size)},
          {"tied", or_null(config->tied)},
          {"dtype", text_or_null(config->dtype)},
          {"quantization", text_or_null(config->quantization)}};
}

void put(Json& json, const Count& count) {
  json["tensors"] = count.tensors;
  json["parameters"] = count.parameters;
  json["bytes"] = count.bytes;
}

Json dtypes_json(const Inspection& found) {
  Json list = Json::array();
  for (const auto& [dtype, count] : found.dtypes) {
    Json row = {{"dtype", info(dtype).name}};
    put(row, count);
    list.push_back(std::move(row));
  }
  return list;
}

Json roles_json(const Inspection& found) {
  Json list = Json::array();
  for (const RoleCount& row : found.roles) {
    Json entry = {{"role", name(row.role)}, {"tower", text_or_null(std::string(row.tower))}};
    put(entry, row.count);
    entry["dtypes"] = Json::array();
    for (DType dtype : row.dtypes) entry["dtypes"].push_back(info(dtype).name);
    list.push_back(std::move(entry));
  }
  return list;
}

Json files_json(const Inspection& found) {
  Json list = Json::array();
  for (const FileIdentity& file : found.identity.files) {
    list.push_back(
        {{"path", file.path}, {"bytes", file.bytes}, {"sha256", text_or_null(file.sha256)}});
  }
  return list;
}

Json tells_json(const Inspection& found) {
  Json list = Json::array();
  for (const Tell& tell : found.tells) {
    list.push_back({{"id", tell.id}, {"sentence", tell.sentence}, {"weight", tell.weight}});
  }
  return list;
}

std::string json_string(std::string_view text) { return dump(Json(text), -1); }

std::string number_or_null(const std::optional<int>& n) { return n ? std::to_string(*n) : "null"; }

void append_tensor(std::string& json, const Checkpoint& checkpoint, const TensorInfo& tensor,
                   const TensorRole& place) {
  fmt::format_to(
      std::back_inserter(json),
      R"({{"name":{},"role":"{}","tower":{},"layer":{},"expert":{},"dtype":"{}","shape":[{}],)"
      R"("parameters":{},"bytes":{},"file":{},"offset":{}}})",
      json_string(tensor.name), name(place.role),
      place.tower.empty() ? "null" : json_string(place.tower), number_or_null(place.layer),
      number_or_null(place.expert), info(tensor.dtype).name, fmt::join(tensor.shape, ","),
      tensor.elements, tensor.bytes(), json_string(checkpoint.files[tensor.stored.file].path),
      tensor.stored.offset);
}

// One line a tensor, appended to the finished object: a list of 140,000 is never held as a tree,
// and the text grows in one allocation.
void append_tensors(std::string& json, const Checkpoint& checkpoint, const Inspection& found) {
  constexpr size_t kLineWithoutName = 220;
  size_t names = 0;
  for (const TensorInfo& tensor : checkpoint.tensors) names += tensor.name.size();
  json.resize(json.size() - 2);  // "\n}"
  json.reserve(json.size() + names + kLineWithoutName * checkpoint.tensors.size());
  json += ",\n  \"tensors\": [";
  for (size_t i = 0; i < checkpoint.tensors.size(); ++i) {
    json += i == 0 ? "\n    " : ",\n    ";
    append_tensor(json, checkpoint, checkpoint.tensors[i], found.of_tensor[i]);
  }
  json += "\n  ]\n}";
}

std::string json_text(const Checkpoint& checkpoint, const Inspection& found, bool tensors,
                      double seconds) {
  Json json = {{"schema", "hieron.inspect/1"},
               {"tool", {{"name", "hieron"}, {"version", HIERON_VERSION}}},
               {"ref", found.identity.ref},
               {"files", files_json(found)},
               {"config", config_json(found.config)}};
  json["total"] = Json::object();
  put(json["total"], found.total);
  json["dtypes"] = dtypes_json(found);
  json["roles"] = roles_json(found);
  json["layers"] = Json(found.layers);
  json["experts"] = Json(found.experts);
  json["metadata"] = Json(checkpoint.metadata);
  json["oddities"] = found.oddities;
  json["tells"] = tells_json(found);
  json["warnings"] = found.warnings;
  json["seconds"] = seconds;
  std::string text = dump(json, 2);
  if (tensors) append_tensors(text, checkpoint, found);
  text += "\n";
  return text;
}

Outcome run(const Asked& asked, const Context& context) {
  const auto start = std::chrono::steady_clock::now();
  const CommonOptions& options = context.options;
  HIERON_TRY(const ModelSource source, model_source(context, Access::kSampled));
  HIERON_TRY(const auto checkpoint, open_checkpoint(asked.ref, source));
  HIERON_TRY(ModelIdentity identity, identify(*checkpoint, options.hash, options.threads));
  const Inspection found = inspect(*checkpoint, std::move(identity));
  const std::chrono::duration<double> spent = std::chrono::steady_clock::now() - start;
  const bool to_stdout = options.json == "-";
  HIERON_CHECK(deliver(
      options, options.quiet || to_stdout ? "" : terminal_text(*checkpoint, found, asked.tensors),
      options.json.empty() ? "" : json_text(*checkpoint, found, asked.tensors, spent.count())));
  return 0;
}

}  // namespace

void add_inspect(CLI::App& app, Context& context) {
  auto asked = std::make_shared<Asked>();
  CLI::App* command = add_command(app, context, "inspect",
                                  "what is in it: tensors, roles, config, tells", kExample);
  command
      ->add_option("REF", asked->ref,
                   "a folder, a .safetensors file, an index, or org/name[@revision] on the hub")
      ->required();
  command->add_flag("--tensors", asked->tensors, "list every tensor");
  on_run(*command, context, [asked, &context] { return run(*asked, context); });
}

}  // namespace hieron
