#include "hieron/merge/methods/table.h"

#include <array>

namespace hieron {

std::span<const Method* const> methods() {
  static const std::array<const Method*, 2> all{&linear(), &passthrough()};
  return all;
}

const Method* find_method(std::string_view name) {
  for (const Method* method : methods()) {
    if (method->describe().name == name) return method;
  }
  return nullptr;
}

}  // namespace hieron
