// What a Hugging Face hub says over HTTP: addresses, lists of files, errors.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "hieron/core/error.h"
#include "hieron/hub/reference.h"
#include "hieron/io/http.h"

namespace hieron {

// A file of a repository at one commit.
struct HubFile {
  std::string path;
  uint64_t bytes = 0;
  std::string etag;    // git's SHA-1 of a small file, SHA-256 of a large one: its name in the cache
  std::string sha256;  // of large files; empty: not known
};

// What the headers of a file's own address say of it.
void set_identity(HubFile& file, const std::string& etag, std::string_view bytes);

// Where a file of a commit (or branch) can be had: {endpoint}/{repo}/resolve/{revision}/{path}.
std::string resolve_url(const std::string& endpoint, const std::string& repo,
                        std::string_view revision, std::string_view path);
std::string revision_url(const std::string& endpoint, const std::string& repo,
                         std::string_view revision);
std::string tree_url(const std::string& endpoint, const std::string& repo, std::string_view commit);

// Of an answer to revision_url.
struct RevisionInfo {
  std::string commit;
  std::string repo;            // its name by now; empty: not said
  std::vector<HubFile> files;  // with sizes only if "?blobs=true" was asked
};
Result<RevisionInfo> parse_revision_info(std::string_view json, const std::string& from);
// One page of an answer to tree_url; folders are left out. Paths that lead out of the repository
// are refused.
Result<std::vector<HubFile>> parse_tree_page(std::string_view json, const std::string& from);
// The address of the next page, from the Link header; empty if there is none.
std::string next_page(std::string_view link);

// Why the hub did not answer as hoped, told apart by X-Error-Code and status. `file`: of the
// repository; empty: the repository itself was asked for. `has_token`: was one sent?
std::unexpected<Error> hub_failure(const HttpHead& head, const HubReference& model,
                                   const std::string& file, bool has_token);

}  // namespace hieron
