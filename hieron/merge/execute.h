// Carries out a plan: streams the inputs, writes the shards, then the small files.
//
// OUT/.hieron-journal.json is locked while a merge runs and lists the finished shards. Killing the
// program at any point leaves either a finished folder or one that the same command completes to
// the same bytes, or begins again if an input has changed since; the manifest appears before the
// shards have their names, the index after them, and the journal goes last. Two processes cannot
// work in one folder.
#pragma once

#include <cstdint>
#include <span>
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
  size_t merges_per_read = 1;  // these share the bytes read and the seconds
  size_t resumed_shards = 0;   // taken over from an interrupted run
  std::vector<std::string> warnings;
  double seconds = 0;
};

Result<MergeResult> execute(const Plan& plan, const std::string& out,
                            const ExecuteOptions& options);

struct MergeJob {
  const Plan* plan;
  std::string out;
};

// Do two plans make tensors of the same names and shapes, in the same order?
bool same_tensors(const Plan& a, const Plan& b);

// Several merges of the same tensors (one at least; each same_tensors() with the first) in one
// reading of their inputs; models opened once for all plans (OpenedModels) are read once. Each
// folder is as execute() would leave it, and is restarted like it.
Result<std::vector<MergeResult>> execute_together(std::span<const MergeJob> jobs,
                                                  const ExecuteOptions& options);

// Would execute_together() begin? Refused as it would be, for what is in the folders, what may be
// written there and what the disk has free; nothing is written.
Status check_outputs(std::span<const MergeJob> jobs, const ExecuteOptions& options);

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
