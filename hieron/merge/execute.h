// Carries out a plan: streams the inputs, writes the shards, then the small files, the manifest
// last.
//
// OUT/.hieron-journal.json is locked while a merge runs and lists the finished shards. Killing the
// program at any point leaves either a finished folder or one that the same command completes to
// the same bytes; the index appears only after every shard, and the journal goes last. Two
// processes cannot work in one folder.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "hieron/core/error.h"
#include "hieron/merge/plan.h"
#include "hieron/walk/walk.h"

namespace hieron {

struct ExecuteOptions {
  bool overwrite = false;
  bool copy_tokenizer = true;
  WalkOptions walk;  // threads, memory, cancel, progress (bytes read and computed)
};

struct WrittenFile {
  std::string name;
  uint64_t bytes;
  std::string sha256;
};

struct MergeResult {
  std::string out;
  std::vector<WrittenFile> files;  // shards first
  uint64_t bytes_read = 0, bytes_written = 0;
  size_t resumed_shards = 0;  // taken over from an interrupted run
  std::vector<std::string> warnings;
  double seconds = 0;
};

Result<MergeResult> execute(const Plan& plan, const std::string& out,
                            const ExecuteOptions& options);

// The manifest, OUT/hieron.json (schema hieron.manifest/1).
inline constexpr const char* kManifestName = "hieron.json";

struct ManifestCheck {
  std::vector<WrittenFile> files;  // as listed
  std::vector<std::string>
      differences;  // a sentence for each file that is missing, has another size or hash
};

// Reads the manifest in a folder and every file it lists.
Result<ManifestCheck> check_manifest(const std::string& folder, const WalkOptions& options);

}  // namespace hieron
