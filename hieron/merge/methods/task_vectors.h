// What all methods that merge differences from a base share: which changes are kept, whether their
// signs are put to the vote, how they are added up.
//
//   d_k = x_k − b          k keeps some elements of d_k (Sparsify)
//   v_k = w_k·f_k·d_k      where kept; f_k = Σ|d_k| / Σ|kept d_k| if rescale, else 1
//   election               s = Σ v_k, and only v_k of the sign of s (+ if s = 0) stay
//   out = b + λ·Σ v_k / D  D = Σ w_k (with an election: of those that stay; 0 counts as 1) if
//                          normalize, else 1
//
// Ilharco et al. 2023 (task arithmetic), Yadav et al. 2023 (TIES), Yu et al. 2024 (DARE), Deep et
// al. 2024 (DELLA), Davari and Belilovsky 2024 (breadcrumbs); D, f and the order of steps as in
// mergekit. Magnitudes are compared as the difference rounded to f32; of equal ones the lower
// element index counts as larger.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "hieron/merge/method.h"

namespace hieron {

enum class Sparsify : uint8_t {
  kNone,
  kMagnitude,  // the largest density·n of the tensor
  kOutliers,   // the same, without the largest gamma·n
  kRandom,     // each with probability density
  kRanked,     // each with a probability that grows with its rank in the row, density ± epsilon
};

struct TaskVectorRules {
  Sparsify sparsify = Sparsify::kNone;
  bool elect = false;
  // kRanked: bytes that the masks of one tensor may take; larger ones are drawn twice.
  uint64_t most_masks = 64u << 20;
};

std::unique_ptr<TensorWork> task_vector_work(const TensorTask& task, TaskVectorRules rules);

// Parameters that make no sense: densities outside of [0, 1], weights that sum to zero …
std::optional<std::string> check_task_vectors(const TensorTask& task, TaskVectorRules rules);

// A method that is nothing but its description and its rules.
class TaskVectorMethod final : public Method {
 public:
  TaskVectorMethod(const MethodInfo& about, TaskVectorRules rules) : about_(about), rules_(rules) {}

  const MethodInfo& describe() const override { return about_; }
  std::optional<std::string> check(const TensorTask& task) const override {
    return check_task_vectors(task, rules_);
  }
  std::unique_ptr<TensorWork> start(const TensorTask& task) const override {
    return task_vector_work(task, rules_);
  }
  // In task_vector_recovery.cc. None of random masks whose seed is not found, as no replay would
  // hold.
  std::vector<Hypothesis> recover(const Evidence& evidence) const override;

 private:
  const MethodInfo about_;
  const TaskVectorRules rules_;
};

}  // namespace hieron
