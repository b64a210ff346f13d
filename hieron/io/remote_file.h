// A file that lies on a server and is read by ranges. What was fetched is kept in a temporary file
// that goes with the program, and never fetched twice.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "hieron/core/error.h"
#include "hieron/io/file.h"
#include "hieron/io/http.h"
#include "hieron/io/spool.h"

namespace hieron {

// How much a program may download, all its files together. Thread-safe.
class DownloadBudget {
 public:
  static constexpr uint64_t kDefault = 1'000'000'000;
  explicit DownloadBudget(uint64_t limit = kDefault) : limit_(limit) {}

  // Books so many bytes; false if they are too many, and from then on nothing more is allowed.
  bool take(uint64_t bytes);
  bool exceeded() const;
  Status allows(uint64_t bytes) const;  // so many more; else refusal(), of all of them
  uint64_t taken() const;               // bytes, allowed ones
  uint64_t limit() const { return limit_; }
  // How much all that was asked for would take, and how to allow it.
  Error refusal(uint64_t more = 0) const;

 private:
  const uint64_t limit_;
  mutable std::mutex mutex_;
  uint64_t taken_ = 0, refused_ = 0;
};

// Where a file's bytes are served for the time being.
struct RemoteAddress {
  std::string url;          // may be signed, and expire
  std::string bearer = {};  // for the host of the url only
};

struct RemoteSource {
  std::string name;  // for messages
  uint64_t bytes;    // of the file
  // Asks where the file is served and calls back, on any thread: when it is first read, and again
  // when an address is no longer accepted.
  std::function<void(std::function<void(Result<RemoteAddress>)>)> locate;
  std::vector<Extent> here = {};             // in the spool already
  std::function<void(Extent)> arrived = {};  // tells of each range that is; one call at a time
};

// What the files of one session share.
struct RemoteReading {
  std::shared_ptr<HttpClient> client;
  std::shared_ptr<DownloadBudget> budget;
  std::shared_ptr<Spool> spool;
  const std::atomic<bool>* cancel = nullptr;  // read_at() stops waiting, with an error that says so
};

// Every answer must be status 206 with exactly the range asked for, of a file of that size, under
// the same ETag as before; anything else ends all reads of the file with a sentence. (A 200 with
// the whole file is accepted where the whole file was asked for.)
std::shared_ptr<const File> open_remote_file(RemoteSource source, RemoteReading reading);

}  // namespace hieron
