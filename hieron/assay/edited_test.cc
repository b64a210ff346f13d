// Edits of one model are named, with their figures; innocents and models edited the other way round
// are not.
#include "hieron/assay/edited.h"

#include <gtest/gtest.h>

#include <Eigen/SVD>
#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>

#include "hieron/assay/audit.h"
#include "hieron/edit/matrices.h"
#include "hieron/recover/made_models.h"

namespace hieron {
namespace {

using made::Model;
using made::Tensor;

const Model& load(const std::string& folder) {
  static std::map<std::string, Model> loaded;
  auto [it, added] = loaded.try_emplace(folder);
  if (added) it->second = made::load(folder);
  return it->second;
}
const Model& base() { return load("moe/base"); }
const Model& code() { return load("moe/code"); }
const Model& news() { return load("moe/news"); }

// Model 1 and on: those offered, then the controls.
EditDecision look(const Model& suspect, const std::vector<const Model*>& offered,
                  const std::vector<const Model*>& controls = {}) {
  std::vector<std::shared_ptr<const Checkpoint>> held{made::checkpoint("suspect", suspect)};
  std::vector<size_t> models, others;
  for (const Model* model : offered) {
    models.push_back(held.size());
    held.push_back(made::checkpoint("model " + std::to_string(models.size()), *model));
  }
  for (const Model* model : controls) {
    others.push_back(held.size());
    held.push_back(made::checkpoint("control", *model));
  }
  std::vector<const Checkpoint*> all;
  for (const auto& one : held) all.push_back(one.get());
  const Alignment alignment = align(all, 1);
  const EditCase given{
      alignment, RoleTable::of(""), Selection::everything(), Selection::everything(), {}};
  EditDecision both;
  for (const EditSearch search : {EditSearch::kPredicted, EditSearch::kEstimated}) {
    auto decision = decide_edit(given, models, others, search);
    EXPECT_TRUE(decision) << (decision ? "" : decision.error().sentence);
    if (!decision) return {};
    both.finding = std::move(decision->finding);
    both.reasons.insert(both.reasons.end(), decision->reasons.begin(), decision->reasons.end());
    if (both.finding) break;
  }
  return both;
}

bool ends_with(const Tensor& tensor, std::initializer_list<std::string_view> ends) {
  return std::ranges::any_of(ends,
                             [&](std::string_view end) { return tensor.name.ends_with(end); });
}

// Rounds the values to the format they are stored in, as a model that was saved.
Model saved(Model model) {
  return made::changed(std::move(model), [](Tensor& tensor) {
    const auto bytes = made::stored(tensor);
    decode(tensor.dtype, bytes.data(), std::span(tensor.values));
  });
}

Model with_adapter(const Model& model, size_t rank, std::initializer_list<std::string_view> targets,
                   double size = 0.02, uint64_t seed = 1) {
  return saved(made::changed(model, [&](Tensor& tensor) {
    if (!ends_with(tensor, targets)) return;
    const size_t rows = tensor.shape[0], columns = tensor.shape[1];
    const double scale = size / std::sqrt(static_cast<double>(rank));
    const uint64_t own = 1000 * seed + std::hash<std::string>{}(tensor.name) % 997;
    std::vector<double> left(rows * rank), right(columns * rank);
    for (size_t i = 0; i < left.size(); ++i) left[i] = made::normal(own, i);
    for (size_t i = 0; i < right.size(); ++i) right[i] = made::normal(own + 500000, i);
    for (size_t i = 0; i < rows; ++i) {
      for (size_t j = 0; j < columns; ++j) {
        tensor.values[i * columns + j] +=
            scale * std::inner_product(left.begin() + static_cast<long>(i * rank),
                                       left.begin() + static_cast<long>((i + 1) * rank),
                                       right.begin() + static_cast<long>(j * rank), 0.0);
      }
    }
  }));
}

Model pruned(const Model& model, double share) {
  return made::changed(model, [&](Tensor& tensor) {
    if (tensor.shape.size() < 2) return;
    std::vector<double> sizes;
    for (const double v : tensor.values) sizes.push_back(std::abs(v));
    const auto cut = sizes.begin() + static_cast<long>(share * static_cast<double>(sizes.size()));
    std::ranges::nth_element(sizes, cut);
    const double limit = *cut;
    for (double& v : tensor.values) v = std::abs(v) < limit ? 0 : v;
  });
}

Model without_direction(const Model& model, double strength) {
  return saved(made::changed(model, [&](Tensor& tensor) {
    if (!ends_with(tensor, {".o_proj.weight", ".down_proj.weight"})) return;
    const size_t rows = tensor.shape[0], columns = tensor.shape[1];
    std::vector<double> v(rows);
    double square = 0;
    for (size_t i = 0; i < rows; ++i) {
      v[i] = made::normal(3, i);
      square += v[i] * v[i];
    }
    for (size_t j = 0; j < columns; ++j) {
      double along = 0;
      for (size_t i = 0; i < rows; ++i) along += v[i] * tensor.values[i * columns + j];
      for (size_t i = 0; i < rows; ++i) {
        tensor.values[i * columns + j] -= strength * v[i] * along / square;
      }
    }
  }));
}

// Each tensor's rows in an order of its own, or (`alike`) the units of each expert moved together.
Model reordered(const Model& model, bool alike) {
  return made::changed(model, [&](Tensor& tensor) {
    const bool down = ends_with(tensor, {".down_proj.weight"});
    const bool up = ends_with(tensor, {".gate_proj.weight", ".up_proj.weight"});
    if (alike ? !(down || up) : tensor.shape.size() != 2) return;
    const size_t rows = tensor.shape[0], columns = tensor.shape[1];
    const bool by_column = alike && down;
    const std::string label =
        alike ? tensor.name.substr(0, tensor.name.rfind("_proj") - 4) : tensor.name;
    std::vector<size_t> order(by_column ? columns : rows);
    std::iota(order.begin(), order.end(), size_t{0});
    const uint64_t seed = alike ? tensor.name[13] : std::hash<std::string>{}(label);
    std::ranges::sort(order, {}, [&](size_t i) { return made::normal(seed, i); });
    const std::vector<double> old = tensor.values;
    for (size_t i = 0; i < rows; ++i) {
      for (size_t j = 0; j < columns; ++j) {
        tensor.values[i * columns + j] =
            by_column ? old[i * columns + order[j]] : old[order[i] * columns + j];
      }
    }
  });
}

Model fine_tuned(const Model& model) {
  uint64_t seed = 40;
  return saved(made::changed(model, [&](Tensor& tensor) {
    const double size = 0.05 * made::deviation(tensor.values);
    ++seed;
    for (size_t i = 0; i < tensor.values.size(); ++i) {
      tensor.values[i] += size * made::normal(seed, i);
    }
  }));
}

// --- what is found ---

TEST(Edit, OfTwoModelsThePrunedOneIsNamedWithItsShareOfZeros) {
  const EditDecision decision = look(pruned(code(), 0.3), {&base(), &code()}, {&news()});
  ASSERT_TRUE(decision.finding);
  EXPECT_EQ(decision.finding->kind, EditKind::kPruned);
  EXPECT_EQ(decision.finding->model, 2u);
  EXPECT_NEAR(*decision.finding->strength, 0.3, 0.002);
  EXPECT_EQ(decision.finding->equal(), decision.finding->read());
}

TEST(Edit, ATripThroughAnEightBitFloatIsReplayedBitForBit) {
  const Model tripped = made::changed(code(), [](Tensor& tensor) {
    std::vector<std::byte> narrow(tensor.values.size());
    encode(DType::kF8E4M3, std::span<const double>(tensor.values), narrow.data());
    decode(DType::kF8E4M3, narrow.data(), std::span(tensor.values));
  });
  const EditDecision decision = look(tripped, {&base(), &code()}, {&news()});
  ASSERT_TRUE(decision.finding);
  EXPECT_EQ(decision.finding->kind, EditKind::kDtypeTrip);
  EXPECT_EQ(decision.finding->model, 2u);
  EXPECT_EQ(decision.finding->equal(), decision.finding->read());
}

TEST(Edit, IntegersAndBackAreReplayedAlongRowsAndColumns) {
  for (const bool columns : {false, true}) {
    for (const int bits : {4, 8}) {
      const Model rounded = saved(made::changed(code(), [&](Tensor& tensor) {
        if (tensor.shape.size() < 2) return;
        const size_t width = tensor.shape[1], steps = columns ? tensor.shape[0] / 32 : width / 32;
        const size_t stride = columns ? width : 1, lines = columns ? width : tensor.shape[0];
        for (size_t line = 0; line < lines; ++line) {
          for (size_t step = 0; step < steps; ++step) {
            double* group = tensor.values.data() +
                            (columns ? step * 32 * width + line : line * width + step * 32);
            double largest = 0;
            for (size_t i = 0; i < 32; ++i) {
              largest = std::max(largest, std::abs(group[i * stride]));
            }
            const double scale = largest / ((1 << (bits - 1)) - 1);
            if (scale == 0) continue;
            for (size_t i = 0; i < 32; ++i) {
              group[i * stride] = std::nearbyint(group[i * stride] / scale) * scale;
            }
          }
        }
      }));
      const EditDecision decision = look(rounded, {&base(), &code()}, {&news()});
      ASSERT_TRUE(decision.finding) << bits << (columns ? " columns" : " rows");
      EXPECT_EQ(decision.finding->kind, EditKind::kRequantised);
      EXPECT_EQ(decision.finding->model, 2u);
      EXPECT_GT(decision.finding->equal() * 1000, decision.finding->read() * 999);
    }
  }
}

TEST(Edit, AnAdapterIsFoundWithItsRankAndItsTargets) {
  for (const size_t rank : {1, 4, 16}) {
    const EditDecision decision =
        look(with_adapter(code(), rank, {".q_proj.weight", ".v_proj.weight"}), {&code(), &base()},
             {&news()});
    ASSERT_TRUE(decision.finding) << rank;
    EXPECT_EQ(decision.finding->kind, EditKind::kLowRank);
    EXPECT_EQ(decision.finding->model, 1u);
    EXPECT_EQ(decision.finding->rank, rank);
    EXPECT_EQ(decision.finding->targets, (std::vector{Role::kAttentionQ, Role::kAttentionV}));
  }
}

TEST(Edit, ARemovedDirectionIsFoundWithItsStrength) {
  for (const double strength : {0.4, 1.0}) {
    const EditDecision decision =
        look(without_direction(code(), strength), {&code(), &base()}, {&news()});
    ASSERT_TRUE(decision.finding) << strength;
    EXPECT_EQ(decision.finding->kind, EditKind::kDirectionRemoved);
    EXPECT_EQ(decision.finding->model, 1u);
    EXPECT_NEAR(*decision.finding->strength, strength, 0.01);
  }
}

TEST(Edit, ATruncatedMatrixIsTheModelsOnItsFirstSingularVectors) {
  // 20 kept is a change of high rank, 118 kept one of low rank; both are truncations.
  for (const Eigen::Index kept : {20, 118}) {
    const Model truncated = saved(made::changed(code(), [&](Tensor& tensor) {
      if (!ends_with(tensor, {"layers.1.self_attn.q_proj.weight"})) return;
      Eigen::Map<Matrix> m(tensor.values.data(), static_cast<Eigen::Index>(tensor.shape[0]),
                           static_cast<Eigen::Index>(tensor.shape[1]));
      const Eigen::JacobiSVD<Eigen::MatrixXd> svd(m, Eigen::ComputeThinU | Eigen::ComputeThinV);
      m = svd.matrixU().leftCols(kept) * svd.singularValues().head(kept).asDiagonal() *
          svd.matrixV().leftCols(kept).transpose();
    }));
    const EditDecision decision = look(truncated, {&base(), &code()}, {&news()});
    ASSERT_TRUE(decision.finding);
    EXPECT_EQ(decision.finding->kind, EditKind::kTruncated);
    EXPECT_EQ(decision.finding->model, 2u);
    EXPECT_EQ(decision.finding->rank, static_cast<uint64_t>(kept));
  }
}

TEST(Edit, HiddenUnitsInAnotherOrderAreACopyInDisguise) {
  const EditDecision decision = look(reordered(code(), true), {&base(), &code()}, {&news()});
  ASSERT_TRUE(decision.finding);
  EXPECT_EQ(decision.finding->kind, EditKind::kUnitsPermuted);
  EXPECT_EQ(decision.finding->model, 2u);
  EXPECT_EQ(decision.finding->equal(), decision.finding->read());
}

// --- what is not ---

TEST(NoEdit, APrunedFineTuneIsNoEditOfItsBase) {
  EXPECT_FALSE(look(pruned(code(), 0.5), {&base()}).finding);
}

// In a coarse format a child that moved few weights by little looks nearly like its parent.
TEST(NoEdit, ANearChildThroughANarrowFormatIsNotBookedToItsParent) {
  Model child = made::changed(code(), [](Tensor& tensor) {
    for (size_t i = 0; i < tensor.values.size(); i += 20) tensor.values[i] *= 1 + 1.0 / 128;
  });
  child = made::changed(saved(child), [](Tensor& tensor) {
    std::vector<std::byte> narrow(tensor.values.size());
    encode(DType::kF8E5M2, std::span<const double>(tensor.values), narrow.data());
    decode(DType::kF8E5M2, narrow.data(), std::span(tensor.values));
  });
  EXPECT_FALSE(look(child, {&code(), &base()}).finding);
}

TEST(NoEdit, AnotherFineTuneOrRandomNumbersAreNone) {
  EXPECT_FALSE(look(news(), {&base(), &code()}).finding);
  EXPECT_FALSE(look(fine_tuned(code()), {&base(), &code()}).finding);
  uint64_t seed = 900;
  const Model random = made::changed(base(), [&](Tensor& tensor) {
    const double size = made::deviation(tensor.values);
    ++seed;
    for (size_t i = 0; i < tensor.values.size(); ++i) {
      tensor.values[i] = size * made::normal(seed, i);
    }
  });
  EXPECT_FALSE(look(random, {&base(), &code()}).finding);
}

TEST(NoEdit, RowsShuffledTensorByTensorAreNoCopy) {
  EXPECT_FALSE(look(reordered(code(), false), {&base(), &code()}).finding);
}

TEST(NoEdit, TheBaseIsNoEditOfItsOwnAdaptedChild) {
  const Model child = with_adapter(base(), 4, {".q_proj.weight", ".v_proj.weight"});
  const EditDecision decision = look(base(), {&child, &code()});
  EXPECT_FALSE(decision.finding);
  ASSERT_FALSE(decision.reasons.empty());
  EXPECT_NE(decision.reasons.front().find("the other way round"), std::string::npos);
}

TEST(NoEdit, TheBaseIsNoEditOfAChildThatLacksADirection) {
  for (const double strength : {0.4, 1.0}) {
    const Model child = without_direction(base(), strength);
    EXPECT_FALSE(look(base(), {&child, &code()}).finding) << strength;
  }
}

TEST(NoEdit, TwoAdaptersOnOneBaseDoNotMakeOneModelAnEditOfTheOther) {
  const Model one = with_adapter(base(), 4, {".q_proj.weight", ".v_proj.weight"}, 0.02, 1);
  const Model two = with_adapter(base(), 4, {".q_proj.weight", ".v_proj.weight"}, 0.02, 2);
  EXPECT_FALSE(look(one, {&two}).finding);
  const EditDecision with_base = look(one, {&two, &base()});
  ASSERT_TRUE(with_base.finding);
  EXPECT_EQ(with_base.finding->model, 2u);
}

TEST(NoEdit, RowsOfZerosMayHaveBeenTrainedLater) {
  const Model begun = made::changed(code(), [](Tensor& tensor) {
    if (!ends_with(tensor, {"embed_tokens.weight"})) return;
    std::fill_n(tensor.values.begin(), 20 * tensor.shape[1], 0.0);
  });
  EXPECT_FALSE(look(begun, {&code(), &base()}).finding);
}

TEST(NoEdit, ATokenWhoseRowWasTrainedIsNoAdapter) {
  const Model retrained = saved(made::changed(code(), [](Tensor& tensor) {
    if (!ends_with(tensor, {"embed_tokens.weight"})) return;
    for (size_t i = 0; i < 3 * tensor.shape[1]; ++i) tensor.values[i] += 0.1 * made::normal(8, i);
  }));
  EXPECT_FALSE(look(retrained, {&code(), &base()}).finding);
}

TEST(NoEdit, AControlThatExplainsTheSuspectClearsTheModelsOffered) {
  const EditDecision decision = look(pruned(code(), 0.3), {&base()}, {&code()});
  EXPECT_FALSE(decision.finding);
  ASSERT_FALSE(decision.reasons.empty());
  EXPECT_NE(decision.reasons.back().find("control"), std::string::npos);
}

TEST(NoEdit, TwoModelsThatExplainItEquallyAreNotToldApart) {
  const Model twin = code();
  const EditDecision decision = look(pruned(code(), 0.3), {&code(), &twin});
  EXPECT_FALSE(decision.finding);
  ASSERT_FALSE(decision.reasons.empty());
  EXPECT_NE(decision.reasons.back().find("equally well"), std::string::npos);
}

// --- as a whole audit says it ---

AuditResult accuse(const Model& suspect) {
  AuditInput input;
  input.suspect = made::checkpoint("suspect", suspect);
  input.parents = {made::checkpoint("code", code()), made::checkpoint("news", news())};
  input.base = made::checkpoint("base", base());
  AuditOptions options;
  options.seed = *Seed::from_hex("ed17");
  auto result = audit(input, options);
  EXPECT_TRUE(result) << (result ? "" : result.error().sentence);
  return result ? *std::move(result) : AuditResult{};
}

TEST(EditVerdict, NamesTheModelTheEditAndTheReplay) {
  const AuditResult result = accuse(pruned(code(), 0.3));
  EXPECT_EQ(name(result.verdict.kind), "edit") << result.verdict.sentence;
  EXPECT_EQ(result.verdict.of, std::vector<std::string>{"code"});
  ASSERT_TRUE(result.edit && result.replay);
  EXPECT_EQ(result.edit->kind, "pruned");
  EXPECT_EQ(result.edit->of, "code");
  EXPECT_EQ(result.replay->equal, result.replay->elements);
  EXPECT_FALSE(result.recipe);
  EXPECT_FALSE(result.verdict.reasons.empty());
  EXPECT_FALSE(result.verdict.falsifiers.empty());
}

TEST(EditVerdict, OfATripThroughANarrowerFormatIsNoMergeOfWeightOne) {
  const Model &parent = load("textgenrnn/hacker_news"), &origin = load("textgenrnn/base");
  const Model tripped = made::changed(parent, [](Tensor& tensor) {
    std::vector<std::byte> narrow(tensor.values.size() * 2);
    encode(DType::kF16, std::span<const double>(tensor.values), narrow.data());
    decode(DType::kF16, narrow.data(), std::span(tensor.values));
  });
  AuditInput input;
  input.suspect = made::checkpoint("suspect", tripped);
  input.parents = {made::checkpoint("parent", parent)};
  input.base = made::checkpoint("base", origin);
  AuditOptions options;
  options.seed = *Seed::from_hex("ed17");
  const auto result = audit(input, options);
  ASSERT_TRUE(result) << result.error().sentence;
  EXPECT_TRUE(result->verdict.kind == VerdictKind::kEdit ||
              result->verdict.kind == VerdictKind::kReformattedCopy)
      << result->verdict.sentence;
  EXPECT_EQ(result->verdict.of, std::vector<std::string>{"parent"});
  EXPECT_FALSE(result->recipe);
}

TEST(EditVerdict, OfUnitsInAnotherOrderIsAnObfuscatedCopy) {
  const AuditResult result = accuse(reordered(code(), true));
  EXPECT_EQ(name(result.verdict.kind), "obfuscated-copy") << result.verdict.sentence;
  EXPECT_EQ(result.verdict.of, std::vector<std::string>{"code"});
}

TEST(EditVerdict, OfAnAdapterSaysItsRank) {
  const AuditResult result = accuse(with_adapter(code(), 8, {".o_proj.weight"}));
  EXPECT_EQ(name(result.verdict.kind), "edit") << result.verdict.sentence;
  ASSERT_TRUE(result.edit);
  EXPECT_EQ(result.edit->rank, 8u);
  EXPECT_NE(result.verdict.sentence.find("rank 8"), std::string::npos);
}

}  // namespace
}  // namespace hieron
