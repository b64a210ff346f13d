#include "hieron/pack/verify.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <mutex>
#include <nlohmann/json.hpp>
#include <set>

#include "hieron/core/hash.h"
#include "hieron/core/parallel.h"
#include "hieron/core/text.h"
#include "hieron/format/safetensors.h"
#include "hieron/io/file_hash.h"
#include "hieron/pack/decide.h"
#include "hieron/pack/packed_file.h"
#include "hieron/pack/sums.h"
#include "hieron/report/json.h"

namespace hieron {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr uint64_t kMostIndex = 512u << 20, kMostReport = 512u << 20, kMostSums = 4096;
constexpr int kDeepestReport = 64;
constexpr size_t kShown = 20;  // sentences of a kind

Result<std::string> text_of(const File& file, uint64_t most) {
  if (file.size() > most) {
    return refuse(
        fmt::format("{}: has {}, more than a file of its kind; the pack is damaged or was "
                    "made to deceive, get it again.",
                    printable(file.name()), show_bytes(file.size())),
        file.name());
  }
  std::string text(file.size(), '\0');
  HIERON_CHECK(file.read_at(0, std::as_writable_bytes(std::span(text))));
  return text;
}

void add(std::vector<std::string>& sentences, std::string sentence) {
  if (sentences.size() < kShown) {
    sentences.push_back(std::move(sentence));
  } else if (sentences.size() == kShown) {
    sentences.emplace_back("(and more)");
  }
}

// ---- what was packed, and is it still that?

// What a stretch of a weight file is part of, for people.
class Whereabouts {
 public:
  Whereabouts(const PackedModel& model, const PackedWeights& file,
              const std::shared_ptr<const File>& blocks)
      : place_(printable(model.ref) + "/" + printable(file.path)) {
    const PackedFile packed(file, place_, blocks);
    if (auto header = read_safetensors_header(packed)) header_ = std::move(*header);
  }

  std::string of(const PackedBlock& block) const {
    const std::string where = fmt::format("{}, bytes {} to {}", place_, with_commas(block.offset),
                                          with_commas(block.offset + block.content.bytes));
    if (!header_) return where + (block.offset == 0 ? " (header)" : "");
    if (block.offset < header_->data_start) return where + " (header)";
    for (const StoredTensor& tensor : header_->tensors) {
      if (block.offset >= tensor.offset && block.offset < tensor.offset + tensor.bytes) {
        return fmt::format("{} (tensor \"{}\")", where, printable(tensor.name));
      }
    }
    return where;
  }

 private:
  std::string place_;
  std::optional<SafetensorsHeader> header_;
};

// Contents, by their place in blocks.bin, that are not what their SHA-256 says.
Result<std::set<uint64_t>> changed_contents(Pack& pack, const File& blocks,
                                            const WalkOptions& walk) {
  const Placed placed = place_contents(pack);
  std::set<uint64_t> changed;
  std::mutex mutex;
  Status failed;
  parallel_for(placed.contents.size(), walk.threads, [&](size_t i) {
    if (walk.cancel && walk.cancel->load(std::memory_order_relaxed)) return;
    const PackedBytes& content = *placed.contents[i];
    std::vector<std::byte> bytes(content.bytes);
    const Result<bool> fits = unpack(blocks, content, bytes);
    Sha256 hash;
    hash.update(bytes);
    const bool equal = fits && *fits && to_hex(hash.finish()) == content.sha256;
    const std::lock_guard lock(mutex);
    if (!fits) failed = std::unexpected(fits.error());
    if (!equal) changed.insert(content.at);
  });
  HIERON_CHECK(failed);
  if (walk.cancel && walk.cancel->load()) return system_error("Interrupted.");
  return changed;
}

// The contents' own hashes were checked against the index, and the index against SHA256SUMS. Which
// of them names a changed byte depends on where it lies.
class ByteCheck {
 public:
  ByteCheck(Pack& pack, const std::shared_ptr<const File>& blocks, PackCheck& check)
      : pack_(pack), blocks_(blocks), check_(check) {}

