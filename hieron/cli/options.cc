#include "hieron/cli/options.h"

#include <CLI/CLI.hpp>

#include "hieron/core/text.h"

namespace hieron {

namespace {

// CLI11 learns that a value is wrong by an exception of its own; main.cc catches it.
template <class T>
T or_throw(const std::string& flag, Result<T> result) {
  if (!result) {
    throw CLI::ValidationError(flag, result.error().sentence);
  }
  return *std::move(result);
}

}  // namespace

void add_size_option(CLI::App& command, const std::string& flags, std::optional<uint64_t>& bytes,
                     const std::string& about) {
  command
      .add_option_function<std::string>(
          flags,
          [flags, &bytes](const std::string& text) { bytes = or_throw(flags, parse_size(text)); },
          about)
      ->type_name("SIZE");
}

void add_common_options(CLI::App& command, CommonOptions& options) {
  command.add_option("--json", options.json, "Write the result as JSON; - is standard output")
      ->type_name("FILE|-");
  command.add_flag("--quiet", options.quiet, "Print neither the result nor progress");
  command.add_option("--threads", options.threads, "Worker threads (default: one a core)")
      ->type_name("N")
      ->check(CLI::Range(1u, 4096u));
  command
      .add_option_function<std::string>(
          "--memory",
          [&options](const std::string& text) {
            options.memory = or_throw("--memory", parse_size(text));
          },
          "Budget for buffers (default: 512MiB)")
      ->type_name("SIZE");
  command
      .add_option_function<std::string>(
          "--seed",
          [&options](const std::string& hex) {
            options.seed = or_throw("--seed", Seed::from_hex(hex));
          },
          "Seed of samples and self-checks (default: a fresh one, recorded in the result)")
      ->type_name("HEX");
  command.add_flag("--offline", options.offline, "Never ask the network");
  add_size_option(command, "--max-download", options.max_download,
                  "Refuse to download more than this");
  command.add_flag("--hash", options.hash, "SHA-256 of whole input files");
  command.set_version_flag("--version", "hieron " HIERON_VERSION);
}

}  // namespace hieron
