// The journey: stream the selected blocks of aligned rows, side by side through a small pool of
// buffers, past a visitor. Merging, auditing, comparing and hashing differ only in the visitor.
//
// Blocks are handed out in file order of the leading model; neighbours that lie one behind another
// in every model's file are read together and visited by one worker. `visit` runs on several
// threads at once; `in_order`, for visitors that want it, after it, for one block at a time, in the
// order of the blocks. What a visitor adds up must not depend on how rows are cut into blocks, nor
// on threads: integers, or fixed leaves of kLeaf elements.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <span>

#include "hieron/core/error.h"
#include "hieron/walk/alignment.h"
#include "hieron/walk/selection.h"

namespace hieron {

inline constexpr uint64_t kLeaf = 4096;  // elements; inner block borders are multiples of it

struct Block {
  uint64_t index;  // running number in this walk
  uint32_t row;    // into the rows given
  uint64_t first;  // element of the row
  uint64_t count;
  std::span<const std::byte* const>
      data;  // per model: `count` elements as stored; null if it is not in this row
};

class Visitor {
 public:
  virtual ~Visitor() = default;
  virtual Status visit(const Block& block, unsigned worker) = 0;
  // Only called if wants_order(): workers then wait for one another. A worker visits all the blocks
  // that it has read together before their turns come, so that it holds what it made of each of
  // them, in order.
  virtual bool wants_order() const { return false; }
  virtual Status in_order(const Block&, unsigned /*worker*/) { return {}; }
};

struct Progress {
  uint64_t bytes_done, bytes_total;
};

struct WalkOptions {
  unsigned threads = 0;            // 0: as many as the machine has cores
  uint64_t memory = 512ull << 20;  // bytes for buffers, all threads together
  uint64_t read_bytes = 1u << 20;  // read at a time, per model: 1 MiB stays in a core's cache
  const std::atomic<bool>* cancel = nullptr;      // stop soon, with an error that says so
  std::function<void(const Progress&)> progress;  // called now and then, from one thread at a time
};

struct WalkStats {
  uint64_t bytes_read = 0;
};

// Workers that a walk with these options will use: visitors size their per-worker state by it.
unsigned worker_count(const WalkOptions& options);

// Walks `rows` (all rows of an alignment, or some) of `models`. The first error ends the walk.
// Memory: threads × models × block bytes <= options.memory; a block is at least one leaf.
Result<WalkStats> walk(std::span<const Checkpoint* const> models, std::span<const Row> rows,
                       const Selection& selection, Visitor& visitor, const WalkOptions& options);

}  // namespace hieron
