#include "hieron/cli/mergekit_flags.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <array>
#include <string_view>

#include "hieron/core/text.h"
#include "hieron/merge/recipe.h"

namespace hieron {
namespace {

struct IdleFlag {
  std::string_view name;
  bool takes_value;
  std::string_view about;  // empty: nothing to say beyond that
};

constexpr std::string_view kAdapters = "adapters are applied as they are read, nothing is cached";
constexpr std::string_view kCache = "the hub's own cache is used (HF_HUB_CACHE)";

// With `--no-` before them too, where they take no value.
constexpr std::array<IdleFlag, 20> kIdleFlags{{
    {"cuda", false, {}},
    {"device", true, {}},
    {"low-cpu-memory", false, "memory is bounded by --memory"},
    {"read-to-gpu", false, {}},
    {"multi-gpu", false, {}},
    {"gpu-rich", false, {}},
    {"lazy-unpickle", false, "nothing is ever unpickled"},
    {"clone-tensors", false, {}},
    {"async-write", false, "writing is asynchronous as it is"},
    {"write-threads", true, {}},
    {"transformers-cache", true, kCache},
    {"lora-merge-cache", true, kAdapters},
    {"lora-merge-dtype", true, kAdapters},
    {"allow-crimes", false, "tensors are matched by name, whatever the architectures are called"},
    {"write-model-card", false, "the card is always written"},
    {"lazy", false, "a finished document of the same plan is taken over, any other is refused"},
    {"load-in-4bit", false, {}},
    {"load-in-8bit", false, {}},
    {"verbose", false, {}},
    {"i-understand-this-is-not-useful-without-training", false, {}},
}};

std::string idle_sentence(std::string_view flag, std::string_view about) {
  if (about.empty()) return fmt::format("{} has no meaning here and is ignored.", flag);
  return fmt::format("{} is ignored: {}.", flag, about);
}

void add_idle_flag(CLI::App& command, MergekitFlags& flags, const IdleFlag& idle) {
  const std::string flag = fmt::format("--{}", idle.name);
  const std::string said = idle_sentence(flag, idle.about);
  if (idle.takes_value) {
    command
        .add_option_function<std::string>(
            flag, [&flags, said](const std::string&) { flags.warnings.push_back(said); })
        ->group("");
    return;
  }
  command.add_flag_callback(flag, [&flags, said] { flags.warnings.push_back(said); })->group("");
  const std::string off = fmt::format("--no-{}", idle.name);
  const std::string said_off = idle_sentence(off, idle.about);
  command.add_flag_callback(off, [&flags, said_off] { flags.warnings.push_back(said_off); })
      ->group("");
}

void forbid(CLI::App& command, MergekitFlags& flags, const std::string& flag,
            const std::string& why) {
  command
      .add_flag_callback(
          flag,
          [&flags, flag, why] { flags.forbidden = fmt::format("{} is refused: {}.", flag, why); })
      ->group("");
}

uint64_t shard_bytes(std::string text) {
  constexpr std::string_view kSuffixes = "kKmMbB";
  const bool mergekits = text.size() > 1 && kSuffixes.find(text.back()) != std::string_view::npos &&
                         text.find_first_not_of("0123456789.") == text.size() - 1;
  if (mergekits && (text.back() == 'b' || text.back() == 'B')) text.back() = 'G';
  const auto bytes = parse_size(text);
  if (!bytes) throw CLI::ValidationError("--out-shard-size", bytes.error().sentence);
  if (*bytes == 0) throw CLI::ValidationError("--out-shard-size", "must be more than 0 bytes");
  return *bytes;
}

}  // namespace

void add_random_seed(CLI::App& command, std::optional<uint64_t>& seed) {
  command
      .add_option_function<std::string>(
          "--random-seed",
          [&seed](const std::string& text) {
            seed = parse_seed(text);
            if (!seed) {
              throw CLI::ValidationError(
                  "--random-seed",
                  "must be a whole number from 0 to 2^64 − 1, in decimal or as 0x…");
            }
          },
          "Seed of random masks (default: the recipe's, else 0); always recorded")
      ->type_name("N");
}

void add_shard_size(CLI::App& command, std::optional<uint64_t>& bytes) {
  command
      .add_option_function<std::string>(
          "--out-shard-size", [&bytes](const std::string& text) { bytes = shard_bytes(text); },
          "Bytes of tensors in a shard (default: 5GB; 5B is 5·10^9, as in mergekit)")
      ->type_name("SIZE");
}

void add_truncate_embeddings(CLI::App& command, bool& truncate) {
  command.add_flag("--unsafe-truncate-embeddings", truncate,
                   "Cut vocabularies of different sizes to the shortest; equal rows need not be "
                   "equal tokens");
}

void add_mergekit_flags(CLI::App& command, MergekitFlags& flags) {
  add_truncate_embeddings(command, flags.truncate_embeddings);
  command.add_flag("--copy-tokenizer,!--no-copy-tokenizer", flags.copy_tokenizer,
                   "Copy the tokenizer files (default)");
  add_random_seed(command, flags.random_seed);
  command.add_option("--num-threads", flags.num_threads, "As --threads")
      ->check(CLI::Range(1u, 4096u))
      ->group("");
  command.add_flag("--safe-serialization")->group("");
  forbid(command, flags, "--trust-remote-code", "nothing that comes with a model is ever executed");
  forbid(command, flags, "--no-safe-serialization", "only safetensors is written");
  for (const IdleFlag& idle : kIdleFlags) add_idle_flag(command, flags, idle);
}

}  // namespace hieron
