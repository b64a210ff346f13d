// Every merge method, one function each, defined in the file of that name. Adding a method adds a
// line here and in table.cc.
#pragma once

#include "hieron/merge/method.h"

namespace hieron {

const Method& linear();
const Method& passthrough();

}  // namespace hieron
