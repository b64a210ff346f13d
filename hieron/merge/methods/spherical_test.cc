// The methods that see models as points on a sphere, or in space: a Gram matrix, weights, a sum.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "hieron/merge/methods/gram.h"
#include "hieron/merge/methods/run_method_test.h"
#include "hieron/merge/methods/table.h"
#include "hieron/merge/scratch_checkpoint.h"

namespace hieron {
namespace {

using testing::HasSubstr;
using Numbers = std::vector<double>;

// ---- tasks ----

struct Setting {
  ParameterMap global = {};
  Numbers weights = {};
  std::optional<size_t> base = {};
  Shape shape = {};
  DType out = DType::kF64;
};

TensorTask task_of(const Setting& setting, size_t models) {
  TensorParameters parameters;
  parameters.per_model.resize(models);
  for (size_t k = 0; k < setting.weights.size(); ++k) {
    parameters.per_model[k]["weight"] = setting.weights[k];
  }
  parameters.global = setting.global;
  return {.name = "model.layers.0.mlp.down_proj.weight",
          .shape = setting.shape,
          .parameters = std::make_shared<const TensorParameters>(std::move(parameters)),
          .inputs = {},
          .base = setting.base,
          .out = setting.out};
}

Numbers merged(const Method& method, const Setting& setting, const std::vector<Numbers>& models,
               DType stored = DType::kF64) {
  std::vector<StoredValues> inputs;
  for (const Numbers& values : models) inputs.emplace_back(stored, values);
  return run_method(method, task_of(setting, models.size()), inputs);
}

// What the end of the first pass says; empty if it is content.
std::string refusal(const Method& method, const Setting& setting,
                    const std::vector<Numbers>& models) {
  TensorTask task = task_of(setting, models.size());
  task.elements = models[0].size();
  if (task.shape.empty()) task.shape = {task.elements};
  task.inputs.assign(models.size(), DType::kF64);
  const auto work = method.start(task);
  std::vector<Operand> operands;
  for (const Numbers& values : models) {
    operands.push_back({DType::kF64, reinterpret_cast<const std::byte*>(values.data())});
  }
  WorkScratch scratch;
  work->look({0, models[0].size(), operands}, scratch);
  const Status done = work->end_pass();
  return done ? std::string() : done.error().sentence;
}

// Numbers in eighths that a Python program can make, too.
Numbers eighths(int k, size_t n = 12) {
  Numbers values;
  for (int i = 0; i < static_cast<int>(n); ++i) {
    values.push_back(((i * i * (k + 3) + 7 * k * i + 5 * k) % 23 - 11) / 8.0);
  }
  return values;
}

Numbers waves(double phase, size_t n) {
  Numbers values(n);
  const auto value = wave(phase);
  for (size_t i = 0; i < n; ++i) values[i] = value(i * i % 1009 + i);
  return values;
}

Numbers sum_of(const Numbers& a, double factor, const Numbers& b) {
  Numbers sum = a;
  for (size_t i = 0; i < sum.size(); ++i) sum[i] += factor * b[i];
  return sum;
}

double dot(const Numbers& a, const Numbers& b) {
  return std::inner_product(a.begin(), a.end(), b.begin(), 0.0);
}
double length(const Numbers& a) { return std::sqrt(dot(a, a)); }

void expect_close(const Numbers& found, const Numbers& expected, double tolerance = 1e-12) {
  ASSERT_EQ(found.size(), expected.size());
  for (size_t i = 0; i < found.size(); ++i) {
    EXPECT_NEAR(found[i], expected[i], tolerance * (1 + std::fabs(expected[i]))) << "element " << i;
  }
}

void expect_same_bits(const Numbers& found, const Numbers& expected) {
  ASSERT_EQ(found.size(), expected.size());
  for (size_t i = 0; i < found.size(); ++i) {
    ASSERT_EQ(std::bit_cast<uint64_t>(found[i]), std::bit_cast<uint64_t>(expected[i]))
        << "element " << i << ": " << found[i] << ", not " << expected[i];
  }
}

// ---- against mergekit, run in float64 on the same numbers (0.1.5, torch 2.15) ----

const Numbers kSlerp = {-1.5745949087873941,  -0.60938060620675549, 0.16915369692429461,
                        -0.49744606075843029, -1.3507258178907435,  -1.0746450905253504,
                        0.33079612133774905,  0.29110327238707345,  0.064730423986809504,
                        -0.3483224238630428,  -0.89046884857937547, 0.95519927256618498};
const Numbers kNuSlerp = {-1.226597336637874,   0.19401250149142343,   0.16423133867717943,
                          0.24225436240638296,  -1.1301136148079551,   -1.2851146044347768,
                          -0.22274860647408204, 0.94742157803006022,   0.66720076159066077,
                          -1.0634110557922802,  -0.018460698100715545, 0.68566145969137626};
const Numbers kNuSlerpOnBase = {-1.0085970600083825,  0.28337204836646146,  0.125,
                                0.33509146036813786,  -0.90515823600502954, -1.2488467563815502,
                                -0.36524969637316751, 0.88681087236981448,  0.68853028437149089,
                                -0.96009146036813786, 0.10665263636478484,  0.58187764800670594};
const Numbers kNuSlerpLastAxis = {-1.2502193662716601,  0.19167986411236795,  0.16709952506886816,
                                  0.24120430728405814,  -0.98807914446171974, -1.1447060673046392,
                                  -0.22206776572734135, 0.86683682663221784,  0.74342959248108376,
                                  -1.2044090239227458,  -0.09126255495372293, 0.83469214743480658};
const Numbers kNuSlerpFirstAxisOnBase = {
    -0.97914972572809722, 0.26004642545854895,  0.125,
    0.39642531398943492,  -0.88748983543685833, -1.1580250417820483,
    -0.48652453660700656, 0.96332530078619483,  0.65257606706036708,
    -0.92926627171671572, 0.14172816456098192,  0.64259994718703872};
const Numbers kNuSlerpFirstAxisOfThree = {
    -1.0152894927603318, 0.092050084380290262, 0.42662166447718919,   0.18781112344391809,
    -1.0614427559388138, -1.0353162562017562,  -0.2213292854231402,   1.3301452444140767,
    1.2517688040505597,  -1.487680590069143,   0.0022600899375428353, 0.52255069304862467};
const Numbers kMultiSlerp = {-1.0196075519285648,  -0.59736440654094747, 0.25452174040350561,
                             -0.69886898463944136, -1.2226167081255523,  0.49281864781336931,
                             1.2579044593384283,   0.2177133988760874,   -0.39283466002941764,
                             -0.57373971737808682, -0.7503815688459593,  0.35754690881654166};
const Numbers kMultiSlerpOnBase = {-0.86378749915364073, -0.47936345340303221, 0.125,
                                   -0.45660595357230394, -0.8182724994921845,  -0.2254540450735214,
                                   0.51333345408011932,  0.066151546258424232, -0.1610909539108476,
                                   -0.16839404642769606, -0.62712095323376049, 0.46602999932291267};
const Numbers kMultiSlerpRaw = {-0.90122635977569066,  -0.085357591258468091, 0.125,
                                -0.055112319303329937, -0.84073581586541446,  -0.6868498563377754,
                                0.089376503437915478,  0.47513295265180822,   0.25537822460694637,
                                -0.56988768069667006,  -0.24060286321360635,  0.49598108782055261};
const Numbers kKarcher = {-0.99357439784914148, -0.017215000640177478, 0.31715205075988223,
                          -0.19908258198220799, -1.3573095605332024,   0.38541502967892183,
                          1.0618373767681812,   0.88765803971529067,   0.071486356853495775,
                          -1.3866776718172029,  -0.15249947005802936,  0.2239858269115251};
const Numbers kKarcherClose = {-1.3796430941229394,  -1.0000398253139224,  0.126308277598776,
                               -0.87568113960786576, -1.1309257227108263,  -0.62442145643569202,
                               0.62891336008847143,  -0.24608934350670494, -0.37434721299820017,
                               0.24413975161398566,  -1.2507067886187551,  0.87635957562055489};
const Numbers kModelStock = {-0.87693603278609933, 0.17565013826621681,  0.27899942471949796,
                             0.016238035160039133, -1.1957602389984547,  0.1430610908113904,
                             0.74099769887799194,  0.97282363093185331,  0.25541267838667969,
                             -1.4112351587575289,  0.056062816652896488, 0.19934986173378322};
const Numbers kModelStockRows = {-0.99023517614131618,  0.10781973007329089, 0.29167103943685774,
                                 -0.044138482022675146, -1.1606354655991713, 0.16088957427920852,
                                 0.72290311864199741,   0.97362192123638247, 0.27236198840636738,
                                 -1.4087241498657233,   0.13013757896116121, 0.1422244094452062};

TEST(Slerp, AgreesWithMergekit) {
  const Setting setting{.global = {{"t", 0.3}}, .base = 0};
  expect_close(merged(slerp(), setting, {eighths(0), eighths(1)}), kSlerp);
}

TEST(NuSlerp, AgreesWithMergekit) {
  const Numbers a = eighths(0), b = eighths(1), c = eighths(2);
  const Shape matrix{3, 4};
  const ParameterMap last{{"nuslerp_flatten", 0}};
  const ParameterMap first{{"nuslerp_flatten", 0}, {"nuslerp_row_wise", 1}};
  expect_close(merged(nuslerp(), {.weights = {1, 3}, .shape = matrix}, {a, b}), kNuSlerp);
  expect_close(merged(nuslerp(), {.weights = {0, 1, 3}, .base = 0, .shape = matrix}, {c, a, b}),
               kNuSlerpOnBase);
  expect_close(merged(nuslerp(), {.global = last, .weights = {1, 3}, .shape = matrix}, {a, b}),
               kNuSlerpLastAxis);
  expect_close(
      merged(nuslerp(), {.global = first, .weights = {1, 3, 0}, .base = 2, .shape = matrix},
             {a, b, c}),
      kNuSlerpFirstAxisOnBase);
  expect_close(merged(nuslerp(), {.global = first, .weights = {1, 3}, .shape = {2, 2, 3}}, {a, b}),
               kNuSlerpFirstAxisOfThree);
  expect_close(merged(nuslerp(), {.global = first, .weights = {1, 3}}, {a, b}), kNuSlerp);
}

// Its eps of 1e-8 is left out here.
TEST(MultiSlerp, AgreesWithMergekitUpToItsEps) {
  const Numbers a = eighths(0), b = eighths(1), c = eighths(2), d = eighths(3);
  expect_close(merged(multislerp(), {.weights = {1, 2, 3}}, {a, b, c}), kMultiSlerp, 1e-7);
  expect_close(merged(multislerp(), {.weights = {1, 2, 3, 0}, .base = 3}, {a, b, c, d}),
               kMultiSlerpOnBase, 1e-7);
  expect_close(
      merged(multislerp(),
             {.global = {{"normalize_weights", 0}}, .weights = {.5, .25, 0}, .base = 2}, {a, b, d}),
      kMultiSlerpRaw, 1e-7);
}

TEST(Karcher, AgreesWithMergekit) {
  const Numbers a = eighths(0), b = eighths(1), c = eighths(2), d = eighths(3);
  expect_close(merged(karcher(), {}, {a, b, c, d}), kKarcher);
  expect_close(merged(karcher(), {.global = {{"max_iter", 3}, {"tol", 1e-9}}},
                      {a, sum_of(a, 1 / 64.0, b), sum_of(a, 1 / 64.0, c)}),
               kKarcherClose);
}

TEST(ModelStock, AgreesWithMergekit) {
  const Numbers a = eighths(0), b = eighths(1), c = eighths(2), d = eighths(3);
  const Numbers ab = sum_of(sum_of(d, 1, a), 1, b), ac = sum_of(sum_of(d, 1, a), 0.5, c),
                a_b = sum_of(sum_of(d, 1, a), -0.25, b);
  expect_close(merged(model_stock(), {.base = 0, .shape = {3, 4}}, {d, ab, ac, a_b}), kModelStock);
  expect_close(merged(model_stock(), {.global = {{"filter_wise", 1}}, .base = 3, .shape = {3, 4}},
                      {ab, ac, a_b, d}),
               kModelStockRows);
}

// ---- any cut, any order ----

struct Case {
  const char* name;
  const Method& method;
  Setting setting;
  size_t models;
};

std::vector<Case> cases() {
  const Shape shape{96, 250};
  return {
      {"slerp", slerp(), {.global = {{"t", 0.4}}, .base = 1, .shape = shape}, 2},
      {"nuslerp", nuslerp(), {.weights = {1, 2, 0}, .base = 2, .shape = shape}, 3},
      {"rows",
       nuslerp(),
       {.global = {{"nuslerp_flatten", 0}}, .weights = {1, 2}, .shape = shape},
       2},
      {"columns",
       nuslerp(),
       {.global = {{"nuslerp_flatten", 0}, {"nuslerp_row_wise", 1}},
        .weights = {1, 2, 0},
        .base = 2,
        .shape = {1200, 5, 4}},
       3},
      {"multislerp", multislerp(), {.weights = {1, 2, 3}, .shape = shape}, 3},
      {"karcher", karcher(), {.shape = shape}, 4},
      {"model_stock", model_stock(), {.base = 0, .shape = shape}, 4},
      {"filter_wise",
       model_stock(),
       {.global = {{"filter_wise", 1}}, .base = 0, .shape = shape},
       3},
      {"geometric_median", geometric_median(), {.shape = shape}, 4},
  };
}

std::vector<StoredValues> stored_waves(size_t models, DType dtype) {
  std::vector<StoredValues> inputs;
  for (size_t k = 0; k < models; ++k) {
    inputs.emplace_back(dtype, waves(0.4 * static_cast<double>(k + 1), 24000));
  }
  return inputs;
}

TEST(Spherical, AnyCutGivesTheSameBytes) {
  for (const Case& c : cases()) {
    SCOPED_TRACE(c.name);
    const auto inputs = stored_waves(c.models, DType::kBF16);
    const TensorTask task = task_of(c.setting, c.models);
    const Numbers whole = run_method(c.method, task, inputs);
    EXPECT_GT(length(whole), 1);
    expect_same_bits(run_method(c.method, task, inputs, 1), whole);
    expect_same_bits(run_method(c.method, task, inputs, 7000, true), whole);
  }
}

// Columns are added up in groups of rows, which come in any order.
TEST(NuSlerp, AddsColumnsOfManyGroupsInAFixedTree) {
  const size_t rows = 2100, columns = 700;  // groups of 374 rows
  std::vector<StoredValues> inputs;
  for (double phase : {0.3, 0.9}) inputs.emplace_back(DType::kBF16, waves(phase, rows * columns));
  const TensorTask task = task_of({.global = {{"nuslerp_flatten", 0}, {"nuslerp_row_wise", 1}},
                                   .weights = {1, 2},
                                   .shape = {rows, columns}},
                                  2);
  const Numbers forwards = run_method(nuslerp(), task, inputs, 1);
  EXPECT_EQ(forwards, run_method(nuslerp(), task, inputs, 1, true));
  EXPECT_EQ(forwards, run_method(nuslerp(), task, inputs));
}

TEST(Spherical, TheOrderOfModelsDoesNotMatter) {
  for (const Case& c : cases()) {
    if (c.models < 3 || c.setting.weights.size() > 0) continue;
    SCOPED_TRACE(c.name);
    auto inputs = stored_waves(c.models, DType::kBF16);
    const Numbers first = run_method(c.method, task_of(c.setting, c.models), inputs);
    for (int turn = 0; turn < 3; ++turn) {
      std::ranges::rotate(inputs, inputs.begin() + 1);
      Setting setting = c.setting;
      if (setting.base) setting.base = c.models - 1 - static_cast<size_t>(turn);
      expect_same_bits(run_method(c.method, task_of(setting, c.models), inputs), first);
    }
    if (!c.setting.base) {
      std::swap(inputs[0], inputs[2]);
      expect_same_bits(run_method(c.method, task_of(c.setting, c.models), inputs), first);
    }
  }
}

TEST(Spherical, OneNaNDoesNotSpreadInSilence) {
  for (const Method* method : {&slerp(), &nuslerp(), &karcher(), &geometric_median()}) {
    EXPECT_THAT(refusal(*method, {.global = {{"t", 0.5}}}, {{1, 2, NAN}, {1, 2, 3}}),
                HasSubstr("\"model.layers.0.mlp.down_proj.weight\" holds NaN"));
  }
}

// ---- slerp, nuslerp ----

TEST(Slerp, RoundsTheFormulaOnce) {
  const Numbers a = waves(0.5, 3000), b = waves(1.1, 3000);
  for (const DType stored : {DType::kBF16, DType::kF16, DType::kF32}) {
    const Numbers x = merged(slerp(), {.global = {{"t", 0}}, .base = 0}, {a, b}, stored);
    const Numbers y = merged(slerp(), {.global = {{"t", 1}}, .base = 0}, {a, b}, stored);
    long double xx = 0, xy = 0, yy = 0;
    for (size_t i = 0; i < x.size(); ++i) {
      xx += static_cast<long double>(x[i]) * x[i];
      xy += static_cast<long double>(x[i]) * y[i];
      yy += static_cast<long double>(y[i]) * y[i];
    }
    for (const double t : {0.25, 0.7, -0.5, 1.5}) {
      SCOPED_TRACE(t);
      const long double angle = std::acos(xy / std::sqrt(xx * yy));
      const long double p = std::sin((1 - static_cast<long double>(t)) * angle) / std::sin(angle);
      const long double q = std::sin(static_cast<long double>(t) * angle) / std::sin(angle);
      Numbers expected;
      for (size_t i = 0; i < x.size(); ++i) {
        expected.push_back(
            decode(stored, encode(stored, static_cast<double>(p * x[i] + q * y[i]))));
      }
      expect_same_bits(
          merged(slerp(), {.global = {{"t", t}}, .base = 0, .out = stored}, {a, b}, stored),
          expected);
    }
  }
}

TEST(Slerp, ReturnsItsEndsBitForBit) {
  const Numbers a{1, -0.0, 0.3, 1e-300}, b{-2, 5, -0.0, 0.7};
  for (const Method* method : {&slerp(), &nuslerp()}) {
    const auto at = [&](double t) {
      return merged(*method, {.global = {{"t", t}}, .weights = {1 - t, t}}, {a, b});
    };
    expect_same_bits(at(0), a);
    expect_same_bits(at(1), b);
  }
}

TEST(Slerp, StartsAtTheBase) {
  const Numbers a = eighths(0), b = eighths(1);
  expect_same_bits(merged(slerp(), {.global = {{"t", 0.3}}, .base = 1}, {b, a}),
                   merged(slerp(), {.global = {{"t", 0.3}}, .base = 0}, {a, b}));
}

TEST(Slerp, KeepsTheLengthOfModelsOfOneLength) {
  const Numbers half = merged(slerp(), {.global = {{"t", 0.5}}}, {{3, 0, 4}, {0, 5, 0}});
  expect_close({length(half)}, {5});
}

TEST(Slerp, TakesALineBetweenParallelOppositeAndZeroTensors) {
  const auto quarter = [](const Numbers& a, const Numbers& b) {
    return merged(slerp(), {.global = {{"t", 0.25}}}, {a, b});
  };
  EXPECT_EQ(quarter({4, 8}, {8, 16}), (Numbers{5, 10}));
  EXPECT_EQ(quarter({4, 8}, {-4, -8}), (Numbers{2, 4}));
  EXPECT_EQ(quarter({4, 8}, {0, 0}), (Numbers{3, 6}));
  EXPECT_EQ(quarter({0, 0}, {0, 0}), (Numbers{0, 0}));
}

TEST(Slerp, RefusesATFarOutside) {
  EXPECT_FALSE(slerp().check(task_of({.global = {{"t", 1.5}}}, 2)));
  EXPECT_TRUE(slerp().check(task_of({.global = {{"t", 1e9}}}, 2)));
}

TEST(NuSlerp, RowsAreTensorsOfTheirOwn) {
  const Numbers a = waves(0.2, 40), b = waves(0.8, 40);
  const Setting rows{.global = {{"nuslerp_flatten", 0}}, .weights = {1, 2}, .shape = {4, 10}};
  const Numbers all = merged(nuslerp(), rows, {a, b});
  for (size_t row = 0; row < 4; ++row) {
    const auto part = [&](const Numbers& x) {
      return Numbers(x.begin() + static_cast<ptrdiff_t>(10 * row),
                     x.begin() + static_cast<ptrdiff_t>(10 * row + 10));
    };
    expect_same_bits(part(all), merged(nuslerp(), {.weights = {1, 2}}, {part(a), part(b)}));
  }
}

TEST(NuSlerp, ColumnsAreRowsOfTheTransposedTensor) {
  const size_t rows = 6, columns = 70;
  const auto transposed = [&](const Numbers& x) {
    Numbers y(x.size());
    for (size_t i = 0; i < x.size(); ++i) y[i % columns * rows + i / columns] = x[i];
    return y;
  };
  const Numbers a = waves(0.2, rows * columns), b = waves(0.8, rows * columns);
  const Numbers by_columns = merged(nuslerp(),
                                    {.global = {{"nuslerp_flatten", 0}, {"nuslerp_row_wise", 1}},
                                     .weights = {1, 2},
                                     .shape = {rows, columns},
                                     .out = DType::kBF16},
                                    {a, b});
  expect_same_bits(transposed(by_columns), merged(nuslerp(),
                                                  {.global = {{"nuslerp_flatten", 0}},
                                                   .weights = {1, 2},
                                                   .shape = {columns, rows},
                                                   .out = DType::kBF16},
                                                  {transposed(a), transposed(b)}));
}

TEST(NuSlerp, KeepsTheBaseWhereNothingDiffers) {
  const Numbers base{0.1, 0.2, 0.3}, other{0.3, 0.1, 0.7};
  EXPECT_EQ(merged(nuslerp(), {.weights = {1, 1, 0}, .base = 2}, {base, base, base}), base);
  expect_close(merged(nuslerp(), {.weights = {1, 1, 0}, .base = 2}, {other, base, base}),
               {0.2, 0.15, 0.5});
}

TEST(NuSlerp, RefusesWeightsThatSumToZero) {
  EXPECT_TRUE(nuslerp().check(task_of({.weights = {1, -1}}, 2)));
  EXPECT_TRUE(nuslerp().check(task_of({.weights = {0, 0}}, 2)));
  EXPECT_FALSE(nuslerp().check(task_of({.weights = {1, 0, 3}, .base = 1}, 3)));
}

// ---- multislerp, karcher ----

TEST(MultiSlerp, ReturnsASingleModelAsItIs) {
  EXPECT_EQ(merged(multislerp(), {.weights = {0.3}}, {{0.1, -2, 5}}), (Numbers{0.1, -2, 5}));
}

TEST(MultiSlerp, RefusesDirectionsThatCancel) {
  const std::vector<Numbers> star{{1, 0}, {-0.5, std::sqrt(0.75)}, {-0.5, -std::sqrt(0.75)}};
  EXPECT_THAT(refusal(multislerp(), {.weights = {1, 1, 1}}, star),
              HasSubstr("down_proj.weight\": the models' weighted directions cancel"));
  EXPECT_EQ(merged(multislerp(), {.weights = {1, 1}}, {{1, 2}, {-1, -2}}), (Numbers{0, 0}));
}

// A frozen tensor: all models equal the base.
TEST(MultiSlerp, KeepsTheBaseWhereNothingDiffers) {
  const Numbers base{0.1, 0.2, 0.3};
  EXPECT_EQ(merged(multislerp(), {.weights = {1, 1, 1, 0}, .base = 3}, {base, base, base, base}),
            base);
}

TEST(MultiSlerp, RefusesWeightsThatSumToZero) {
  EXPECT_TRUE(multislerp().check(task_of({.weights = {1, -1}}, 2)));
  EXPECT_FALSE(
      multislerp().check(task_of({.global = {{"normalize_weights", 0}}, .weights = {1, -1}}, 2)));
}

TEST(Karcher, HalvesTheAngleBetweenTwo) {
  const Numbers mean = merged(karcher(), {}, {{2, 0}, {0, 4}});
  expect_close(mean, {3 * std::sqrt(0.5), 3 * std::sqrt(0.5)});
}

// On a circle the mean direction is the mean angle; the mean of the vectors points elsewhere.
TEST(Karcher, AveragesAnglesOnACircle) {
  const Numbers angles{0.1, 0.2, 1.5};
  std::vector<Numbers> models;
  for (double angle : angles) models.push_back({std::cos(angle), std::sin(angle)});
  expect_close(merged(karcher(), {.global = {{"max_iter", 100}, {"tol", 1e-13}}}, models),
               {std::cos(0.6), std::sin(0.6)});
}

TEST(Karcher, CountsZeroTensorsInTheLengthOnly) {
  expect_close(merged(karcher(), {}, {{3, 0}, {0, 0}, {0, 3}}),
               {2 * std::sqrt(0.5), 2 * std::sqrt(0.5)});
  EXPECT_EQ(merged(karcher(), {}, {{0, 0}, {0, 0}}), (Numbers{0, 0}));
}

// mergekit drops tensors shorter than tol.
TEST(Karcher, KeepsSmallTensors) {
  expect_close(merged(karcher(), {}, {{1e-6, 0}, {0, 1e-6}}),
               {1e-6 * std::sqrt(0.5), 1e-6 * std::sqrt(0.5)}, 1e-17);
}

TEST(Karcher, RefusesOppositeDirections) {
  EXPECT_THAT(refusal(karcher(), {}, {{1, 2}, {-1, -2}}), HasSubstr("no mean direction"));
  EXPECT_TRUE(karcher().check(task_of({.global = {{"max_iter", -1}}}, 2)));
}

// ---- model_stock ----

TEST(ModelStock, KeepsTheBaseWhereModelsDisagree) {
  const Numbers base{0.1, -0.0, 0.7};
  const auto stock = [&](double x, double y) {
    return merged(model_stock(), {.base = 0},
                  {base, sum_of(base, 1, {0.25, 0, 0}), sum_of(base, 1, {x, y, 0})});
  };
  expect_same_bits(stock(0, 0.5), base);    // at right angles
  expect_same_bits(stock(-0.25, 0), base);  // opposite: 1 + (n−1)·c = 0
  expect_same_bits(stock(0, 0), base);      // one of them is the base
}

TEST(ModelStock, GoesAllTheWayWhereModelsAgree) {
  const Numbers base{1, 2, 3}, other{1.5, 1, 4};
  EXPECT_EQ(merged(model_stock(), {.base = 0}, {base, other, other}), other);
}

// mergekit divides by at least 1e-6, and leaves such a tensor where the base is.
TEST(ModelStock, MovesSmallTensorsAsFarAsLargeOnes) {
  const Numbers base{0, 0}, a{1, 0}, b{1, 1};
  const auto scaled = [](const Numbers& x) { return Numbers{x[0] * 0x1p-27, x[1] * 0x1p-27}; };
  const Numbers large = merged(model_stock(), {.base = 0}, {base, a, b});
  const Numbers small = merged(model_stock(), {.base = 0}, {base, scaled(a), scaled(b)});
  expect_close({small[0] * 0x1p27, small[1] * 0x1p27}, large);
}

// ---- geometric_median ----

// 120° between any two of three models: their centre.
TEST(GeometricMedian, FindsTheCentreOfAnEvenTriangle) {
  const double h = std::sqrt(0.75);
  expect_close(merged(geometric_median(), {}, {{1, 0}, {-0.5, h}, {-0.5, -h}}), {0, 0});
}

// All angles at the Fermat point are 120°.
TEST(GeometricMedian, SeesModelsAt120Degrees) {
  const std::vector<Numbers> models{{0, 0, 1}, {4, 0, 1}, {1, 3, 1}};
  const Numbers median = merged(geometric_median(), {}, models);
  for (size_t i = 0; i < 3; ++i) {
    const Numbers a = sum_of(models[i], -1, median), b = sum_of(models[(i + 1) % 3], -1, median);
    EXPECT_NEAR(dot(a, b) / (length(a) * length(b)), -0.5, 1e-9);
  }
}

TEST(GeometricMedian, IsTheMiddleModelBitForBitIfThatIsBest) {
  const Numbers middle{0.1, 0.2, -0.0};
  const std::vector<Numbers> models{{10, 0.2, 0}, middle, {-10, 0.3, 0}, middle};
  expect_same_bits(merged(geometric_median(), {}, models), middle);
  expect_same_bits(merged(geometric_median(), {.weights = {1, 5, 1}}, {{0, 9}, {1, 7}, {100, 100}}),
                   {1, 7});
}

TEST(GeometricMedian, OfTwoModelsIsTheMean) {
  EXPECT_EQ(merged(geometric_median(), {}, {{1, 2}, {3, 8}}), (Numbers{2, 5}));
}

TEST(GeometricMedian, OutlierDoesNotPullFarther) {
  const std::vector<Numbers> near{{0, 0}, {1, 0}, {0, 1}};
  const auto with = [&](double far) {
    auto models = near;
    models.push_back({far, far});
    return merged(geometric_median(), {}, models);
  };
  expect_close(with(1e3), with(1e6), 1e-2);
}

TEST(GeometricMedian, RefusesNegativeWeights) {
  EXPECT_TRUE(geometric_median().check(task_of({.weights = {1, -1}}, 2)));
  EXPECT_TRUE(geometric_median().check(task_of({.weights = {0, 0}}, 2)));
  EXPECT_FALSE(geometric_median().check(task_of({}, 2)));
}

// ---- direction_removal ----

class DirectionRemoval : public testing::Test {
 protected:
  static constexpr size_t kHidden = 6;

