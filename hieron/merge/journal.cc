#include "hieron/merge/journal.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <utility>

#include "hieron/io/output_file.h"

namespace hieron {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

constexpr std::array<std::string_view, 22> kCompanions{"config.json",
                                                       "generation_config.json",
                                                       "tokenizer.json",
                                                       "tokenizer_config.json",
                                                       "tokenizer.model",
                                                       "special_tokens_map.json",
                                                       "added_tokens.json",
                                                       "vocab.json",
                                                       "vocab.txt",
                                                       "merges.txt",
                                                       "spiece.model",
                                                       "sentencepiece.bpe.model",
                                                       "tekken.json",
                                                       "chat_template.jinja",
                                                       "chat_template.json",
                                                       "preprocessor_config.json",
                                                       "processor_config.json",
                                                       "image_processor_config.json",
                                                       "video_preprocessor_config.json",
                                                       "tokenizer.tiktoken",
                                                       "LICENSE",
                                                       "NOTICE"};

std::unexpected<Error> failed(const std::string& path, std::string_view what, int error) {
  return system_error(fmt::format("{}: cannot be {} ({}).", path, what, std::strerror(error)),
                      path);
}

bool is_weights(std::string_view name) {
  return name.ends_with(".safetensors") || name.ends_with(".safetensors.index.json") ||
         (name.starts_with("pytorch_model") &&
          (name.ends_with(".bin") || name.ends_with(".bin.index.json")));
}

bool is_unfinished(std::string_view name) {
  return is_temporary_name(name) || name.starts_with(kPartPrefix);
}
bool is_ours(std::string_view name) { return name == kJournalName || is_unfinished(name); }

std::string text_of(const Json& object, const char* key) {
  const auto it = object.find(key);
  return it != object.end() && it->is_string() ? it->get<std::string>() : std::string();
}

struct Contents {
  std::vector<std::string> names;
  bool others = false;  // anything but a journal and temporary files
};

Result<Contents> list(const std::string& folder) {
  Contents contents;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder, error)) {
    contents.names.push_back(entry.path().filename().string());
    contents.others = contents.others || !is_ours(contents.names.back());
  }
  if (error) return failed(folder, "listed", error.value());
  return contents;
}

Status remove_where(const std::string& folder, const auto& unwanted) {
  HIERON_TRY(const Contents contents, list(folder));
  for (const std::string& name : contents.names) {
    const fs::path path = fs::path(folder) / name;
    std::error_code error;
    if (!unwanted(name) || fs::is_directory(fs::symlink_status(path, error))) continue;
    if (!fs::remove(path, error) && error) return failed(path.string(), "removed", error.value());
  }
  return {};
}

bool is_checkpoint_part(std::string_view name) {
  return is_weights(name) || name == kManifestName || name == "README.md" ||
         name == "mergekit_config.yml" || std::ranges::find(kCompanions, name) != kCompanions.end();
}

// Locks an open journal file. False: it was removed meanwhile, and is not ours.
Result<bool> lock(int descriptor, int how, const std::string& folder) {
  if (::flock(descriptor, how | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) return failed(folder + "/" + kJournalName, "locked", errno);
    return system_error(
        fmt::format("{}: another hieron is writing into this folder; wait for it, or give "
                    "another folder.",
                    folder),
        folder);
  }
  struct stat status;
  return ::fstat(descriptor, &status) == 0 && status.st_nlink > 0;
}

// Opens and locks the journal file.
Result<int> open_locked(const std::string& folder, int flags, int how) {
  const std::string path = folder + "/" + kJournalName;
  while (true) {
    const int descriptor = ::open(path.c_str(), flags | O_CLOEXEC | O_NOFOLLOW, 0644);
    if (descriptor < 0) return failed(path, "written", errno);
    const Result<bool> locked = lock(descriptor, how, folder);
    if (locked && *locked) return descriptor;
    ::close(descriptor);
    if (!locked) return std::unexpected(locked.error());
  }
}

