// Runs a method on numbers, cut in any way. For tests only.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <vector>

#include "hieron/kernels/decode.h"
#include "hieron/merge/method.h"
#include "hieron/walk/walk.h"

namespace hieron {

// One model's tensor as stored.
struct StoredValues {
  DType dtype;
  std::vector<std::byte> bytes;
  StoredValues(DType type, const std::vector<double>& values)
      : dtype(type), bytes(values.size() * static_cast<size_t>(info(type).bits) / 8) {
    encode(type, std::span<const double>(values), bytes.data());
  }
};

// The merged tensor. `inputs` in input order; `task` says parameters, base, out; shape as given, or
// one row. `cut`: elements a piece, in the order of the tensor or (`backwards`) the other way
// round.
inline std::vector<double> run_method(const Method& method, TensorTask task,
                                      const std::vector<StoredValues>& inputs, uint64_t cut = 0,
                                      bool backwards = false) {
  const size_t width = static_cast<size_t>(info(inputs[0].dtype).bits) / 8;
  task.elements = inputs[0].bytes.size() / width;
  if (task.shape.empty()) task.shape = {task.elements};
  task.inputs.clear();
  for (const StoredValues& input : inputs) task.inputs.push_back(input.dtype);
  const auto work = method.start(task);
  const uint64_t grain = std::max<uint64_t>(1, work->grain());
  const uint64_t step =
      cut == 0 ? std::max<uint64_t>(1, task.elements) : (cut + grain - 1) / grain * grain;
  const size_t out_width = static_cast<size_t>(info(task.out).bits) / 8;
  std::vector<std::byte> out(task.elements * out_width);
  WorkScratch scratch;
  const auto over_all = [&](const auto& act) {
    std::vector<Piece> pieces;
    std::vector<std::vector<Operand>> operands;
    for (uint64_t at = 0; at < task.elements; at += step) {
      operands.emplace_back();
      for (const StoredValues& input : inputs) {
        const size_t w = static_cast<size_t>(info(input.dtype).bits) / 8;
        operands.back().push_back({input.dtype, input.bytes.data() + at * w});
      }
    }
    for (uint64_t at = 0; at < task.elements; at += step) {
      pieces.push_back({at, std::min(step, task.elements - at), operands[at / step]});
    }
    if (backwards) std::ranges::reverse(pieces);
    for (const Piece& piece : pieces) act(piece);
  };
  while (work->wants_pass()) {
    over_all([&](const Piece& piece) { work->look(piece, scratch); });
    const Status done = work->end_pass();
    if (!done) ADD_FAILURE() << done.error().sentence;
  }
  over_all([&](const Piece& piece) {
    work->apply(piece, out.data() + piece.first * out_width, scratch);
  });
  std::vector<double> values(task.elements);
  decode(task.out, out.data(), std::span<double>(values));
  return values;
}

}  // namespace hieron
