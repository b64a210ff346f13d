// Every merge method, one function each, defined in the file of that name. Adding a method adds a
// line here and in table.cc.
#pragma once

#include "hieron/merge/method.h"

namespace hieron {

const Method& add_difference();
const Method& arcee_fusion();
const Method& breadcrumbs();
const Method& breadcrumbs_ties();
const Method& dare_linear();
const Method& dare_ties();
const Method& della();
const Method& della_linear();
const Method& direction_removal();
const Method& geometric_median();
const Method& karcher();
const Method& linear();
const Method& model_stock();
const Method& multislerp();
const Method& nearswap();
const Method& nuslerp();
const Method& passthrough();
const Method& ram();
const Method& ramplus_tl();
const Method& sce();
const Method& slerp();
const Method& task_arithmetic();
const Method& ties();
const Method& train_difference();
const Method& weighted_sum();

}  // namespace hieron