// May files be made in a folder? `wish` and `verb` are for the message.
Status can_create_in(const std::string& folder, const std::string& wish, std::string_view verb) {
  std::error_code error;
  if (!fs::is_directory(folder, error)) return failed(wish, verb, ENOTDIR);
  if (::access(folder.c_str(), W_OK | X_OK) != 0) return failed(wish, verb, errno);
  return {};
}

Status sync_folder(const std::string& folder) {
  const int descriptor = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor < 0) return failed(folder, "opened", errno);
  ::fsync(descriptor);  // file systems without it have nothing to sync
  ::close(descriptor);
  return {};
}

}  // namespace

std::span<const std::string_view> companion_files() { return kCompanions; }

std::string existing_folder(const std::string& folder) {
  std::error_code error;
  fs::path path = fs::absolute(folder, error).lexically_normal();
  while (!fs::exists(path, error) && path.has_relative_path()) path = path.parent_path();
  return path.string();
}

Result<std::unique_ptr<Journal>> Journal::look(const std::string& folder, const JournalKey& key,
                                               bool overwrite) {
  std::error_code error;
  std::unique_ptr<Journal> journal(new Journal(folder, -1));
  if (!fs::exists(folder, error)) {
    HIERON_CHECK(can_create_in(existing_folder(folder), folder, "created"));
    return journal;
  }
  if (!fs::is_directory(folder, error)) return failed(folder, "created", ENOTDIR);
  HIERON_TRY(const Contents contents, list(folder));
  const std::string path = folder + "/" + kJournalName;
  Owner owner = Owner::kNobody;
  if (std::ranges::find(contents.names, kJournalName) != contents.names.end()) {
    if (::access(path.c_str(), R_OK | W_OK) != 0) return failed(path, "written", errno);
    HIERON_TRY(journal->descriptor_, open_locked(folder, O_RDONLY, LOCK_SH));
    HIERON_TRY(const std::string text, journal->read_all());
    owner = journal->read_lines(text, key);
    ::close(std::exchange(journal->descriptor_, -1));
  }
  HIERON_CHECK(may_take(folder, owner, contents.others, overwrite));
  HIERON_CHECK(can_create_in(folder, path, "written"));
  return journal;
}

Result<std::unique_ptr<Journal>> Journal::enter(const std::string& folder, const JournalKey& key,
                                                bool overwrite) {
  std::error_code error;
  fs::create_directories(folder, error);
  if (error) return failed(folder, "created", error.value());
  HIERON_TRY(const Contents before, list(folder));
  const bool known = std::ranges::find(before.names, kJournalName) != before.names.end();
  if (!known) HIERON_CHECK(may_take(folder, Owner::kNobody, before.others, overwrite));

  HIERON_TRY(const int descriptor, open_locked(folder, O_RDWR | O_CREAT | O_APPEND, LOCK_EX));
  std::unique_ptr<Journal> journal(new Journal(folder, descriptor));
  HIERON_TRY(const std::string text, journal->read_all());
  const Owner owner = journal->read_lines(text, key);
  if (owner == Owner::kThisMerge) {
    HIERON_CHECK(
        remove_where(folder, [](std::string_view name) { return is_temporary_name(name); }));
    HIERON_CHECK(journal->truncate(text.rfind('\n') + 1));  // a line that was being written
    return journal;
  }
  HIERON_TRY(const Contents now, list(folder));
  if (Status free = may_take(folder, owner, now.others, overwrite); !free) {
    // An empty file is from here, or from another process that found the folder occupied.
    if (owner == Owner::kNobody) HIERON_CHECK(journal->remove());
    return std::unexpected(std::move(free.error()));
  }
  HIERON_CHECK(remove_where(folder, [](std::string_view name) {
    return is_unfinished(name) || is_checkpoint_part(name);
  }));
  HIERON_CHECK(journal->truncate(0));
  HIERON_CHECK(journal->append(
      Json{{"schema", "hieron.journal/1"}, {"plan", key.plan}, {"inputs", key.inputs}}.dump()));
  HIERON_CHECK(sync_folder(folder));
  return journal;
}

