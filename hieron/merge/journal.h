// The journal of a running merge, OUT/.hieron-journal.json: which plan works in this folder, and
// which shards are finished. One JSON object a line, appended and synced; a torn last line is
// ignored. The file is locked (flock) while a merge runs, and removed when it is done.
#pragma once

#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "hieron/core/error.h"
#include "hieron/merge/execute.h"

namespace hieron {

inline constexpr const char* kJournalName = ".hieron-journal.json";

// A finished shard waits under this prefix until all are there, so that no reader takes some for
// the whole.
inline constexpr std::string_view kPartPrefix = ".hieron-part-";

// What a merge must have in common with an interrupted one to continue it.
struct JournalKey {
  std::string plan;    // its digest
  std::string inputs;  // sizes and times of the files it reads: with others it is begun again
};

class Journal {
 public:
  // Enters `folder` for a merge: creates it if needed, locks it, clears what an interrupted run
  // left half-written. Refused: a folder with other contents, or with finished shards of another
  // plan, unless `overwrite` (which removes the checkpoint in it, weights and small files, and
  // nothing else); a folder in which another process is at work.
  static Result<std::unique_ptr<Journal>> enter(const std::string& folder, const JournalKey& key,
                                                bool overwrite);
  // What enter() would find and refuse, without writing: nothing is created, locked for longer than
  // the look, or removed. Of the journal only finished() is of use.
  static Result<std::unique_ptr<Journal>> look(const std::string& folder, const JournalKey& key,
                                               bool overwrite);
  ~Journal();
  Journal(const Journal&) = delete;
  Journal& operator=(const Journal&) = delete;

  const std::map<std::string, WrittenFile>& finished() const { return finished_; }
  Status add(const WrittenFile& file);
  Status remove();

 private:
  Journal(std::string folder, int descriptor)
      : folder_(std::move(folder)), descriptor_(descriptor) {}
  Status append(const std::string& line);
  Status truncate(size_t bytes);
  Result<std::string> read_all() const;
  // Whose unfinished work the folder holds; finished() is filled.
  enum class Owner : uint8_t { kNobody, kThisMerge, kOtherInputs, kAnother };
  Owner read_lines(const std::string& text, const JournalKey& key);
  // `others`: files that are not a merge's own.
  static Status may_take(const std::string& folder, Owner owner, bool others, bool overwrite);

  std::string folder_;
  int descriptor_;
  std::map<std::string, WrittenFile> finished_;
};

// The folder if it exists, else the nearest one above it that does: where it would be created.
std::string existing_folder(const std::string& folder);

// Small files that make up a checkpoint besides its weights, in the order they are copied.
std::span<const std::string_view> companion_files();

}  // namespace hieron
