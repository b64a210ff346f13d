// What mergekit writes, bit for bit: its methods as they run on a CPU in one thread, op by op in
// the working dtype, with torch's orders of summation, torch's unstable sort and torch's Mersenne
// stream.
//
// Facts, and which golden outputs are equal: docs/determinism.md. Nothing here is faster or more
// right than mergekit; it is what a published model can be compared with.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "hieron/core/dtype.h"
#include "hieron/core/error.h"
#include "hieron/core/shape.h"
#include "hieron/kernels/arithmetic.h"
#include "hieron/merge/method.h"

namespace hieron::mergekit {

enum class Version : uint8_t { k014, k015 };

// One output tensor, or (element-wise methods) a stretch of one.
struct ReplayTask {
  Version version;
  std::string_view method;
  std::string_view tensor;             // for messages
  const TensorParameters* parameters;  // one map per operand; the base's own may be empty
  std::span<const Operand> operands;   // in mergekit's order, all cast to `working`
  std::optional<size_t> base;          // the operand that is the base model
  DType working;                       // BF16, F16 or F32
  Shape shape;
  uint64_t elements;
  uint64_t seed;        // --random-seed
  uint64_t first_word;  // of the Mersenne stream: words drawn by earlier tensors
  uint64_t before = 0;  // elements of the tensor before this stretch: a multiple of 64
};

// Does the method look at the whole tensor (norms, sorts, sums), or at one element at a time?
bool element_wise(Version version, std::string_view method);

// 32-bit words of the Mersenne stream that this tensor consumes: one an element for each model that
// is dropped at random; arcee_fusion samples tensors of over 10^6 elements, in another way in each
// version; 0 for all other methods. Tensors draw in lexicographic order of their names.
uint64_t words_drawn(Version version, std::string_view method, const TensorParameters& parameters,
                     std::optional<size_t> base, uint64_t elements);

// The dtype that the method returns: mostly `working` (arcee_fusion and ramplus_tl: F32).
DType returned_dtype(Version version, std::string_view method, DType working);

// Memory beside operands and `out`, bytes an element for K models besides the base: linear and
// task_arithmetic 4K + 4, with a sort or a random mask 4K + 9, nuslerp, multislerp, karcher,
// model_stock, sce 8K + 9 at most.
//
// Computes into `out` (elements of returned_dtype()). Refused: what that version refuses (as one
// sentence with its reason), and a method that it does not have or that is not replayed.
Status replay(const ReplayTask& task, std::span<std::byte> out);

// What of replay()'s refusals parameters and shape decide, as a clause; operands are not looked at.
std::optional<std::string> refusal(const ReplayTask& task);

// Methods that replay() knows, per version.
bool replays(Version version, std::string_view method);

}  // namespace hieron::mergekit
