#include "hieron/merge/computed.h"

#include <algorithm>
#include <cstring>
#include <mutex>
#include <vector>

#include "hieron/merge/compute.h"
#include "hieron/merge/plan_file.h"
#include "hieron/merge/recipe.h"
#include "hieron/walk/walk.h"

namespace hieron {
namespace {

constexpr uint64_t kChunk = 64 * kLeaf;  // elements looked at in one go

// Memory of one read; returned for the next one.
struct Workspace {
  std::vector<std::vector<std::byte>> inputs;
  std::vector<const std::byte*> data;
  std::vector<std::byte> out;
  ComputeScratch scratch;
};

// The plan, and the workspaces of those who read from it.
class Source {
 public:
  explicit Source(std::shared_ptr<const Plan> plan) : plan_(std::move(plan)) {}
  const Plan& plan() const { return *plan_; }

  std::unique_ptr<Workspace> take() const {
    const std::lock_guard lock(mutex_);
    if (idle_.empty()) return std::make_unique<Workspace>();
    auto workspace = std::move(idle_.back());
    idle_.pop_back();
    return workspace;
  }
  void give_back(std::unique_ptr<Workspace> workspace) const {
    const std::lock_guard lock(mutex_);
    idle_.push_back(std::move(workspace));
  }

 private:
  const std::shared_ptr<const Plan> plan_;
  mutable std::mutex mutex_;
  mutable std::vector<std::unique_ptr<Workspace>> idle_;
};

class PlannedResult final : public ComputedTensor {
 public:
  PlannedResult(std::shared_ptr<const Source> source, const PlannedTensor& tensor)
      : source_(std::move(source)), tensor_(tensor) {}

  bool reads_all() const override { return Computation(source_->plan(), tensor_).wants_pass(); }

  Status read(uint64_t first, std::span<std::byte> out) const override {
    const uint64_t width = static_cast<uint64_t>(info(tensor_.dtype).bits) / 8;
    const uint64_t count = out.size() / width;
    HIERON_CHECK(prepare());
    auto workspace = source_->take();
    // Whole grains around what is wanted.
    const uint64_t grain = std::max<uint64_t>(1, computation_->grain());
    const uint64_t low = first / grain * grain;
    const uint64_t high = std::min((first + count + grain - 1) / grain * grain, tensor_.elements);
    Status done = fetch(low, high - low, *workspace);
    if (done && low == first && high == first + count) {
      computation_->apply(low, count, workspace->data, out.data(), workspace->scratch);
    } else if (done) {
      workspace->out.resize((high - low) * width);
      computation_->apply(low, high - low, workspace->data, workspace->out.data(),
                          workspace->scratch);
      std::memcpy(out.data(), workspace->out.data() + (first - low) * width, out.size());
    }
    source_->give_back(std::move(workspace));
    return done;
  }

 private:
  Status fetch(uint64_t first, uint64_t count, Workspace& workspace) const {
    const Plan& plan = source_->plan();
    workspace.inputs.resize(std::max(workspace.inputs.size(), tensor_.inputs.size()));
    workspace.data.clear();
    for (size_t k = 0; k < tensor_.inputs.size(); ++k) {
      const PlannedInput& input = tensor_.inputs[k];
      const uint64_t bytes = count * static_cast<uint64_t>(info(input.tensor->dtype).bits) / 8;
      auto& buffer = workspace.inputs[k];
      buffer.resize(std::max<size_t>(buffer.size(), bytes));
      HIERON_CHECK(read_elements(*plan.models[plan.slots[input.slot]].checkpoint, *input.tensor,
                                 first, {buffer.data(), bytes}));
      workspace.data.push_back(buffer.data());
    }
    return {};
  }

  // The passes before the last, once, by whoever comes first; the others wait.
  Status prepare() const {
    const std::lock_guard lock(mutex_);
    if (computation_) return {};
    auto computation = std::make_unique<Computation>(source_->plan(), tensor_);
    auto workspace = source_->take();
    const uint64_t grain = std::max<uint64_t>(1, computation->grain());
    const uint64_t chunk = std::max<uint64_t>(1, kChunk / grain) * grain;
    while (computation->wants_pass()) {
      for (uint64_t first = 0; first < tensor_.elements; first += chunk) {
        const uint64_t count = std::min(chunk, tensor_.elements - first);
        HIERON_CHECK(fetch(first, count, *workspace));
        computation->look(first, count, workspace->data, workspace->scratch);
      }
      HIERON_CHECK(computation->end_pass());
    }
    source_->give_back(std::move(workspace));
    computation_ = std::move(computation);
    return {};
  }

  const std::shared_ptr<const Source> source_;
  const PlannedTensor& tensor_;  // the source's plan owns it
  mutable std::mutex mutex_;
  mutable std::unique_ptr<Computation> computation_;
};

}  // namespace

Result<std::shared_ptr<const Checkpoint>> computed_checkpoint(
    const std::shared_ptr<const Plan>& plan) {
  HIERON_CHECK(executable(*plan));
  const auto source = std::make_shared<const Source>(plan);
  auto checkpoint = std::make_shared<Checkpoint>();
  checkpoint->ref = plan->recipe.file;
  checkpoint->metadata = {{"format", "pt"}};
  checkpoint->warnings = plan->warnings;
  checkpoint->config_json = plan->config_json;
  for (const PlannedTensor& tensor : plan->tensors) {
    checkpoint->tensors.push_back(
        TensorInfo{.name = tensor.name,
                   .dtype = tensor.dtype,
                   .shape = tensor.shape(),
                   .elements = tensor.elements,
                   .stored = {},
                   .computed = std::make_shared<const PlannedResult>(source, tensor)});
  }
  HIERON_CHECK(checkpoint->index());
  return checkpoint;
}

Result<std::shared_ptr<const Checkpoint>> open_recipe(const std::string& path,
                                                      const PlanOptions& options) {
  HIERON_TRY(std::shared_ptr<const Plan> plan, plan_file(path, options));
  return computed_checkpoint(plan);
}

Result<std::shared_ptr<const Checkpoint>> open_ref(const std::string& ref,
                                                   const ModelSource& source) {
  if (!is_recipe(ref)) return open_checkpoint(ref, source);
  PlanOptions options;
  options.source = {source.hub, Access::kWhole};
  return open_recipe(ref, options);
}

}  // namespace hieron
