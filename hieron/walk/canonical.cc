#include "hieron/walk/canonical.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "hieron/walk/expert_parts.h"

namespace hieron {
namespace {

// Segments that wrap a language model and say nothing of what the tensor is: transformers'
// base_model_prefix of many architectures, and what PEFT, torch.compile and data parallelism add.
constexpr std::array<std::string_view, 14> kWrappers{
    "model",    "language_model", "transformer", "base_model", "module",  "_orig_mod", "backbone",
    "gpt_neox", "text_model",     "bert",        "roberta",    "deberta", "electra",   "causal_lm"};

bool is_wrapper(std::string_view segment) {
  return std::ranges::find(kWrappers, segment) != kWrappers.end();
}

std::string_view unwrapped(std::string_view name) {
  for (size_t dot = name.find('.'); dot != name.npos; dot = name.find('.')) {
    if (!is_wrapper(name.substr(0, dot))) break;
    name.remove_prefix(dot + 1);
  }
  return name;
}

std::string expert_tensor(std::string_view prefix, uint64_t expert, std::string_view leaf) {
  return fmt::format("{}{}{}.{}", prefix, kExpertsSegment, expert, leaf);
}

void name_clashes_apart(std::vector<LogicalTensor>& tensors) {
  std::unordered_map<std::string_view, uint32_t> uses;
  uses.reserve(tensors.size());
  for (const LogicalTensor& logical : tensors) ++uses[logical.name];
  if (uses.size() == tensors.size()) return;
  std::vector<size_t> clashing;
  for (size_t i = 0; i < tensors.size(); ++i) {
    if (uses[tensors[i].name] > 1) clashing.push_back(i);
  }
  uses.clear();  // it looks into the names
  for (const size_t i : clashing) {
    LogicalTensor& logical = tensors[i];
    logical.name = logical.part ? part_name(logical) : logical.tensor->name;
  }
}

}  // namespace

std::string canonical_name(std::string_view tensor) {
  std::string name(unwrapped(tensor));
  const std::string sparse = std::string(kSparseBlock) + ".";
  if (const size_t at = name.find(sparse); at != name.npos) {
    name.replace(at, kSparseBlock.size(), kMlpBlock);
  }
  const auto expert = parse_expert(name);
  const ExpertLeaf* leaf = expert ? find_expert_leaf(expert->leaf) : nullptr;
  if (leaf && leaf->numbered) {
    return expert_tensor(expert->prefix, expert->number, expert_leaf_name(leaf->part, false));
  }
  return name;
}

std::vector<LogicalTensor> parts_of(const Checkpoint& checkpoint, const TensorInfo& tensor) {
  const auto fused = parse_fused(tensor.name);
  if (!fused || !can_take_apart(checkpoint, tensor, *fused)) return {};
  const std::string prefix = canonical_name(fused->prefix);
  std::vector<LogicalTensor> parts;
  for (ExpertStretch& stretch : take_apart(tensor, *fused)) {
    const uint64_t elements = stretch.shape[0] * stretch.shape[1];
    parts.push_back({expert_tensor(prefix, stretch.expert, expert_leaf_name(stretch.part, false)),
                     &tensor, stretch.first, elements, std::move(stretch.shape), true});
  }
  return parts;
}

std::string part_name(const LogicalTensor& part) {
  const auto fused = parse_fused(part.tensor->name);
  const auto expert = parse_expert(part.name);
  return fused && expert ? expert_tensor(fused->prefix, expert->number, expert->leaf) : part.name;
}

std::vector<LogicalTensor> logical_tensors(const Checkpoint& checkpoint) {
  std::vector<LogicalTensor> all;
  all.reserve(checkpoint.tensors.size());
  for (const TensorInfo& tensor : checkpoint.tensors) {
    std::vector<LogicalTensor> parts = parts_of(checkpoint, tensor);
    if (parts.empty()) {
      all.push_back({canonical_name(tensor.name), &tensor, 0, tensor.elements, tensor.shape});
    }
    std::ranges::move(parts, std::back_inserter(all));
  }
  name_clashes_apart(all);
  return all;
}

LogicalIndex::LogicalIndex(const Checkpoint& checkpoint) : tensors_(logical_tensors(checkpoint)) {
  std::vector<LogicalTensor> whole;
  for (const LogicalTensor& part : tensors_) {
    if (!part.part || part.first > 0) continue;
    const TensorInfo& fused = *part.tensor;
    whole.push_back({canonical_name(fused.name), &fused, 0, fused.elements, fused.shape});
  }
  std::ranges::move(whole, std::back_inserter(tensors_));
  by_name_.reserve(tensors_.size());
  for (size_t i = 0; i < tensors_.size(); ++i) by_name_.emplace(tensors_[i].name, i);
}

const LogicalTensor* LogicalIndex::find(std::string_view name) const {
  const auto found = by_name_.find(name);
  return found == by_name_.end() ? nullptr : &tensors_[found->second];
}

}  // namespace hieron
