// The models on real weights: what mergekit wrote, to the last bit, and how often round weights
// make ties.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "hieron/core/hash.h"
#include "hieron/kernels/arithmetic.h"
#include "hieron/kernels/compare.h"
#include "hieron/kernels/decode.h"

namespace hieron {
namespace {

struct Tensor {
  std::string name;
  DType dtype;
  std::vector<std::byte> data;
  size_t count() const { return data.size() * 8 / static_cast<size_t>(info(dtype).bits); }
};

std::vector<char> contents(const std::string& path) {
  std::ifstream in(std::string(HIERON_TEST_DATA "/") + path, std::ios::binary);
  EXPECT_TRUE(in) << path;
  return {std::istreambuf_iterator<char>(in), {}};
}

// A trusted safetensors file, whole.
std::vector<Tensor> model(const std::string& name) {
  const std::vector<char> file = contents(name + "/model.safetensors");
  uint64_t header = 0;
  std::memcpy(&header, file.data(), sizeof header);
  const auto json = nlohmann::json::parse(file.begin() + 8, file.begin() + 8 + header);
  std::vector<Tensor> tensors;
  for (const auto& [key, entry] : json.items()) {
    if (key == "__metadata__") continue;
    const auto* data = reinterpret_cast<const std::byte*>(file.data()) + 8 + header;
    const uint64_t begin = entry["data_offsets"][0], end = entry["data_offsets"][1];
    tensors.push_back(
        {key, *parse_dtype(entry["dtype"].get<std::string>()), {data + begin, data + end}});
  }
  return tensors;
}

std::vector<std::vector<Tensor>> models(const std::vector<std::string>& names) {
  std::vector<std::vector<Tensor>> list;
  for (const std::string& name : names) list.push_back(model("textgenrnn/" + name));
  return list;
}

std::vector<std::byte> blended(Arithmetic arithmetic, const std::vector<double>& weights,
                               const std::vector<std::vector<Tensor>>& parents, size_t tensor,
                               DType out_dtype) {
  std::vector<Operand> operands;
  for (const auto& parent : parents) {
    EXPECT_EQ(parent[tensor].name, parents[0][tensor].name);
    operands.push_back({parent[tensor].dtype, parent[tensor].data.data()});
  }
  const size_t count = parents[0][tensor].count();
  std::vector<std::byte> out(count * static_cast<size_t>(info(out_dtype).bits) / 8);
  BlendScratch scratch;
  blend(arithmetic, {weights, true}, operands, out_dtype, out.data(), count, scratch);
  return out;
}

// ---- golden: SHA-256 of every tensor that mergekit's linear wrote ----

void expect_golden(const std::string& version, const std::string& recipe, Arithmetic arithmetic,
                   const std::vector<std::string>& names, const std::vector<double>& weights,
                   DType out_dtype) {
  const auto parents = models(names);
  const auto text = contents("golden/" + version + "/" + recipe + ".json");
  const auto golden = nlohmann::json::parse(text)["tensors"];
  ASSERT_EQ(golden.size(), parents[0].size());
  for (size_t t = 0; t < parents[0].size(); ++t) {
    const auto bytes = blended(arithmetic, weights, parents, t, out_dtype);
    Sha256 hash;
    hash.update(bytes);
    EXPECT_EQ(to_hex(hash.finish()), golden[parents[0][t].name]["sha256"].get<std::string>())
        << parents[0][t].name;
  }
}

const std::vector<std::string> kBf16Parents{"hacker_news-bf16", "reddit_legaladvice-bf16"};
const std::vector<std::string> kF32Parents{"hacker_news", "reddit_legaladvice"};

TEST(Golden, F32FmaWritesWhatMergekit015WroteOverBf16) {
  expect_golden("0.1.5", "flat-linear-bf16", Arithmetic::kF32Fma, kBf16Parents, {.6, .4},
                DType::kBF16);
}

TEST(Golden, Bf16ProductsWriteWhatMergekit014WroteOverBf16) {
  expect_golden("0.1.4", "flat-linear-bf16", Arithmetic::kBf16Products, kBf16Parents, {.6, .4},
                DType::kBF16);
}

TEST(Golden, F32FmaWritesWhatMergekit015WroteOverF32) {
  expect_golden("0.1.5", "flat-linear-f32", Arithmetic::kF32Fma, kF32Parents, {.6, .4},
                DType::kF32);
}

TEST(Golden, F32OnceWritesWhatMergekit014WroteOverF32) {
  expect_golden("0.1.4", "flat-linear-f32", Arithmetic::kF32Once, kF32Parents, {.6, .4},
                DType::kF32);
}

// An f32 and a bf16 parent: both are promoted to f32, and so is the output.
TEST(Golden, F32FmaWritesWhatMergekit015WroteOverMixedFormats) {
  const std::vector<std::string> mixed{"hacker_news", "reddit_legaladvice-bf16"};
  expect_golden("0.1.5", "flat-linear-mixed-dtypes", Arithmetic::kF32Fma, mixed, {.6, .4},
                DType::kF32);
  const std::vector<std::string> bf16_first{"reddit_legaladvice-bf16", "hacker_news"};
  expect_golden("0.1.5", "flat-linear-mixed-dtypes-bf16-first", Arithmetic::kF32Fma, bf16_first,
                {.4, .6}, DType::kF32);
}

// dtype: bfloat16 over f32 files: every parent is cast before anything else.
TEST(Golden, Bf16ProductsOfF32ParentsWriteWhatMergekit014Wrote) {
  expect_golden("0.1.4", "flat-linear-f32-to-bf16", Arithmetic::kBf16Products, kF32Parents,
                {.6, .4}, DType::kBF16);
}

// ---- ties ----
//
// With decimal weights many exact sums of bf16 parents fall on, or within 2^-53 of, a midpoint
// between two bf16 numbers. Exact arithmetic decides them by the last bits of the weights' doubles;
// f32 arithmetic by its own rounding errors.

struct Disagreement {
  double share = 0;          // of the elements
  bool at_midpoints = true;  // all within a few f32 roundings of a midpoint
};

Disagreement f32_once_against_exact(const std::vector<std::string>& names,
                                    const std::vector<double>& weights) {
  const auto parents = models(names);
  uint64_t different = 0, all = 0;
  Disagreement found;
  for (size_t t = 0; t < parents[0].size(); ++t) {
    const auto exact = blended(Arithmetic::kExact, weights, parents, t, DType::kBF16);
    const auto once = blended(Arithmetic::kF32Once, weights, parents, t, DType::kBF16);
    for (size_t i = 0; i < exact.size() / 2; ++i, ++all) {
      const double a = decode(DType::kBF16, load_bits(DType::kBF16, exact.data(), i));
      const double b = decode(DType::kBF16, load_bits(DType::kBF16, once.data(), i));
      if (a == b) continue;
      ++different;
      double value = 0, size = 0, n = 0;
      for (size_t k = 0; k < weights.size(); ++k) {
        const double x =
            decode(DType::kBF16, load_bits(DType::kBF16, parents[k][t].data.data(), i));
        value += weights[k] * x;
        size += std::fabs(weights[k] * x);
        n += weights[k];
      }
      found.at_midpoints &= std::fabs(value / n - (a + b) / 2) <= 3e-7 * size;
    }
  }
  found.share = static_cast<double>(different) / static_cast<double>(all);
  return found;
}

TEST(RoundWeights, MakeTiesThatF32AndExactArithmeticBreakDifferently) {
  const std::string a = "hacker_news-bf16", b = "base-bf16", c = "reddit_legaladvice-bf16",
                    d = "reddit_rarepuppers-bf16";
  struct Row {
    std::vector<std::string> names;
    std::vector<double> weights;
    double share;
  };
  const std::vector<Row> rows{
      {{a, b}, {.565, .435}, 0.00071},    {{a, b}, {.6, .4}, 0.00604},
      {{a, c, b}, {.5, .3, .2}, 0.03472}, {{a, c, d, b}, {.4, .3, .2, .1}, 0.03489},
      {{a, b}, {1.3, -.3}, 0.03612},      {{a, b}, {.5, .5}, 0}};
  for (const Row& row : rows) {
    const Disagreement found = f32_once_against_exact(row.names, row.weights);
    EXPECT_NEAR(found.share, row.share, 0.00001) << row.weights[0];
    EXPECT_TRUE(found.at_midpoints) << row.weights[0];
  }
}

TEST(RoundWeights, HalvesOfBf16ParentsAreOftenExactMidpoints) {
  const auto parents = models({"hacker_news-bf16", "base-bf16"});
  uint64_t ties = 0, all = 0;
  for (size_t t = 0; t < parents[0].size(); ++t) {
    const size_t n = parents[0][t].count();
    std::vector<double> a(n), b(n), mean(n), rounded(n);
    decode(DType::kBF16, parents[0][t].data.data(), std::span(a));
    decode(DType::kBF16, parents[1][t].data.data(), std::span(b));
    for (size_t i = 0; i < n; ++i) mean[i] = (a[i] + b[i]) / 2;
    std::vector<std::byte> stored(2 * n);
    encode(DType::kBF16, std::span<const double>(mean), stored.data());
    decode(DType::kBF16, stored.data(), std::span(rounded));
    for (size_t i = 0; i < n; ++i) {
      const double across = mean[i] + (mean[i] - rounded[i]);  // the neighbour on the other side
      ties += mean[i] != rounded[i] && decode(DType::kBF16, encode(DType::kBF16, across)) == across;
    }
    all += n;
    EXPECT_EQ(blended(Arithmetic::kExact, {.5, .5}, parents, t, DType::kBF16), stored);
  }
  EXPECT_NEAR(static_cast<double>(ties) / static_cast<double>(all), 0.364, 0.001);
}

}  // namespace
}  // namespace hieron
