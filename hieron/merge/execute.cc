#include "hieron/merge/execute.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <numeric>

#include "hieron/core/text.h"
#include "hieron/kernels/compare.h"
#include "hieron/kernels/decode.h"
#include "hieron/merge/compute.h"
#include "hieron/merge/generation.h"
#include "hieron/merge/output_folder.h"
#include "hieron/merge/walk_rows.h"

namespace hieron {
namespace {

constexpr uint64_t kPage = 4096;
constexpr uint64_t kMaxPiece = 4u << 20;      // bytes read, and written, at a time
constexpr uint64_t kGroupBytes = 256u << 20;  // of inputs that are read more than once
constexpr uint64_t kMaxGrain = 1u << 20;      // elements that merges may need in common

// A merge whose shard is being written: the tensors of a group, as it computes them.
struct Member {
  OutputFolder* folder;
  std::vector<std::unique_ptr<Computation>> computations;  // one per tensor
  std::vector<std::vector<uint32_t>> inputs;               // per tensor: columns of the walk
};

// Tensors that are worked on together, as rows of a walk, for every merge that wants them.
struct Group {
  uint32_t first, count;  // into Plan::tensors
  std::vector<Member> members;
  WalkRows rows;
};

// The passes before the last: shows the tensors that want it to their computations.
class LookVisitor final : public Visitor {
 public:
  // Who looks at a row, and from which columns.
  struct Watcher {
    Computation* computation;
    std::span<const uint32_t> inputs;
  };

  LookVisitor(std::vector<std::vector<Watcher>> watchers, unsigned workers)
      : watchers_(std::move(watchers)), workers_(workers) {}

  Status visit(const Block& block, unsigned worker) override {
    Worker& own = workers_[worker];
    for (const Watcher& watcher : watchers_[block.row]) {
      own.data.clear();
      for (uint32_t column : watcher.inputs) own.data.push_back(block.data[column]);
      watcher.computation->look(block.first, block.count, own.data, own.scratch);
    }
    return {};
  }

 private:
  struct Worker {
    ComputeScratch scratch;
    std::vector<const std::byte*> data;
  };
  const std::vector<std::vector<Watcher>> watchers_;
  std::vector<Worker> workers_;
};

// The last pass: computes blocks side by side, writes and hashes them in order.
class MergeVisitor final : public Visitor {
 public:
  MergeVisitor(const Group& group, unsigned workers) : group_(group), workers_(workers) {}

  Status visit(const Block& block, unsigned worker) override {
    Worker& own = workers_[worker];
    for (const Member& member : group_.members) {
      const PlannedTensor& tensor = tensor_of(member, block);
      if (tensor.rule == Rule::kCopied) continue;
      HIERON_CHECK(compute(member, tensor, block, own));
    }
    return {};
  }

  bool wants_order() const override { return true; }
  Status in_order(const Block& block, unsigned worker) override {
    Worker& own = workers_[worker];
    for (const Member& member : group_.members) {
      const PlannedTensor& tensor = tensor_of(member, block);
      const size_t bytes = bytes_of(tensor, block);
      const std::byte* out = tensor.rule == Rule::kCopied
                                 ? block.data[member.inputs[block.row].front()]
                                 : own.take(bytes);
      HIERON_CHECK(member.folder->append({out, bytes}));
    }
    return {};
  }

 private:
  struct Worker {
    ComputeScratch scratch;
    std::vector<const std::byte*> data;
    std::vector<std::byte> results;  // that wait for their turn, one after another
    size_t made = 0, taken = 0;      // bytes of them

    std::byte* make(size_t bytes) {
      if (results.size() < made + bytes) results.resize(made + bytes);
      made += bytes;
      return results.data() + (made - bytes);
    }
    const std::byte* take(size_t bytes) {
      const std::byte* result = results.data() + taken;
      taken += bytes;
      if (taken == made) taken = made = 0;
      return result;
    }
  };

