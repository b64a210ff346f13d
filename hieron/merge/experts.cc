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

namespace hieron {
namespace {

enum Part : uint8_t { kGate, kUp, kDown };

struct Leaf {
  std::string_view name;
  Part part;
  bool numbered;  // w1, w2, w3
};
constexpr std::array<Leaf, 6> kLeaves{{{"gate_proj.weight", kGate, false},
                                       {"up_proj.weight", kUp, false},
                                       {"down_proj.weight", kDown, false},
                                       {"w1.weight", kGate, true},
                                       {"w3.weight", kUp, true},
                                       {"w2.weight", kDown, true}}};

constexpr std::string_view kExperts = ".experts.";
constexpr std::string_view kSparse = ".block_sparse_moe";
constexpr std::string_view kMlp = ".mlp";

// model_type of those whose separate experts are named w1, w2, w3 below block_sparse_moe.
constexpr std::array<std::string_view, 4> kMixtralKin{"mixtral", "minimax", "minimax_m2", "phimoe"};

std::string_view leaf_name(Part part, bool numbered) {
  return std::ranges::find_if(
             kLeaves, [&](const Leaf& l) { return l.part == part && l.numbered == numbered; })
      ->name;
}

// "P.experts.3.w1.weight": P, 3, "w1.weight".
struct ExpertName {
  std::string_view prefix;
  uint64_t number;
  std::string_view leaf;
};

std::optional<ExpertName> parse_expert(std::string_view name) {
  const size_t at = name.find(kExperts);
  if (at == std::string_view::npos) return std::nullopt;
  const std::string_view rest = name.substr(at + kExperts.size());
  const size_t dot = rest.find('.');
  if (dot == std::string_view::npos || dot == 0 || dot > 9) return std::nullopt;
  uint64_t number = 0;
  for (const char c : rest.substr(0, dot)) {
    if (c < '0' || c > '9') return std::nullopt;
    number = 10 * number + static_cast<uint64_t>(c - '0');
  }
  return ExpertName{name.substr(0, at), number, rest.substr(dot + 1)};
}

const Leaf* find_leaf(std::string_view name) {
  const auto* found = std::ranges::find(kLeaves, name, &Leaf::name);
  return found == kLeaves.end() ? nullptr : found;
}

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

// A range of a tensor that is worked out on demand.
class Range final : public ComputedTensor {
 public:
  Range(std::shared_ptr<const ComputedTensor> whole, uint64_t first)
      : whole_(std::move(whole)), first_(first) {}
  Status read(uint64_t first, std::span<std::byte> out) const override {
    return whole_->read(first_ + first, out);
  }

