#include <gtest/gtest.h>

#include <cstdint>
#include <vector>

#include "hieron/merge/mergekit/families.h"

namespace hieron::mergekit {
namespace {

// Numbers that NumPy makes from integers in the same way: multiples of 2^-24 in [−3/8, 5/8).
float scattered(size_t i, uint32_t factor) {
  return static_cast<float>(static_cast<uint32_t>(i) * factor >> 8) * 0x1p-24f - 0.375f;
}

// A base and a model that changed it by less than 1/24.
struct Pair {
  Pair(DType dtype, const Shape& shape) {
    task.working = dtype;
    task.shape = shape;
    task.elements = 1;
    for (uint64_t length : shape) task.elements *= length;
    const Rounding r(dtype);
    Values base(task.elements), other(task.elements);
    for (size_t i = 0; i < task.elements; ++i) {
      const float value = scattered(i, 2654435761u);
      base[i] = r(value);
      other[i] = r(value + scattered(i, 2246822519u) * 0x1p-4f);
    }
    for (const Values& values : {base, other}) {
      std::vector<std::byte>& model =
          bytes.emplace_back(values.size() * static_cast<size_t>(info(dtype).bits) / 8);
      store_values(dtype, values, model.data());
    }
    for (const auto& model : bytes) operands.push_back({dtype, model.data()});
    parameters.per_model.resize(2);
    task.method = "arcee_fusion";
    task.tensor = "model.w";
    task.parameters = &parameters;
    task.operands = operands;
    task.base = 0;
    task.seed = 7;
  }

  // How many elements the merge changes.
  size_t changed(Version version, uint64_t first_word) {
    task.version = version;
    task.first_word = first_word;
    const Values out = arcee_fusion(task).value(), base = values_of(task, 0);
    size_t count = 0;
    for (size_t i = 0; i < out.size(); ++i) count += out[i] != base[i];
    return count;
  }

  std::vector<std::vector<std::byte>> bytes;
  std::vector<Operand> operands;
  TensorParameters parameters;
  ReplayTask task{};
};

const Shape kLarge{1001, 1003};  // more than the million elements that mergekit samples
constexpr uint64_t kElements = 1001 * 1003;

// mergekit with torch 2.15: manual_seed(7), then the same tensor twice.
TEST(ReplayedArceeFusion, SamplesALargeTensorAsMergekit015) {
  Pair pair(DType::kF32, kLarge);
  EXPECT_EQ(pair.changed(Version::k015, 0), 1235);
  EXPECT_EQ(pair.changed(Version::k015, words_of_arcee_fusion(Version::k015, kElements)), 556);
}

TEST(ReplayedArceeFusion, SamplesALargeTensorAsMergekit014) {
  Pair pair(DType::kF32, kLarge);
  EXPECT_EQ(pair.changed(Version::k014, 0), 533);
  EXPECT_EQ(pair.changed(Version::k014, words_of_arcee_fusion(Version::k014, kElements)), 548);
}

TEST(ReplayedArceeFusion, OfBf16HasMergekitsThreshold) {
  Pair pair(DType::kBF16, kLarge);
  EXPECT_EQ(pair.changed(Version::k015, 0), 52'797);
}

TEST(ReplayedArceeFusion, OfAnEmptyTensorIsEmpty) {
  for (const Shape& shape : {Shape{0, 8}, Shape{8, 0}}) {
    Pair pair(DType::kF32, shape);
    const auto out = arcee_fusion(pair.task);
    ASSERT_TRUE(out) << out.error().sentence;
    EXPECT_TRUE(out->empty());
  }
}

TEST(ReplayedArceeFusion, DrawsNothingForATensorOfOneModel) {
  TensorParameters alone;
  alone.per_model.resize(1);
  EXPECT_EQ(words_drawn(Version::k015, "arcee_fusion", alone, 0, kElements), 0);
}

}  // namespace
}  // namespace hieron::mergekit
