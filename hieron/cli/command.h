// The frame of the command line: every command is one file that registers itself with one function.
//
//   void add_inspect(CLI::App& app, Context& context) {
//     auto asked = std::make_shared<Asked>();                       // what the command's own
//     options fill in CLI::App* command = add_command(app, context, "inspect", "what is in it",
//     kExample); command->add_option("REF", asked->ref, "folder, file or index")->required();
//     on_run(*command, context, [asked, &context] { return inspect(*asked, context); });
//   }
//
// main.cc lists them, parses, runs the one that was asked for, prints an error if there is one, and
// exits.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "hieron/cli/options.h"
#include "hieron/core/error.h"

namespace CLI {
class App;
}

namespace hieron {

class Hub;

// The answer of a command that ran: its exit status, 0 (done, every expectation held) or 1 (the
// answer is no); or the error that stopped it.
using Outcome = Result<int>;

struct Context {
  CommonOptions options;
  const std::atomic<bool>* cancel = nullptr;  // set by Ctrl-C; a second Ctrl-C kills
  std::function<Outcome()> run;               // what the command line asks for
  mutable std::shared_ptr<Hub> hub;           // opened when first needed (hub_session.h)
};

// Adds a subcommand with the options that all commands share. `example` ends its --help.
CLI::App* add_command(CLI::App& app, Context& context, const std::string& name,
                      const std::string& summary, const std::string& example);

// What to do if this subcommand is on the command line. First --json's file is tried: nobody should
// learn after hours of work that it cannot be written. `makes`: folders that the command creates,
// in which the file may lie.
using Folders = std::function<std::vector<std::string>()>;
void on_run(CLI::App& command, Context& context, std::function<Outcome()> run,
            const Folders& makes = {});

// One file each.
void add_audit(CLI::App& app, Context& context);
void add_merge(CLI::App& app, Context& context);
void add_plan(CLI::App& app, Context& context);
void add_diff(CLI::App& app, Context& context);
void add_extract(CLI::App& app, Context& context);
void add_inspect(CLI::App& app, Context& context);
void add_verify(CLI::App& app, Context& context);
void add_methods(CLI::App& app, Context& context);

// Hands a result over: the terminal text to stdout, unless --quiet or --json - ; the JSON text to
// where
// --json says ("-" is stdout, a file appears whole or not at all). Both texts end in a newline.
// A full disk or a closed pipe is an error.
Status deliver(const CommonOptions& options, std::string_view terminal, std::string_view json);

}  // namespace hieron
