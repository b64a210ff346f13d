#include "hieron/walk/selection.h"

#include <gtest/gtest.h>

#include <memory>
#include <numeric>
#include <set>
#include <string>
#include <vector>

#include "hieron/walk/strata.h"

namespace hieron {
namespace {

using Runs = std::vector<Run>;

const Seed kSeed = *Seed::from_hex("5eed");

struct OneRow {
  TensorInfo tensor;
  Row row;

  OneRow(const std::string& name, uint64_t elements, DType dtype = DType::kBF16)
      : tensor{.name = name,
               .dtype = dtype,
               .shape = {elements},
               .elements = elements,
               .computed = nullptr},
        row{name, {elements}, elements, {}} {
    row.views.emplace_back(TensorView{&tensor, 0});
  }
  OneRow(const OneRow&) = delete;
};

uint64_t total(const Runs& runs) {
  return std::accumulate(runs.begin(), runs.end(), uint64_t{0},
                         [](uint64_t sum, const auto& run) { return sum + run.count; });
}

void expect_ascending_within(const Runs& runs, uint64_t elements) {
  uint64_t end = 0;
  for (const auto& run : runs) {
    EXPECT_GE(run.first, end);
    EXPECT_GT(run.count, 0u);
    end = run.first + run.count;
  }
  EXPECT_LE(end, elements);
}

TEST(Selection, ASampleIsAsLargeAsAskedForInRunsOfTheLengthAskedFor) {
  const OneRow large("a", 1'000'000);
  const auto one = Selection::sample(kSeed, {.bytes_per_tensor = 16384, .run_bytes = 16384});
  ASSERT_EQ(one.runs(large.row).size(), 1u);
  EXPECT_EQ(total(one.runs(large.row)), 8192u);
  const auto four = Selection::sample(kSeed, {.bytes_per_tensor = 65536, .run_bytes = 16384});
  ASSERT_EQ(four.runs(large.row).size(), 4u);
  EXPECT_EQ(total(four.runs(large.row)), 32768u);
  expect_ascending_within(four.runs(large.row), 1'000'000);
}

TEST(Selection, ATensorNoLargerThanItsShareIsReadWhole) {
  const OneRow small("a", 8192);
  const auto selection = Selection::sample(kSeed, {.bytes_per_tensor = 16384});
  EXPECT_EQ(selection.runs(small.row), (Runs{{0, 8192}}));
}

TEST(Selection, PositionsDependOnSeedNameAndShapeOnly) {
  const OneRow a("a", 1'000'000), other("b", 1'000'000);
  const SampleSize size{.bytes_per_tensor = 16384, .run_bytes = 16384};
  const auto runs = Selection::sample(kSeed, size).runs(a.row);
  EXPECT_EQ(runs, Selection::sample(kSeed, size).runs(a.row));
  EXPECT_NE(runs, Selection::sample(*Seed::from_hex("5eee"), size).runs(a.row));
  EXPECT_NE(runs, Selection::sample(kSeed, size).runs(other.row));
}

TEST(Selection, AtMostKeepsTheRunsAndShortensThem) {
  const OneRow a("a", 1'000'000);
  const auto full = Selection::sample(kSeed, {.bytes_per_tensor = 65536, .run_bytes = 16384});
  const auto runs = full.runs(a.row), fewer = full.at_most(8192).runs(a.row);
  ASSERT_EQ(runs.size(), fewer.size());
  for (size_t i = 0; i < runs.size(); ++i) {
    EXPECT_EQ(runs[i].first, fewer[i].first);
    EXPECT_EQ(fewer[i].count, 1024u);
  }
}

TEST(Selection, OfTensorsKnownInPartOnlyWhatAllModelsKnow) {
  OneRow a("a", 1000);
  TensorInfo other = a.tensor;
  a.tensor.known = std::make_shared<Runs>(Runs{{0, 100}, {200, 100}});
  other.known = std::make_shared<Runs>(Runs{{50, 200}, {290, 500}});
  a.row.views.emplace_back(TensorView{&other, 0});
  EXPECT_EQ(Selection::everything().runs(a.row), (Runs{{50, 50}, {200, 50}, {290, 10}}));
}

TEST(Selection, AViewThatBeginsWithinATensorKnowsItsOwnPart) {
  OneRow a("a", 1000);
  a.tensor.known = std::make_shared<Runs>(Runs{{90, 20}, {395, 50}});
  a.row.views[0]->first = 100;
  a.row.elements = 300;
  EXPECT_EQ(Selection::everything().runs(a.row), (Runs{{0, 10}, {295, 5}}));
}

// --- experts ---

std::vector<std::unique_ptr<OneRow>> experts_of(int layers, int experts) {
  std::vector<std::unique_ptr<OneRow>> rows;
  for (int layer = 0; layer < layers; ++layer) {
    const std::string prefix = "model.layers." + std::to_string(layer);
    rows.push_back(std::make_unique<OneRow>(prefix + ".self_attn.q_proj.weight", 64));
    for (int e = 0; e < experts; ++e) {
      for (const char* part : {"gate_proj", "up_proj", "down_proj"}) {
        rows.push_back(std::make_unique<OneRow>(
            prefix + ".mlp.experts." + std::to_string(e) + "." + part + ".weight", 64));
      }
    }
  }
  return rows;
}

std::vector<Row> rows_of(const std::vector<std::unique_ptr<OneRow>>& owned) {
  std::vector<Row> rows;
  for (const auto& one : owned) rows.push_back(one->row);
  return rows;
}

TEST(Strata, OfManyExpertsAFewOfEachLayerAndRole) {
  const auto owned = experts_of(5, 60);
  const auto rows = rows_of(owned);
  const auto drawn = draw_tensors(rows, RoleTable::of(""), kSeed);
  ASSERT_TRUE(drawn);
  EXPECT_EQ(drawn->size(), 5 * (1 + 3 * kExpertsDrawn));
  EXPECT_TRUE(drawn->contains("model.layers.3.self_attn.q_proj.weight"));
  std::set<std::string> gates[2];
  for (const std::string& name : *drawn) {
    for (int layer = 0; layer < 2; ++layer) {
      const std::string prefix = "model.layers." + std::to_string(layer) + ".";
      if (name.starts_with(prefix) && name.find("gate") != name.npos) {
        gates[layer].insert(name.substr(prefix.size()));
      }
    }
  }
  EXPECT_EQ(gates[0].size(), kExpertsDrawn);
  EXPECT_NE(gates[0], gates[1]) << "each layer draws its own";
  EXPECT_EQ(*drawn, *draw_tensors(rows, RoleTable::of(""), kSeed));
}

TEST(Strata, OfFewExpertsAll) {
  const auto owned = experts_of(2, kExpertsDrawn);
  EXPECT_EQ(draw_tensors(rows_of(owned), RoleTable::of(""), kSeed), nullptr);
}

TEST(Strata, TensorsThatAreNotDrawnHaveNoRuns) {
  const auto owned = experts_of(1, 60);
  const auto rows = rows_of(owned);
  const auto drawn = draw_tensors(rows, RoleTable::of(""), kSeed);
  const auto selection = Selection::sample(kSeed, {.bytes_per_tensor = 16384, .tensors = drawn});
  for (const Row& row : rows) {
    EXPECT_EQ(selection.runs(row).empty(), !drawn->contains(row.name)) << row.name;
  }
}

}  // namespace
}  // namespace hieron
