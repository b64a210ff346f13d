// A file that keeps a copy of every byte that is read from it: what an audit saw, and nothing else.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "hieron/io/file.h"
#include "hieron/io/growing_file.h"

namespace hieron {

// Thread-safe. Each byte is kept once, as it was when it was first read.
class RecordingFile final : public File {
 public:
  RecordingFile(std::shared_ptr<const File> file, std::shared_ptr<GrowingFile> spool)
      : file_(std::move(file)), spool_(std::move(spool)) {}

  uint64_t size() const override { return file_->size(); }
  const std::string& name() const override { return file_->name(); }
  int64_t modified() const override { return file_->modified(); }
  Status read_at(uint64_t offset, std::span<std::byte> out) const override;
  void will_read(std::span<const Extent> extents) const override { file_->will_read(extents); }
  Status may_fetch(uint64_t bytes) const override { return file_->may_fetch(bytes); }
  uint64_t far_bytes(std::span<const Extent> extents) const override {
    return file_->far_bytes(extents);
  }

  // What was read: ascending, disjoint, none that touches the next.
  std::vector<Extent> kept() const;
  // From what was kept; `extent` must lie within it.
  Status copy(uint64_t offset, std::span<std::byte> out) const;

 private:
  struct Piece {
    uint64_t bytes, at;  // where it begins in the spool
  };
  std::unexpected<Error> too_much() const;
  Status keep(uint64_t offset, std::span<const std::byte> bytes) const;

  const std::shared_ptr<const File> file_;
  const std::shared_ptr<GrowingFile> spool_;
  mutable std::mutex mutex_;
  mutable std::map<uint64_t, Piece> pieces_;  // by offset; disjoint
};

}  // namespace hieron
