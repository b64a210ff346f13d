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
constexpr uint64_t kWideRead = 64u << 10;  // from here on, read whole pages around the block

// Where a block lies, without its data.
struct Place {
  uint64_t index;
  uint32_t row;
  uint64_t first, count;
};

uint64_t bytes_of(const TensorInfo& tensor, uint64_t elements) {
  return elements * static_cast<uint64_t>(info(tensor.dtype).bits) / 8;
}

// The part of a model in a row; null if it has none.
const TensorView* view_of(const Row& row, size_t model) {
  return model < row.views.size() && row.views[model] ? &*row.views[model] : nullptr;
}

// Where a place begins in the file of a stored tensor.
uint64_t begin_of(const TensorView& view, const Place& place) {
  return view.tensor->stored.offset + bytes_of(*view.tensor, view.first + place.first);
}

// Elements between two borders: as many grains as fit into a block, one at least. Without a grain
// (or with leaves as grains) that is a multiple of kLeaf.
uint64_t block_of(const Row& row, uint64_t block_elements) {
  const uint64_t grain = std::max<uint64_t>(1, row.grain);
  return std::max<uint64_t>(1, block_elements / grain) * grain;
}

// Hands out blocks in order, several at once where one read will fetch them. One caller at a time
// (the walk's mutex).
class Itinerary {
 public:
  Itinerary(std::span<const Row> rows, const Selection& selection, size_t models,
            uint64_t block_elements, uint64_t read_bytes)
      : rows_(rows),
        selection_(selection),
        models_(models),
        block_elements_(block_elements),
        read_bytes_(read_bytes) {}

  // Empty at the end.
  void next(std::vector<Place>& places) {
    places.clear();
    if (!ahead_) ahead_ = next_place();
    while (ahead_ && (places.empty() || joins(places, *ahead_))) {
      places.push_back(*ahead_);
      ahead_ = next_place();
    }
  }

 private:
  std::optional<Place> next_place() {
    while (run_ == runs_.size()) {
      if (row_ == rows_.size()) return std::nullopt;
      runs_ = selection_.runs(rows_[row_++]);
      run_ = 0;
      position_ = runs_.empty() ? 0 : runs_[0].first;
    }
    const Run& run = runs_[run_];
    const uint64_t run_end = run.first + run.count;
    const uint64_t block = block_of(rows_[row_ - 1], block_elements_);
    const uint64_t border = (position_ / block + 1) * block;
    const uint64_t end = std::min(run_end, border);
    const Place place{index_++, static_cast<uint32_t>(row_ - 1), position_, end - position_};
    position_ = end;
    if (end == run_end && ++run_ < runs_.size()) position_ = runs_[run_].first;
    return place;
  }

  // Does the place go on where the last one ends, in every model, within one read?
  bool joins(const std::vector<Place>& places, const Place& place) const {
    const Place &front = places.front(), &last = places.back();
    for (size_t m = 0; m < models_; ++m) {
      const TensorView* first = view_of(rows_[front.row], m);
      const TensorView* before = view_of(rows_[last.row], m);
      const TensorView* view = view_of(rows_[place.row], m);
      if (!view && !before) continue;
      if (!view || !before || view->tensor->computed || before->tensor->computed) return false;
      if (view->tensor->stored.file != before->tensor->stored.file) return false;
      const uint64_t begin = begin_of(*view, place);
      if (begin != begin_of(*before, last) + bytes_of(*before->tensor, last.count)) return false;
      const uint64_t end = begin + bytes_of(*view->tensor, place.count);
      if (end - begin_of(*first, front) > read_bytes_) return false;
    }
    return true;
  }

  std::span<const Row> rows_;
  const Selection& selection_;
  const size_t models_;
  const uint64_t block_elements_, read_bytes_;
  std::optional<Place> ahead_;
  size_t row_ = 0, run_ = 0;
  uint64_t position_ = 0, index_ = 0;
  std::vector<Run> runs_;
};

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

// Tells files that lie far away what will be read of them, all at once and before the first of it
// is needed: so their requests are many in flight, and neighbours are asked for together.
Status announce(std::span<const Checkpoint* const> models, std::span<const Row> rows,
                const Selection& selection) {
  const auto far = [](const Checkpoint* model) { return is_far(*model); };
  if (std::ranges::none_of(models, far)) return {};
  std::vector<Wanted> wanted;
  for (const Row& row : rows) {
    for (const Run& run : selection.runs(row)) {
      for (size_t m = 0; m < models.size(); ++m) {
        const TensorView* view = view_of(row, m);
        if (view) wanted.push_back({models[m], view->tensor, view->first + run.first, run.count});
      }
    }
  }
  return will_read(wanted);
}

// One worker's memory: for each model a page-aligned buffer of one read and a page on either side.
class Buffers {
 public:
  Buffers(std::span<const Checkpoint* const> models, std::span<const Row> rows, uint64_t read_bytes)
      : models_(models), rows_(rows), base_(models.size(), nullptr), data_(models.size(), nullptr) {
    for (size_t m = 0; m < models.size(); ++m) memory_.emplace_back(read_bytes + 2 * kPage);
  }

  // One read per model for all the places.
  Status read(const std::vector<Place>& places, std::atomic<uint64_t>& bytes_read) {
    for (size_t m = 0; m < models_.size(); ++m) {
      base_[m] = nullptr;
      const TensorView* view = view_of(rows_[places.front().row], m);
      if (!view) continue;
      uint64_t bytes = 0;
      for (const Place& place : places) {
        bytes += bytes_of(*view_of(rows_[place.row], m)->tensor, place.count);
      }
      bytes_read.fetch_add(bytes, std::memory_order_relaxed);
      HIERON_CHECK(read_model(m, *view, places.front(), bytes));
    }
    return {};
  }