 private:
  std::shared_ptr<const ComputedTensor> whole_;
  uint64_t first_;
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

// A copy without its tensors.
std::shared_ptr<Checkpoint> shell_of(const Checkpoint& checkpoint) {
  auto shell = std::make_shared<Checkpoint>();
  shell->ref = checkpoint.ref;
  shell->folder = checkpoint.folder;
  shell->files = checkpoint.files;
  shell->metadata = checkpoint.metadata;
  shell->warnings = checkpoint.warnings;
  shell->config_json = checkpoint.config_json;
  shell->tensors.reserve(checkpoint.tensors.size());
  return shell;
}

Result<Groups> collect(const Checkpoint& checkpoint) {
  Groups groups;
  for (const TensorInfo& tensor : checkpoint.tensors) {
    const auto name = parse_expert(tensor.name);
    if (!name) continue;
    const Leaf* leaf = find_leaf(name->leaf);
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
  for (const Part part : {kGate, kUp, kDown}) {
    if (!expert[part] && part == kGate && !first[kGate]) continue;
    if (!expert[part]) {
      return refuse_tensor(
          checkpoint,
          fmt::format("{}{}{}.{}", prefix, kExperts, number, leaf_name(part, group.numbered)),
          "is missing, and the layer's experts cannot be fused without it; the checkpoint is "
          "incomplete, fetch it again.");
    }
    const TensorInfo& tensor = *expert[part];
    if (!first[part] || tensor.dtype != first[kUp]->dtype || tensor.shape != first[part]->shape) {
      return refuse_tensor(checkpoint, tensor.name,
                           "differs from its layer's first expert in dtype, shape or kind, so that "
                           "they cannot be fused; keep the experts separate.");
    }
  }
  const Shape& up = expert[kUp]->shape;
  const Shape& down = expert[kDown]->shape;
  const bool fits = up.size() == 2 && down == Shape{up[1], up[0]} &&
                    (!expert[kGate] || expert[kGate]->shape == up) &&
                    info(expert[kUp]->dtype).bits % 8 == 0;
  if (fits) return {};
  return refuse_tensor(
      checkpoint, expert[kUp]->name,
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
          checkpoint, fmt::format("{}{}{}", prefix, kExperts, group.experts.size()),
          fmt::format("is missing: the layer has {} experts, not the {} of its router; the "
                      "checkpoint is incomplete, fetch it again.",
                      group.experts.size(), expected));
    }
  }
  return {};
}

// P, or what it is called where experts are fused.
std::string fused_prefix(std::string_view prefix, bool numbered) {
  std::string out(prefix);
  if (numbered && prefix.ends_with(kSparse)) {
    out.replace(out.size() - kSparse.size(), kSparse.size(), kMlp);
  }
  return out;
}

TensorInfo join(const Checkpoint& checkpoint, const Group& group, std::string name, bool down) {
  const TensorInfo& model = *group.experts[0][down ? kDown : kUp];
  auto joined = std::make_shared<Joined>(model.dtype);
  for (const auto& expert : group.experts) {
    if (!down && expert[kGate]) joined->append(checkpoint, *expert[kGate]);
    joined->append(checkpoint, *expert[down ? kDown : kUp]);
  }
  const uint64_t stacked = !down && group.experts[0][kGate] ? 2 : 1;
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
  const std::string sparse = std::string(kSparse) + ".";
  const size_t at = tensor.name.find(sparse);
  if (at == std::string::npos) return out;
  const auto group = groups.find(std::string_view(tensor.name).substr(0, at + kSparse.size()));
  if (group == groups.end()) return out;
  out.name =
      fused_prefix(group->first, group->second.numbered) + tensor.name.substr(at + kSparse.size());
  return out;
}

Result<std::shared_ptr<const Checkpoint>> fuse(
    const std::shared_ptr<const Checkpoint>& checkpoint) {
  HIERON_TRY(Groups groups, collect(*checkpoint));
  if (groups.empty()) return checkpoint;
  HIERON_CHECK(check_groups(*checkpoint, groups));
  auto out = shell_of(*checkpoint);
  for (const TensorInfo& tensor : checkpoint->tensors) {
    const auto name = parse_expert(tensor.name);
    if (!name) {
      out->tensors.push_back(renamed_beside(tensor, groups));
      continue;
    }
    Group& group = groups.find(name->prefix)->second;
    const bool down = find_leaf(name->leaf)->part == kDown;
    if (std::exchange(down ? group.wrote_down : group.wrote_rows, true)) continue;
    const std::string_view leaf =
        down ? "down_proj" : (group.experts[0][kGate] ? "gate_up_proj" : "up_proj");
    std::string fused =
        fmt::format("{}{}{}", fused_prefix(name->prefix, group.numbered), kExperts, leaf);
    out->tensors.push_back(join(*checkpoint, group, std::move(fused), down));
  }
  HIERON_CHECK(out->index());
  return out;
}

// "P.experts.gate_up_proj" and the like.
struct FusedName {
  std::string_view prefix, leaf;
};

std::optional<FusedName> parse_fused(std::string_view name) {
  const size_t at = name.find(kExperts);
  if (at == std::string_view::npos) return std::nullopt;
  const std::string_view leaf = name.substr(at + kExperts.size());
  for (const std::string_view part : {"gate_up_proj", "up_proj", "down_proj"}) {
    if (leaf.starts_with(part) && (leaf.size() == part.size() || leaf[part.size()] == '_')) {
      return FusedName{name.substr(0, at), leaf};
    }
  }
  return std::nullopt;
}

// Is this pair of tensors [E, 2I, H] (or [E, I, H]) and [E, H, I]?
bool is_standard_pair(const TensorInfo& rows, const TensorInfo& down, bool gated) {
  if (rows.shape.size() != 3 || down.shape.size() != 3) return false;
  return rows.shape[0] == down.shape[0] && rows.shape[2] == down.shape[1] &&
         rows.shape[1] == (gated ? 2 : 1) * down.shape[2];
}

// Refuses what cannot be taken apart.
Status check_fused(const Checkpoint& checkpoint, const TensorInfo& tensor, const FusedName& name) {
  const std::string stem = std::string(name.prefix) + std::string(kExperts);
  const TensorInfo* gated = checkpoint.find(stem + "gate_up_proj");
  const TensorInfo* rows = gated ? gated : checkpoint.find(stem + "up_proj");
  const TensorInfo* down = checkpoint.find(stem + "down_proj");
  const bool plain =
      name.leaf == "gate_up_proj" || name.leaf == "up_proj" || name.leaf == "down_proj";
  if (plain && rows && down && is_standard_pair(*rows, *down, gated != nullptr)) {
    if (info(tensor.dtype).bits % 8 == 0) return {};
  }
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

// P, or what it is called where experts are separate.
std::string separate_prefix(std::string_view prefix, bool numbered) {
  std::string out(prefix);
  if (numbered && prefix.ends_with(kMlp)) {
    out.replace(out.size() - kMlp.size(), kMlp.size(), kSparse);
  }
  return out;
}

// Rows [row, row + rows) of expert `number` of a fused tensor.
TensorInfo cut(const TensorInfo& fused, uint64_t number, uint64_t row, uint64_t rows,
               std::string name) {
  const uint64_t width = fused.shape[2];
  const uint64_t first = (number * fused.shape[1] + row) * width;
  TensorInfo out{.name = std::move(name),
                 .dtype = fused.dtype,
                 .shape = {rows, width},
                 .elements = rows * width,
                 .stored = fused.stored,
                 .computed = nullptr};
  out.stored.offset += first * static_cast<uint64_t>(info(fused.dtype).bits) / 8;
  if (fused.computed) out.computed = std::make_shared<const Range>(fused.computed, first);
  return out;
}

void take_apart(const TensorInfo& fused, const FusedName& name, bool numbered,
                std::vector<TensorInfo>& out) {
  const std::string stem = separate_prefix(name.prefix, numbered) + std::string(kExperts);
  const bool gated = name.leaf == "gate_up_proj";
  const std::vector<Part> parts = gated                    ? std::vector{kGate, kUp}
                                  : name.leaf == "up_proj" ? std::vector{kUp}
                                                           : std::vector{kDown};
  const uint64_t rows = fused.shape[1] / parts.size();
  for (uint64_t e = 0; e < fused.shape[0]; ++e) {
    for (size_t p = 0; p < parts.size(); ++p) {
      out.push_back(cut(fused, e, p * rows, rows,
                        fmt::format("{}{}.{}", stem, e, leaf_name(parts[p], numbered))));
    }
  }
}

// A tensor beside the experts, under the name it has where they are separate.
TensorInfo renamed_beside(const Checkpoint& checkpoint, const TensorInfo& tensor, bool numbered) {
  TensorInfo out = tensor;
  const size_t at = numbered ? tensor.name.find(std::string(kMlp) + ".") : std::string::npos;
  if (at == std::string::npos) return out;
  const std::string prefix = tensor.name.substr(0, at + kMlp.size());
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
  auto out = shell_of(*checkpoint);
  for (const TensorInfo& tensor : checkpoint->tensors) {
    const auto name = parse_fused(tensor.name);
    if (!name) {
      out->tensors.push_back(renamed_beside(*checkpoint, tensor, numbered));
      continue;
    }
    HIERON_CHECK(check_fused(*checkpoint, tensor, *name));
    take_apart(tensor, *name, numbered, out->tensors);
  }
  HIERON_CHECK(out->index());
  return out;
}

}  // namespace

std::optional<ExpertLayout> expert_layout(const Checkpoint& checkpoint) {
  std::optional<ExpertLayout> found;
  for (const TensorInfo& tensor : checkpoint.tensors) {
    if (const auto name = parse_expert(tensor.name); name && find_leaf(name->leaf)) {
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
