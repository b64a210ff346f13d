#include "hieron/walk/expert_parts.h"

#include <algorithm>
#include <array>

namespace hieron {
namespace {

constexpr std::array<ExpertLeaf, 6> kLeaves{{{"gate_proj.weight", kGatePart, false},
                                             {"up_proj.weight", kUpPart, false},
                                             {"down_proj.weight", kDownPart, false},
                                             {"w1.weight", kGatePart, true},
                                             {"w3.weight", kUpPart, true},
                                             {"w2.weight", kDownPart, true}}};

std::string with_ending(std::string_view text, std::string_view from, std::string_view to) {
  std::string out(text);
  if (text.ends_with(from)) out.replace(out.size() - from.size(), from.size(), to);
  return out;
}

bool is_standard_pair(const TensorInfo& rows, const TensorInfo& down, bool gated) {
  if (rows.shape.size() != 3 || down.shape.size() != 3) return false;
  return rows.shape[0] == down.shape[0] && rows.shape[2] == down.shape[1] &&
         rows.shape[1] == (gated ? 2 : 1) * down.shape[2];
}

}  // namespace

const ExpertLeaf* find_expert_leaf(std::string_view name) {
  const auto* found = std::ranges::find(kLeaves, name, &ExpertLeaf::name);
  return found == kLeaves.end() ? nullptr : found;
}

std::string_view expert_leaf_name(ExpertPart part, bool numbered) {
  return std::ranges::find_if(
             kLeaves, [&](const ExpertLeaf& l) { return l.part == part && l.numbered == numbered; })
      ->name;
}

std::optional<ExpertName> parse_expert(std::string_view name) {
  const size_t at = name.find(kExpertsSegment);
  if (at == std::string_view::npos) return std::nullopt;
  const std::string_view rest = name.substr(at + kExpertsSegment.size());
  const size_t dot = rest.find('.');
  if (dot == std::string_view::npos || dot == 0 || dot > 9) return std::nullopt;
  uint64_t number = 0;
  for (const char c : rest.substr(0, dot)) {
    if (c < '0' || c > '9') return std::nullopt;
    number = 10 * number + static_cast<uint64_t>(c - '0');
  }
  return ExpertName{name.substr(0, at), number, rest.substr(dot + 1)};
}

std::optional<FusedName> parse_fused(std::string_view name) {
  const size_t at = name.find(kExpertsSegment);
  if (at == std::string_view::npos) return std::nullopt;
  const std::string_view leaf = name.substr(at + kExpertsSegment.size());
  for (const std::string_view part : {"gate_up_proj", "up_proj", "down_proj"}) {
    if (leaf.starts_with(part) && (leaf.size() == part.size() || leaf[part.size()] == '_')) {
      return FusedName{name.substr(0, at), leaf};
    }
  }
  return std::nullopt;
}

std::string fused_prefix(std::string_view prefix, bool numbered) {
  return numbered ? with_ending(prefix, kSparseBlock, kMlpBlock) : std::string(prefix);
}

std::string separate_prefix(std::string_view prefix, bool numbered) {
  return numbered ? with_ending(prefix, kMlpBlock, kSparseBlock) : std::string(prefix);
}

bool can_take_apart(const Checkpoint& checkpoint, const TensorInfo& tensor, const FusedName& name) {
  const bool plain =
      name.leaf == "gate_up_proj" || name.leaf == "up_proj" || name.leaf == "down_proj";
  if (!plain || info(tensor.dtype).bits % 8 != 0) return false;
  const std::string stem = std::string(name.prefix) + std::string(kExpertsSegment);
  const TensorInfo* gated = checkpoint.find(stem + "gate_up_proj");
  const TensorInfo* rows = gated ? gated : checkpoint.find(stem + "up_proj");
  const TensorInfo* down = checkpoint.find(stem + "down_proj");
  return rows && down && is_standard_pair(*rows, *down, gated != nullptr);
}

std::vector<ExpertStretch> take_apart(const TensorInfo& fused, const FusedName& name) {
  std::vector<ExpertPart> parts{name.leaf == "down_proj" ? kDownPart : kUpPart};
  if (name.leaf == "gate_up_proj") parts = {kGatePart, kUpPart};
  const uint64_t rows = fused.shape[1] / parts.size(), columns = fused.shape[2];
  std::vector<ExpertStretch> out;
  out.reserve(fused.shape[0] * parts.size());
  for (uint64_t e = 0; e < fused.shape[0]; ++e) {
    for (const ExpertPart part : parts) {
      out.push_back({e, part, out.size() * rows * columns, {rows, columns}});
    }
  }
  return out;
}

}  // namespace hieron
