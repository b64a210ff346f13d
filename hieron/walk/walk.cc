#include "hieron/walk/walk.h"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

namespace hieron {
namespace {

constexpr uint64_t kPage = 4096;
constexpr uint64_t kTargetBlockBytes =
    1u << 20;  // per model: fits L2 with room, long enough for direct reads
constexpr uint64_t kWideRead = 64u << 10;  // from here on, read whole pages around the block

// Where a block lies, without its data.
struct Place {
  uint64_t index;
  uint32_t row;
  uint64_t first, count;
};

// Hands out blocks in order. One caller at a time (the walk's mutex).
class Itinerary {
 public:
  Itinerary(std::span<const Row> rows, const Selection& selection, uint64_t block_elements)
      : rows_(rows), selection_(selection), block_elements_(block_elements) {}

  std::optional<Place> next() {
    while (run_ == runs_.size()) {
      if (row_ == rows_.size()) return std::nullopt;
      runs_ = selection_.runs(rows_[row_++]);
      run_ = 0;
      position_ = runs_.empty() ? 0 : runs_[0].first;
    }
    const Run& run = runs_[run_];
    const uint64_t run_end = run.first + run.count;
    const uint64_t border = (position_ / block_elements_ + 1) * block_elements_;
    const uint64_t end = std::min(run_end, border);
    const Place place{index_++, static_cast<uint32_t>(row_ - 1), position_, end - position_};
    position_ = end;
    if (end == run_end && ++run_ < runs_.size()) position_ = runs_[run_].first;
    return place;
  }

 private:
  std::span<const Row> rows_;
  const Selection& selection_;
  const uint64_t block_elements_;
  size_t row_ = 0, run_ = 0;
  uint64_t position_ = 0, index_ = 0;
  std::vector<Run> runs_;
};

uint64_t bytes_of(const TensorInfo& tensor, uint64_t elements) {
  return elements * static_cast<uint64_t>(info(tensor.dtype).bits) / 8;
}

uint64_t selected_bytes(std::span<const Row> rows, const Selection& selection) {
  uint64_t total = 0;
  for (const Row& row : rows) {
    uint64_t elements = 0;
    for (const Run& run : selection.runs(row)) elements += run.count;
    for (const auto& view : row.views) {
      if (view) total += bytes_of(*view->tensor, elements);
    }
  }
  return total;
}

// One worker's memory: for each model a page-aligned buffer of one block and a page on either side.
class Buffers {
 public:
  Buffers(size_t models, uint64_t block_bytes) : data_(models, nullptr) {
    for (size_t m = 0; m < models; ++m) memory_.emplace_back(block_bytes + 2 * kPage);
  }

  Status read(const Checkpoint& checkpoint, const TensorView& view, size_t model,
              const Place& place, std::atomic<uint64_t>& bytes_read) {
    const TensorInfo& tensor = *view.tensor;
    const uint64_t bytes = bytes_of(tensor, place.count);
    const uint64_t first = view.first + place.first;
    bytes_read.fetch_add(bytes, std::memory_order_relaxed);
    std::byte* buffer = memory_[model].data();
    if (tensor.computed || bytes < kWideRead) {
      data_[model] = buffer;
      return read_elements(checkpoint, tensor, first, {buffer, bytes});
    }
    // Whole pages around the block, so that a direct read needs no second copy.
    const CheckpointFile& source = checkpoint.files[tensor.stored.file];
    const uint64_t begin = tensor.stored.offset + bytes_of(tensor, first);
    const uint64_t low = begin / kPage * kPage;
    const uint64_t high = std::min((begin + bytes + kPage - 1) / kPage * kPage, source.bytes);
    data_[model] = buffer + (begin - low);
    return source.file->read_at(low, {buffer, high - low});
  }

  void absent(size_t model) { data_[model] = nullptr; }
  std::span<const std::byte* const> data() const { return data_; }

 private:
  std::vector<AlignedBuffer> memory_;
  std::vector<const std::byte*> data_;
};

class WalkRun {
 public:
  WalkRun(std::span<const Checkpoint* const> models, std::span<const Row> rows,
          const Selection& selection, Visitor& visitor, const WalkOptions& options,
          uint64_t block_elements, uint64_t block_bytes)
      : models_(models),
        rows_(rows),
        visitor_(visitor),
        options_(options),
        itinerary_(rows, selection, block_elements),
        block_bytes_(block_bytes),
        bytes_total_(options.progress ? selected_bytes(rows, selection) : 0) {}

