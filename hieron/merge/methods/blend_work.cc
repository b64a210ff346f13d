#include "hieron/merge/methods/blend_work.h"

namespace hieron {

void BlendWork::apply(const Piece& piece, std::byte* out, WorkScratch& scratch) const {
  std::span<const Operand> operands = piece.operands;
  if (!which_.empty()) {
    scratch.operands.clear();
    for (size_t k : which_) scratch.operands.push_back(piece.operands[k]);
    operands = scratch.operands;
  }
  blend(arithmetic_, combination_, operands, out_, out, piece.count, scratch.blend);
}

}  // namespace hieron
