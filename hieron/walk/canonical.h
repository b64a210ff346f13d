// Tensors as a model means them, whatever a file calls them and however it stores them.
//
// A canonical name depends on the part of the model, its layer and expert, and the parameter; not
// on how the model is wrapped. It is the name in transformers' words without what wraps the model
// around it ("model.", "language_model.model.", "transformer.", …); an expert's tensors are called
// mlp.experts.N.gate_proj.weight, .up_proj.weight, .down_proj.weight, whether the file has one for
// each (under these names or Mixtral's), or one for all of a layer. Towers and a decoder's encoder
// keep the segments that name them.
//
// A fused tensor [E, 2I, H] or [E, H, I] is 2E or E logical tensors, each a contiguous stretch of
// it. Transposed and interleaved layouts are no stretches: they stay one tensor.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "hieron/walk/checkpoint.h"

namespace hieron {

std::string canonical_name(std::string_view tensor);

struct LogicalTensor {
  std::string name;          // canonical; the tensor's own where two would be called the same
  const TensorInfo* tensor;  // that holds it
  uint64_t first = 0;        // its first element in there
  uint64_t elements = 0;
  Shape shape;
  bool part = false;  // of a fused tensor
};

// In file order; parts of a fused tensor in the order of their elements.
std::vector<LogicalTensor> logical_tensors(const Checkpoint& checkpoint);

// The parts of one fused tensor under their canonical names; empty if it is none, or is not
// contiguous by parts. The names are those in logical_tensors, but for clashes.
std::vector<LogicalTensor> parts_of(const Checkpoint& checkpoint, const TensorInfo& tensor);

// What a part of a fused tensor is called beside its sibling tensors: with the prefix of the file.
std::string part_name(const LogicalTensor& part);

// Logical tensors by name, and fused tensors whole by theirs. The checkpoint must outlive it.
class LogicalIndex {
 public:
  explicit LogicalIndex(const Checkpoint& checkpoint);
  const LogicalTensor* find(std::string_view name) const;

 private:
  std::vector<LogicalTensor> tensors_;
  std::unordered_map<std::string_view, size_t> by_name_;
};

}  // namespace hieron
