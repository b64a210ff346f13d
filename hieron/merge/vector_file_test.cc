#include "hieron/merge/vector_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "hieron/merge/scratch_checkpoint.h"

namespace hieron {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

std::string file_with(const ScratchFolder& folder, const std::vector<ScratchTensor>& tensors) {
  return write_model(folder, "v", tensors) + "/model.safetensors";
}

double count(size_t i) { return 0.5 * static_cast<double>(i); }

TEST(VectorFile, GivesTheOnlyVectorOrTheNamedOne) {
  const ScratchFolder folder;
  const std::string path =
      file_with(folder, {{"m", DType::kF32, {2, 2}, count}, {"v", DType::kBF16, {1, 3}, count}});
  EXPECT_THAT(*read_vector(path), ElementsAre(0, 0.5, 1));
  EXPECT_THAT(*read_vector(path, "v"), ElementsAre(0, 0.5, 1));
  EXPECT_THAT(read_vector(path, "m").error().sentence, HasSubstr("[2, 2], not a vector"));
  EXPECT_THAT(read_vector(path, "vv").error().sentence, HasSubstr("did you mean \"v\"?"));
}

TEST(VectorFile, RefusesWhatIsNoDirection) {
  const ScratchFolder folder;
  const auto refusal = [&](const std::vector<ScratchTensor>& tensors) {
    const auto read = read_vector(file_with(folder, tensors));
    return read ? "" : read.error().sentence;
  };
  EXPECT_THAT(refusal({{"a", DType::kF32, {2}, count}, {"b", DType::kF32, {2}, count}}),
              HasSubstr("several vectors"));
  EXPECT_THAT(refusal({{"a", DType::kF32, {2, 2}, count}}), HasSubstr("no 1-D tensor"));
  EXPECT_THAT(refusal({{"a", DType::kI32, {2}, count}}), HasSubstr("a direction is F64"));
  EXPECT_THAT(refusal({{"a", DType::kF32, {2}, [](size_t) { return 0.0; }}}), HasSubstr("is zero"));
  EXPECT_THAT(refusal({{"a", DType::kF32, {2}, [](size_t) { return NAN; }}}), HasSubstr("NaN"));
}

}  // namespace
}  // namespace hieron
