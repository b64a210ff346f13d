#include "hieron/pack/record.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <stdio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <functional>
#include <mutex>
#include <set>

#include "hieron/assay/identity.h"
#include "hieron/core/hash.h"
#include "hieron/core/parallel.h"
#include "hieron/core/text.h"
#include "hieron/format/safetensors.h"
#include "hieron/io/file_hash.h"
#include "hieron/io/output_file.h"
#include "hieron/model/tells.h"
#include "hieron/pack/archive.h"
#include "hieron/pack/decide.h"
#include "hieron/pack/public_names.h"
#include "hieron/pack/squeeze.h"
#include "hieron/pack/sums.h"
#include "hieron/report/json.h"
#include "hieron/walk/assemble.h"

namespace hieron {
namespace {

namespace fs = std::filesystem;

// Beside what tells are found in, that is: what inspect shows of them. What else lies in a folder
// may be anybody's business.
constexpr std::string_view kTexts[] = {"config.json", "added_tokens.json", "merges.txt",
                                       "vocab.json"};
constexpr uint64_t kMostText = 64u << 20;

constexpr std::string_view kReadName = "read";  // while the audit runs

fs::path whole(const std::string& path) {
  const fs::path normal = fs::absolute(path).lexically_normal();
  return normal.has_filename() ? normal : normal.parent_path();
}

bool is_pack(const std::string& path) {
  const auto members = open_members(path, {kSumsName, kBlocksName, kIndexName, kReportName});
  return members && members->size() == 4;
}

Status check_place(const PackPlace& place) {
  std::error_code ignored;
  if (place.path.empty())
    return usage_error("--evidence: name a folder, or a file ending in .tar.");
  const fs::file_status status = fs::status(place.path, ignored);
  if (!fs::exists(status)) return {};
  const bool fits =
      is_tar_path(place.path) ? fs::is_regular_file(status) : fs::is_directory(status);
  if (fits && fs::is_empty(place.path, ignored) && fs::is_directory(status)) return {};
  if (!fits || !is_pack(place.path)) {
    return refuse(fmt::format("{}: something else is there already, and is not replaced; give "
                              "another place for the evidence pack.",
                              printable(place.path)),
                  place.path);
  }
  if (place.overwrite) return {};
  return refuse(fmt::format("{}: an evidence pack is there already; give another place, or "
                            "--overwrite to replace it.",
                            printable(place.path)),
                place.path);
}

// Where a file should be cut, besides every so many bytes: between its tensors. With the bytes of a
// number, which say how to squeeze it.
struct Stretch {
  uint64_t end;
  int planes;
};

std::map<uint64_t, Stretch> stretches(const Checkpoint& model, uint32_t file) {
  std::map<uint64_t, Stretch> found;
  for (const TensorInfo& tensor : model.tensors) {
    if (tensor.stored.file != file || tensor.bytes() == 0) continue;
    const int width = std::clamp(info(tensor.dtype).bits / 8, 1, kMostPlanes);
    found[tensor.stored.offset] = {tensor.stored.offset + tensor.bytes(), width};
  }
  return found;
}

std::vector<PackedBlock> cut(const std::vector<Extent>& extents,
                             const std::map<uint64_t, Stretch>& stretches) {
  std::vector<PackedBlock> blocks;
  for (const Extent& extent : extents) {
    const uint64_t end = extent.offset + extent.bytes;
    for (uint64_t at = extent.offset; at < end;) {
      uint64_t to = std::min(end, at + kMostBlockBytes);
      int planes = 1;
      const auto next = stretches.upper_bound(at);
      if (next != stretches.end()) to = std::min(to, next->first);
      if (next != stretches.begin()) {
        const Stretch& around = std::prev(next)->second;
        if (around.end > at) {
          to = std::min(to, around.end);
          planes = around.planes;
        }
      }
      blocks.push_back({at, {.bytes = to - at, .sha256 = {}, .stored = to - at, .planes = planes}});
      at = to;
    }
  }
  return blocks;
}

// Hashes contents, squeezes them, and writes each once, in the order given.
class ContentWriter {
 public:
  using Load = std::function<Status(std::span<std::byte>)>;

  explicit ContentWriter(GrowingFile& out) : out_(out) {}

  // `content` is filled in by the next flush().
  Status add(PackedBytes& content, Load load) {
    waiting_.push_back({&content, std::move(load), {}});
    bytes_ += content.bytes;
    return bytes_ < kBatch ? Status{} : flush();
  }

