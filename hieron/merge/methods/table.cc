#include "hieron/merge/methods/table.h"

#include <array>

namespace hieron {

std::span<const Method* const> methods() {
  static const std::array all{
      &linear(),
      &slerp(),
      &nuslerp(),
      &multislerp(),
      &karcher(),
      &task_arithmetic(),
      &ties(),
      &dare_linear(),
      &dare_ties(),
      &della(),
      &della_linear(),
      &breadcrumbs(),
      &breadcrumbs_ties(),
      &model_stock(),
      &nearswap(),
      &sce(),
      &arcee_fusion(),
      &ram(),
      &ramplus_tl(),
      &passthrough(),
      &weighted_sum(),
      &add_difference(),
      &train_difference(),
      &geometric_median(),
      &direction_removal(),
  };
  return all;
}

const Method* find_method(std::string_view name) {
  for (const Method* method : methods()) {
    if (method->describe().name == name) return method;
  }
  return nullptr;
}

}  // namespace hieron
