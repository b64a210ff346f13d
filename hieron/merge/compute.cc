#include "hieron/merge/compute.h"

#include <algorithm>
#include <cstring>

#include "hieron/kernels/decode.h"
#include "hieron/merge/mergekit/replay_work.h"
#include "hieron/walk/walk.h"

namespace hieron {
namespace {

constexpr uint64_t kPiece = 4 * kLeaf;  // elements converted at a time: stays in a core's cache

size_t width(DType dtype) { return static_cast<size_t>(info(dtype).bits) / 8; }

// One rounding at most: through f64, which holds every storage float.
void convert(DType from, const std::byte* in, DType to, std::byte* out, size_t count,
             std::vector<double>& wide) {
  wide.resize(std::max(wide.size(), count));
  const std::span<double> values(wide.data(), count);
  decode(from, in, values);
  encode(to, values, out);
}

TensorTask task_of(const Plan& plan, const PlannedTensor& tensor) {
  TensorTask task{.name = tensor.name,
                  .shape = tensor.shape(),
                  .elements = tensor.elements,
                  .parameters = tensor.parameters,
                  .inputs = {},
                  .base = tensor.base,
                  .out = tensor.returned,
                  .arithmetic = tensor.arithmetic,
                  .seed = plan.seed,
                  .text = plan.texts};
  for (const PlannedInput& input : tensor.inputs) {
    task.inputs.push_back(tensor.cast_first ? tensor.working : input.tensor->dtype);
  }
  return task;
}

std::unique_ptr<TensorWork> start(const Plan& plan, const PlannedTensor& tensor) {
  if (tensor.rule != Rule::kMerged || tensor.elements == 0) return nullptr;
  if (tensor.replay) {
    return mergekit::replay_work(*tensor.replay, tensor.method->describe().name,
                                 task_of(plan, tensor), tensor.working, tensor.first_word);
  }
  return tensor.method->start(task_of(plan, tensor));
}

}  // namespace

Computation::Computation(const Plan& plan, const PlannedTensor& tensor)
    : tensor_(tensor), work_(start(plan, tensor)) {}

bool Computation::needs_cast(size_t input) const {
  return tensor_.cast_first && tensor_.inputs[input].tensor->dtype != tensor_.working;
}

bool Computation::converts() const {
  if (tensor_.returned != tensor_.dtype) return true;
  for (size_t k = 0; k < tensor_.inputs.size(); ++k) {
    if (needs_cast(k)) return true;
  }
  return false;
}

// Where elements are converted, a few at a time; else all at once.
uint64_t Computation::step() const {
  if (!converts()) return UINT64_MAX;
  const uint64_t grain = std::max<uint64_t>(1, work_->grain());
  return std::max<uint64_t>(1, kPiece / grain) * grain;
}

// Operands for elements [first, first + count) of a block, cast to the working dtype where that
// comes first.
std::span<const Operand> Computation::operands(std::span<const std::byte* const> data, size_t first,
                                               size_t count, ComputeScratch& scratch) const {
  scratch.operands.clear();
  const size_t stride = count * width(tensor_.working);
  scratch.cast.resize(std::max(scratch.cast.size(), stride * data.size()));
  for (size_t k = 0; k < data.size(); ++k) {
    const DType stored = tensor_.inputs[k].tensor->dtype;
    const std::byte* in = data[k] + first * width(stored);
    if (!needs_cast(k)) {
      scratch.operands.push_back({stored, in});
      continue;
    }
    std::byte* cast = scratch.cast.data() + k * stride;
    convert(stored, in, tensor_.working, cast, count, scratch.wide);
    scratch.operands.push_back({tensor_.working, cast});
  }
  return scratch.operands;
}

void Computation::look(uint64_t first, size_t count, std::span<const std::byte* const> data,
                       ComputeScratch& scratch) {
  const uint64_t most = step();
  for (size_t at = 0; at < count;) {
    const size_t n = std::min<uint64_t>(most, count - at);
    work_->look({first + at, n, operands(data, at, n, scratch)}, scratch.work);
    at += n;
  }
}

void Computation::apply(uint64_t first, size_t count, std::span<const std::byte* const> data,
                        std::byte* out, ComputeScratch& scratch) const {
  if (!work_) {
    if (count > 0) std::memcpy(out, data[0], count * width(tensor_.dtype));
    return;
  }
  const bool direct = tensor_.returned == tensor_.dtype;
  const uint64_t most = step();
  for (size_t at = 0; at < count;) {
    const size_t n = std::min<uint64_t>(most, count - at);
    const Piece piece{first + at, n, operands(data, at, n, scratch)};
    std::byte* target = out + at * width(tensor_.dtype);
    if (direct) {
      work_->apply(piece, target, scratch.work);
    } else {
      scratch.worked.resize(std::max(scratch.worked.size(), n * width(tensor_.returned)));
      work_->apply(piece, scratch.worked.data(), scratch.work);
      convert(tensor_.returned, scratch.worked.data(), tensor_.dtype, target, n, scratch.wide);
    }
    at += n;
  }
}

}  // namespace hieron
