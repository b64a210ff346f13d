#include "hieron/merge/method.h"

namespace hieron {

double value_of(const ParameterMap& parameters, std::string_view name, double otherwise) {
  const auto it = parameters.find(name);
  return it == parameters.end() ? otherwise : it->second;
}

}  // namespace hieron
