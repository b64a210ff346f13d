// A session with a hub: models found by name, their small files in the local cache, their weights
// as files that are read by ranges or fetched whole.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "hieron/core/error.h"
#include "hieron/hub/access.h"
#include "hieron/hub/cache.h"
#include "hieron/hub/protocol.h"
#include "hieron/hub/reference.h"
#include "hieron/hub/settings.h"
#include "hieron/io/file.h"
#include "hieron/io/remote_file.h"

namespace hieron {

struct HubOptions {
  std::optional<uint64_t> max_download = {};  // DownloadBudget::kDefault
  const std::atomic<bool>* cancel = nullptr;
  // Of downloads of whole files: what, bytes done, bytes in all. Called often, from one thread.
  std::function<void(const std::string& what, uint64_t done, uint64_t total)> progress = {};
  HttpOptions http = {};  // certificates and stall_seconds come from the settings
};

struct HubModel {
  HubReference reference;
  std::string repo;  // its name by now: a repository may have been renamed
  std::string commit;
  std::string folder;          // with its small files, and weights that are in the cache
  std::vector<HubFile> files;  // of the repository; offline: those in the cache
  std::vector<std::string> warnings;

  const HubFile* find(std::string_view path) const;
};

// One thread at a time; the files that it opens are thread-safe and may outlive it.
class Hub {
 public:
  static Result<std::shared_ptr<Hub>> make(HubSettings settings, HubOptions options = {});
  ~Hub();
  Hub(const Hub&) = delete;
  Hub& operator=(const Hub&) = delete;

  const HubSettings& settings() const { return settings_; }
  bool offline() const { return settings_.offline; }

  // The commit and the files of a model, and its small files at hand in `folder`: configuration,
  // indexes, card, licence, chat template; the tokenizer too unless only blocks will be read.
  Result<HubModel> open(const HubReference& reference, Access access);
  // As much of it as the cache has; nothing if it knows no such revision.
  std::optional<HubModel> cached(const HubReference& reference) const;

  // Fetches whole files into the cache, those that are not there. Many ranges are in flight; what
  // an earlier run has left unfinished is continued.
  Status download(const HubModel& model, const std::vector<std::string>& paths);

  // A weight file: from the cache if it is there, else read by ranges.
  struct Opened {
    std::shared_ptr<const File> file;
    std::string url, etag, sha256;  // the url without signature, pinned to the commit
  };
  Result<Opened> open_file(const HubModel& model, const std::string& path);

  // Sent and received so far.
  uint64_t requests() const;
  uint64_t bytes() const;

 private:
  Hub(HubSettings settings, HubOptions options);

  HttpRequest request(std::string url) const;
  std::vector<Result<HttpResponse>> fetch_all(std::vector<HttpRequest> requests) const;
  Result<HttpResponse> fetch(HttpRequest request) const;
  Result<RevisionInfo> ask_revision(HubModel& model, bool with_sizes) const;
  Status list_files(HubModel& model) const;
  Status learn_etags(HubModel& model) const;
  Status fetch_small(HubModel& model, Access access);
  Result<std::string> own_folder(const HubModel& model);
  RemoteSource source_of(const HubModel& model, const HubFile& file) const;
  const std::shared_ptr<HttpClient>& client() const;
  RepoCache cache_of(const HubModel& model) const;
  std::unexpected<Error> no_such_file(const HubModel& model, const std::string& path) const;

  const HubSettings settings_;
  const HubOptions options_;
  mutable std::shared_ptr<HttpClient> client_;  // when first needed
  const std::shared_ptr<DownloadBudget> budget_;
  std::shared_ptr<Spool> spool_;  // when first needed
  std::string own_folder_;        // for what a read-only cache does not take; removed at the end
};

}  // namespace hieron
