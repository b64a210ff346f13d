// What a tensor is for: its role, its layer, its expert; from an architecture table held as data,
// with a generic fallback by name and shape so that any file can be read.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "hieron/core/shape.h"

namespace hieron {

enum class Role : uint8_t {
  kAttentionQ,
  kAttentionK,
  kAttentionV,
  kAttentionO,
  kMlpGate,
  kMlpUp,
  kMlpDown,
  kRouter,
  kExpertGate,
  kExpertUp,
  kExpertDown,
  kNorm,
  kEmbedding,
  kHead,
  kRecurrent,
  kOther,
};
inline constexpr int kRoleCount = 16;

std::string_view name(Role role);  // "attention.q", "mlp.gate", "router", "expert.gate", "norm", …

struct TensorRole {
  Role role = Role::kOther;
  std::optional<int> layer;
  std::optional<int> expert;
  // The part of the model beside the main stack that the tensor belongs to: "vision", "audio",
  // "mtp"; else empty. Its blocks count for themselves, so `layer` is left out there: layer maps
  // show one stack.
  std::string_view tower = {};
};

// Rules for one architecture (config.json `architectures[0]`), or the generic ones.
class RoleTable {
 public:
  // An unknown or empty architecture gives the generic rules.
  static const RoleTable& of(std::string_view architecture);
  TensorRole classify(std::string_view tensor, const Shape& shape) const;

 private:
  struct Impl;
  explicit RoleTable(const Impl& impl) : impl_(&impl) {}
  const Impl* impl_;
};

// Where a tensor keeps its hidden units, for kinship: unit j is row j (or column j) of each of
// `gates` equal blocks along that axis. FFN gate and up projections: rows, 1. PyTorch LSTM
// weight_ih: rows, 4. Keras LSTM kernel [in, 4·units]: columns, 4. GPT-2's Conv1D c_fc: columns, 1.
// Others: nothing.
struct UnitLayout {
  bool rows;
  int gates;
  uint64_t units;
};
std::optional<UnitLayout> unit_layout(const TensorRole& role, std::string_view tensor,
                                      const Shape& shape);

}  // namespace hieron