  Result<WalkStats> run() {
    {
      std::vector<std::jthread> threads;
      for (unsigned w = 1; w < worker_count(options_); ++w) {
        threads.emplace_back([this, w] { work(w); });
      }
      work(0);
    }
    if (error_) return std::unexpected(std::move(*error_));
    return WalkStats{bytes_read_.load()};
  }

 private:
  void work(unsigned worker) {
    std::optional<Buffers> buffers;
    while (const std::optional<Place> place = take()) {
      if (!buffers) buffers.emplace(models_.size(), block_bytes_);
      if (Status done = handle(*place, *buffers, worker); !done) {
        fail(std::move(done.error()));
        return;
      }
    }
  }

  std::optional<Place> take() {
    const std::lock_guard lock(mutex_);
    if (error_) return std::nullopt;
    if (options_.cancel && options_.cancel->load(std::memory_order_relaxed)) {
      error_ = Error{ErrorCode::kSystem, "Interrupted."};
      turn_changed_.notify_all();
      return std::nullopt;
    }
    report_progress();
    return itinerary_.next();
  }

  Status handle(const Place& place, Buffers& buffers, unsigned worker) {
    const Row& row = rows_[place.row];
    for (size_t m = 0; m < models_.size(); ++m) {
      if (m < row.views.size() && row.views[m]) {
        HIERON_CHECK(buffers.read(*models_[m], *row.views[m], m, place, bytes_read_));
      } else {
        buffers.absent(m);
      }
    }
    const Block block{place.index, place.row, place.first, place.count, buffers.data()};
    HIERON_CHECK(visitor_.visit(block, worker));
    if (!visitor_.wants_order()) return {};
    std::unique_lock lock(mutex_);
    turn_changed_.wait(lock, [&] { return turn_ == place.index || error_; });
    if (error_) return {};
    lock.unlock();
    Status done = visitor_.in_order(block, worker);
    lock.lock();
    ++turn_;
    turn_changed_.notify_all();
    return done;
  }

  void fail(Error error) {
    const std::lock_guard lock(mutex_);
    if (!error_) error_ = std::move(error);
    turn_changed_.notify_all();
  }

  void report_progress() {
    if (!options_.progress) return;
    const auto now = std::chrono::steady_clock::now();
    if (now - last_report_ < std::chrono::milliseconds(100)) return;
    last_report_ = now;
    options_.progress({bytes_read_.load(std::memory_order_relaxed), bytes_total_});
  }

  const std::span<const Checkpoint* const> models_;
  const std::span<const Row> rows_;
  Visitor& visitor_;
  const WalkOptions& options_;
  std::mutex mutex_;  // guards what follows
  Itinerary itinerary_;
  uint64_t turn_ = 0;
  std::optional<Error> error_;
  std::chrono::steady_clock::time_point last_report_{};
  std::condition_variable turn_changed_;
  const uint64_t block_bytes_, bytes_total_;
  std::atomic<uint64_t> bytes_read_{0};
};

int widest_bits(std::span<const Row> rows) {
  int widest = 8;
  for (const Row& row : rows) {
    for (const auto& view : row.views) {
      if (view) widest = std::max(widest, info(view->tensor->dtype).bits);
    }
  }
  return widest;
}

uint64_t longest(std::span<const Row> rows) {
  uint64_t elements = 1;
  for (const Row& row : rows) elements = std::max(elements, row.elements);
  return elements;
}

}  // namespace

unsigned worker_count(const WalkOptions& options) {
  if (options.threads > 0) return options.threads;
  // Twice the cores: while some workers wait for the disk, others compute.
  return std::clamp(2 * std::thread::hardware_concurrency(), 4u, 16u);
}

Result<WalkStats> walk(std::span<const Checkpoint* const> models, std::span<const Row> rows,
                       const Selection& selection, Visitor& visitor, const WalkOptions& options) {
  const uint64_t element_bits = static_cast<uint64_t>(widest_bits(rows));
  const uint64_t share =
      options.memory / (worker_count(options) * std::max<size_t>(1, models.size()));
  const uint64_t bytes = std::min(kTargetBlockBytes, share > 2 * kPage ? share - 2 * kPage : 0);
  const uint64_t leaves = std::max<uint64_t>(1, bytes * 8 / element_bits / kLeaf);
  const uint64_t needed = (longest(rows) + kLeaf - 1) / kLeaf;
  const uint64_t block_elements = std::min(leaves, needed) * kLeaf;
  WalkRun run(models, rows, selection, visitor, options, block_elements,
              block_elements * element_bits / 8);
  return run.run();
}

}  // namespace hieron
