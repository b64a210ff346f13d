#include "hieron/cli/command.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>

#include "hieron/io/output_file.h"

namespace hieron {

CLI::App* add_command(CLI::App& app, Context& context, const std::string& name,
                      const std::string& summary, const std::string& example) {
  CLI::App* command = app.add_subcommand(name, summary);
  add_common_options(*command, context.options);
  command->footer("Example:\n" + example);
  return command;
}

namespace {

namespace fs = std::filesystem;

fs::path whole(const fs::path& path) {
  std::error_code ignored;
  return fs::absolute(path, ignored).lexically_normal();
}

bool lies_in(const fs::path& path, const std::string& folder) {
  const fs::path way = path.lexically_relative(whole(fs::path(folder) / ""));
  return !folder.empty() && !way.empty() && *way.begin() != "..";
}

Status check_json(const std::string& json, const std::vector<std::string>& makes) {
  if (json.empty() || json == "-") return {};
  const fs::path path = whole(json);
  std::error_code ignored;
  const bool to_come = !fs::exists(path.parent_path(), ignored) &&
                       std::ranges::any_of(makes, [&](const auto& f) { return lies_in(path, f); });
  return to_come ? Status{} : check_place(json);
}

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

void on_run(CLI::App& command, Context& context, std::function<Outcome()> run,
            const Folders& makes) {
  command.callback([&context, run = std::move(run), makes] {
    context.run = [&context, run, makes]() -> Outcome {
      HIERON_CHECK(check_json(context.options.json, makes ? makes() : std::vector<std::string>()));
      return run();
    };
  });
}

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
