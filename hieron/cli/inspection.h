// What is in a checkpoint, from its headers and small files alone: no weight is read.
//
// One result that the terminal and the JSON (schema hieron.inspect/1,
// docs/schema/inspect.schema.json) both show.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "hieron/assay/result.h"
#include "hieron/core/dtype.h"
#include "hieron/model/config.h"
#include "hieron/model/roles.h"
#include "hieron/model/tells.h"
#include "hieron/walk/checkpoint.h"

namespace hieron {

struct Count {
  uint64_t tensors = 0, parameters = 0, bytes = 0;
  void add(const TensorInfo& tensor);
};

struct RoleCount {
  Role role;
  std::string_view tower;  // empty: the main stack
  Count count;
  std::set<DType> dtypes;
};

struct Inspection {
  ModelIdentity identity;
  std::optional<ModelConfig> config;  // none, or damaged (then a warning says how)
  Count total;
  std::map<DType, Count> dtypes;
  std::vector<RoleCount>
      roles;  // main stack first, then towers; in the order of Role; only those there are
  std::vector<TensorRole> of_tensor;  // parallel to Checkpoint::tensors
  std::set<int> layers, experts;      // numbers seen in names of the main stack
  std::vector<std::string> oddities;  // legal but worth a look; a sentence each
  std::vector<Tell> tells;
  std::vector<std::string> warnings;
};

// `identity` says which files they are, with hashes if asked for.
Inspection inspect(const Checkpoint& checkpoint, ModelIdentity identity);

}  // namespace hieron
