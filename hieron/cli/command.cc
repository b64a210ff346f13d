#include "hieron/cli/command.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cerrno>
#include <cstdio>
#include <cstring>

#include "hieron/io/output_file.h"

namespace hieron {

CLI::App* add_command(CLI::App& app, Context& context, const std::string& name,
                      const std::string& summary, const std::string& example) {
  CLI::App* command = app.add_subcommand(name, summary);
  add_common_options(*command, context.options);
  command->footer("Example:\n" + example);
  return command;
}

void on_run(CLI::App& command, Context& context, std::function<Outcome()> run) {
  command.callback([&context, run = std::move(run)] { context.run = run; });
}

namespace {

Status print(std::string_view text) {
  errno = 0;
  const bool written = std::fwrite(text.data(), 1, text.size(), stdout) == text.size();
  if (!written || std::fflush(stdout) != 0) {
    return system_error(
        fmt::format("standard output: cannot write the result: {}", std::strerror(errno)));
  }
  return {};
}

}  // namespace

Status deliver(const CommonOptions& options, std::string_view terminal, std::string_view json) {
  if (options.json == "-") {
    return print(json);
  }
  if (!options.json.empty()) {
    HIERON_CHECK(write_text(options.json, json));
  }
  return options.quiet ? Status{} : print(terminal);
}

}  // namespace hieron
