// hieron fingerprint REF -o FILE: the sampled elements, as a small safetensors file.
#include "hieron/walk/fingerprint.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <filesystem>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>

#include "hieron/assay/identity.h"
#include "hieron/cli/command.h"
#include "hieron/cli/hub_session.h"
#include "hieron/core/text.h"
#include "hieron/io/output_file.h"
#include "hieron/model/config.h"
#include "hieron/walk/checkpoint.h"

namespace hieron {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kExample =
    "  hieron fingerprint suspect -o suspect.fp.safetensors\n"
    "  hieron fingerprint org/model@revision -o model.fp.safetensors\n"
    "  hieron audit suspect.fp.safetensors --parent a.fp.safetensors --base b.fp.safetensors \\\n"
    "      --control c.fp.safetensors\n\n"
    "A fingerprint stands for its model in audit, diff and inspect, next to whole models as well.\n"
    "Its positions are public: they can be tampered with, and a verdict from it says so.";

struct Asked {
  std::string ref, out;
  std::optional<uint64_t> size;
};

// The last component of a path, or org/name: never where it lies on this machine.
std::string public_name(const Checkpoint& checkpoint) {
  std::string ref = checkpoint.ref;
  if (!checkpoint.commit.empty()) {
    if (ref.starts_with("hf://")) ref.erase(0, 5);
    return ref.substr(0, ref.find('@'));
  }
  std::filesystem::path path = std::filesystem::path(ref).lexically_normal();
  if (!path.has_filename()) path = path.parent_path();
  std::string name = path.filename().string();
  return name == "." || name == ".." ? "model" : name;
}

Result<FingerprintSource> source_of(const Checkpoint& checkpoint, const Context& context) {
  HIERON_TRY(const ModelIdentity identity,
             identify(checkpoint, context.options.hash, context.options.threads));
  FingerprintSource source{
      .name = public_name(checkpoint), .commit = checkpoint.commit, .files = {}};
  for (size_t i = 0; i < checkpoint.files.size(); ++i) {
    const CheckpointFile& file = checkpoint.files[i];
    const std::string& hashed = identity.files[i].sha256;
    source.files.push_back(
        {file.path, file.bytes, hashed.empty() ? file.origin.sha256 : hashed, file.origin.etag});
  }
  return source;
}

struct Made {
  std::shared_ptr<const Checkpoint> fingerprint;
  std::string file;
};

// As many elements as fit into `size` bytes of file; without a size, as many as usual.
Result<Made> make(const std::shared_ptr<const Checkpoint>& checkpoint,
                  const FingerprintSource& source, const std::optional<uint64_t>& size) {
  constexpr int kTries = 12;
  uint64_t elements = 0;
  if (size) {
    uint64_t parameters = 0;
    for (const TensorInfo& tensor : checkpoint->tensors) parameters += tensor.elements;
    elements = std::max<uint64_t>(
        1, static_cast<uint64_t>(
               static_cast<double>(*size) * static_cast<double>(parameters) /
               static_cast<double>(std::max<uint64_t>(1, checkpoint->weight_bytes()))));
  }
  uint64_t least = 0;
  for (int i = 0; i < kTries; ++i) {
    HIERON_TRY(auto fingerprint, fingerprint_of(checkpoint, elements));
    HIERON_TRY(std::string file, fingerprint_file(*fingerprint, source));
    if (!size || file.size() <= *size) return Made{std::move(fingerprint), std::move(file)};
    least = file.size();
    if (elements == 1) break;
    const double shrink = 0.99 * static_cast<double>(*size) / static_cast<double>(file.size());
    elements = std::max<uint64_t>(1, static_cast<uint64_t>(static_cast<double>(elements) * shrink));
    if (i + 2 == kTries) elements = 1;
  }
  return usage_error(fmt::format(
      "--size: a fingerprint of {} holds {} elements of each group of roles and takes {} at least.",
      printable(checkpoint->ref), with_commas(kGroupElements), show_bytes(least)));
}

struct Held {
  uint64_t tensors = 0, elements = 0;
};

std::map<std::string_view, Held> by_group(const Checkpoint& fingerprint) {
  const auto config = parse_config(fingerprint.config_json, fingerprint.ref);
  const RoleTable& roles = RoleTable::of(config ? config->architecture : "");
  std::map<std::string_view, Held> groups;
  for (const TensorInfo& tensor : fingerprint.tensors) {
    Held& held = groups[fingerprint_group(roles.classify(tensor.name, tensor.shape).role)];
    ++held.tensors;
    held.elements += known_elements(tensor);
  }
  return groups;
}

Outcome run_fingerprint(const Asked& asked, const Context& context) {
  const auto start = std::chrono::steady_clock::now();
  HIERON_TRY(const ModelSource source, model_source(context, Access::kSampled));
  HIERON_TRY(const auto checkpoint, open_checkpoint(asked.ref, source));
  if (is_fingerprint(*checkpoint)) {
    return refuse(fmt::format("{}: this is a fingerprint already; give the model itself.",
                              printable(asked.ref)),
                  asked.ref);
  }
  HIERON_CHECK(check_place(asked.out));
  HIERON_TRY(const FingerprintSource origin, source_of(*checkpoint, context));
  HIERON_TRY(const Made made, make(checkpoint, origin, asked.size));
  HIERON_CHECK(write_text(asked.out, made.file));
  const std::chrono::duration<double> spent = std::chrono::steady_clock::now() - start;

  uint64_t elements = 0;
  std::string text;
  Json groups = Json::array();
  for (const auto& [group, held] : by_group(*made.fingerprint)) {
    elements += held.elements;
    text += fmt::format("  {:<10} {:>9} elements of {:>5} tensors\n", group,
                        with_commas(held.elements), with_commas(held.tensors));
    groups.push_back({{"group", group}, {"tensors", held.tensors}, {"elements", held.elements}});
  }
  text = fmt::format("{}: {} elements of {} in {}\n{}", printable(asked.out), with_commas(elements),
                     printable(origin.name), show_bytes(made.file.size()), text);
  for (const std::string& warning : made.fingerprint->warnings) {
    text += fmt::format("warning: {}\n", warning);
  }
  const Json json = {{"schema", "hieron.fingerprinted/1"},
                     {"tool", {{"name", "hieron"}, {"version", HIERON_VERSION}}},
                     {"ref", asked.ref},
                     {"out", asked.out},
                     {"bytes", made.file.size()},
                     {"elements", elements},
                     {"tensors", made.fingerprint->tensors.size()},
                     {"groups", std::move(groups)},
                     {"warnings", made.fingerprint->warnings},
                     {"seconds", spent.count()}};
  HIERON_CHECK(deliver(context.options, text,
                       json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n"));
  return 0;
}

}  // namespace

void add_fingerprint(CLI::App& app, Context& context) {
  auto asked = std::make_shared<Asked>();
  CLI::App* command = add_command(app, context, "fingerprint",
                                  "the sampled elements, as a small safetensors file", kExample);
  command->add_option("REF", asked->ref, "the checkpoint")->required();
  command->add_option("-o,--out", asked->out, "the file to write")->required()->type_name("FILE");
  add_size_option(*command, "--size", asked->size,
                  "of the file, at most (default: by the model, 100 kB to 4 MB)");
  on_run(*command, context, [asked, &context] { return run_fingerprint(*asked, context); });
}

}  // namespace hieron
