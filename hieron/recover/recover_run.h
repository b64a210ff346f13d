// A suspect made by a recipe of a real family, and its blind recovery. For tests only.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "hieron/io/scratch_folder.h"
#include "hieron/merge/computed.h"
#include "hieron/merge/experts.h"
#include "hieron/model/config.h"
#include "hieron/recover/gather.h"
#include "hieron/recover/recover.h"

namespace hieron::testing_recovery {

// The models of tests/data/NAME, each opened once.
struct Family {
  explicit Family(const std::string& name) : folder(std::string(HIERON_TEST_DATA "/") + name) {}
  std::string folder;

  std::shared_ptr<const Checkpoint> operator[](const std::string& model) const {
    auto& opened = models_[model];
    if (!opened) opened = open_checkpoint(folder + "/" + model).value();
    return opened;
  }

 private:
  mutable std::map<std::string, std::shared_ptr<const Checkpoint>> models_;
};

// What a suspect is compared with; kept together because each part refers to the ones before.
class Case {
 public:
  Case(std::shared_ptr<const Checkpoint> suspect, const Family& family,
       const std::vector<std::string>& parents, const std::string& base) {
    models_.push_back(std::move(suspect));
    for (const std::string& parent : parents) models_.push_back(family[parent]);
    if (!base.empty()) models_.push_back(family[base]);
    // As an audit does: all models in the suspect's layout.
    if (const auto layout = expert_layout(*models_.front())) {
      for (auto& model : models_) {
        if (expert_layout(*model)) model = with_experts(model, *layout).value();
      }
    }
    std::vector<const Checkpoint*> pointers;
    for (const auto& model : models_) pointers.push_back(model.get());
    alignment_ = align(pointers, 1);
    const auto config = parse_config(models_[1]->config_json, models_[1]->ref);
    given_ = std::make_unique<Candidates>(Candidates{
        alignment_, models_, RoleTable::of(config ? config->architecture : ""), {}, {}, {}});
    for (size_t m = 1; m < models_.size(); ++m) given_->candidates.push_back(m);
    if (!base.empty()) given_->base = models_.size() - 1;
    const Seed seed{};
    sample_ = draw_sample(alignment_, given_->roles, seed,
                          fit_selection(seed, alignment_, Selection::everything()), {})
                  .value();
  }

  const Candidates& given() const { return *given_; }
  Evidence evidence() const { return gather_evidence(*given_, sample_).value(); }
  Recovery recover() const { return recover_recipe(*given_, evidence()); }

 private:
  std::vector<std::shared_ptr<const Checkpoint>> models_;
  Alignment alignment_;
  std::unique_ptr<Candidates> given_;
  Sample sample_;
};

// The merge that a recipe describes, not written.
inline std::shared_ptr<const Checkpoint> made(const std::string& yaml) {
  static const ScratchFolder folder;
  static int number = 0;
  const auto suspect =
      open_recipe(folder.write("recipe-" + std::to_string(number++) + ".yml", yaml));
  if (!suspect) ADD_FAILURE() << suspect.error().sentence;
  return suspect.value();
}

inline Recovery recovered(const Family& family, const std::string& yaml,
                          const std::vector<std::string>& parents, const std::string& base) {
  return Case(made(yaml), family, parents, base).recover();
}

}  // namespace hieron::testing_recovery
