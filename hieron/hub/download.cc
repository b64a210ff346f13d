#include "hieron/hub/download.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <fstream>
#include <limits>
#include <sstream>
#include <system_error>
#include <utility>

#include "hieron/core/hash.h"
#include "hieron/core/text.h"
#include "hieron/io/intervals.h"

namespace hieron {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kPiece = 8u << 20;  // bytes of a range
constexpr size_t kAhead = 48;          // pieces that are asked for before their turn

// A file on its way into the cache.
struct Job {
  HubFile file;
  RemoteSource source;
  std::string name;         // for messages
  std::string draft, list;  // paths
  Intervals here = {};      // by the list of an earlier run
  std::unique_ptr<BlobLock> lock = {};
  std::shared_ptr<const File> remote = {};
  std::shared_ptr<std::ofstream> listing = {};
  Sha256 hash = {};
  bool twin = false;   // of a file before it, under the same ETag
  bool there = false;  // it is in the cache already
};

struct Piece {
  size_t job;
  Extent extent;
};

// "offset bytes" a line; a last line that was cut short is none.
std::vector<Extent> read_list(const std::string& path, uint64_t size) {
  std::vector<Extent> extents;
  std::ifstream in(path);
  for (std::string line; std::getline(in, line) && !in.eof();) {
    Extent extent{};
    char end = 0;
    std::istringstream words(line);
    if (!(words >> extent.offset >> extent.bytes >> end) || end != ';') continue;
    if (extent.offset <= size && extent.bytes <= size - extent.offset) extents.push_back(extent);
  }
  return extents;
}

class Fetching {
 public:
  Fetching(const RepoCache& cache, std::string cache_folder, std::string commit,
           std::shared_ptr<HttpClient> client, const std::atomic<bool>* cancel)
      : cache_(cache),
        cache_folder_(std::move(cache_folder)),
        commit_(std::move(commit)),
        client_(std::move(client)),
        cancel_(cancel),
        booked_(std::make_shared<DownloadBudget>(std::numeric_limits<uint64_t>::max())) {}

  void add(FileToFetch file) {
    const std::string blob = cache_.blob(file.file.etag);
    Job job{.file = std::move(file.file),
            .source = std::move(file.source),
            .name = {},
            .draft = blob + ".hieron.incomplete",
            .list = blob + ".hieron-has.incomplete"};
    job.name = job.source.name;
    std::error_code ignored;
    const uint64_t size = job.file.bytes;
    // Of files alike the first is fetched, and has its name when the others' turn comes.
    job.twin = std::ranges::any_of(
        jobs_, [&](const Job& other) { return other.file.etag == job.file.etag; });
    job.there = job.twin || fs::exists(blob, ignored);
    total_ += size;
    if (fs::exists(job.draft, ignored)) {
      job.source.here = read_list(job.list, size);
    } else if (!job.twin) {
      fs::remove(job.list, ignored);  // of a draft that is gone
    }
    Intervals here;
    for (const Extent& extent : job.source.here) here.add(extent);
    for (const Extent& extent : here.missing({0, size})) missing_ += job.there ? 0 : extent.bytes;
    for (uint64_t at = 0; at < size; at += kPiece) {
      pieces_.push_back({jobs_.size(), {at, std::min(kPiece, size - at)}});
    }
    if (size == 0) pieces_.push_back({jobs_.size(), {0, 0}});
    jobs_.push_back(std::move(job));
  }

  uint64_t missing() const { return missing_; }

  Status run(const std::function<void(uint64_t, uint64_t)>& progress) {
    uint64_t done = 0;
    AlignedBuffer buffer(kPiece);
    for (size_t i = 0; i < pieces_.size() + kAhead; ++i) {
      if (i < pieces_.size()) {
        HIERON_CHECK(ask(pieces_[i]));
      }
      if (i < kAhead) continue;
      const Piece& piece = pieces_[i - kAhead];
      HIERON_CHECK(take(piece, buffer.span().first(piece.extent.bytes)));
      done += piece.extent.bytes;
      progress(done, total_);
    }
    return {};
  }

 private:
  Status ask(const Piece& piece) {
    Job& job = jobs_[piece.job];
    if (piece.extent.offset == 0) {
      HIERON_CHECK(start(job));
    }
    if (!job.there) job.remote->will_read({&piece.extent, 1});
    return {};
  }