  TensorTask task(const std::string& name, Shape shape, ParameterMap global = {}) const {
    TensorTask made = task_of({.global = std::move(global), .shape = std::move(shape)}, 1);
    made.name = name;
    made.elements = *element_count(made.shape);
    made.text["vector"] = path_;
    return made;
  }
  Numbers run(const TensorTask& task, const Numbers& w, uint64_t cut = 0) const {
    return run_method(direction_removal(), task, {{DType::kF64, w}}, cut, cut != 0);
  }
  // Of a matrix, or of one of a stack.
  static Numbers column(const Numbers& w, size_t columns, size_t c, size_t matrix = 0) {
    Numbers values;
    for (size_t i = 0; i < kHidden; ++i) {
      values.push_back(w[(matrix * kHidden + i) * columns + c]);
    }
    return values;
  }
  static Numbers row(const Numbers& w, size_t r) {
    return Numbers(w.begin() + static_cast<ptrdiff_t>(r * kHidden),
                   w.begin() + static_cast<ptrdiff_t>((r + 1) * kHidden));
  }

  const ScratchFolder folder_;
  const Numbers direction_{1, -2, 0.5, 0, 3, 1};
  const std::string path_ =
      write_model(folder_, "v",
                  {{"r", DType::kF32, {kHidden}, [this](size_t i) { return direction_[i]; }}}) +
      "/model.safetensors";
};

constexpr const char* kOut = "model.layers.3.self_attn.o_proj.weight";

TEST_F(DirectionRemoval, LeavesNothingOfItInColumnsAndKeepsTheirLengths) {
  const Numbers w = waves(0.7, kHidden * 9);
  const Numbers out = run(task(kOut, {kHidden, 9}), w);
  for (size_t c = 0; c < 9; ++c) {
    EXPECT_NEAR(dot(column(out, 9, c), direction_), 0, 1e-15);
    EXPECT_NEAR(length(column(out, 9, c)), length(column(w, 9, c)), 1e-15);
  }
}

TEST_F(DirectionRemoval, LeavesNothingOfItInRowsOfEmbeddings) {
  const Numbers w = waves(0.7, 5 * kHidden);
  const Numbers out = run(task("model.embed_tokens.weight", {5, kHidden}), w);
  for (size_t r = 0; r < 5; ++r) {
    EXPECT_NEAR(dot(row(out, r), direction_), 0, 1e-15);
    EXPECT_NEAR(length(row(out, r)), length(row(w, r)), 1e-15);
  }
}

TEST_F(DirectionRemoval, TakesAwayAsMuchAsTheStrengthSays) {
  const Numbers w = waves(0.7, kHidden * 9);
  const Numbers out = run(task(kOut, {kHidden, 9}, {{"strength", 0.5}, {"preserve_norm", 0}}), w);
  const double square = dot(direction_, direction_);
  for (size_t c = 0; c < 9; ++c) {
    const Numbers before = column(w, 9, c);
    expect_close(column(out, 9, c),
                 sum_of(before, -0.5 * dot(before, direction_) / square, direction_), 1e-15);
  }
}

TEST_F(DirectionRemoval, TreatsStackedExpertsOneByOne) {
  const Numbers w = waves(0.7, 3 * kHidden * 4);
  const Numbers out = run(task("model.layers.0.mlp.experts.down_proj", {3, kHidden, 4}), w);
  for (size_t e = 0; e < 3; ++e) {
    for (size_t c = 0; c < 4; ++c) {
      EXPECT_NEAR(dot(column(out, 4, c, e), direction_), 0, 1e-15);
      EXPECT_NEAR(length(column(out, 4, c, e)), length(column(w, 4, c, e)), 1e-15);
    }
  }
}

// GPT-2 stores its projections as [in, hidden].
TEST_F(DirectionRemoval, KnowsProjectionsStoredTheOtherWayRound) {
  const Numbers w = waves(0.7, kHidden * kHidden);
  const Numbers out = run(task("h.0.mlp.c_proj.weight", {kHidden, kHidden}), w);
  for (size_t r = 0; r < kHidden; ++r) EXPECT_NEAR(dot(row(out, r), direction_), 0, 1e-15);
}

TEST_F(DirectionRemoval, CopiesWhatDoesNotWriteIntoTheStream) {
  const Numbers w = waves(0.7, 6 * kHidden);
  for (const char* name : {"model.layers.0.self_attn.q_proj.weight", "lm_head.weight",
                           "model.visual.blocks.0.mlp.down_proj.weight"}) {
    expect_same_bits(run(task(name, {6, kHidden}), w), w);
  }
  expect_same_bits(run(task(kOut, {kHidden, 6}, {{"strength", 0}}), w), w);
}

TEST_F(DirectionRemoval, KeepsAVectorAtRightAnglesBitForBit) {
  const Numbers w{2, 1, -0.0, 7, 0, 0, 0, 0, 0, 5, 0, 0};
  expect_same_bits(run(task("model.embed_tokens.weight", {2, kHidden}), w), w);
}

TEST_F(DirectionRemoval, AnyCutGivesTheSameBytes) {
  const size_t columns = 130'001;  // two rows to a group
  const Numbers w = waves(0.7, kHidden * columns);
  expect_same_bits(run(task(kOut, {kHidden, columns}), w, 1),
                   run(task(kOut, {kHidden, columns}), w));
}

TEST_F(DirectionRemoval, RefusesAVectorThatDoesNotFit) {
  const auto reason = direction_removal().check(task(kOut, {8, 9}));
  ASSERT_TRUE(reason);
  EXPECT_THAT(*reason, HasSubstr("the vector has 6 numbers"));
  EXPECT_THAT(*direction_removal().check(
                  task("model.layers.0.mlp.experts.down_proj", {2, kHidden, kHidden})),
              HasSubstr("either of the last two axes"));
  EXPECT_FALSE(direction_removal().check(task(kOut, {kHidden, 9})));
  TensorTask without = task(kOut, {kHidden, 9});
  without.text["vector"] = folder_.path("absent.safetensors");
  EXPECT_THAT(*direction_removal().check(without), HasSubstr("absent.safetensors"));
}

}  // namespace
}  // namespace hieron
