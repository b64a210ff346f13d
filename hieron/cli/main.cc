// Parses the command line, runs the command, prints one line if it failed, and says so by exit
// status.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <csignal>
#include <cstdio>
#include <exception>
#include <string>
#include <string_view>
#include <vector>

#include "hieron/cli/command.h"
#include "hieron/core/text.h"
#include "hieron/kernels/isa.h"

namespace {

using hieron::Context;

constexpr void (*kCommands[])(CLI::App&, Context&) = {
    hieron::add_audit,   hieron::add_merge,   hieron::add_plan,
    hieron::add_diff,    hieron::add_extract, hieron::add_fingerprint,
    hieron::add_inspect, hieron::add_verify,  hieron::add_methods,
};

// The one thing a signal handler may touch.
std::atomic<bool> interrupted{false};

void stop_soon(int) { interrupted = true; }

void listen_to_ctrl_c() {
  struct sigaction action{};
  action.sa_handler = stop_soon;
  action.sa_flags = SA_RESETHAND;  // the second one kills
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
}

int report(const hieron::Error& error) {
  const std::string more = error.also > 0 ? fmt::format(" (and {} more)", error.also) : "";
  fmt::print(stderr, "hieron: {}{}\n", error.sentence, more);
  return hieron::exit_status(error.code);
}

int wrong_usage(std::string sentence) {
  while (sentence.ends_with('.')) sentence.pop_back();
  return report(hieron::Error{hieron::ErrorCode::kUsage, sentence + ". See `hieron --help`."});
}

// " (did you mean X?)" if one of the names is near.
std::string suggestion(std::string_view word, const std::vector<std::string>& names) {
  const std::vector<std::string_view> candidates(names.begin(), names.end());
  const std::string_view near = hieron::nearest(word, candidates);
  return near.empty() ? "" : fmt::format(" (did you mean {}?)", near);
}

// The complaint about a first word that is no command; empty if it is one, or an option.
std::string unknown_command(const CLI::App& app, std::string_view word) {
  std::vector<std::string> names;
  for (const CLI::App* command : app.get_subcommands({})) names.push_back(command->get_name());
  if (word.starts_with('-') || std::ranges::find(names, word) != names.end()) return {};
  return fmt::format("There is no command \"{}\"{}", hieron::printable(word),
                     suggestion(word, names));
}

std::string not_expected(const CLI::App& app) {
  const std::string word = app.remaining(true).front();
  std::vector<const CLI::App*> asked{&app};
  for (const CLI::App* command : app.get_subcommands()) asked.push_back(command);
  std::vector<std::string> names;
  for (const CLI::App* command : asked) {
    for (const CLI::Option* option : command->get_options()) {
      for (const std::string& flag : option->get_lnames()) names.push_back("--" + flag);
    }
  }
  return fmt::format("\"{}\" is not expected here{}", hieron::printable(word),
                     suggestion(word, names));
}

// --help and --version arrive as "errors" with exit code 0, and print themselves.
int report(const CLI::App& app, const CLI::ParseError& error) {
  if (error.get_exit_code() == 0) return app.exit(error);
  if (!app.remaining(true).empty()) return wrong_usage(not_expected(app));
  return wrong_usage(hieron::printable(error.what(), 400));
}

int parse_and_run(int argc, char** argv) {
  Context context;
  context.cancel = &interrupted;
  CLI::App app{
      "hieron: what was this checkpoint made of? Audits, merges and compares model weights.",
      "hieron"};
  app.require_subcommand(1);
  app.set_version_flag("--version", "hieron " HIERON_VERSION);
  app.footer("`hieron COMMAND --help` ends with a worked example.");
  for (auto* add : kCommands) {
    add(app, context);
  }
  const std::string unknown = argc > 1 ? unknown_command(app, argv[1]) : "";
  if (!unknown.empty()) return wrong_usage(unknown);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return report(app, error);
  }
  if (const hieron::Status isa = hieron::check_isa_choice(); !isa) return report(isa.error());
  listen_to_ctrl_c();
  const hieron::Outcome outcome = context.run();
  return outcome ? *outcome : report(outcome.error());
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return parse_and_run(argc, argv);
  } catch (const std::bad_alloc&) {
    fmt::print(stderr, "hieron: out of memory; close other programs or lower --memory\n");
    return hieron::exit_status(hieron::ErrorCode::kSystem);
  } catch (const std::exception& error) {
    fmt::print(stderr, "hieron: internal error: {}; please report it\n",
               hieron::printable(error.what(), 400));
    return hieron::exit_status(hieron::ErrorCode::kBug);
  }
}
