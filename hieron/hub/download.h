// Whole files into the hub's cache: many ranges in flight, continued where an earlier run stopped,
// their SHA-256 worked out as they arrive and compared before they get their name.
//
// What is not done lies beside the blobs as ETAG.hieron.incomplete, with a list of the ranges that
// it has in ETAG.hieron-has.incomplete.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "hieron/core/error.h"
#include "hieron/hub/cache.h"
#include "hieron/io/http.h"
#include "hieron/io/remote_file.h"

namespace hieron {

struct FileToFetch {
  HubFile file;
  RemoteSource source;
};

// Books what is missing in the budget first, and looks whether the disk has room for it.
Status fetch_files(const RepoCache& cache, const std::string& cache_folder,
                   const std::string& commit, std::vector<FileToFetch> files,
                   DownloadBudget& budget, std::shared_ptr<HttpClient> client,
                   const std::atomic<bool>* cancel,
                   const std::function<void(uint64_t done, uint64_t total)>& progress);

}  // namespace hieron
