#include "hieron/hub/cache.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <random>
#include <system_error>
#include <utility>

#include "hieron/core/text.h"
#include "hieron/io/file.h"

namespace hieron {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kMostOfARef = 256;  // bytes
constexpr std::string_view kTag =
    "Signature: 8a477f597d28d172789f06886806bc55\n"
    "# This file is a cache directory tag created by huggingface_hub.\n"
    "# For information about cache directory tags, see:\n"
    "#\thttps://bford.info/cachedir/\n";

// "models--org--name"
std::string folder_name(const std::string& repo) {
  std::string name = "models--";
  for (const char c : repo) c == '/' ? name.append("--") : name.append(1, c);
  return name;
}

std::string unique_suffix() {
  std::random_device source;
  return fmt::format("{:08x}", source());
}

std::unexpected<Error> not_written(const fs::path& path, const std::error_code& why) {
  return system_error(
      fmt::format("{}: the hub's cache cannot be written ({}). Check the folder, or "
                  "set HF_HUB_CACHE to another one.",
                  printable(path.string(), 300), why.message()),
      path.string());
}

// Whole or not at all, over whatever is there.
Status write_whole(const fs::path& path, std::string_view bytes) {
  fs::path draft = path;
  draft += fmt::format(".{}.incomplete", unique_suffix());
  std::ofstream out(draft, std::ios::binary);
  out.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  out.close();
  std::error_code failed;
  if (!out) {
    failed = std::error_code(errno, std::generic_category());
  } else {
    fs::rename(draft, path, failed);
  }
  if (!failed) return {};
  std::error_code ignored;
  fs::remove(draft, ignored);
  return not_written(path, failed);
}

// The name of the blob that a link of a snapshot leads to.
std::string blob_name(const fs::path& path) {
  std::error_code failed;
  const fs::path target = fs::read_symlink(path, failed);
  return failed ? std::string() : target.filename().string();
}

}  // namespace

RepoCache::RepoCache(std::string cache, const std::string& repo)
    : cache_(std::move(cache)), name_(folder_name(repo)) {
  folder_ = (fs::path(cache_) / name_).string();
}

std::string RepoCache::snapshot(const std::string& commit) const {
  return (fs::path(folder_) / "snapshots" / commit).string();
}

std::string RepoCache::blob(const std::string& etag) const {
  return (fs::path(folder_) / "blobs" / etag).string();
}

std::optional<std::string> RepoCache::commit_of(const std::string& revision) const {
  if (is_commit(revision)) return revision;
  const auto text = read_text((fs::path(folder_) / "refs" / revision).string(), kMostOfARef);
  if (!text) return {};
  std::string commit = *text;
  while (!commit.empty() && (commit.back() == '\n' || commit.back() == ' ')) commit.pop_back();
  return is_commit(commit) ? std::optional(commit) : std::nullopt;
}

std::vector<HubFile> RepoCache::files(const std::string& commit) const {
  std::vector<HubFile> found;
  std::error_code failed;
  const fs::path root = snapshot(commit);
  for (auto it = fs::recursive_directory_iterator(root, failed);
       !failed && it != fs::recursive_directory_iterator(); it.increment(failed)) {
    std::error_code absent;
    if (!fs::is_regular_file(it->path(), absent)) continue;  // a link to a blob that is gone
    HubFile file{.path = it->path().lexically_relative(root).generic_string(),
                 .bytes = fs::file_size(it->path(), absent),
                 .etag = blob_name(it->path()),
                 .sha256 = {}};
    if (is_sha256(file.etag)) file.sha256 = file.etag;
    found.push_back(std::move(file));
  }
  std::ranges::sort(found, {}, &HubFile::path);
  return found;
}

bool RepoCache::holds(const std::string& commit, const std::string& path) const {
  std::error_code absent;
  return fs::is_regular_file(fs::path(snapshot(commit)) / path, absent);
}

bool RepoCache::writable(const std::string& commit) const {
  std::error_code failed;
  for (const fs::path& folder : {fs::path(folder_) / "blobs", fs::path(snapshot(commit))}) {
    fs::create_directories(folder, failed);
    if (failed || ::access(folder.c_str(), W_OK) != 0) return false;
  }
  const fs::path tag = fs::path(cache_) / "CACHEDIR.TAG";
  if (!fs::exists(tag, failed)) (void)write_whole(tag, kTag);
  return true;
}

Status RepoCache::set_ref(const std::string& revision, const std::string& commit) const {
  if (revision == commit) return {};
  const fs::path path = fs::path(folder_) / "refs" / revision;
  if (commit_of(revision) == commit) return {};
  std::error_code failed;
  fs::create_directories(path.parent_path(), failed);
  if (failed) return not_written(path, failed);
  return write_whole(path, commit);
}

Status RepoCache::store(const std::string& commit, const HubFile& file,
                        std::string_view bytes) const {
  const fs::path path = blob(file.etag);
  std::error_code ignored;
  if (!fs::exists(path, ignored)) {
    HIERON_CHECK(write_whole(path, bytes));
  }
  return link(commit, file);
}

Status RepoCache::link(const std::string& commit, const HubFile& file) const {
  const fs::path place = fs::path(snapshot(commit)) / file.path;
  const fs::path target = fs::path(blob(file.etag)).lexically_relative(place.parent_path());
  std::error_code failed;
  fs::create_directories(place.parent_path(), failed);
  if (failed) return not_written(place, failed);
  if (holds(commit, file.path) && blob_name(place) == file.etag) return {};
  // A link with a name of its own, so that the place is never empty.
  fs::path draft = place;
  draft += fmt::format(".{}", unique_suffix());
  fs::create_symlink(target, draft, failed);
  if (!failed) fs::rename(draft, place, failed);
  if (!failed) return {};
  std::error_code ignored;
  fs::remove(draft, ignored);
  return not_written(place, failed);
}

BlobLock::BlobLock(const std::string& cache, const std::string& repo_folder,
                   const std::string& etag) {
  const fs::path path =
      fs::path(cache) / ".locks" / fs::path(repo_folder).filename() / (etag + ".lock");
  std::error_code ignored;
  fs::create_directories(path.parent_path(), ignored);
  fd_ = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (fd_ < 0) return;
  int locked = 0;
  do {
    locked = ::flock(fd_, LOCK_EX);
  } while (locked != 0 && errno == EINTR);
}

BlobLock::~BlobLock() {
  if (fd_ >= 0) ::close(fd_);
}

}  // namespace hieron
