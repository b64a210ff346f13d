// A checkpoint of names and shapes, without bytes. For tests only.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "hieron/walk/checkpoint.h"

namespace hieron {

using Tensors = std::vector<std::pair<std::string, Shape>>;

inline Checkpoint checkpoint_of(const std::string& ref, const Tensors& tensors) {
  Checkpoint checkpoint;
  checkpoint.ref = ref;
  for (const auto& [name, shape] : tensors) {
    checkpoint.tensors.push_back({.name = name,
                                  .dtype = DType::kBF16,
                                  .shape = shape,
                                  .elements = *element_count(shape),
                                  .stored = {},
                                  .computed = nullptr});
  }
  EXPECT_TRUE(checkpoint.index());
  return checkpoint;
}

}  // namespace hieron
