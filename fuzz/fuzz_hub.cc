// Any bytes as what a hub may send, and as the name of a model: refused with a sentence, or paths
// and names that stay in the cache.
#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <string>

#include "hieron/core/text.h"
#include "hieron/hub/cache.h"
#include "hieron/hub/protocol.h"
#include "hieron/hub/reference.h"
#include "hieron/io/http.h"

namespace {

namespace fs = std::filesystem;

void require(bool holds) {
  if (!holds) std::abort();
}

void check_refusal(const hieron::Error& error) {
  require(error.code == hieron::ErrorCode::kSystem);
  require(!error.sentence.empty() && hieron::valid_utf8(error.sentence));
  require(!hieron::has_control_or_bidi(error.sentence));
}

bool inside(const fs::path& folder, const fs::path& path) {
  const fs::path way = path.lexically_normal().lexically_relative(folder);
  return !way.empty() && *way.begin() != ".." && *way.begin() != ".";
}

void check_files(const std::vector<hieron::HubFile>& files) {
  const hieron::RepoCache cache("/cache", "org/name");
  const fs::path snapshot = cache.snapshot(std::string(40, 'a'));
  for (const hieron::HubFile& file : files) {
    require(inside(snapshot, snapshot / file.path));
    require(file.etag.empty() || fs::path(cache.blob(file.etag)).lexically_normal().parent_path() ==
                                     fs::path(cache.folder()) / "blobs");
    require(file.sha256.empty() || hieron::is_sha256(file.sha256));
  }
}

void check_name(std::string_view text) {
  const auto reference = hieron::parse_hub_reference(text);
  if (!reference) return;
  const hieron::RepoCache cache("/cache", reference->repo);
  require(fs::path(cache.folder()).lexically_normal().parent_path() == "/cache");
  const fs::path refs = fs::path(cache.folder()) / "refs";
  require(inside(refs, refs / reference->revision_or_main()));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  const auto files = hieron::parse_tree_page(text, "hub");
  files ? check_files(*files) : check_refusal(files.error());
  const auto info = hieron::parse_revision_info(text, "hub");
  info ? check_files(info->files) : check_refusal(info.error());
  check_name(text);
  (void)hieron::next_page(text);
  const auto range = hieron::parse_content_range(text);
  require(!range || range->first <= range->last);
  const std::string shown = hieron::shown_url(text);
  require(hieron::valid_utf8(shown) && !hieron::has_control_or_bidi(shown));
  const hieron::HttpHead head{
      .status = 429, .url = "https://h/", .headers = {{"retry-after", text}}};
  const auto wait = hieron::asked_wait(head, 0);
  require(!wait || *wait >= 0);
  return 0;
}
