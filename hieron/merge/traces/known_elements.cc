#include "hieron/merge/traces/known_elements.h"

#include <algorithm>
#include <memory>
#include <span>

#include "hieron/kernels/decode.h"
#include "hieron/merge/mergekit/replay.h"

namespace hieron {
namespace {

size_t width(DType dtype) { return static_cast<size_t>(info(dtype).bits) / 8; }

std::vector<std::byte> encoded(DType dtype, std::span<const float> values) {
  std::vector<std::byte> bytes(values.size() * width(dtype));
  encode(dtype, values, bytes.data());
  return bytes;
}

}  // namespace

KnownElements::KnownElements(const StateTable& table, size_t limit)
    : dtype_(table.tensors.front().whole->dtype), inputs_(table.parents.size() + 1) {
  for (const bool several : {true, false}) {
    if (several && table.parents.size() == 1) continue;
    const size_t until = several ? limit * 3 / 4 : limit;
    const size_t share = (until - size()) / table.tensors.size() + 1;
    for (const StateTensor& tensor : table.tensors) {
      const size_t n = tensor.whole->elements();
      size_t added = 0;
      // All over the tensor: a step that is prime to its size.
      const size_t step = n > 7919 && n % 7919 != 0 ? 7919 : 1;
      for (size_t j = 0; j < n && added < share && size() < until; ++j) {
        added += add(table, tensor, j * step % n, several);
      }
    }
  }
}

// False if the element is not fit: some label is missing, or nothing (or not several changes)
// stays.
bool KnownElements::add(const StateTable& table, const StateTensor& tensor, size_t element,
                        bool several) {
  const size_t parents = table.parents.size();
  const float base = tensor.whole->values[table.base][element];
  size_t kept = 0;
  for (size_t k = 0; k < parents; ++k) {
    const bool changed = tensor.whole->values[table.parents[k]][element] != base;
    const uint8_t label = tensor.labels[k][element];
    if (changed && !(label & MaskLabel::kKnown)) return false;
    kept += changed && (label & MaskLabel::kKept);
  }
  if (several ? kept < 2 : kept != 1) return false;
  suspect_.push_back(tensor.whole->values[0][element]);
  for (size_t k = 0; k < parents; ++k) {
    const bool stays = (tensor.labels[k][element] & MaskLabel::kKept) != 0;
    inputs_[k].push_back(stays ? tensor.whole->values[table.parents[k]][element] : base);
  }
  inputs_[parents].push_back(base);
  return true;
}

double KnownElements::share(const Method& method, const TensorParameters& parameters,
                            Working working) const {
  const std::vector<float> made =
      working == Working::kExact ? made_exactly(method, parameters)
                                 : made_by_torch(method.describe().name, parameters,
                                                 working == Working::kTorch ? dtype_ : DType::kF32);
  if (made.empty()) return 0;
  size_t equal = 0;
  for (size_t i = 0; i < made.size(); ++i) equal += made[i] == suspect_[i];
  return static_cast<double>(equal) / static_cast<double>(made.size());
}

std::vector<float> KnownElements::made_exactly(const Method& method,
                                               const TensorParameters& parameters) const {
  TensorTask task{.name = {},
                  .shape = {size()},
                  .elements = size(),
                  .parameters = std::make_shared<TensorParameters>(parameters),
                  .inputs = std::vector<DType>(inputs_.size(), DType::kF32),
                  .base = inputs_.size() - 1,
                  .out = dtype_};
  if (method.check(task)) return {};
  const std::unique_ptr<TensorWork> work = method.start(task);
  std::vector<Operand> operands;
  for (const auto& input : inputs_) {
    operands.push_back({DType::kF32, reinterpret_cast<const std::byte*>(input.data())});
  }
  const Piece piece{0, size(), operands};
  WorkScratch scratch;
  while (work->wants_pass()) {
    work->look(piece, scratch);
    if (!work->end_pass()) return {};
  }
  std::vector<std::byte> out(size() * width(dtype_));
  work->apply(piece, out.data(), scratch);
  return decoded(dtype_, out);
}

std::vector<float> KnownElements::made_by_torch(std::string_view method,
                                                const TensorParameters& parameters,
                                                DType working) const {
  std::vector<std::vector<std::byte>> stored;
  std::vector<Operand> operands;
  for (const auto& input : inputs_) {
    stored.push_back(encoded(working, input));
    operands.push_back({working, stored.back().data()});
  }
  const mergekit::ReplayTask task{.version = mergekit::Version::k015,
                                  .method = method,
                                  .tensor = {},
                                  .parameters = &parameters,
                                  .operands = operands,
                                  .base = inputs_.size() - 1,
                                  .working = working,
                                  .shape = {size()},
                                  .elements = size(),
                                  .seed = 0,
                                  .first_word = 0};
  std::vector<std::byte> out(size() * width(working));
  if (!mergekit::replay(task, out)) return {};
  const std::vector<float> made = decoded(working, out);
  return working == dtype_ ? made : decoded(dtype_, encoded(dtype_, made));
}

std::vector<float> KnownElements::decoded(DType dtype, std::span<const std::byte> bytes) const {
  std::vector<float> values(bytes.size() / width(dtype));
  decode(dtype, bytes.data(), std::span(values));
  return values;
}

}  // namespace hieron
