// What a finished merge says about itself: hieron.json and the model card. No paths of this
// machine: models are named by their last path component and their files.
#pragma once

#include <span>
#include <string>

#include "hieron/merge/execute.h"
#include "hieron/merge/plan.h"

namespace hieron {

std::string manifest_json(const Plan& plan, std::span<const WrittenFile> files);
std::string model_card(const Plan& plan);

}  // namespace hieron
