// Parses the command line, runs the command, prints one line if it failed, and says so by exit
// status.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <csignal>
#include <cstdio>
#include <exception>

#include "hieron/cli/command.h"
#include "hieron/core/text.h"

namespace {

using hieron::Context;

constexpr void (*kCommands[])(CLI::App&, Context&) = {
    hieron::add_inspect, hieron::add_merge,   hieron::add_plan,
    hieron::add_verify,  hieron::add_methods,
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

// --help and --version arrive as "errors" with exit code 0, and print themselves.
int report(const CLI::App& app, const CLI::ParseError& error) {
  if (error.get_exit_code() == 0) {
    return app.exit(error);
  }
  return report(
      hieron::Error{hieron::ErrorCode::kUsage,
                    fmt::format("{}. See `hieron --help`.", hieron::printable(error.what(), 400))});
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
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return report(app, error);
  }
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
