#include "hieron/merge/experts.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "hieron/core/text.h"
#include "hieron/model/config.h"
#include "hieron/walk/conformed.h"
#include "hieron/walk/expert_parts.h"

namespace hieron {
namespace {

// model_type of those whose separate experts are named w1, w2, w3 below block_sparse_moe.
constexpr std::array<std::string_view, 4> kMixtralKin{"mixtral", "minimax", "minimax_m2", "phimoe"};

// One tensor made of stretches of others, back to back.
class Joined final : public ComputedTensor {
 public:
  explicit Joined(DType dtype) : width_(static_cast<uint64_t>(info(dtype).bits) / 8) {}

  void append(const Checkpoint& checkpoint, const TensorInfo& tensor) {
    const Stretch next{
        total_,
        tensor.computed ? 0 : tensor.stored.offset,
        tensor.computed ? nullptr : checkpoint.files[tensor.stored.file].file,
        tensor.computed,
        tensor.stored.file,
    };
    if (!continues(next)) stretches_.push_back(next);
    total_ += tensor.bytes();
  }

  // Where it lies in one piece, if it does.
  std::optional<Stored> stored() const {
    if (stretches_.size() != 1 || stretches_[0].computed) return std::nullopt;
    return Stored{stretches_[0].number, stretches_[0].offset};
  }

  Status read(uint64_t first, std::span<std::byte> out) const override {
    uint64_t at = first * width_;
    auto stretch = std::ranges::upper_bound(stretches_, at, {}, &Stretch::begin) - 1;
    while (!out.empty()) {
      const uint64_t end = stretch + 1 == stretches_.end() ? total_ : (stretch + 1)->begin;
      const size_t bytes = std::min<uint64_t>(out.size(), end - at);
      const uint64_t inside = at - stretch->begin;
      HIERON_CHECK(stretch->computed
                       ? stretch->computed->read(inside / width_, out.first(bytes))
                       : stretch->file->read_at(stretch->offset + inside, out.first(bytes)));
      out = out.subspan(bytes);
      at += bytes;
      ++stretch;
    }
    return {};
  }

 private:
  struct Stretch {
    uint64_t begin;   // in the joined tensor, bytes
    uint64_t offset;  // in the file
    std::shared_ptr<const File> file;
    std::shared_ptr<const ComputedTensor> computed;
    uint32_t number;  // of the file
  };
  bool continues(const Stretch& next) const {
    if (stretches_.empty() || next.computed) return false;
    const Stretch& last = stretches_.back();
    return !last.computed && last.file == next.file &&
           last.offset + (total_ - last.begin) == next.offset;
  }