  const PlannedTensor& tensor_of(const Member& member, const Block& block) const {
    return member.folder->plan().tensors[group_.first + block.row];
  }

  static size_t bytes_of(const PlannedTensor& tensor, const Block& block) {
    return block.count * static_cast<uint64_t>(info(tensor.dtype).bits) / 8;
  }

  static Status compute(const Member& member, const PlannedTensor& tensor, const Block& block,
                        Worker& own) {
    own.data.clear();
    for (uint32_t column : member.inputs[block.row]) own.data.push_back(block.data[column]);
    std::byte* out = own.make(bytes_of(tensor, block));
    const Plan& plan = member.folder->plan();
    const bool must_be_finite = !casts_first(plan.arithmetic);
    if (must_be_finite) HIERON_CHECK(check_inputs(plan, tensor, block, own));
    member.computations[block.row]->apply(block.first, block.count, own.data, out, own.scratch);
    if (!must_be_finite || count_non_finite(tensor.dtype, out, block.count) == 0) return {};
    return not_finite(plan, tensor, block, own, out);
  }

  // A sum hands on what is not finite; a method that compares may drop it without a word.
  static Status check_inputs(const Plan& plan, const PlannedTensor& tensor, const Block& block,
                             const Worker& own) {
    if (tensor.method->describe().weighted_sum) return {};
    for (size_t k = 0; k < own.data.size(); ++k) {
      const DType dtype = tensor.inputs[k].tensor->dtype;
      if (count_non_finite(dtype, own.data[k], block.count) == 0) continue;
      size_t i = 0;
      while (!non_finite(dtype, load_bits(dtype, own.data[k], i))) ++i;
      return refuse(
          fmt::format(
              "{}: tensor \"{}\", element {}: the model \"{}\" has {}, which {} would lose or "
              "spread; repair or leave out the model that is damaged.",
              plan.recipe.file, printable(tensor.name), with_commas(block.first + i),
              printable(plan.models[plan.slots[tensor.inputs[k].slot]].ref),
              decode(dtype, load_bits(dtype, own.data[k], i)), tensor.method->describe().name),
          {}, tensor.name);
    }
    return {};
  }

  static Status not_finite(const Plan& plan, const PlannedTensor& tensor, const Block& block,
                           const Worker& own, const std::byte* out) {
    size_t i = 0;
    while (!non_finite(tensor.dtype, load_bits(tensor.dtype, out, i))) ++i;
    std::string inputs;
    bool damaged = false;
    for (size_t k = 0; k < own.data.size(); ++k) {
      const DType dtype = tensor.inputs[k].tensor->dtype;
      const uint64_t bits = load_bits(dtype, own.data[k], i);
      damaged = damaged || non_finite(dtype, bits);
      inputs += fmt::format("{}{}", k ? ", " : "", decode(dtype, bits));
    }
    return refuse(
        fmt::format("{}: tensor \"{}\", element {}: the merged value is not a finite number (the "
                    "models have "
                    "{}); {}.",
                    plan.recipe.file, printable(tensor.name), with_commas(block.first + i), inputs,
                    damaged ? "repair or leave out the model that is damaged"
                            : "make the parameters smaller, or merge into a wider dtype"),
        {}, tensor.name);
  }

  const Group& group_;
  std::vector<Worker> workers_;
};

// Turns the progress of single walks into that of the whole: how much more is read in further
// passes is known only from the tensors that are done.
class Journey {
 public:
  Journey(std::function<void(const Progress&)> report, uint64_t bytes)
      : report_(std::move(report)), to_come_(bytes) {}

  std::function<void(const Progress&)> of_walk() {
    if (!report_) return {};
    return [this](const Progress& walk) { show(read_ + walk.bytes_done); };
  }
  void end_walk(uint64_t bytes) { read_ += bytes; }
  void end_tensors(uint64_t bytes) {
    finished_ += bytes;
    to_come_ -= std::min(to_come_, bytes);
  }

