#include "hieron/merge/execute.h"

#include <fmt/format.h>
#include <sys/statvfs.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <filesystem>

#include "hieron/core/hash.h"
#include "hieron/core/text.h"
#include "hieron/format/shard_index.h"
#include "hieron/io/file.h"
#include "hieron/io/output_file.h"
#include "hieron/kernels/compare.h"
#include "hieron/kernels/decode.h"
#include "hieron/merge/compute.h"
#include "hieron/merge/generation.h"
#include "hieron/merge/journal.h"
#include "hieron/merge/manifest.h"
#include "hieron/merge/shard_writer.h"
#include "hieron/merge/walk_rows.h"

namespace hieron {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kPage = 4096;
constexpr uint64_t kMaxPiece = 4u << 20;  // bytes read, and written, at a time
constexpr uint64_t kMaxCompanionBytes = 256u << 20;
constexpr uint64_t kGroupBytes = 256u << 20;  // of inputs that are read more than once
constexpr uint64_t kSmallFiles = 64u << 20;  // room left for everything but the shards

// The tensors of a shard that are worked on together, as rows of a walk.
struct Group {
  uint32_t first;  // into Plan::tensors
  WalkRows rows;
  std::vector<std::unique_ptr<Computation>> computations;  // one per tensor
};

// The passes before the last: shows the tensors that want it to their computations.
class LookVisitor final : public Visitor {
 public:
  LookVisitor(std::span<Computation* const> computations,
              std::span<const std::vector<uint32_t>> input_models, unsigned workers)
      : computations_(computations), input_models_(input_models), workers_(workers) {}

  Status visit(const Block& block, unsigned worker) override {
    Worker& own = workers_[worker];
    own.data.clear();
    for (uint32_t model : input_models_[block.row]) own.data.push_back(block.data[model]);
    computations_[block.row]->look(block.first, block.count, own.data, own.scratch);
    return {};
  }

 private:
  struct Worker {
    ComputeScratch scratch;
    std::vector<const std::byte*> data;
  };
  const std::span<Computation* const> computations_;
  const std::span<const std::vector<uint32_t>> input_models_;
  std::vector<Worker> workers_;
};

// The last pass: computes blocks side by side, writes and hashes them in order.
class MergeVisitor final : public Visitor {
 public:
  MergeVisitor(const Plan& plan, const Group& group, unsigned workers, ShardWriter& writer)
      : plan_(plan),
        group_(group),
        writer_(writer),
        must_be_finite_(!casts_first(plan.arithmetic)),
        workers_(workers) {}

  Status visit(const Block& block, unsigned worker) override {
    const PlannedTensor& tensor = tensor_of(block);
    if (tensor.rule == Rule::kCopied) return {};
    Worker& own = workers_[worker];
    own.data.clear();
    for (uint32_t model : group_.rows.input_models[block.row]) {
      own.data.push_back(block.data[model]);
    }
    const size_t bytes = bytes_of(tensor, block);
    if (own.out.size() < own.made + bytes) own.out.resize(own.made + bytes);
    std::byte* out = own.out.data() + own.made;
    own.made += bytes;
    group_.computations[block.row]->apply(block.first, block.count, own.data, out, own.scratch);
    if (must_be_finite_ && count_non_finite(tensor.dtype, out, block.count) > 0) {
      return not_finite(tensor, block, own, out);
    }
    return {};
  }

  bool wants_order() const override { return true; }
  Status in_order(const Block& block, unsigned worker) override {
    const PlannedTensor& tensor = tensor_of(block);
    const size_t bytes = bytes_of(tensor, block);
    if (tensor.rule == Rule::kCopied) {
      return writer_.append({block.data[group_.rows.input_models[block.row].front()], bytes});
    }
    Worker& own = workers_[worker];
    const std::byte* out = own.out.data() + own.written;
    own.written += bytes;
    if (own.written == own.made) own.written = own.made = 0;
    return writer_.append({out, bytes});
  }

 private:
  struct Worker {
    ComputeScratch scratch;
    std::vector<const std::byte*> data;
    std::vector<std::byte> out;    // results that wait for their turn, one after another
    size_t made = 0, written = 0;  // bytes of them
  };

  const PlannedTensor& tensor_of(const Block& block) const {
    return plan_.tensors[group_.first + block.row];
  }

  static size_t bytes_of(const PlannedTensor& tensor, const Block& block) {
    return block.count * static_cast<uint64_t>(info(tensor.dtype).bits) / 8;
  }

  Status not_finite(const PlannedTensor& tensor, const Block& block, const Worker& own,
                    const std::byte* out) const {
    size_t i = 0;
    while (!non_finite(tensor.dtype, load_bits(tensor.dtype, out, i))) ++i;
    std::string inputs;
    for (size_t k = 0; k < own.data.size(); ++k) {
      const DType dtype = tensor.inputs[k].tensor->dtype;
      inputs += fmt::format("{}{}", k ? ", " : "", decode(dtype, load_bits(dtype, own.data[k], i)));
    }
    return refuse(
        fmt::format(
            "Tensor \"{}\", element {}: the merged value is not a finite number (the models have "
            "{}); repair or leave out the model that is damaged, or merge into a wider dtype.",
            printable(tensor.name), with_commas(block.first + i), inputs),
        {}, tensor.name);
  }

