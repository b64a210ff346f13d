// The options that mean the same in every command, in one place.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "hieron/core/prf.h"

namespace CLI {
class App;
}

namespace hieron {

struct CommonOptions {
  std::string json;                // --json FILE|-       empty: no JSON
  bool quiet = false;              // --quiet             neither result text nor progress
  unsigned threads = 0;            // --threads N         0: as many as the machine has cores
  uint64_t memory = 512ull << 20;  // --memory SIZE       bytes of buffers, all threads together
  std::optional<Seed> seed;        // --seed HEX          none: a fresh one
  bool offline = false;            // --offline           never ask the network
  std::optional<uint64_t> max_download;  // --max-download SIZE
  bool hash = false;                     // --hash              SHA-256 of whole input files
};

// Adds them all, and --version, to one subcommand. `options` must outlive the parse.
void add_common_options(CLI::App& command, CommonOptions& options);

// "64KiB", "5GB", "5B", as in parse_size; for a command's own options of that kind.
void add_size_option(CLI::App& command, const std::string& flags, std::optional<uint64_t>& bytes,
                     const std::string& about);

}  // namespace hieron