  uint64_t width_, total_ = 0;
  std::vector<Stretch> stretches_;
};

// The experts of one layer, stored separately: [expert][part].
struct Group {
  bool numbered = false;
  std::vector<std::array<const TensorInfo*, 3>> experts{};
  bool wrote_rows = false, wrote_down = false;
};

using Groups = std::unordered_map<std::string_view, Group>;  // by prefix; names of the checkpoint

std::unexpected<Error> refuse_tensor(const Checkpoint& checkpoint, std::string_view tensor,
                                     const std::string& clause) {
  return refuse(fmt::format("{}: tensor \"{}\" {}", checkpoint.ref, printable(tensor), clause),
                checkpoint.ref, std::string(tensor));
}

Result<Groups> collect(const Checkpoint& checkpoint) {
  Groups groups;
  for (const TensorInfo& tensor : checkpoint.tensors) {
    const auto name = parse_expert(tensor.name);
    if (!name) continue;
    const ExpertLeaf* leaf = find_expert_leaf(name->leaf);
    if (!leaf) {
      return refuse_tensor(
          checkpoint, tensor.name,
          "is none of an expert's gate, up and down weights; experts with biases, "
          "quantisation scales or names of their own cannot be fused, keep them separate.");
    }
    if (name->number >= checkpoint.tensors.size()) {
      return refuse_tensor(checkpoint, tensor.name,
                           "counts more experts than there are tensors; the file is damaged.");
    }
    Group& group = groups[name->prefix];
    group.numbered = leaf->numbered;
    if (group.experts.size() <= name->number) group.experts.resize(name->number + 1);
    group.experts[name->number][leaf->part] = &tensor;
  }
  return groups;
}

// How many experts the layer's router chooses from; else what the config says; else nothing.
std::optional<uint64_t> experts_expected(const Checkpoint& checkpoint, std::string_view prefix,
                                         const std::optional<ModelConfig>& config) {
  for (const std::string_view router : {".gate.weight", ".router.weight"}) {
    const TensorInfo* found = checkpoint.find(std::string(prefix) + std::string(router));
    if (found && found->shape.size() == 2) return found->shape[0];
  }
  return config ? config->experts : std::nullopt;
}

Status check_expert(const Checkpoint& checkpoint, std::string_view prefix, const Group& group,
                    size_t number) {
  const auto& expert = group.experts[number];
  const auto& first = group.experts[0];
  for (const ExpertPart part : {kGatePart, kUpPart, kDownPart}) {
    if (!expert[part] && part == kGatePart && !first[kGatePart]) continue;
    if (!expert[part]) {
      return refuse_tensor(
          checkpoint,
          fmt::format("{}{}{}.{}", prefix, kExpertsSegment, number,
                      expert_leaf_name(part, group.numbered)),
          "is missing, and the layer's experts cannot be fused without it; the checkpoint is "
          "incomplete, fetch it again.");
    }
    const TensorInfo& tensor = *expert[part];
    if (!first[part] || tensor.dtype != first[kUpPart]->dtype ||
        tensor.shape != first[part]->shape) {
      return refuse_tensor(checkpoint, tensor.name,
                           "differs from its layer's first expert in dtype, shape or kind, so that "
                           "they cannot be fused; keep the experts separate.");
    }
  }
  const Shape& up = expert[kUpPart]->shape;
  const Shape& down = expert[kDownPart]->shape;
  const bool fits = up.size() == 2 && down == Shape{up[1], up[0]} &&
                    (!expert[kGatePart] || expert[kGatePart]->shape == up) &&
                    info(expert[kUpPart]->dtype).bits % 8 == 0;
  if (fits) return {};
  return refuse_tensor(
      checkpoint, expert[kUpPart]->name,
      fmt::format(
          "is {} and its down projection {}, not a pair of [I, H] and [H, I]; these experts "
          "cannot be fused, keep them separate.",
          to_string(up), to_string(down)));
}

Status check_groups(const Checkpoint& checkpoint, const Groups& groups) {
  std::optional<ModelConfig> config;
  if (auto parsed = parse_config(checkpoint.config_json, checkpoint.ref)) config = *parsed;
  for (const auto& [prefix, group] : groups) {
    for (size_t e = 0; e < group.experts.size(); ++e) {
      HIERON_CHECK(check_expert(checkpoint, prefix, group, e));
    }
    const uint64_t expected =
        experts_expected(checkpoint, prefix, config).value_or(group.experts.size());
    if (expected > group.experts.size()) {
      return refuse_tensor(
          checkpoint, fmt::format("{}{}{}", prefix, kExpertsSegment, group.experts.size()),
          fmt::format("is missing: the layer has {} experts, not the {} of its router; the "
                      "checkpoint is incomplete, fetch it again.",
                      group.experts.size(), expected));
    }
  }
  return {};
}

TensorInfo join(const Checkpoint& checkpoint, const Group& group, std::string name, bool down) {
  const TensorInfo& model = *group.experts[0][down ? kDownPart : kUpPart];
  auto joined = std::make_shared<Joined>(model.dtype);
  for (const auto& expert : group.experts) {
    if (!down && expert[kGatePart]) joined->append(checkpoint, *expert[kGatePart]);
    joined->append(checkpoint, *expert[down ? kDownPart : kUpPart]);
  }
  const uint64_t stacked = !down && group.experts[0][kGatePart] ? 2 : 1;
  TensorInfo out{.name = std::move(name),
                 .dtype = model.dtype,
                 .shape = {group.experts.size(), stacked * model.shape[0], model.shape[1]},
                 .elements = group.experts.size() * stacked * model.elements,
                 .stored = {},
                 .computed = nullptr};
  if (const auto stored = joined->stored()) {
    out.stored = *stored;
  } else {
    out.computed = std::move(joined);
  }
  return out;
}

// A tensor beside the experts, under the name it has where they are fused.
TensorInfo renamed_beside(const TensorInfo& tensor, const Groups& groups) {
  TensorInfo out = tensor;
  const std::string sparse = std::string(kSparseBlock) + ".";
  const size_t at = tensor.name.find(sparse);
  if (at == std::string::npos) return out;
  const auto group = groups.find(std::string_view(tensor.name).substr(0, at + kSparseBlock.size()));
  if (group == groups.end()) return out;
  out.name = fused_prefix(group->first, group->second.numbered) +
             tensor.name.substr(at + kSparseBlock.size());
  return out;
}

Result<std::shared_ptr<const Checkpoint>> fuse(
    const std::shared_ptr<const Checkpoint>& checkpoint) {
  HIERON_TRY(Groups groups, collect(*checkpoint));
  if (groups.empty()) return checkpoint;
  HIERON_CHECK(check_groups(*checkpoint, groups));
  auto out = without_tensors(*checkpoint);
  for (const TensorInfo& tensor : checkpoint->tensors) {
    const auto name = parse_expert(tensor.name);
    if (!name) {
      out->tensors.push_back(renamed_beside(tensor, groups));
      continue;
    }
    Group& group = groups.find(name->prefix)->second;
    const bool down = find_expert_leaf(name->leaf)->part == kDownPart;
    if (std::exchange(down ? group.wrote_down : group.wrote_rows, true)) continue;
    const std::string_view leaf =
        down ? "down_proj" : (group.experts[0][kGatePart] ? "gate_up_proj" : "up_proj");
    std::string fused =
        fmt::format("{}{}{}", fused_prefix(name->prefix, group.numbered), kExpertsSegment, leaf);
    out->tensors.push_back(join(*checkpoint, group, std::move(fused), down));
  }
  HIERON_CHECK(out->index());
  return out;
}

// Refuses what cannot be taken apart.
Status check_fused(const Checkpoint& checkpoint, const TensorInfo& tensor, const FusedName& name) {
  if (can_take_apart(checkpoint, tensor, name)) return {};
  return refuse_tensor(
      checkpoint, tensor.name,
      fmt::format("{} is not one of a pair [E, 2I, H] and [E, H, I] of plain weights (gpt-oss and "
                  "Llama 4 store their experts transposed or as codes), so that it cannot be taken "
                  "apart; keep the experts fused.",
                  to_string(tensor.shape)));
}

bool is_mixtral_kin(const Checkpoint& checkpoint) {
  const auto config = parse_config(checkpoint.config_json, checkpoint.ref);
  return config && std::ranges::find(kMixtralKin, config->model_type) != kMixtralKin.end();
}

void append_parts(const TensorInfo& fused, const FusedName& name, bool numbered,
                  std::vector<TensorInfo>& out) {
  const std::string stem = separate_prefix(name.prefix, numbered) + std::string(kExpertsSegment);
  for (const ExpertStretch& stretch : take_apart(fused, name)) {
    out.push_back(part_of(
        fused, stretch.first,
        fmt::format("{}{}.{}", stem, stretch.expert, expert_leaf_name(stretch.part, numbered)),
        stretch.shape));
  }
}

// A tensor beside the experts, under the name it has where they are separate.
TensorInfo renamed_beside(const Checkpoint& checkpoint, const TensorInfo& tensor, bool numbered) {
  TensorInfo out = tensor;
  const size_t at = numbered ? tensor.name.find(std::string(kMlpBlock) + ".") : std::string::npos;
  if (at == std::string::npos) return out;
  const std::string prefix = tensor.name.substr(0, at + kMlpBlock.size());
  if (!checkpoint.find(prefix + ".experts.gate_up_proj")) return out;
  out.name = separate_prefix(prefix, true) + tensor.name.substr(prefix.size());
  return out;
}

Result<std::shared_ptr<const Checkpoint>> separate(
    const std::shared_ptr<const Checkpoint>& checkpoint) {
  const bool any = std::ranges::any_of(
      checkpoint->tensors, [](const TensorInfo& t) { return parse_fused(t.name).has_value(); });
  if (!any) return checkpoint;
  const bool numbered = is_mixtral_kin(*checkpoint);
  auto out = without_tensors(*checkpoint);
  for (const TensorInfo& tensor : checkpoint->tensors) {
    const auto name = parse_fused(tensor.name);
    if (!name) {
      out->tensors.push_back(renamed_beside(*checkpoint, tensor, numbered));
      continue;
    }
    HIERON_CHECK(check_fused(*checkpoint, tensor, *name));
    append_parts(tensor, *name, numbered, out->tensors);
  }
  HIERON_CHECK(out->index());
  return out;
}

}  // namespace

std::optional<ExpertLayout> expert_layout(const Checkpoint& checkpoint) {
  std::optional<ExpertLayout> found;
  for (const TensorInfo& tensor : checkpoint.tensors) {
    if (const auto name = parse_expert(tensor.name); name && find_expert_leaf(name->leaf)) {
      return ExpertLayout::kSeparate;
    }
    const auto fused = parse_fused(tensor.name);
    if (!found && fused && check_fused(checkpoint, tensor, *fused)) found = ExpertLayout::kFused;
  }
  return found;
}

Result<std::shared_ptr<const Checkpoint>> with_experts(
    const std::shared_ptr<const Checkpoint>& checkpoint, ExpertLayout layout) {
  return layout == ExpertLayout::kFused ? fuse(checkpoint) : separate(checkpoint);
}

}  // namespace hieron