  // Per model, where the data of one of the places is.
  std::span<const std::byte* const> data(const Place& front, const Place& place) {
    for (size_t m = 0; m < models_.size(); ++m) {
      data_[m] = base_[m];
      if (!base_[m] || place.index == front.index) continue;
      data_[m] += begin_of(*view_of(rows_[place.row], m), place) -
                  begin_of(*view_of(rows_[front.row], m), front);
    }
    return data_;
  }

 private:
  Status read_model(size_t m, const TensorView& view, const Place& front, uint64_t bytes) {
    const TensorInfo& tensor = *view.tensor;
    std::byte* buffer = memory_[m].data();
    base_[m] = buffer;
    if (tensor.computed) {
      return read_elements(*models_[m], tensor, view.first + front.first, {buffer, bytes});
    }
    const CheckpointFile& source = models_[m]->files[tensor.stored.file];
    const uint64_t begin = begin_of(view, front);
    if (bytes < kWideRead) return source.file->read_at(begin, {buffer, bytes});
    // Whole pages around the block, so that a direct read needs no second copy.
    const uint64_t low = begin / kPage * kPage;
    const uint64_t high = std::min((begin + bytes + kPage - 1) / kPage * kPage, source.bytes);
    const Extent pages{low, high - low};
    if (source.file->far_bytes({&pages, 1}) > 0) {  // not for a few bytes more from far away
      return source.file->read_at(begin, {buffer, bytes});
    }
    base_[m] = buffer + (begin - low);
    return source.file->read_at(low, {buffer, high - low});
  }

  const std::span<const Checkpoint* const> models_;
  const std::span<const Row> rows_;
  std::vector<AlignedBuffer> memory_;
  std::vector<const std::byte*> base_, data_;
};

class WalkRun {
 public:
  WalkRun(std::span<const Checkpoint* const> models, std::span<const Row> rows,
          const Selection& selection, Visitor& visitor, const WalkOptions& options,
          uint64_t block_elements, uint64_t block_bytes, uint64_t joined_bytes)
      : models_(models),
        rows_(rows),
        visitor_(visitor),
        options_(options),
        itinerary_(rows, selection, models.size(), block_elements, joined_bytes),
        read_bytes_(std::max(block_bytes, joined_bytes)),
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
    std::vector<Place> places;
    while (take(places)) {
      if (!buffers) buffers.emplace(models_, rows_, read_bytes_);
      if (Status done = handle(places, *buffers, worker); !done) {
        fail(std::move(done.error()));
        return;
      }
    }
  }

  bool take(std::vector<Place>& places) {
    const std::lock_guard lock(mutex_);
    if (error_) return false;
    if (options_.cancel && options_.cancel->load(std::memory_order_relaxed)) {
      error_ = Error{ErrorCode::kSystem, "Interrupted."};
      turn_changed_.notify_all();
      return false;
    }
    report_progress();
    itinerary_.next(places);
    return !places.empty();
  }

  Status handle(const std::vector<Place>& places, Buffers& buffers, unsigned worker) {
    HIERON_CHECK(buffers.read(places, bytes_read_));
    const auto block = [&](const Place& place) {
      return Block{place.index, place.row, place.first, place.count,
                   buffers.data(places.front(), place)};
    };
    for (const Place& place : places) HIERON_CHECK(visitor_.visit(block(place), worker));
    if (!visitor_.wants_order()) return {};
    std::unique_lock lock(mutex_);
    turn_changed_.wait(lock, [&] { return turn_ == places.front().index || error_; });
    if (error_) return {};
    lock.unlock();
    for (const Place& place : places) HIERON_CHECK(visitor_.in_order(block(place), worker));
    lock.lock();
    turn_ += places.size();
    turn_changed_.notify_all();
    return {};
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
  const uint64_t read_bytes_, bytes_total_;
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

uint64_t total_elements(std::span<const Row> rows) {
  uint64_t total = 0;
  for (const Row& row : rows) total += row.elements;
  return total;
}

uint64_t longest(std::span<const Row> rows) {
  uint64_t elements = 1;
  for (const Row& row : rows) elements = std::max(elements, row.elements);
  return elements;
}

// The longest block that any row will have.
uint64_t widest_block(std::span<const Row> rows, uint64_t block_elements) {
  uint64_t widest = block_elements;
  for (const Row& row : rows) {
    widest = std::max(widest, std::min(row.elements, block_of(row, block_elements)));
  }
  return widest;
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
  const uint64_t bytes = std::min(options.read_bytes, share > 2 * kPage ? share - 2 * kPage : 0);
  const uint64_t leaves = std::max<uint64_t>(1, bytes * 8 / element_bits / kLeaf);
  const uint64_t needed = (longest(rows) + kLeaf - 1) / kLeaf;
  const uint64_t block_elements = std::min(leaves, needed) * kLeaf;
  const uint64_t widest = widest_block(rows, block_elements);
  // Small rows are read together, but not so many that some workers get none.
  const uint64_t fair = total_elements(rows) / (4 * worker_count(options)) * element_bits / 8;
  WalkRun run(models, rows, selection, visitor, options, block_elements, widest * element_bits / 8,
              std::min(bytes, fair));
  HIERON_CHECK(announce(models, rows, selection));
  return run.run();
}

}  // namespace hieron