 private:
  void show(uint64_t read) const {
    const double passes =
        finished_ > 0 ? static_cast<double>(read_) / static_cast<double>(finished_) : 1;
    const auto total = read_ + static_cast<uint64_t>(passes * static_cast<double>(to_come_));
    report_({read, std::max(read, total)});
  }

  const std::function<void(const Progress&)> report_;
  uint64_t to_come_;       // of inputs of tensors that are not finished, each counted once
  uint64_t finished_ = 0;  // the same of those that are
  uint64_t read_ = 0;      // by the walks that have ended
};

// Merges of the same tensors, written side by side.
class Execution {
 public:
  Execution(std::span<const MergeJob> jobs, const ExecuteOptions& options)
      : jobs_(jobs), options_(options), lead_(*jobs.front().plan) {
    if (options_.walk.threads == 0 && lead_.recipe.threads) {
      options_.walk.threads = *lead_.recipe.threads;
    }
  }

  Result<std::vector<MergeResult>> run() {
    const auto start = std::chrono::steady_clock::now();
    HIERON_CHECK(open_folders(OutputFolder::enter));
    journey_.emplace(options_.walk.progress, bytes_to_read());
    HIERON_CHECK(write_shards());
    std::vector<MergeResult> results;
    for (auto& folder : folders_) {
      HIERON_TRY(MergeResult result, std::move(*folder).complete());
      result.bytes_read = bytes_read_;
      result.merges_per_read = folders_.size();
      result.seconds =
          std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
      results.push_back(std::move(result));
    }
    return results;
  }

  Status look() { return open_folders(OutputFolder::look); }

 private:
  Status open_folders(decltype(OutputFolder::enter)& open) {
    for (const MergeJob& job : jobs_) HIERON_CHECK(executable(*job.plan));
    for (const MergeJob& job : jobs_) {
      HIERON_TRY(auto folder, open(*job.plan, job.out, options_));
      folders_.push_back(std::move(folder));
    }
    return check_space();
  }

  // Folders on one disk share what it has free.
  Status check_space() const {
    std::map<dev_t, uint64_t> needed;
    for (const auto& folder : folders_) {
      struct stat place;
      struct statvfs disk;
      const std::string existing = existing_folder(folder->path());
      if (::stat(existing.c_str(), &place) != 0) continue;
      if (::statvfs(existing.c_str(), &disk) != 0) continue;
      uint64_t& bytes = needed[place.st_dev];
      bytes += folder->bytes_to_come();
      const uint64_t free = disk.f_bavail * disk.f_frsize;
      if (bytes <= free) continue;
      return system_error(
          fmt::format("{}: the merge needs {}, but the disk has {} free; make room or give another "
                      "folder. Finished shards stay.",
                      folder->path(), show_bytes(bytes), show_bytes(free)),
          folder->path());
    }
    return {};
  }

  // Of the lead's inputs, each counted once.
  uint64_t bytes_to_read() const {
    uint64_t bytes = 0;
    for (const PlannedShard& shard : lead_.shards) {
      if (folders_.front()->finished(shard)) continue;
      for (uint32_t i = shard.first; i < shard.first + shard.count; ++i) {
        bytes += lead_.tensors[i].input_bytes();
      }
    }
    return bytes;
  }

  // Half of the budget, or less if several merges make their results at once, for what is read; the
  // rest for results and for what waits to be written.
  WalkOptions walk_options(size_t columns, size_t members) {
    WalkOptions walk = options_.walk;
    const size_t extra = members - 1;
    walk.memory = options_.walk.memory / 2 * columns / (columns + extra);
    walk.read_bytes = kMaxPiece;
    walk.progress = journey_->of_walk();
    return walk;
  }
  size_t piece_bytes() const {
    const uint64_t share = options_.walk.memory / (24 * folders_.size());
    return std::clamp<uint64_t>(share / kPage * kPage, kPage, kMaxPiece);
  }