  const Plan& plan_;
  const Group& group_;
  ShardWriter& writer_;
  const bool must_be_finite_;
  std::vector<Worker> workers_;
};

class Execution {
 public:
  Execution(const Plan& plan, std::string out, const ExecuteOptions& options)
      : plan_(plan), out_(std::move(out)), options_(options) {
    result_.out = out_;
    result_.warnings = plan.warnings;
    if (options_.walk.threads == 0 && plan.recipe.threads)
      options_.walk.threads = *plan.recipe.threads;
  }

  Result<MergeResult> run() {
    const auto start = std::chrono::steady_clock::now();
    HIERON_CHECK(executable(plan_));
    HIERON_CHECK(check_not_an_input());
    HIERON_TRY(journal_, Journal::enter(out_, plan_.digest(), options_.overwrite));
    find_finished();
    HIERON_CHECK(check_space());
    for (const PlannedShard& shard : plan_.shards) HIERON_CHECK(write_shard(shard));
    HIERON_CHECK(write_small_files());
    HIERON_CHECK(put_shards_in_place());
    HIERON_CHECK(write_index());
    HIERON_CHECK(write_text(place(kManifestName), manifest_json(plan_, result_.files)));
    HIERON_CHECK(journal_->remove());
    result_.seconds =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    return std::move(result_);
  }

 private:
  std::string place(std::string_view name) const { return out_ + "/" + std::string(name); }
  std::string part(const PlannedShard& shard) const {
    return place(std::string(kPartPrefix) + shard.name);
  }

  Status check_not_an_input() const {
    std::error_code ignored;
    for (const PlannedModel& model : plan_.models) {
      const std::string& folder = model.checkpoint->folder;
      if (folder.empty() || !fs::equivalent(folder, out_, ignored)) continue;
      return refuse(
          fmt::format("{}: the output folder is the folder of \"{}\", an input; give another one.",
                      out_, printable(model.ref)),
          out_);
    }
    return {};
  }

  // Shards of an interrupted run, with the size they should have.
  void find_finished() {
    std::error_code error;
    for (const PlannedShard& shard : plan_.shards) {
      const auto known = journal_->finished().find(shard.name);
      if (known == journal_->finished().end()) continue;
      const bool there = fs::file_size(part(shard), error) == shard.bytes ||
                         fs::file_size(place(shard.name), error) == shard.bytes;
      if (there && known->second.bytes == shard.bytes) finished_[shard.name] = known->second;
    }
    result_.resumed_shards = finished_.size();
  }

  Status check_space() const {
    struct statvfs status;
    if (::statvfs(out_.c_str(), &status) != 0) return {};
    uint64_t needed = 0;
    for (const PlannedShard& shard : plan_.shards)
      needed += finished_.contains(shard.name) ? 0 : shard.bytes;
    if (needed > 0) needed += std::min(kSmallFiles, needed / 100 + kPage * 16);
    const uint64_t free = status.f_bavail * status.f_frsize;
    if (free >= needed) return {};
    return system_error(
        fmt::format("{}: the merge needs {}, but the disk has {} free; make room or give another "
                    "folder. Finished shards stay.",
                    out_, show_bytes(needed), show_bytes(free)),
        out_);
  }

  // Half of the budget for the walk's buffers; the rest for results and for what waits to be
  // written.
  WalkOptions walk_options() const {
    WalkOptions walk = options_.walk;
    walk.memory = options_.walk.memory / 2;
    walk.read_bytes = kMaxPiece;
    return walk;
  }
  size_t piece_bytes() const {
    return std::clamp<uint64_t>(options_.walk.memory / 24 / kPage * kPage, kPage, kMaxPiece);
  }

  Status write_shard(const PlannedShard& shard) {
    if (const auto done = finished_.find(shard.name); done != finished_.end()) {
      result_.files.push_back(done->second);
      return {};
    }
    HIERON_TRY(const std::unique_ptr<ShardWriter> writer,
               ShardWriter::create(part(shard), shard.bytes, piece_bytes()));
    HIERON_CHECK(writer->append(std::as_bytes(std::span(shard.header))));
    const uint32_t end = shard.first + shard.count;
    for (uint32_t first = shard.first; first < end;) {
      Group group = start_group(first, end);
      HIERON_CHECK(take_passes(group));
      MergeVisitor visitor(plan_, group, worker_count(options_.walk), *writer);
      HIERON_CHECK(walk_over(group.rows.models, group.rows.rows, visitor));
      first += static_cast<uint32_t>(group.computations.size());
    }
    HIERON_TRY(std::string hash, writer->finish());
    result_.bytes_written += shard.bytes;
    result_.files.push_back({shard.name, shard.bytes, std::move(hash)});
    return journal_->add(result_.files.back());
  }