  Status flush() {
    std::mutex mutex;
    Status failed;
    parallel_for(waiting_.size(), 0, [&](size_t i) {
      if (Status done = squeeze_one(waiting_[i]); !done) {
        const std::lock_guard lock(mutex);
        failed = std::move(done);
      }
    });
    HIERON_CHECK(failed);
    for (const Waiting& one : waiting_) {
      if (!known_.emplace(one.content->sha256, one.content->bytes).second) continue;
      HIERON_TRY(one.content->at, out_.append(one.stored));
    }
    waiting_.clear();
    bytes_ = 0;
    return {};
  }

 private:
  static constexpr uint64_t kBatch = 16u << 20;
  struct Waiting {
    PackedBytes* content;
    Load load;
    std::vector<std::byte> stored;
  };

  static Status squeeze_one(Waiting& one) {
    PackedBytes& content = *one.content;
    std::vector<std::byte> bytes(content.bytes);
    HIERON_CHECK(one.load(bytes));
    Sha256 hash;
    hash.update(bytes);
    content.sha256 = to_hex(hash.finish());
    one.stored = squeeze(bytes, content.planes);
    if (one.stored.empty()) {
      content.planes = 0;
      one.stored = std::move(bytes);
    }
    content.stored = one.stored.size();
    return {};
  }

