#include "hieron/merge/mergekit/replay.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "hieron/merge/mergekit/rounding.h"

namespace hieron::mergekit {
namespace {

using ::testing::HasSubstr;

constexpr size_t kElements = 24;

// A base and two models that changed it by multiples of 1/64: many equal magnitudes.
std::vector<Values> family() {
  std::vector<Values> models(3, Values(kElements));
  for (size_t i = 0; i < kElements; ++i) {
    const float base = static_cast<float>(i * 37 % 64) / 64 - 0.5f;
    models[0][i] = base;
    models[1][i] = base + (static_cast<float>(i * 11 % 16) - 7.5f) / 64;
    models[2][i] = base + (static_cast<float>(i * 5 % 16) - 7.5f) / 64;
  }
  return models;
}

using Stored = std::vector<std::byte>;

Stored stored(DType dtype, const Values& values) {
  const Rounding r(dtype);
  Values rounded = values;
  for (float& v : rounded) v = r(v);
  Stored bytes(values.size() * static_cast<size_t>(info(dtype).bits) / 8);
  store_values(dtype, rounded, bytes.data());
  return bytes;
}

// A call of replay() and what it points to.
struct Call {
  Call(Version version, std::string_view method, DType dtype, const std::vector<Values>& models,
       bool with_base) {
    for (const Values& model : models) bytes.push_back(stored(dtype, model));
    for (const Stored& model : bytes) operands.push_back({dtype, model.data()});
    parameters.per_model.resize(models.size());
    task = {.version = version,
            .method = method,
            .tensor = "model.w",
            .parameters = &parameters,
            .operands = operands,
            .base = with_base ? std::optional<size_t>(0) : std::nullopt,
            .working = dtype,
            .shape = {models[0].size()},
            .elements = models[0].size(),
            .seed = 7,
            .first_word = 0};
  }

  void give(std::string_view name, std::vector<double> values) {
    for (size_t k = 0; k < values.size(); ++k) {
      parameters.per_model[k].emplace(name, values[k]);
    }
  }

  Result<Stored> run() {
    const DType returned = returned_dtype(task.version, task.method, task.working);
    Stored out(task.elements * static_cast<size_t>(info(returned).bits) / 8);
    HIERON_CHECK(replay(task, out));
    return out;
  }

  std::string refusal() {
    const auto result = run();
    return result ? "" : result.error().sentence;
  }

