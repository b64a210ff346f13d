// Elements per second of the inner loops, beside a copy of the same bytes by memcpy; seeds per
// second of the search for one.
//
//   kernels_bench --benchmark_filter=blend
//
// Operands look like weights of a base and its fine-tunes: normal numbers, and changes of a few
// percent. 1 Mi elements: larger than the second-level cache, as blocks that come from a file are.
#include <benchmark/benchmark.h>

#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "hieron/kernels/arithmetic.h"
#include "hieron/kernels/blend_on.h"
#include "hieron/kernels/compare.h"
#include "hieron/kernels/decode.h"
#include "hieron/kernels/seed_search.h"

namespace {

using namespace hieron;

constexpr size_t kElements = size_t{1} << 20;

size_t width(DType dtype) { return static_cast<size_t>(info(dtype).bits) / 8; }

// Model 0 is the base; model k changes it.
std::vector<std::byte> weights_of(DType dtype, size_t model) {
  std::mt19937_64 base(1), change(model + 2);
  std::normal_distribution<double> normal;
  std::vector<double> values(kElements);
  for (double& value : values) value = 0.05 * normal(base);
  normal.reset();
  for (double& value : values) value += model ? 0.002 * normal(change) : 0.0;
  std::vector<std::byte> data(kElements * width(dtype));
  encode(dtype, std::span<const double>(values), data.data());
  return data;
}

void count_elements(benchmark::State& state, size_t bytes) {
  const auto rounds = static_cast<int64_t>(state.iterations());
  state.SetItemsProcessed(rounds * static_cast<int64_t>(kElements));
  state.SetBytesProcessed(rounds * static_cast<int64_t>(kElements * bytes));
}

void copy_bf16(benchmark::State& state) {
  const auto in = weights_of(DType::kBF16, 0);
  std::vector<std::byte> out(in.size());
  for (auto _ : state) {
    std::memcpy(out.data(), in.data(), in.size());
    benchmark::ClobberMemory();
  }
  count_elements(state, 2 * width(DType::kBF16));
}
BENCHMARK(copy_bf16);

void blend_on_isa(benchmark::State& state, Isa isa, Arithmetic arithmetic, DType dtype,
                  const std::vector<double>& weights) {
  std::vector<std::vector<std::byte>> data;
  std::vector<Operand> operands;
  for (size_t k = 0; k < weights.size(); ++k) data.push_back(weights_of(dtype, k));
  for (const auto& bytes : data) operands.push_back({dtype, bytes.data()});
  std::vector<std::byte> out(kElements * width(dtype));
  BlendScratch scratch;
  for (auto _ : state) {
    blend_on(isa, arithmetic, {weights, true}, operands, dtype, out.data(), kElements, scratch);
    benchmark::ClobberMemory();
  }
  count_elements(state, (weights.size() + 1) * width(dtype));
}

void compare_bf16(benchmark::State& state, size_t model) {
  const auto a = weights_of(DType::kBF16, 0), b = weights_of(DType::kBF16, model);
  for (auto _ : state) benchmark::DoNotOptimize(compare(a.data(), b.data(), kElements, 2));
  count_elements(state, 2 * width(DType::kBF16));
}

// Labels that the seed drew, of a share of the words from `first` to `last`.
std::vector<MaskObservation> labels(double probability, double share, uint64_t last,
                                    uint64_t first = 0, uint32_t seed = 42) {
  std::mt19937 stream(seed), choice(1);
  std::bernoulli_distribution observed(share);
  const auto threshold = static_cast<uint32_t>(probability * 0x1p24);
  std::vector<MaskObservation> seen;
  for (uint64_t word = 0; word < last; ++word) {
    const bool kept = (stream() & 0xFFFFFF) < threshold;
    if (word >= first && observed(choice)) seen.push_back({word, threshold, kept});
  }
  return seen;
}

// Seeds that are not the one: one thread's, or those of all cores together.
void search_for_seed(benchmark::State& state, Isa isa, unsigned threads,
                     const std::vector<std::vector<MaskObservation>>& sets) {
  constexpr uint64_t kSeeds = 1 << 22;
  for (auto _ : state) {
    benchmark::DoNotOptimize(
        search_seeds_on(isa, sets, {.seeds = {1000, 1000 + kSeeds}, .threads = threads}));
  }
  state.SetItemsProcessed(static_cast<int64_t>(state.iterations() * kSeeds));
}

std::string shown(const std::vector<double>& weights) {
  std::string text;
  for (double w : weights) {
    std::string number = std::to_string(w);
    number.erase(number.find_last_not_of('0') + 1);
    text += (text.empty() ? "" : ",") + number;
  }
  return text;
}

void register_seed_searches() {
  const auto dense = labels(0.53, 0.8, 226);
  std::vector<std::vector<MaskObservation>> twenty;
  for (uint32_t seed = 0; seed < 20; ++seed) twenty.push_back(labels(0.53, 0.8, 226, 0, seed));
  const std::vector<std::pair<std::string, std::vector<std::vector<MaskObservation>>>> cases{
      {"dense", {dense}},
      {"twenty-sets", twenty},
      {"density-.9", {labels(0.9, 0.8, 226)}},
      {"one-in-ten", {labels(0.53, 0.1, 1500)}},
      {"one-in-fifty", {labels(0.53, 0.02, 8000)}},
      {"none-near", {labels(0.53, 0.8, 900, 650)}}};
  for (const auto& [what, sets] : cases) {
    for (const Isa isa : supported_isas()) {
      const std::string name =
          "seed-search/" + what + (isa == Isa::kBaseline ? "/baseline" : "/avx2");
      benchmark::RegisterBenchmark(name.c_str(), search_for_seed, isa, 1u, sets);
    }
  }
  benchmark::RegisterBenchmark("seed-search/dense/all-cores", search_for_seed, best_isa(), 0u,
                               cases[0].second)
      ->UseRealTime();
}

void register_all() {
  const std::vector<std::vector<double>> decimal_weights{
      {.6, .4}, {.5, .5}, {1.3, -.3}, {.5, .3, .2}, {1, 1, 1}};
  for (const Isa isa : supported_isas()) {
    const std::string on = isa == Isa::kBaseline ? "/baseline" : "/avx2";
    for (const ArithmeticInfo& model : arithmetics()) {
      const std::vector<double> weights{.6, .4};
      const std::string name = "blend/" + std::string(model.name) + "/BF16/" + shown(weights) + on;
      benchmark::RegisterBenchmark(name.c_str(), blend_on_isa, isa, model.arithmetic, DType::kBF16,
                                   weights);
    }
    for (const DType dtype :
         {DType::kBF16, DType::kF16, DType::kF8E4M3, DType::kF32, DType::kF64}) {
      for (const auto& weights : decimal_weights) {
        const std::string name =
            "blend/exact/" + std::string(info(dtype).name) + "/" + shown(weights) + on;
        benchmark::RegisterBenchmark(name.c_str(), blend_on_isa, isa, Arithmetic::kExact, dtype,
                                     weights);
      }
    }
  }
  register_seed_searches();
  benchmark::RegisterBenchmark("compare/BF16/equal", compare_bf16, 0);
  benchmark::RegisterBenchmark("compare/BF16/different", compare_bf16, 1);
}

}  // namespace

int main(int argc, char** argv) {
  register_all();
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  benchmark::RunSpecifiedBenchmarks();
}
