// mergekit's own flags, so that its command lines run here as they are. Those about devices, caches
// and its executor mean nothing here: they are taken, and a sentence says so.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "hieron/core/error.h"

namespace CLI {
class App;
}

namespace hieron {

struct MergekitFlags {
  bool copy_tokenizer = true;
  bool truncate_embeddings = false;
  std::optional<uint64_t> random_seed;
  std::optional<unsigned> num_threads;
  std::vector<std::string> warnings;     // a sentence for each flag without meaning here
  std::optional<std::string> forbidden;  // why a flag that was given cannot be taken
};

// `flags` must outlive the parse.
void add_truncate_embeddings(CLI::App& command, bool& truncate);

void add_mergekit_flags(CLI::App& command, MergekitFlags& flags);

// --random-seed alone, for commands that only plan or replay.
void add_random_seed(CLI::App& command, std::optional<uint64_t>& seed);

// --out-shard-size, as mergekit spells it: 5B, 500M and 100K are 10^9, 10^6 and 10^3 bytes; also
// 5GB, 2MiB, 4096.
void add_shard_size(CLI::App& command, std::optional<uint64_t>& bytes);

}  // namespace hieron
