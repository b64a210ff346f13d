// The cache that huggingface_hub keeps on disk, read and written as it does:
//
//   models--org--name/
//     refs/main                     text: the commit that the branch was when it was last asked for
//     blobs/<etag>                  contents
//     snapshots/<commit>/<path>     links to them: ../../blobs/<etag>
//   .locks/models--org--name/<etag>.lock
//
// Everything appears whole or not at all (a name of its own first, then a rename). No part of a
// path is made of anything that was not checked to stay inside.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "hieron/core/error.h"
#include "hieron/hub/protocol.h"

namespace hieron {

// The part of the cache that belongs to one repository.
class RepoCache {
 public:
  RepoCache(std::string cache, const std::string& repo);

  const std::string& folder() const { return folder_; }
  std::string snapshot(const std::string& commit) const;
  std::string blob(const std::string& etag) const;

  // What a branch or tag was when it was last asked for; a commit is itself.
  std::optional<std::string> commit_of(const std::string& revision) const;
  // The files of a snapshot that are there, by path. Of each: its size, and the blob's name.
  std::vector<HubFile> files(const std::string& commit) const;
  // Is the file there in this snapshot?
  bool holds(const std::string& commit, const std::string& path) const;

  // May anything be written? Makes the folders that are missing.
  bool writable(const std::string& commit) const;
  Status set_ref(const std::string& revision, const std::string& commit) const;
  // A blob that is not there yet, and its place in the snapshot.
  Status store(const std::string& commit, const HubFile& file, std::string_view bytes) const;
  // The place in the snapshot of a blob that is there.
  Status link(const std::string& commit, const HubFile& file) const;

 private:
  std::string cache_, folder_, name_;
};

// Keeps other programs from fetching the same blob meanwhile; waits for those that do. Best effort:
// where files cannot be locked, the blob is fetched twice.
class BlobLock {
 public:
  BlobLock(const std::string& cache, const std::string& repo_folder, const std::string& etag);
  ~BlobLock();
  BlobLock(const BlobLock&) = delete;
  BlobLock& operator=(const BlobLock&) = delete;

 private:
  int fd_ = -1;
};

}  // namespace hieron
