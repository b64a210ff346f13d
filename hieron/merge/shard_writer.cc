#include "hieron/merge/shard_writer.h"

#include <algorithm>
#include <array>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <mutex>
#include <optional>
#include <thread>

#include "hieron/core/hash.h"
#include "hieron/io/file.h"
#include "hieron/io/output_file.h"

namespace hieron {

struct ShardWriter::State {
  static constexpr size_t kBuffers = 3;  // one being filled, one being written, one between them

  struct Piece {
    size_t buffer;
    size_t bytes;
    uint64_t offset;
  };

  State(std::unique_ptr<OutputFile> output, size_t piece_bytes)
      : file(std::move(output)), piece(piece_bytes) {
    for (size_t i = 0; i < kBuffers; ++i) {
      buffers[i] = AlignedBuffer(piece);
      free.push_back(i);
    }
    writer = std::jthread([this](const std::stop_token& stop) { write_all(stop); });
  }

  ~State() {
    writer.request_stop();
    changed.notify_all();
  }

  // The background thread.
  void write_all(const std::stop_token& stop) {
    std::unique_lock lock(mutex);
    while (true) {
      changed.wait(lock, stop, [this] { return !full.empty(); });
      if (full.empty()) return;
      const Piece next = full.front();
      lock.unlock();
      Status done = file->write_at(next.offset, buffers[next.buffer].span().first(next.bytes));
      lock.lock();
      full.pop_front();
      free.push_back(next.buffer);
      if (!done && !error) error = std::move(done.error());
      changed.notify_all();
      if (error) return;
    }
  }

  Status take_buffer() {
    std::unique_lock lock(mutex);
    changed.wait(lock, [this] { return !free.empty() || error; });
    if (error) return std::unexpected(*error);
    current = free.front();
    free.pop_front();
    filled = 0;
    return {};
  }

  void hand_over() {
    const std::lock_guard lock(mutex);
    full.push_back({*current, filled, offset});
    offset += filled;
    current.reset();
    changed.notify_all();
  }

  Status drain() {
    std::unique_lock lock(mutex);
    changed.wait(lock, [this] { return full.empty() || error; });
    if (error) return std::unexpected(*error);
    return {};
  }

  std::unique_ptr<OutputFile> file;
  const size_t piece;
  std::array<AlignedBuffer, kBuffers> buffers;
  Sha256 hash;
  std::optional<size_t> current;  // the buffer being filled
  size_t filled = 0;
  uint64_t offset = 0;  // of the next piece
  std::mutex mutex;     // guards free, full, error
  std::condition_variable_any changed;
  std::deque<size_t> free;
  std::deque<Piece> full;
  std::optional<Error> error;
  std::jthread writer;  // last: it stops before what it uses goes
};

ShardWriter::ShardWriter(std::unique_ptr<State> state) : state_(std::move(state)) {}
ShardWriter::~ShardWriter() = default;

Result<std::unique_ptr<ShardWriter>> ShardWriter::create(const std::string& path, uint64_t size,
                                                         size_t piece) {
  HIERON_TRY(std::unique_ptr<OutputFile> file, create_file(path, size));
  return std::unique_ptr<ShardWriter>(
      new ShardWriter(std::make_unique<State>(std::move(file), piece)));
}

Status ShardWriter::append(std::span<const std::byte> bytes) {
  State& s = *state_;
  s.hash.update(bytes);
  while (!bytes.empty()) {
    if (!s.current) HIERON_CHECK(s.take_buffer());
    const size_t n = std::min(bytes.size(), s.piece - s.filled);
    std::memcpy(s.buffers[*s.current].data() + s.filled, bytes.data(), n);
    s.filled += n;
    bytes = bytes.subspan(n);
    if (s.filled == s.piece) s.hand_over();
  }
  return {};
}

Result<std::string> ShardWriter::finish() {
  State& s = *state_;
  if (s.current && s.filled > 0) s.hand_over();
  HIERON_CHECK(s.drain());
  HIERON_CHECK(s.file->commit());
  return to_hex(s.hash.finish());
}

}  // namespace hieron