  Status start(Job& job) {
    if (job.twin) return {};
    job.lock = std::make_unique<BlobLock>(cache_folder_, cache_.folder(), job.file.etag);
    std::error_code ignored;
    job.there = fs::exists(cache_.blob(job.file.etag), ignored);
    if (job.there) return {};
    HIERON_TRY(std::shared_ptr<Spool> draft, Spool::open(job.draft));
    job.listing = std::make_shared<std::ofstream>(job.list, std::ios::app);
    job.source.arrived = [listing = job.listing](Extent extent) {
      // The semicolon says that the line is complete.
      *listing << fmt::format("{} {};\n", extent.offset, extent.bytes) << std::flush;
    };
    job.remote = open_remote_file(std::move(job.source), {client_, booked_, draft, cancel_});
    return {};
  }

  Status take(const Piece& piece, std::span<std::byte> buffer) {
    Job& job = jobs_[piece.job];
    if (!job.there) {
      HIERON_CHECK(job.remote->read_at(piece.extent.offset, buffer));
      job.hash.update(buffer);
    }
    const bool last = piece.extent.offset + piece.extent.bytes == job.file.bytes;
    return last ? finish(job) : Status{};
  }

  Status finish(Job& job) {
    if (!job.there) {
      HIERON_CHECK(name_blob(job));
    }
    HIERON_CHECK(cache_.link(commit_, job.file));
    job.lock.reset();
    return {};
  }

  Status name_blob(Job& job) {
    job.remote.reset();
    job.listing.reset();
    std::error_code failed;
    const std::string sha256 = to_hex(job.hash.finish());
    if (!job.file.sha256.empty() && sha256 != job.file.sha256) {
      fs::remove(job.draft, failed);
      fs::remove(job.list, failed);
      return system_error(
          fmt::format("{}: what arrived is not the file that the hub lists (its SHA-256 is {}), so "
                      "it was thrown away. Fetch it again.",
                      job.name, sha256),
          job.file.path);
    }
    fs::remove(job.list, failed);
    fs::rename(job.draft, cache_.blob(job.file.etag), failed);
    if (failed && !fs::exists(cache_.blob(job.file.etag))) {
      return system_error(fmt::format("{}: cannot be renamed ({}). Check the folder, and retry.",
                                      job.draft, failed.message()),
                          job.draft);
    }
    return {};
  }

  const RepoCache& cache_;
  const std::string cache_folder_, commit_;
  const std::shared_ptr<HttpClient> client_;
  const std::atomic<bool>* const cancel_;
  const std::shared_ptr<DownloadBudget> booked_;  // everything at once, beforehand
  std::vector<Job> jobs_;
  std::vector<Piece> pieces_;
  uint64_t total_ = 0, missing_ = 0;
};

Status check_room(const std::string& folder, uint64_t bytes) {
  std::error_code failed;
  const fs::space_info space = fs::space(folder, failed);
  if (failed || space.available >= bytes) return {};
  return system_error(
      fmt::format("{}: {} are to be downloaded, but the disk has room for {}. Free "
                  "some space, or set HF_HUB_CACHE to another disk.",
                  printable(folder, 300), show_bytes(bytes), show_bytes(space.available)),
      folder);
}

}  // namespace

Status fetch_files(const RepoCache& cache, const std::string& cache_folder,
                   const std::string& commit, std::vector<FileToFetch> files,
                   DownloadBudget& budget, std::shared_ptr<HttpClient> client,
                   const std::atomic<bool>* cancel,
                   const std::function<void(uint64_t done, uint64_t total)>& progress) {
  if (!cache.writable(commit)) {
    return system_error(fmt::format("{}: this cache cannot be written, and whole files are to be "
                                    "downloaded. Set HF_HUB_CACHE to another folder.",
                                    printable(cache.folder(), 300)),
                        cache.folder());
  }
  Fetching fetching(cache, cache_folder, commit, std::move(client), cancel);
  for (FileToFetch& file : files) {
    if (file.file.etag.empty()) {
      return system_error(fmt::format("{}: the hub gives it no ETag, so it has no name in the "
                                      "cache. Download it by other means.",
                                      printable(file.file.path)),
                          file.file.path);
    }
    fetching.add(std::move(file));
  }
  if (!budget.take(fetching.missing())) return std::unexpected(budget.refusal());
  HIERON_CHECK(check_room(cache.folder(), fetching.missing()));
  return fetching.run(progress);
}

}  // namespace hieron
