#include "hieron/merge/preflight.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "hieron/merge/scratch_checkpoint.h"

namespace hieron {
namespace {

using testing::HasSubstr;

TEST(Preflight, RefusesWhatNoMachineCanHold) {
  Preflight needs;
  needs.bytes_held = std::numeric_limits<uint64_t>::max();
  needs.held_by = "model.layers.0.mlp.experts.gate_up_proj";
  const Status status = check_memory(needs);
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code, ErrorCode::kSystem);
  EXPECT_THAT(status.error().sentence, HasSubstr("gate_up_proj\" needs "));
  needs.bytes_held = 4096;
  EXPECT_TRUE(check_memory(needs));
}

const std::string kReplayed =
    "merge_method: ties\nbase_model: a\nmodels:\n- {model: b, parameters: {weight: 1, density: "
    "0.5}}\n";

TEST(Preflight, AReplayHoldsWholeTensorsAndExactDoesNot) {
  const ScratchFolder folder;
  for (const char* name : {"a", "b"}) {
    write_model(
        folder, name,
        {{"small", DType::kBF16, {64}, wave(1)}, {"large", DType::kBF16, {512, 64}, wave(*name)}});
  }
  const Preflight replay =
      preflight(**plan_of(folder, kReplayed, {.arithmetic = "mergekit-0.1.5"}), 1);
  EXPECT_EQ(replay.held_by, "large");
  EXPECT_GE(replay.bytes_held, 3u * 512 * 64 * 2);
  EXPECT_TRUE(replay.compute_seconds);
  EXPECT_EQ(preflight(**plan_of(folder, kReplayed), 1).bytes_held, 0u);
}

std::string removal(const std::string& vector) {
  return "merge_method: direction_removal\nmodels: [{model: a}]\nparameters: {vector: " + vector +
         "}\n";
}

TEST(Preflight, WithATrialThatFailsTheTimeIsNotKnown) {
  const ScratchFolder folder;
  write_model(folder, "a",
              {{"model.layers.0.mlp.down_proj.weight", DType::kF32, {16, 4}, wave(1)}});
  write_model(folder, "direction", {{"r", DType::kF32, {16}, wave(1)}});
  const std::string vector = folder.path("direction/model.safetensors");
  const auto plan = plan_of(folder, removal(vector));
  ASSERT_TRUE(plan && (*plan)->problems.empty()) << problems_of(**plan);
  EXPECT_TRUE(preflight(**plan, 1).compute_seconds);
  std::filesystem::remove(vector);
  const Preflight needs = preflight(**plan, 1);
  EXPECT_FALSE(needs.compute_seconds);
  EXPECT_THAT(needs.not_estimated, HasSubstr(vector));
  EXPECT_EQ(needs.bytes_passed, needs.bytes_read);
}

}  // namespace
}  // namespace hieron