  Status run(const WalkOptions& walk) {
    HIERON_TRY(const std::set<uint64_t> bad, changed_contents(pack_, *blocks_, walk));
    for (const PackedModel& model : pack_.models) {
      for (const PackedWeights& file : model.files) {
        std::optional<Whereabouts> whereabouts;
        for (const PackedBlock& block : file.blocks) {
          ++check_.blocks;
          check_.bytes += block.content.bytes;
          if (!bad.contains(block.content.at)) continue;
          if (!whereabouts) whereabouts.emplace(model, file, blocks_);
          note(whereabouts->of(block), block.content);
        }
      }
      for (const PackedText& text : model.texts) {
        if (!bad.contains(text.content.at)) continue;
        note(printable(model.ref) + "/" + printable(text.path), text.content);
      }
    }
    return {};
  }

 private:
  void note(const std::string& what, const PackedBytes& content) {
    add(check_.changed,
        fmt::format("{}: changed ({}, bytes {} to {}): not the SHA-256 that {} says", what,
                    kBlocksName, with_commas(content.at), with_commas(content.at + content.stored),
                    kIndexName));
  }

  Pack& pack_;
  const std::shared_ptr<const File>& blocks_;
  PackCheck& check_;
};

// ---- the report

void add_difference(std::vector<std::string>& differences, const std::string& where,
                    const Json& said, const Json& found) {
  const auto shown = [](const Json& value) {
    return printable(value.dump(-1, ' ', false, Json::error_handler_t::replace));
  };
  add(differences,
      fmt::format("{}: the report says {}, the bytes say {}", where, shown(said), shown(found)));
}

// Leaf by leaf, in the order of the report; the verdict before everything else.
void compare(const Json& said, const Json& found, const std::string& where,
             std::vector<std::string>& differences) {
  if (said == found || differences.size() > kShown) return;
  if (said.is_object() && found.is_object()) {
    for (const auto& [key, value] : said.items()) {
      const auto other = found.find(key);
      const std::string here = fmt::format("{}/{}", where, key);
      if (other == found.end()) add_difference(differences, here, value, Json());
      if (other != found.end()) compare(value, *other, here, differences);
    }
    for (const auto& [key, value] : found.items()) {
      if (said.contains(key)) continue;
      add_difference(differences, fmt::format("{}/{}", where, key), Json(), value);
    }
    return;
  }
  if (said.is_array() && found.is_array() && said.size() == found.size()) {
    for (size_t i = 0; i < said.size(); ++i) {
      compare(said[i], found[i], fmt::format("{}/{}", where, i), differences);
    }
    return;
  }
  add_difference(differences, where, said, found);
}

Result<Json> parse_report(const std::string& text, const std::string& file) {
  bool too_deep = false;
  const auto look = [&](int depth, Json::parse_event_t, Json&) {
    too_deep = too_deep || depth > kDeepestReport;
    return !too_deep;
  };
  Json json = Json::parse(text, look, false);
  if (too_deep || json.is_discarded() || !json.is_object()) {
    return refuse(fmt::format("{}: is no report of an audit; the pack is damaged or was made to "
                              "deceive, get it again.",
                              printable(file)),
                  file);
  }
  json.erase("seconds");
  return json;
}

Status compare_report(const Pack& pack, const std::string& text, const std::string& file,
                      PackCheck& check) {
  const std::string again = audit_json(*check.result);
  if (text == again) return {};
  HIERON_TRY(Json said, parse_report(text, file));
  HIERON_TRY(Json found, parse_report(again, file));
  if (pack.version != HIERON_VERSION) {
    said.erase("tool");
    found.erase("tool");
  }
  if (said == found) return {};
  if (said.contains("verdict") && said["verdict"] != found["verdict"]) {
    compare(said["verdict"], found["verdict"], "/verdict", check.differences);
    said.erase("verdict");
    found.erase("verdict");
  }
  compare(said, found, "", check.differences);
  if (pack.version != HIERON_VERSION) {
    add(check.differences,
        fmt::format("the pack was made by hieron {}, and this is {}: verify it with that version, "
                    "too",
                    printable(pack.version), HIERON_VERSION));
  }
  return {};
}

Status decide(const Pack& pack, const Members& members, const WalkOptions& walk, PackCheck& check) {
  HIERON_TRY(const std::unique_ptr<OpenPack> opened,
             OpenPack::open(pack, members.find(kBlocksName)->second));
  auto result = opened->decide(walk);
  if (!result && result.error().code != ErrorCode::kRefused) {
    return std::unexpected(result.error());
  }
  if (!result) {  // other options than it was made with, or other headers
    add(check.differences,
        fmt::format("the audit cannot be run again: {}", result.error().sentence));
    return {};
  }
  check.result = *std::move(result);
  const File& report = *members.find(kReportName)->second;
  HIERON_TRY(const std::string text, text_of(report, kMostReport));
  return compare_report(pack, text, report.name(), check);
}

// ---- the originals

class Comparison {
 public:
  Comparison(const Pack& pack, const Refetch& refetch, PackCheck& check)
      : pack_(pack), refetch_(refetch), check_(check) {}