  GrowingFile& out_;
  std::vector<Waiting> waiting_;
  uint64_t bytes_ = 0;
  std::set<std::pair<std::string, uint64_t>> known_;
};

// Makes a new name durable, where the file system can.
void sync_folder(const std::string& path) {
  const int fd = ::open(fs::path(path).parent_path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return;
  ::fsync(fd);
  ::close(fd);
}

uint64_t bytes_of(const std::string& path) {
  std::error_code ignored;
  if (!fs::is_directory(path, ignored)) return fs::file_size(path, ignored);
  uint64_t bytes = 0;
  for (const auto& entry : fs::directory_iterator(path, ignored)) bytes += entry.file_size(ignored);
  return bytes;
}

}  // namespace

Result<std::unique_ptr<Recorder>> Recorder::begin(PackPlace place) {
  HIERON_CHECK(check_place(place));
  const fs::path path = whole(place.path);
  for (int attempt = 0;; ++attempt) {
    const fs::path part =
        path.parent_path() /
        fmt::format(".{}.tmp-{}-{}", path.filename().string(), ::getpid(), attempt);
    std::error_code failed;
    if (fs::create_directory(part, failed)) {
      std::unique_ptr<Recorder> recorder(new Recorder(std::move(place), part.string()));
      HIERON_TRY(recorder->spool_,
                 GrowingFile::create(recorder->part(kReadName), recorder->place_.most_bytes));
      return recorder;
    }
    if (!failed) continue;  // there is one of that name
    return system_error(fmt::format("{}: cannot be written ({}); choose another place.",
                                    printable(place.path), failed.message()),
                        place.path);
  }
}

Recorder::~Recorder() {
  std::error_code ignored;
  fs::remove_all(part_, ignored);
}

Result<size_t> Recorder::add(const std::shared_ptr<const Checkpoint>& original) {
  for (size_t i = 0; i < models_.size(); ++i) {
    if (models_[i].original == original || same_files(*models_[i].original, *original)) return i;
  }
  const bool computed = std::ranges::any_of(
      original->tensors, [](const TensorInfo& t) { return t.computed != nullptr; });
  if (computed || original->files.empty()) {
    return refuse(fmt::format("{}: a merge that was never written cannot go into an evidence pack; "
                              "write it with `hieron merge` and name the folder.",
                              printable(original->ref)),
                  original->ref);
  }
  Model model{original, std::make_shared<Checkpoint>(*original), {}};
  for (CheckpointFile& file : model.recorded->files) {
    const auto recording = std::make_shared<const RecordingFile>(file.file, spool_);
    file.file = recording;
    model.files.push_back(recording);
    HIERON_CHECK(read_safetensors_header(*recording));  // the pack is opened by it
  }
  // A fingerprint is all there is of its model.
  for (const TensorInfo& tensor : model.recorded->tensors) {
    if (!tensor.known) continue;
    std::vector<std::byte> bytes(tensor.bytes());
    HIERON_CHECK(read_elements(*model.recorded, tensor, 0, bytes));
  }
  models_.push_back(std::move(model));
  return models_.size() - 1;
}

Result<AuditInput> Recorder::record(const AuditInput& input) {
  AuditInput recorded = input;
  std::vector<size_t> numbers;
  for (auto* model : models_of(recorded)) {
    HIERON_TRY(const size_t number, add(*model));
    *model = models_[number].recorded;
    numbers.push_back(number);
  }
  auto next = numbers.begin();
  roles_.suspect = *next++;
  for (size_t i = 0; i < input.parents.size(); ++i) roles_.parents.push_back(*next++);
  if (input.base) roles_.base = *next++;
  roles_.controls.assign(next, numbers.end());
  return recorded;
}

Result<std::vector<PoolEntry>> Recorder::record(const std::vector<PoolEntry>& pool) {
  std::vector<PoolEntry> recorded = pool;
  roles_.pool.emplace();
  for (PoolEntry& entry : recorded) {
    if (!entry.checkpoint) {
      roles_.pool->push_back({std::nullopt, fs::path(entry.ref).filename().string()});
      continue;
    }
    HIERON_TRY(const size_t number, add(entry.checkpoint));
    entry.checkpoint = models_[number].recorded;
    roles_.pool->push_back({number, {}});
  }
  return recorded;
}

Status Recorder::hash_files(unsigned threads) {
  for (Model& model : models_) {
    HIERON_TRY(const ModelIdentity identity, identify(*model.original, true, threads));
    for (size_t i = 0; i < identity.files.size(); ++i) {
      model.recorded->files[i].origin.sha256 = identity.files[i].sha256;
    }
  }
  return {};
}

Status Recorder::gather_files(const Model& model, PackedModel& packed) {
  for (uint32_t f = 0; f < model.files.size(); ++f) {
    const CheckpointFile& file = model.recorded->files[f];
    PackedWeights weights{file.path, file.bytes, file.origin, {}};
    weights.origin.url = public_url(file.origin.url);
    weights.blocks = cut(model.files[f]->kept(), stretches(*model.recorded, f));
    packed.files.push_back(std::move(weights));
  }
  return {};
}

Status Recorder::gather_texts(const Model& model, PackedModel& packed) {
  const Checkpoint& original = *model.original;
  if (original.folder.empty()) return {};
  std::set<std::string> names(std::begin(kTexts), std::end(kTexts));
  for (const std::string_view name : telling_files()) names.emplace(name);
  if (!packed.index_file.empty()) names.insert(packed.index_file);
  for (const std::string& name : names) {
    const std::string path = (fs::path(original.folder) / name).string();
    std::error_code ignored;
    if (!fs::is_regular_file(path, ignored)) continue;
    const bool index = name == packed.index_file;
    auto text = read_text(path, index ? UINT64_MAX : kMostText);
    if (!text && index) return std::unexpected(text.error());
    if (!text) continue;  // too long to be what it is called, or unreadable
    const size_t before = text->size();
    text = without_this_machine(*std::move(text), folders());
    if (text->size() != before) {
      warnings_.push_back(fmt::format(
          "{} of {} names folders of this machine, which are cut out of it in the evidence pack.",
          name, printable(original.ref)));
    }
    packed.texts.push_back({name, {.bytes = text->size(), .sha256 = {}, .stored = 0, .planes = 1}});
  }
  return {};
}

std::vector<std::string> Recorder::folders() const {
  std::vector<std::string> all;
  for (const Model& model : models_) {
    if (!model.original->folder.empty()) all.push_back(model.original->folder);
  }
  return all;
}

Result<Pack> Recorder::gather(const AuditOptions& options) {
  Pack pack = roles_;
  pack.version = HIERON_VERSION;
  pack.seed = options.seed;
  pack.sample_bytes = options.sample_bytes;
  pack.more_bytes = options.more_bytes;
  pack.seeds = options.seeds;
  std::set<std::string> taken;
  for (const Model& model : models_) {
    PackedModel packed{public_name(*model.original, taken),
                       model.original->commit,
                       index_file_of(*model.original),
                       {},
                       {}};
    taken.insert(packed.ref);
    HIERON_CHECK(gather_files(model, packed));
    HIERON_CHECK(gather_texts(model, packed));
    pack.models.push_back(std::move(packed));
  }
  return pack;
}

// In the order of the index, which is where readers look for them.
Status Recorder::write_blocks(Pack& pack) {
  HIERON_TRY(const std::shared_ptr<GrowingFile> out,
             GrowingFile::create(part(kBlocksName), UINT64_MAX));
  ContentWriter writer(*out);
  for (size_t m = 0; m < models_.size(); ++m) {
    for (size_t f = 0; f < models_[m].files.size(); ++f) {
      const RecordingFile& file = *models_[m].files[f];
      for (PackedBlock& block : pack.models[m].files[f].blocks) {
        HIERON_CHECK(writer.add(block.content, [&file, offset = block.offset](auto into) {
          return file.copy(offset, into);
        }));
      }
    }
  }
  const std::vector<std::string> places = folders();
  for (size_t m = 0; m < models_.size(); ++m) {
    const std::string& folder = models_[m].original->folder;
    for (PackedText& text : pack.models[m].texts) {
      HIERON_CHECK(writer.add(text.content, [&](std::span<std::byte> into) -> Status {
        HIERON_TRY(std::string now, read_text((fs::path(folder) / text.path).string(), UINT64_MAX));
        now = without_this_machine(std::move(now), places);
        now.resize(
            into.size());  // as it was; what was changed meanwhile, the audit's repetition sees
        std::ranges::copy(std::as_bytes(std::span(now)), into.begin());
        return {};
      }));
    }
    HIERON_CHECK(writer.flush());  // the loads refer to this model
  }
  HIERON_CHECK(writer.flush());
  HIERON_CHECK(out->keep());
  pack.blocks_bytes = place_contents(pack).bytes;
  return {};
}

// From what a reader of the pack will have, and nothing else.
Result<AuditResult> Recorder::decide(const Pack& pack, const WalkOptions& walk) const {
  HIERON_TRY(const std::shared_ptr<const File> blocks, open_file(part(kBlocksName)));
  HIERON_TRY(const std::unique_ptr<OpenPack> opened, OpenPack::open(pack, blocks));
  return opened->decide(walk);
}

Status Recorder::put_in_place() {
  const std::string path = whole(place_.path).string();
  const auto failure = [&](int error_number) {
    return system_error(fmt::format("{}: cannot be put in place ({}); choose another place.",
                                    printable(place_.path), std::strerror(error_number)),
                        place_.path);
  };
  if (is_tar_path(place_.path)) {
    std::vector<std::string> names;
    for (const std::string_view name : {kSumsName, kBlocksName, kIndexName, kReportName}) {
      names.emplace_back(name);
    }
    return write_tar(part_, names, path);
  }
  if (::rename(part_.c_str(), path.c_str()) != 0) {
    if (errno != ENOTEMPTY && errno != EEXIST) return failure(errno);
    HIERON_CHECK(check_place(place_));  // still a pack?
    // The two change places; the old one goes with this object.
    if (::renameat2(AT_FDCWD, part_.c_str(), AT_FDCWD, path.c_str(), RENAME_EXCHANGE) != 0) {
      return failure(errno);
    }
  }
  sync_folder(path);
  return {};
}

Result<WrittenPack> Recorder::write(const AuditOptions& options, const AuditResult& result) {
  HIERON_TRY(Pack pack, gather(options));
  HIERON_CHECK(write_blocks(pack));
  HIERON_TRY(const AuditResult again, decide(pack, options.walk));
  if (again.verdict.kind != result.verdict.kind ||
      again.sampling.bytes_read != result.sampling.bytes_read) {
    return std::unexpected(Error{
        .code = ErrorCode::kBug,
        .sentence = fmt::format("{}: the pack gives another verdict ({}) than the audit ({}). "
                                "This is a bug; report it with the command that you gave.",
                                printable(place_.path), name(again.verdict.kind),
                                name(result.verdict.kind)),
        .file = place_.path});
  }
  const std::string report = audit_json(again);
  pack.report_sha256 = to_hex(sha256(report));
  const std::string index = pack_json(pack);
  HIERON_CHECK(write_text(part(kReportName), report));
  HIERON_CHECK(write_text(part(kIndexName), index));
  HIERON_TRY(const std::unique_ptr<File> blocks, open_file(part(kBlocksName)));
  HIERON_TRY(const std::string blocks_sha256, sha256_of(*blocks));
  const std::string index_sha256 = to_hex(sha256(index));
  HIERON_CHECK(write_text(
      part(kSumsName),
      sums_text({.blocks = blocks_sha256, .index = index_sha256, .report = pack.report_sha256})));
  std::error_code ignored;
  fs::remove(part(kReadName), ignored);  // whoever still holds recorded models has it open
  HIERON_CHECK(put_in_place());
  return WrittenPack{bytes_of(place_.path), index_sha256, std::move(warnings_)};
}

}  // namespace hieron
