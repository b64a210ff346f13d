// The folder that one merge is written to, from taking possession of it to the manifest.
//
// Shards are written front to back under hidden names, each entered in the journal when it is
// durable; then come the small files, the manifest, the shards' own names, the index, and the
// journal goes. A folder without a manifest is never whole.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "hieron/core/error.h"
#include "hieron/merge/execute.h"
#include "hieron/merge/journal.h"
#include "hieron/merge/plan.h"
#include "hieron/merge/shard_writer.h"

namespace hieron {

// One caller at a time.
class OutputFolder {
 public:
  // Locks the folder and finds the shards that an interrupted run has finished. The plan outlives
  // the object.
  static Result<std::unique_ptr<OutputFolder>> enter(const Plan& plan, const std::string& out,
                                                     const ExecuteOptions& options);

  // The same without writing: refused as enter() would be. For bytes_to_come() and finished() only.
  static Result<std::unique_ptr<OutputFolder>> look(const Plan& plan, const std::string& out,
                                                    const ExecuteOptions& options);

  const Plan& plan() const { return plan_; }
  const std::string& path() const { return out_; }
  bool finished(const PlannedShard& shard) const { return finished_.contains(shard.name); }
  uint64_t bytes_to_come() const;  // of shards, and some for the small files

  // Shards are opened and closed in their order; finished ones are only passed.
  Status open(const PlannedShard& shard, size_t piece_bytes);
  Status append(std::span<const std::byte> bytes) { return writer_->append(bytes); }
  Status close(const PlannedShard& shard);

  // Everything else. After it the folder is whole.
  Result<MergeResult> complete() &&;

 private:
  OutputFolder(const Plan& plan, std::string out, const ExecuteOptions& options)
      : plan_(plan), out_(std::move(out)), options_(options) {
    result_.out = out_;
    result_.warnings = plan.warnings;
  }

  static Result<std::unique_ptr<OutputFolder>> begin(const Plan& plan, const std::string& out,
                                                     const ExecuteOptions& options,
                                                     decltype(Journal::enter)& open);
  std::string place(std::string_view name) const { return out_ + "/" + std::string(name); }
  std::string part(const PlannedShard& shard) const {
    return place(std::string(kPartPrefix) + shard.name);
  }
  Status check_not_an_input() const;
  void find_finished();
  void note(const std::string& name, std::string_view text);
  Status write_small(const std::string& name, std::string_view text);
  bool replaced(std::string_view name) const;
  Status copy_companions();
  Status write_small_files();
  Status put_shards_in_place();
  std::string index_text() const;  // empty for one shard

  const Plan& plan_;
  const std::string out_;
  const ExecuteOptions& options_;
  std::unique_ptr<Journal> journal_;
  std::map<std::string, WrittenFile> finished_;
  std::unique_ptr<ShardWriter> writer_;
  MergeResult result_;
};

}  // namespace hieron