  Status run() {
    check_.refetched.emplace();
    HIERON_CHECK(find_originals());
    draw();
    for (const auto& [number, chosen] : chosen_) HIERON_CHECK(compare(originals_[number], chosen));
    return {};
  }

 private:
  struct Original {
    const PackedModel* model;
    const PackedWeights* weights;
    std::shared_ptr<const File> file;
  };

  Status find_originals() {
    for (const PackedModel& model : pack_.models) {
      for (const PackedWeights& weights : model.files) {
        HIERON_TRY(std::shared_ptr<const File> file, refetch_.open(model, weights));
        if (!file) {
          check_.refetched->without_original += weights.blocks.size();
          continue;
        }
        if (file->size() != weights.bytes) {
          add(check_.elsewhere,
              fmt::format("{}/{}: has {} bytes, and had {} when the pack was made",
                          printable(model.ref), printable(weights.path), with_commas(file->size()),
                          with_commas(weights.bytes)));
          continue;
        }
        for (size_t i = 0; i < weights.blocks.size(); ++i) all_.emplace_back(originals_.size(), i);
        originals_.push_back({&model, &weights, std::move(file)});
      }
    }
    return {};
  }

  // Without replacement: the first of a shuffle.
  void draw() {
    const Prf prf(refetch_.seed, "evidence blocks to fetch again");
    const size_t wanted = std::min<uint64_t>(refetch_.blocks, all_.size());
    for (size_t i = 0; i < wanted; ++i) {
      std::swap(all_[i], all_[i + prf.below(i, all_.size() - i)]);
      chosen_[all_[i].first].push_back(all_[i].second);
    }
  }

  Status compare(const Original& original, std::vector<size_t> blocks) {
    std::ranges::sort(blocks);
    std::vector<Extent> extents;
    for (const size_t i : blocks) {
      const PackedBlock& block = original.weights->blocks[i];
      extents.push_back({block.offset, block.content.bytes});
    }
    original.file->will_read(extents);
    for (const size_t i : blocks) {
      const PackedBlock& block = original.weights->blocks[i];
      std::vector<std::byte> bytes(block.content.bytes);
      HIERON_CHECK(original.file->read_at(block.offset, bytes));
      Sha256 hash;
      hash.update(bytes);
      ++check_.refetched->blocks;
      check_.refetched->bytes += bytes.size();
      if (to_hex(hash.finish()) == block.content.sha256) {
        ++check_.refetched->equal;
        continue;
      }
      add(check_.elsewhere,
          fmt::format("{}/{}, bytes {} to {}: the original has others than the pack",
                      printable(original.model->ref), printable(original.weights->path),
                      with_commas(block.offset), with_commas(block.offset + bytes.size())));
    }
    return {};
  }