  std::vector<Stored> bytes;
  std::vector<Operand> operands;
  TensorParameters parameters;
  ReplayTask task{};
};

struct Printed {
  std::string_view method;
  DType dtype;
  bool base;
  size_t models;
  ParameterMap global;
  std::vector<uint16_t> bits;
};

// What mergekit 0.1.5 with torch 2.15 returned for that family as a 4 × 6 tensor, seed 7: weights
// 0.6 and 0.4, densities 0.5 and 0.7, epsilon and gamma 0.1.
const std::vector<Printed>& printed() {
  static const std::vector<Printed> table{
      {"ties", DType::kF16, true, 2, {}, {0xB8F0, 0x2D00, 0xB580, 0x3040, 0xAF80, 0x3640,
                                          0xAF80, 0xB5E0, 0x3000, 0xB2C0, 0x3620, 0xB080,
                                          0x3810, 0x3040, 0xB680, 0x3340, 0xB5E0, 0x34A0,
                                          0xAE00, 0x3620, 0x3040, 0xB5C0, 0x3040, 0xAF80}},
      {"dare_ties", DType::kF16, true, 2, {}, {0xB898, 0x310A, 0xB580, 0x34F1, 0xAD7B, 0x367D,
                                               0xB0FC, 0xB7F7, 0x3085, 0xB3C1, 0x3480, 0xB080,
                                               0x35BB, 0x31EF, 0xB598, 0x2F61, 0xB400, 0x3685,
                                               0xAC6A, 0x3565, 0x2C00, 0xB583, 0x3488, 0xB3EE}},
      {"della_linear", DType::kF16, true, 2, {}, {0xB9BC, 0x3026, 0xB580, 0x34BE, 0xAE0F, 0x3673,
                                                  0xB0A2, 0xB7D9, 0x3054, 0xB406, 0x338B, 0xB080,
                                                  0x3671, 0x2F74, 0xB6B3, 0x30C7, 0xB4FE, 0x3613,
                                                  0xACAD, 0x359B, 0x2C00, 0xB58D, 0x345C, 0xB3B1}},
      {"breadcrumbs", DType::kF16, true, 2, {}, {0xB800, 0x2D00, 0xB540, 0x318D, 0xB159, 0x3640,
                                                 0xA967, 0xB6E0, 0x3000, 0xB4E0, 0x34ED, 0xB080,
                                                 0x36ED, 0x29CD, 0xB680, 0x3233, 0xB4C0, 0x3500,
                                                 0xAD00, 0x3786, 0x2D4D, 0xB5C0, 0x32A6, 0xB1C0}},
      {"sce", DType::kF16, true, 2, {{"select_topk", 0.5}}, {0xB800, 0x2D00, 0xB580, 0x35A0, 0xB200,
                                                             0x3640, 0x2C80, 0xB5E0, 0x3000, 0xB2C0,
                                                             0x3620, 0xB080, 0x3700, 0x3040, 0xB680,
                                                             0x3180, 0xB400, 0x3540, 0xAE00, 0x38D0,
                                                             0x3040, 0xB5C0, 0x3520, 0xAF80}},
      {"model_stock", DType::kF16, true, 2, {{"filter_wise", 1}}, {0xB74D, 0x2CD0, 0xB58C, 0x3368,
                                                                   0xB218, 0x3634, 0xB974, 0xBC80,
                                                                   0xB830, 0xBBA0, 0xB5C0, 0xBA60,
                                                                   0x36EF, 0x21F2, 0xB690, 0x3160,
                                                                   0xB213, 0x352F, 0xBA78, 0xB300,
                                                                   0xB930, 0xBC60, 0xB7C0, 0xBB60}},
      {"multislerp", DType::kF16, true, 2, {}, {0xB9E0, 0x2F39, 0xB574, 0x3294, 0xB0B0, 0x3666,
                                                0xAAE2, 0xB67E, 0x3080, 0xB502, 0x355C, 0xAF98,
                                                0x36D8, 0x2CD8, 0xB60C, 0x3164, 0xB7C0, 0x35CE,
                                                0xADD0, 0x374A, 0x2EA0, 0xB59A, 0x3247, 0xB0FC}},
      {"karcher", DType::kF16, false, 2, {}, {0xB90E, 0x2DCC, 0xB588, 0x33C0, 0xB1C8, 0x3685,
                                              0xA76B, 0xB73A, 0x305A, 0xB4CE, 0x34D1, 0xB054,
                                              0x373F, 0x27A3, 0xB681, 0x31CF, 0xB604, 0x358B,
                                              0xADBD, 0x37F8, 0x2CD3, 0xB5C5, 0x3343, 0xB245}},
      {"nuslerp",
       DType::kF16,
       false,
       2,
       {{"nuslerp_flatten", 0}, {"nuslerp_row_wise", 1}},
       {0xB8FD, 0x2E36, 0xB586, 0x334A, 0xB18A, 0x3667, 0xA971, 0xB703,
        0x304A, 0xB508, 0x3515, 0xB034, 0x3701, 0x29E0, 0xB656, 0x31A2,
        0xB612, 0x3598, 0xADF6, 0x37AC, 0x2D58, 0xB5DC, 0x32E2, 0xB1D4}},
      {"slerp", DType::kF16, true, 1, {{"t", 0.3}}, {0xB84F, 0x2E18, 0xB5A6, 0x3291, 0xB15C,
                                                     0x3641, 0xAB5C, 0xB6E2, 0x301A, 0xB51F,
                                                     0x3506, 0xB04D, 0x36C8, 0x2A8E, 0xB65B,
                                                     0x3128, 0xB498, 0x358D, 0xAE7E, 0x374F,
                                                     0x2D64, 0xB5D3, 0x3237, 0xB1B6}},
      {"ram", DType::kF16, true, 2, {{"epsilon", 0.05}}, {0xB8F0, 0x3040, 0xB580, 0x33C0, 0xB1C0,
                                                          0x3640, 0xA600, 0xB720, 0x3000, 0xB4A0,
                                                          0x34A0, 0xB080, 0x3720, 0x2600, 0xB680,
                                                          0x3340, 0xB5E0, 0x3620, 0xAE00, 0x37E0,
                                                          0x2C80, 0xB5C0, 0x3340, 0xB240}},
      {"nearswap", DType::kF16, true, 1, {{"t", 0.02}}, {0xB829, 0x2E48, 0xB5D2, 0x32DC, 0xB15D,
                                                         0x3620, 0xAA90, 0xB6EF, 0x3040, 0xB512,
                                                         0x34D2, 0xAFB8, 0x36AE, 0x288F, 0xB62E,
                                                         0x30DC, 0xB452, 0x3592, 0xAF48, 0x376F,
                                                         0x2D48, 0xB5E0, 0x325D, 0xB1DC}},
      {"ties", DType::kBF16, true, 2, {}, {0xBF1E, 0x3DA0, 0xBEB0, 0x3E08, 0xBDF0, 0x3EC8,
                                           0xBDF0, 0xBEBC, 0x3E00, 0xBE58, 0x3EC4, 0xBE10,
                                           0x3F02, 0x3E08, 0xBED0, 0x3E68, 0xBEBC, 0x3E94,
                                           0xBDC0, 0x3EC4, 0x3E08, 0xBEB8, 0x3E08, 0xBDF0}},
      {"dare_ties", DType::kBF16, true, 2, {}, {0xBF13, 0x3E22, 0xBEB0, 0x3E9E, 0xBDAF, 0x3ED0,
                                                0xBE20, 0xBEFF, 0x3E11, 0xBE78, 0x3E90, 0xBE10,
                                                0x3EB7, 0x3E3E, 0xBEB3, 0x3DEC, 0xBE80, 0x3ED1,
                                                0xBD8D, 0x3EAC, 0x3D80, 0xBEB0, 0x3E91, 0xBE7E}},
      {"della_linear", DType::kBF16, true, 2, {}, {0xBF38, 0x3E05, 0xBEB0, 0x3E98, 0xBDC1, 0x3ECE,
                                                   0xBE14, 0xBEFB, 0x3E0B, 0xBE81, 0x3E71, 0xBE10,
                                                   0x3ECE, 0x3DF0, 0xBED6, 0x3E19, 0xBEA0, 0x3EC3,
                                                   0xBD96, 0x3EB3, 0x3D80, 0xBEB2, 0x3E8C, 0xBE76}},
      {"breadcrumbs", DType::kBF16, true, 2, {}, {0xBF00, 0x3DA0, 0xBEA8, 0x3E32, 0xBE2B, 0x3EC8,
                                                  0xBD2D, 0xBEDC, 0x3E00, 0xBE9C, 0x3E9E, 0xBE10,
                                                  0x3EDE, 0x3D39, 0xBED0, 0x3E46, 0xBE98, 0x3EA0,
                                                  0xBDA0, 0x3EF1, 0x3DAA, 0xBEB8, 0x3E55, 0xBE38}},
      {"sce", DType::kBF16, true, 2, {{"select_topk", 0.5}}, {0xBF00, 0x3DA0, 0xBEB0, 0x3EB4,
                                                              0xBE40, 0x3EC8, 0x3D90, 0xBEBC,
                                                              0x3E00, 0xBE58, 0x3EC4, 0xBE10,
                                                              0x3EE0, 0x3E08, 0xBED0, 0x3E30,
                                                              0xBE80, 0x3EA8, 0xBDC0, 0x3F1A,
                                                              0x3E08, 0xBEB8, 0x3EA4, 0xBDF0}},
      {"model_stock",
       DType::kBF16,
       true,
       2,
       {{"filter_wise", 1}},
       {0xBEEA, 0x3D9A, 0xBEB2, 0x3E6E, 0xBE44, 0x3EC8, 0xBF30, 0xBF80,
        0xBF00, 0xBF80, 0xBEC0, 0xBF50, 0x3EE0, 0x3C40, 0xBED4, 0x3E2C,
        0xBE44, 0x3EA7, 0xBF88, 0xBF00, 0xBF70, 0xBFC0, 0xBF40, 0xBF90}},
      {"multislerp", DType::kBF16, true, 2, {}, {0xBF3C, 0x3DE7, 0xBEAE, 0x3E52, 0xBE16, 0x3ECD,
                                                 0xBD5E, 0xBED0, 0x3E10, 0xBEA0, 0x3EAC, 0xBDF3,
                                                 0x3EDB, 0x3D9C, 0xBEC2, 0x3E2C, 0xBEF8, 0x3EBA,
                                                 0xBDBA, 0x3EE9, 0x3DD4, 0xBEB3, 0x3E48, 0xBE1F}},
      {"karcher", DType::kBF16, false, 2, {}, {0xBF22, 0x3DB9, 0xBEAF, 0x3E77, 0xBE39, 0x3ECF,
                                               0xBCEC, 0xBEE7, 0x3E0B, 0xBE99, 0x3E9A, 0xBE0A,
                                               0x3EE7, 0x3CF3, 0xBECF, 0x3E3A, 0xBEC0, 0x3EB1,
                                               0xBDB8, 0x3EFE, 0x3D9A, 0xBEB9, 0x3E67, 0xBE47}},
      {"nuslerp",
       DType::kBF16,
       false,
       2,
       {{"nuslerp_flatten", 0}, {"nuslerp_row_wise", 1}},
       {0xBF1F, 0x3DC7, 0xBEB1, 0x3E6A, 0xBE31, 0x3ECD, 0xBD2D, 0xBEE0,
        0x3E0A, 0xBEA2, 0x3EA2, 0xBE07, 0x3EDF, 0x3D3D, 0xBECA, 0x3E34,
        0xBEC3, 0x3EB4, 0xBDBE, 0x3EF6, 0x3DAB, 0xBEBD, 0x3E5C, 0xBE3B}},
      {"slerp", DType::kBF16, true, 1, {{"t", 0.3}}, {0xBF0A, 0x3DC3, 0xBEB5, 0x3E52, 0xBE2B,
                                                      0x3EC8, 0xBD6B, 0xBEDC, 0x3E03, 0xBEA4,
                                                      0x3EA1, 0xBE0A, 0x3ED9, 0x3D52, 0xBECB,
                                                      0x3E25, 0xBE93, 0x3EB2, 0xBDD0, 0x3EEA,
                                                      0x3DAC, 0xBEBA, 0x3E47, 0xBE37}},
      {"ram", DType::kBF16, true, 2, {{"epsilon", 0.05}}, {0xBF1E, 0x3E08, 0xBEB0, 0x3E78, 0xBE38,
                                                           0x3EC8, 0xBCC0, 0xBEE4, 0x3E00, 0xBE94,
                                                           0x3E94, 0xBE10, 0x3EE4, 0x3CC0, 0xBED0,
                                                           0x3E68, 0xBEBC, 0x3EC4, 0xBDC0, 0x3EFC,
                                                           0x3D90, 0xBEB8, 0x3E68, 0xBE48}},
      {"nearswap", DType::kBF16, true, 1, {{"t", 0.02}}, {0xBF05, 0x3DC8, 0xBEBA, 0x3E5C, 0xBE2B,
                                                          0x3EC4, 0xBD52, 0xBEDE, 0x3E08, 0xBEA2,
                                                          0x3E9B, 0xBDF6, 0x3ED6, 0x3D12, 0xBEC6,
                                                          0x3E1C, 0xBE8A, 0x3EB2, 0xBDE9, 0x3EEF,
                                                          0x3DA9, 0xBEBC, 0x3E4C, 0xBE3B}},
  };
  return table;
}

TEST(Replay, ReturnsWhatMergekitReturned) {
  for (const Printed& about : printed()) {
    std::vector<Values> models = family();
    if (about.models == 1) models.pop_back();
    if (!about.base) models.erase(models.begin());
    Call call(Version::k015, about.method, about.dtype, models, about.base);
    call.task.shape = {4, 6};
    for (size_t k = about.base ? 1 : 0; k < models.size(); ++k) {
      const bool first = k == (about.base ? 1 : 0);
      call.parameters.per_model[k] = {{"weight", first ? 0.6 : 0.4},
                                      {"density", first ? 0.5 : 0.7},
                                      {"epsilon", 0.1},
                                      {"gamma", 0.1}};
    }
    call.parameters.global = about.global;
    const auto out = call.run();
    ASSERT_TRUE(out) << out.error().sentence;
    std::vector<uint16_t> bits(kElements);
    std::memcpy(bits.data(), out->data(), out->size());
    EXPECT_EQ(bits, about.bits) << about.method << " " << info(about.dtype).name;
  }
}

std::vector<Values> long_family(size_t models, size_t n) {
  std::vector<Values> all(models, Values(n));
  for (size_t k = 0; k < models; ++k) {
    for (size_t i = 0; i < n; ++i) {
      all[k][i] = std::sin(static_cast<float>(i * (k + 3) % 1009));
    }
  }
  return all;
}

// With five models or more the last elements of a tensor are added in another order than the rest.
TEST(Replay, ElementWiseMethodsMayBeCutAtMultiplesOf64) {
  constexpr size_t kLong = 64 * 3 + 21, kCut = 128;
  const auto models = long_family(6, kLong);
  for (const std::string_view method : {"linear", "task_arithmetic", "ram"}) {
    Call whole(Version::k015, method, DType::kBF16, models, method != "linear");
    whole.give("weight", {0.3, 0.7, 0.2, 0.9, 0.45, 0.15});
    const auto expected = whole.run();
    ASSERT_TRUE(expected) << expected.error().sentence;
    Stored joined;
    for (const size_t first : {size_t{0}, kCut}) {
      Call part(Version::k015, method, DType::kBF16, models, method != "linear");
      part.parameters = whole.parameters;
      for (Operand& operand : part.operands) operand.data += 2 * first;
      part.task.before = first;
      part.task.elements = first == 0 ? kCut : kLong - kCut;
      part.task.shape = {part.task.elements};
      const auto out = part.run();
      ASSERT_TRUE(out);
      joined.insert(joined.end(), out->begin(), out->end());
    }
    EXPECT_EQ(joined, *expected) << method;
  }
}

TEST(Replay, LinearOf014RoundsItsProductsAndThatOf015DoesNot) {
  const auto models = long_family(2, 500);
  Call earlier(Version::k014, "linear", DType::kBF16, models, false);
  Call later(Version::k015, "linear", DType::kBF16, models, false);
  earlier.give("weight", {0.6, 0.4});
  later.give("weight", {0.6, 0.4});
  EXPECT_NE(earlier.run().value(), later.run().value());
}

// 0.1.4 reads the empty slice [:-0]: the whole change of a small tensor is lost.
TEST(Replay, BreadcrumbsOf014ZeroesWhatHasNoOutliers) {
  const auto models = family();
  for (const Version version : {Version::k014, Version::k015}) {
    Call call(version, "breadcrumbs", DType::kBF16, {models[0], models[1]}, true);
    call.give("weight", {0, 1});
    call.give("density", {1, 0.8});
    EXPECT_EQ(call.run().value() == call.bytes[0], version == Version::k014);
  }
}

TEST(Replay, NanIsStoredAsTorchsVectorUnitsStoreIt) {
  Call call(Version::k014, "linear", DType::kBF16, {{1, 2}, {1, 2}}, false);
  call.give("weight", {0.5, -0.5});
  EXPECT_EQ(call.run().value(), Stored(4, std::byte{0xFF}));
}

TEST(Replay, RefusesWhatThatVersionRefuses) {
  const auto models = family();
  Call tiny(Version::k014, "ties", DType::kBF16, {models[0], models[1]}, true);
  tiny.give("weight", {0, 1});
  tiny.give("density", {1, 0.01});
  EXPECT_THAT(tiny.refusal(), HasSubstr("keeps none"));
  tiny.task.version = Version::k015;
  EXPECT_EQ(tiny.refusal(), "");

  Call wide(Version::k015, "della", DType::kBF16, {models[0], models[1]}, true);
  wide.give("weight", {0, 1});
  wide.give("density", {1, 0.9});
  EXPECT_THAT(wide.refusal(), HasSubstr("between 0 and 1"));

  Call three(Version::k015, "slerp", DType::kBF16, models, true);
  EXPECT_THAT(three.refusal(), HasSubstr("exactly two models"));
}

TEST(Replay, KnowsWhichVersionHasWhichMethod) {
  EXPECT_FALSE(replays(Version::k014, "ram"));
  EXPECT_TRUE(replays(Version::k015, "ram"));
  EXPECT_FALSE(replays(Version::k015, "median"));
  EXPECT_EQ(returned_dtype(Version::k014, "arcee_fusion", DType::kBF16), DType::kF32);
  EXPECT_EQ(returned_dtype(Version::k015, "ties", DType::kF16), DType::kF16);
}

TEST(Replay, DrawsAWordForEachElementOfAModelThatIsDropped) {
  TensorParameters parameters;
  parameters.per_model = {{}, {{"density", 0.5}}, {{"density", 1.0}}, {{"density", 0.0}}};
  const auto words = [&](Version version, std::string_view method, uint64_t elements) {
    return words_drawn(version, method, parameters, 0, elements);
  };
  EXPECT_EQ(words(Version::k014, "dare_ties", 100), 200);
  EXPECT_EQ(words(Version::k014, "della", 100), 100);
  EXPECT_EQ(words(Version::k014, "ties", 100), 0);
  EXPECT_EQ(words(Version::k014, "arcee_fusion", 1'000'000), 0);
  EXPECT_EQ(words(Version::k014, "arcee_fusion", 1'500'000), 2'999'998);
  EXPECT_EQ(words(Version::k015, "arcee_fusion", 1'500'000), 1'000'000);
}

TEST(Replay, RandomMasksGoOnWhereEarlierTensorsStopped) {
  const auto models = long_family(2, 64);
  Call first(Version::k015, "dare_linear", DType::kBF16, models, true);
  first.give("weight", {0, 1});
  first.give("density", {1, 0.5});
  first.parameters.global["rescale"] = 0;
  Call second(Version::k015, "dare_linear", DType::kBF16,
              {Values(models[0].begin() + 32, models[0].end()),
               Values(models[1].begin() + 32, models[1].end())},
              true);
  second.parameters = first.parameters;
  second.task.first_word = 32;
  const Stored all = first.run().value();
  EXPECT_EQ(second.run().value(), Stored(all.begin() + 64, all.end()));
}

}  // namespace
}  // namespace hieron::mergekit
