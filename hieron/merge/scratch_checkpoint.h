// Small checkpoints for tests: tensors from numbers, written as a safetensors file. For tests only.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "hieron/format/safetensors.h"
#include "hieron/io/scratch_folder.h"
#include "hieron/kernels/decode.h"
#include "hieron/merge/plan.h"

namespace hieron {

struct ScratchTensor {
  std::string name;
  DType dtype;
  Shape shape;
  std::function<double(size_t)> value;  // of an element
};

inline std::vector<std::byte> tensor_bytes(const ScratchTensor& tensor) {
  const size_t n = *element_count(tensor.shape);
  const size_t width = static_cast<size_t>(info(tensor.dtype).bits) / 8;
  std::vector<std::byte> bytes(n * width);
  for (size_t i = 0; i < n; ++i) {
    const uint64_t bits = info(tensor.dtype).format ? encode(tensor.dtype, tensor.value(i))
                                                    : static_cast<uint64_t>(tensor.value(i));
    store_bits(tensor.dtype, bytes.data(), i, bits);
  }
  return bytes;
}

// Writes FOLDER/NAME/model.safetensors (and config.json unless empty); returns FOLDER/NAME.
inline std::string write_model(const ScratchFolder& folder, const std::string& name,
                               const std::vector<ScratchTensor>& tensors,
                               const std::string& config = {}) {
  std::filesystem::create_directories(folder.path(name));
  std::vector<StoredTensor> stored;
  for (const ScratchTensor& t : tensors) stored.push_back({t.name, t.dtype, t.shape, 0, 0});
  std::string file = write_safetensors_header(stored, {{"format", "pt"}}, 8);
  for (const ScratchTensor& t : tensors) {
    const auto bytes = tensor_bytes(t);
    file.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  }
  folder.write(name + "/model.safetensors", file);
  if (!config.empty()) folder.write(name + "/config.json", config);
  return folder.path(name);
}

// A wavy number that differs by model and element.
inline std::function<double(size_t)> wave(double phase) {
  return [phase](size_t i) {
    return 0.05 * std::sin(phase + 0.37 * static_cast<double>(i)) + phase * 1e-3;
  };
}

// The plan of a recipe text that lies in `folder`.
inline Result<std::shared_ptr<const Plan>> plan_of(const ScratchFolder& folder,
                                                   const std::string& yaml,
                                                   const PlanOptions& options = {}) {
  auto recipe =
      parse_recipe(yaml, folder.write("recipe.yml", yaml), options.arithmetic.value_or(""));
  if (!recipe) return std::unexpected(recipe.error());
  return make_plan(*std::move(recipe), options);
}

inline std::string problems_of(const Plan& plan) {
  std::string all;
  for (const Problem& problem : plan.problems) all += problem.sentence + "\n";
  return all;
}

}  // namespace hieron