  const Pack& pack_;
  const Refetch& refetch_;
  PackCheck& check_;
  std::vector<Original> originals_;
  std::vector<std::pair<size_t, size_t>> all_;  // original, block of it
  std::map<size_t, std::vector<size_t>> chosen_;
};

// ---- the whole

Status check_complete(const std::string& path, const Members& members,
                      const std::vector<std::string_view>& wanted) {
  for (const std::string_view name : wanted) {
    if (members.contains(name)) continue;
    return refuse(fmt::format("{}: {} is missing; the pack is incomplete, get it again.",
                              printable(path), name),
                  path);
  }
  return {};
}

// SHA256SUMS is what sums_text makes of what is there, or something was changed: one of its lines,
// or the file that the line is about.
Status check_sums(const Members& members, const PackSums& found, PackCheck& check) {
  HIERON_TRY(const std::string text, text_of(*members.find(kSumsName)->second, kMostSums));
  if (text == sums_text(found)) return {};
  bool named = false;
  const std::pair<std::string_view, const std::string*> files[] = {
      {kIndexName, &found.index}, {kReportName, &found.report}, {kBlocksName, &found.blocks}};
  for (const auto& [name, sha256] : files) {
    if (text.find(fmt::format("{}  {}\n", *sha256, name)) != text.npos) continue;
    named = true;
    add(check.changed, fmt::format("{}: changed: not the SHA-256 that {} says", name, kSumsName));
  }
  if (!named) add(check.changed, fmt::format("{}: changed", kSumsName));
  return {};
}

}  // namespace

bool is_evidence(const std::string& path) {
  std::error_code ignored;
  if (fs::is_directory(path, ignored)) return fs::exists(fs::path(path) / kIndexName, ignored);
  return is_tar_path(path) && fs::exists(path, ignored);
}

Result<PackCheck> verify_pack(const std::string& path, const WalkOptions& walk,
                              const std::optional<Refetch>& refetch) {
  const std::vector<std::string_view> wanted{kIndexName, kBlocksName, kReportName, kSumsName};
  HIERON_TRY(const Members members, open_members(path, wanted));
  HIERON_CHECK(check_complete(path, members, wanted));
  const std::shared_ptr<const File>& blocks = members.find(kBlocksName)->second;
  const File& index = *members.find(kIndexName)->second;
  HIERON_TRY(const std::string text, text_of(index, kMostIndex));

  PackCheck check;
  PackSums sums;
  sums.index = check.sha256 = to_hex(sha256(text));
  HIERON_TRY(sums.report, sha256_of(*members.find(kReportName)->second));
  HIERON_TRY(sums.blocks, sha256_of(*blocks));
  HIERON_CHECK(check_sums(members, sums, check));
  auto pack = parse_pack(text, index.name());
  // What was changed by accident is named as that, not as an attempt to deceive.
  const bool index_changed = !check.changed.empty() && check.changed[0].starts_with(kIndexName);
  if (!pack && index_changed) return check;
  if (!pack) return std::unexpected(pack.error());
  check.version = pack->version;
  check.models = pack->models.size();
  if (blocks->size() != pack->blocks_bytes) {
    if (index_changed) return check;
    return refuse(fmt::format("{}: has {} bytes, and {} says {}; the pack is incomplete, get it "
                              "again.",
                              printable(blocks->name()), with_commas(blocks->size()), kIndexName,
                              with_commas(pack->blocks_bytes)),
                  blocks->name());
  }
  HIERON_CHECK(ByteCheck(*pack, blocks, check).run(walk));
  if (pack->report_sha256 != sums.report && check.changed.empty()) {
    add(check.changed,
        fmt::format("{}: changed: not the SHA-256 that {} says", kReportName, kIndexName));
  }
  if (!check.changed.empty()) return check;
  HIERON_CHECK(decide(*pack, members, walk, check));
  if (refetch) HIERON_CHECK(Comparison(*pack, *refetch, check).run());
  return check;
}

}  // namespace hieron