  // As many tensors as may be under way together: all that need no pass before the last, but not
  // so many of the others that what was read for one pass is gone before the next.
  Group start_group(uint32_t first, uint32_t end) const {
    Group group{.first = first, .rows = {}, .computations = {}};
    uint64_t bytes = 0;
    for (uint32_t i = first; i < end; ++i) {
      const PlannedTensor& tensor = plan_.tensors[i];
      auto computation = std::make_unique<Computation>(plan_, tensor);
      if (computation->wants_pass()) {
        for (const PlannedInput& input : tensor.inputs) bytes += input.tensor->bytes();
        bytes += computation->held();
        if (!group.computations.empty() && bytes > kGroupBytes) break;
      }
      group.computations.push_back(std::move(computation));
    }
    group.rows = walk_rows(plan_, first, static_cast<uint32_t>(group.computations.size()));
    for (size_t i = 0; i < group.computations.size(); ++i) {
      group.rows.rows[i].grain = group.computations[i]->grain();
    }
    return group;
  }

  Status take_passes(Group& group) {
    for (;;) {
      std::vector<Computation*> wanting;
      std::vector<Row> rows;
      std::vector<std::vector<uint32_t>> input_models;
      for (size_t i = 0; i < group.computations.size(); ++i) {
        if (!group.computations[i]->wants_pass()) continue;
        wanting.push_back(group.computations[i].get());
        rows.push_back(group.rows.rows[i]);
        input_models.push_back(group.rows.input_models[i]);
      }
      if (wanting.empty()) return {};
      LookVisitor visitor(wanting, input_models, worker_count(options_.walk));
      HIERON_CHECK(walk_over(group.rows.models, rows, visitor));
      for (Computation* computation : wanting) HIERON_CHECK(computation->end_pass());
    }
  }

  Status walk_over(std::span<const Checkpoint* const> models, std::span<const Row> rows,
                   Visitor& visitor) {
    HIERON_TRY(const WalkStats stats,
               walk(models, rows, Selection::everything(), visitor, walk_options()));
    result_.bytes_read += stats.bytes_read;
    return {};
  }

  Status write_small(const std::string& name, std::string_view text) {
    HIERON_CHECK(write_text(place(name), text));
    result_.files.push_back({name, text.size(), to_hex(sha256(text))});
    return {};
  }

  // Is this one of the files that a merged vocabulary brings itself?
  bool replaced(std::string_view name) const {
    if (plan_.tokenizer_files.empty()) return false;
    constexpr std::array<std::string_view, 7> kOthers{
        "generation_config.json",      "preprocessor_config.json",       "processor_config.json",
        "image_processor_config.json", "video_preprocessor_config.json", "LICENSE",
        "NOTICE"};
    return std::ranges::find(kOthers, name) == kOthers.end();
  }

  Status write_small_files() {
    const std::string& folder = plan_.models[plan_.donor].checkpoint->folder;
    for (const std::string_view name : companion_files()) {
      if (name == "config.json") {
        if (!plan_.config_json.empty()) HIERON_CHECK(write_small("config.json", plan_.config_json));
        continue;
      }
      if (folder.empty() || !options_.copy_tokenizer || replaced(name)) continue;
      const std::string source = folder + "/" + std::string(name);
      std::error_code ignored;
      if (!fs::is_regular_file(source, ignored)) continue;
      HIERON_TRY(const std::string text, read_text(source, kMaxCompanionBytes));
      HIERON_CHECK(write_small(std::string(name), text));
    }
    for (const TokenizerFile& file : plan_.tokenizer_files) {
      HIERON_CHECK(write_small(file.name, file.text));
    }
    HIERON_CHECK(write_small("mergekit_config.yml", plan_.recipe.text));
    return write_small("README.md", model_card(plan_));
  }

  Status put_shards_in_place() {
    for (const PlannedShard& shard : plan_.shards) {
      std::error_code error;
      if (!fs::exists(part(shard), error)) continue;  // an interrupted run had come as far as this
      fs::rename(part(shard), place(shard.name), error);
      if (error) {
        return system_error(
            fmt::format("{}: cannot be put in place ({}).", place(shard.name), error.message()),
            place(shard.name));
      }
    }
    return {};
  }

  Status write_index() {
    if (plan_.shards.size() == 1) return {};
    std::vector<std::pair<std::string, std::string>> weight_map;
    uint64_t total = 0;
    for (const PlannedTensor& tensor : plan_.tensors) {
      weight_map.emplace_back(tensor.name, plan_.shards[tensor.shard].name);
      total += tensor.bytes();
    }
    return write_small("model.safetensors.index.json", write_shard_index(weight_map, total));
  }

  const Plan& plan_;
  const std::string out_;
  ExecuteOptions options_;
  std::unique_ptr<Journal> journal_;
  std::map<std::string, WrittenFile> finished_;
  MergeResult result_;
};

}  // namespace

Result<MergeResult> execute(const Plan& plan, const std::string& out,
                            const ExecuteOptions& options) {
  return Execution(plan, out, options).run();
}

}  // namespace hieron