// What an unfinished merge of the same recipe has written before its inputs changed is not kept.
Status Journal::may_take(const std::string& folder, Owner owner, bool others, bool overwrite) {
  if (overwrite) return {};
  if (owner == Owner::kAnother) {
    return refuse(
        fmt::format("{}: the folder holds an unfinished merge of another recipe; give another "
                    "folder, or --overwrite to start anew.",
                    folder),
        folder);
  }
  if (owner != Owner::kNobody || !others) return {};
  return refuse(
      fmt::format("{}: the folder is not empty; give another one, or --overwrite to replace the "
                  "checkpoint in it.",
                  folder),
      folder);
}

Journal::~Journal() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

Result<std::string> Journal::read_all() const {
  std::string text;
  std::array<char, 65536> piece;
  while (true) {
    const ssize_t n =
        ::pread(descriptor_, piece.data(), piece.size(), static_cast<off_t>(text.size()));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return failed(folder_ + "/" + kJournalName, "read", errno);
    if (n == 0) return text;
    text.append(piece.data(), static_cast<size_t>(n));
  }
}

Journal::Owner Journal::read_lines(const std::string& text, const JournalKey& key) {
  Owner owner = Owner::kNobody;
  for (size_t begin = 0, end; (end = text.find('\n', begin)) != std::string::npos;
       begin = end + 1) {
    const Json line = Json::parse(text.begin() + static_cast<long>(begin),
                                  text.begin() + static_cast<long>(end), nullptr, false);
    if (!line.is_object()) return owner == Owner::kNobody ? Owner::kAnother : owner;
    if (owner == Owner::kNobody) {
      const bool same_plan =
          text_of(line, "schema") == "hieron.journal/1" && text_of(line, "plan") == key.plan;
      const bool same_inputs = text_of(line, "inputs") == key.inputs;
      owner = !same_plan ? Owner::kAnother : !same_inputs ? Owner::kOtherInputs : Owner::kThisMerge;
      if (owner == Owner::kOtherInputs) return owner;
    } else if (line.contains("bytes") && line["bytes"].is_number_unsigned()) {
      WrittenFile file{text_of(line, "name"), line["bytes"].get<uint64_t>(),
                       text_of(line, "sha256")};
      finished_[file.name] = file;
    }
  }
  // Another merge that has finished nothing is nothing to lose.
  if (owner == Owner::kAnother && finished_.empty()) owner = Owner::kOtherInputs;
  if (owner == Owner::kAnother) finished_.clear();
  return owner;
}

Status Journal::append(const std::string& line) {
  const std::string text = line + "\n";
  std::string_view rest = text;
  while (!rest.empty()) {
    const ssize_t n = ::write(descriptor_, rest.data(), rest.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return failed(folder_ + "/" + kJournalName, "written", errno);
    rest.remove_prefix(static_cast<size_t>(n));
  }
  if (::fdatasync(descriptor_) != 0) return failed(folder_ + "/" + kJournalName, "written", errno);
  return {};
}

Status Journal::truncate(size_t bytes) {
  if (::ftruncate(descriptor_, static_cast<off_t>(bytes)) == 0) return {};
  return failed(folder_ + "/" + kJournalName, "written", errno);
}

Status Journal::add(const WrittenFile& file) {
  finished_[file.name] = file;
  return append(Json{{"name", file.name}, {"bytes", file.bytes}, {"sha256", file.sha256}}.dump());
}

Status Journal::remove() {
  const std::string path = folder_ + "/" + kJournalName;
  if (::unlink(path.c_str()) != 0 && errno != ENOENT) return failed(path, "removed", errno);
  return sync_folder(folder_);
}

}  // namespace hieron