  static const PlannedShard& shard_of(const OutputFolder& folder, uint32_t tensor) {
    return folder.plan().shards[folder.plan().tensors[tensor].shard];
  }

  Status write_shards() {
    const auto tensors = static_cast<uint32_t>(lead_.tensors.size());
    for (uint32_t first = 0; first < tensors;) {
      uint32_t end = tensors;  // of the shortest shard under way
      for (const auto& folder : folders_) {
        const PlannedShard& shard = shard_of(*folder, first);
        if (shard.first == first) HIERON_CHECK(folder->open(shard, piece_bytes()));
        end = std::min(end, shard.first + shard.count);
      }
      HIERON_CHECK(write_tensors(first, end));
      for (const auto& folder : folders_) {
        const PlannedShard& shard = shard_of(*folder, end - 1);
        if (shard.first + shard.count == end) HIERON_CHECK(folder->close(shard));
      }
      first = end;
    }
    return {};
  }

  // Every folder has one shard for them all.
  Status write_tensors(uint32_t first, uint32_t end) {
    std::vector<OutputFolder*> writing;
    for (const auto& folder : folders_) {
      if (!folder->finished(shard_of(*folder, first))) writing.push_back(folder.get());
    }
    while (first < end && !writing.empty()) {
      Group group = start_group(first, end, writing);
      if (group.count == 0) {
        for (const std::vector<OutputFolder*>& some : by_grain(first, writing)) {
          HIERON_CHECK(carry_out_alone(first, some));
        }
        group.count = 1;
      } else {
        HIERON_CHECK(carry_out(group));
      }
      for (uint32_t i = first; i < first + group.count; ++i) {
        journey_->end_tensors(lead_.tensors[i].input_bytes());
      }
      first += group.count;
    }
    return {};
  }

  // The merges by those that can take a tensor in pieces of one size.
  static std::vector<std::vector<OutputFolder*>> by_grain(uint32_t tensor,
                                                          std::span<OutputFolder* const> writing) {
    std::vector<std::vector<OutputFolder*>> sets;
    std::vector<uint64_t> grains;
    for (OutputFolder* folder : writing) {
      const Plan& plan = folder->plan();
      const uint64_t own = std::max<uint64_t>(1, Computation(plan, plan.tensors[tensor]).grain());
      const auto fits = std::ranges::find_if(
          grains, [&](uint64_t grain) { return std::lcm(grain, own) <= kMaxGrain; });
      if (fits == grains.end()) {
        grains.push_back(own);
        sets.push_back({folder});
      } else {
        *fits = std::lcm(*fits, own);
        sets[static_cast<size_t>(fits - grains.begin())].push_back(folder);
      }
    }
    return sets;
  }

  // As many tensors as may be under way together: all that need no pass before the last, but not
  // so many of the others that what was read for one pass is gone before the next. None if the
  // first is needed in pieces that do not agree.
  static Group start_group(uint32_t first, uint32_t end, std::span<OutputFolder* const> writing) {
    Group group{.first = first, .count = 0, .members = {}, .rows = {}};
    for (OutputFolder* folder : writing) group.members.push_back({folder, {}, {}});
    std::vector<uint64_t> grains;
    uint64_t bytes = 0;
    for (uint32_t i = first; i < end; ++i) {
      std::vector<std::unique_ptr<Computation>> started;
      uint64_t grain = 1, held = 0;
      for (const Member& member : group.members) {
        const Plan& plan = member.folder->plan();
        auto computation = std::make_unique<Computation>(plan, plan.tensors[i]);
        grain = std::lcm(grain, std::max<uint64_t>(1, computation->grain()));
        if (computation->wants_pass()) held += computation->held() + plan.tensors[i].input_bytes();
        started.push_back(std::move(computation));
      }
      if (started.size() > 1 && grain > kMaxGrain) break;
      bytes += held;
      if (group.count > 0 && held > 0 && bytes > kGroupBytes) break;
      for (size_t m = 0; m < started.size(); ++m) {
        group.members[m].computations.push_back(std::move(started[m]));
      }
      grains.push_back(grain);
      ++group.count;
    }
    line_up(group, grains);
    return group;
  }

  static void line_up(Group& group, std::span<const uint64_t> grains) {
    std::vector<const Plan*> plans;
    for (const Member& member : group.members) plans.push_back(&member.folder->plan());
    group.rows = walk_rows(plans, group.first, group.count);
    for (size_t i = 0; i < grains.size(); ++i) group.rows.rows[i].grain = grains[i];
    for (size_t m = 0; m < plans.size(); ++m) {
      group.members[m].inputs = std::move(group.rows.columns[m]);
    }
  }

  Status carry_out(Group& group) {
    HIERON_CHECK(take_passes(group));
    MergeVisitor visitor(group, worker_count(options_.walk));
    return walk_over(group, group.rows.rows, visitor);
  }

  Status carry_out_alone(uint32_t tensor, std::span<OutputFolder* const> writing) {
    Group group = start_group(tensor, tensor + 1, writing);
    return carry_out(group);
  }

  Status take_passes(Group& group) {
    for (;;) {
      std::vector<Computation*> wanting;
      std::vector<Row> rows;
      std::vector<std::vector<LookVisitor::Watcher>> watchers;
      for (uint32_t i = 0; i < group.count; ++i) {
        std::vector<LookVisitor::Watcher> here;
        for (Member& member : group.members) {
          Computation* computation = member.computations[i].get();
          if (!computation->wants_pass()) continue;
          here.push_back({computation, member.inputs[i]});
          wanting.push_back(computation);
        }
        if (here.empty()) continue;
        rows.push_back(group.rows.rows[i]);
        watchers.push_back(std::move(here));
      }
      if (wanting.empty()) return {};
      LookVisitor visitor(std::move(watchers), worker_count(options_.walk));
      HIERON_CHECK(walk_over(group, rows, visitor));
      for (Computation* computation : wanting) HIERON_CHECK(computation->end_pass());
    }
  }

  Status walk_over(const Group& group, std::span<const Row> rows, Visitor& visitor) {
    const std::span<const Checkpoint* const> models = group.rows.models;
    HIERON_TRY(const WalkStats stats,
               walk(models, rows, Selection::everything(), visitor,
                    walk_options(std::max<size_t>(1, models.size()), group.members.size())));
    bytes_read_ += stats.bytes_read;
    journey_->end_walk(stats.bytes_read);
    return {};
  }

  const std::span<const MergeJob> jobs_;
  ExecuteOptions options_;
  const Plan& lead_;
  std::vector<std::unique_ptr<OutputFolder>> folders_;
  std::optional<Journey> journey_;
  uint64_t bytes_read_ = 0;
};

}  // namespace

bool same_tensors(const Plan& a, const Plan& b) {
  return std::ranges::equal(a.tensors, b.tensors, [](const auto& x, const auto& y) {
    return x.name == y.name && x.shape() == y.shape();
  });
}

Result<std::vector<MergeResult>> execute_together(std::span<const MergeJob> jobs,
                                                  const ExecuteOptions& options) {
  return Execution(jobs, options).run();
}

Status check_outputs(std::span<const MergeJob> jobs, const ExecuteOptions& options) {
  return Execution(jobs, options).look();
}

Result<MergeResult> execute(const Plan& plan, const std::string& out,
                            const ExecuteOptions& options) {
  const MergeJob job{&plan, out};
  HIERON_TRY(std::vector<MergeResult> results, execute_together(std::span(&job, 1), options));
  return std::move(results.front());
}

}  // namespace hieron
