#include "hieron/merge/preflight.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <fstream>
#include <map>
#include <optional>
#include <string>
#include <thread>
#include <tuple>
#include <vector>

#include "hieron/core/hash.h"
#include "hieron/core/prf.h"
#include "hieron/core/text.h"
#include "hieron/kernels/decode.h"
#include "hieron/merge/compute.h"

namespace hieron {
namespace {

constexpr uint64_t kTrial = 1u << 16;         // elements of a trial
constexpr uint64_t kLargestTrial = 1u << 24;  // where a parameter file dictates the shape
constexpr int kTrials = 5;                    // at most
constexpr double kTrialSeconds = 0.02;        // enough of them

// Tensors that cost alike, an element.
struct Kind {
  const Method* method;
  Arithmetic arithmetic;
  std::optional<mergekit::Version> replay;
  DType working, dtype;
  std::vector<DType> inputs;
  size_t dimensions;
  auto operator<=>(const Kind&) const = default;
};

Kind kind_of(const PlannedTensor& tensor) {
  Kind kind{tensor.method,        tensor.arithmetic, tensor.replay,
            tensor.working,       tensor.dtype,      {},
            tensor.shape().size()};
  for (const PlannedInput& input : tensor.inputs) kind.inputs.push_back(input.tensor->dtype);
  return kind;
}

// Per element.
struct Cost {
  double seconds = 0, hash_seconds = 0;  // on one core
  double passes = 1;
  double held = 0;  // bytes
};

double seconds_of(const auto& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// The best of several, as other programs may run in between.
double least_seconds(const auto& work) {
  double least = seconds_of(work), total = least;
  for (int i = 1; i < kTrials && total < kTrialSeconds; ++i) {
    const double seconds = seconds_of(work);
    least = std::min(least, seconds);
    total += seconds;
  }
  return least;
}

// A tensor like another one, with fewer rows, of made-up weights: a base and small changes.
class Trial {
 public:
  Trial(const Plan& plan, const PlannedTensor& like) : plan_(plan), tensor_(like) {
    Shape shape = like.shape();
    if (plan.texts.empty()) shrink(shape);
    tensor_.elements = *element_count(shape);
    if (tensor_.elements <= kLargestTrial) make_inputs(shape);
  }

  // Refused if it cannot be tried.
  Result<Cost> run() {
    if (tensor_.elements > kLargestTrial) {
      return refuse(fmt::format("a trial of \"{}\" would take all of its {} elements, because a "
                                "parameter is a file.",
                                printable(tensor_.name), with_commas(tensor_.elements)),
                    {}, tensor_.name);
    }
    const auto n = static_cast<double>(tensor_.elements);
    Cost cost;
    Status done;
    cost.seconds = least_seconds([&] {
                     if (done) done = compute(cost);
                   }) /
                   n;
    HIERON_CHECK(done);
    const std::string_view made(reinterpret_cast<const char*>(out_.data()), out_.size());
    cost.hash_seconds = least_seconds([&] { sha256(made); }) / n;
    return cost;
  }

 private:
  static void shrink(Shape& shape) {
    for (auto& dimension : shape) {
      const uint64_t elements = *element_count(shape);
      if (elements <= kTrial) return;
      const uint64_t others = elements / static_cast<uint64_t>(dimension);
      dimension = std::max<uint64_t>(1, kTrial / std::max<uint64_t>(1, others));
    }
  }

  void make_inputs(const Shape& shape) {
    const Prf prf(Seed{}, "a trial of a merge");
    std::vector<double> base(tensor_.elements), values(tensor_.elements);
    for (size_t i = 0; i < base.size(); ++i) base[i] = 0.08 * (prf.uniform(i) - 0.5);
    infos_.reserve(tensor_.inputs.size());
    for (size_t k = 0; k < tensor_.inputs.size(); ++k) {
      for (size_t i = 0; i < values.size(); ++i) {
        values[i] = base[i] * (1 + 0.02 * static_cast<double>((i + k * 7) % (3 + k)));
      }
      const DType dtype = tensor_.inputs[k].tensor->dtype;
      data_.emplace_back(values.size() * static_cast<size_t>(info(dtype).bits) / 8);
      encode(dtype, std::span<const double>(values), data_.back().data());
      infos_.push_back({.name = tensor_.name,
                        .dtype = dtype,
                        .shape = shape,
                        .elements = tensor_.elements,
                        .stored = {},
                        .computed = nullptr});
      tensor_.inputs[k].tensor = &infos_.back();
    }
    out_.resize(tensor_.bytes());
  }

  Status compute(Cost& cost) {
    Computation computation(plan_, tensor_);
    std::vector<const std::byte*> inputs;
    for (const auto& bytes : data_) inputs.push_back(bytes.data());
    cost.held = static_cast<double>(computation.held()) / static_cast<double>(tensor_.elements);
    cost.passes = 1;
    for (; computation.wants_pass(); ++cost.passes) {
      computation.look(0, tensor_.elements, inputs, scratch_);
      HIERON_CHECK(computation.end_pass());
    }
    computation.apply(0, tensor_.elements, inputs, out_.data(), scratch_);
    return {};
  }

  const Plan& plan_;
  PlannedTensor tensor_;
  std::vector<TensorInfo> infos_;
  std::vector<std::vector<std::byte>> data_;
  std::vector<std::byte> out_;
  ComputeScratch scratch_;
};

// What the system could give without swapping; nothing if it does not say.
std::optional<uint64_t> free_memory() {
  std::ifstream file("/proc/meminfo");
  for (std::string key, unit; file >> key;) {
    uint64_t kibibytes = 0;
    if (!(file >> kibibytes)) return std::nullopt;
    std::getline(file, unit);
    if (key == "MemAvailable:") return kibibytes << 10;
  }
  return std::nullopt;
}

}  // namespace

Preflight preflight(const Plan& plan, unsigned threads) {
  Preflight needs;
  needs.bytes_written = plan.output_bytes();
  std::map<Kind, Cost> costs;
  double computing = 0, hashing = 0;
  for (const PlannedTensor& tensor : plan.tensors) {
    if (tensor.elements == 0) continue;
    auto [known, fresh] = costs.try_emplace(kind_of(tensor));
    if (fresh) {
      const Result<Cost> tried = Trial(plan, tensor).run();
      if (!tried && needs.not_estimated.empty()) needs.not_estimated = tried.error().sentence;
      known->second = tried.value_or(Cost{});
    }
    const Cost& cost = known->second;
    const auto n = static_cast<double>(tensor.elements);
    const uint64_t bytes = tensor.input_bytes();
    needs.bytes_read += bytes;
    needs.bytes_passed += static_cast<uint64_t>(cost.passes * static_cast<double>(bytes));
    computing += cost.seconds * n;
    hashing += cost.hash_seconds * n;
    if (const auto held = static_cast<uint64_t>(cost.held * n); held > needs.bytes_held) {
      needs.bytes_held = held;
      needs.held_by = tensor.name;
    }
  }
  const unsigned cores = std::max(1u, std::thread::hardware_concurrency());
  const unsigned used = threads == 0 ? cores : std::min(threads, cores);
  // One thread at a time hashes.
  if (needs.not_estimated.empty())
    needs.compute_seconds = std::max(hashing, (computing + hashing) / used);
  return needs;
}

Status check_memory(const Preflight& needs) {
  const auto free = free_memory();
  if (!free || needs.bytes_held <= *free) return {};
  return system_error(fmt::format(
      "Tensor \"{}\" needs {} of memory, because this arithmetic works on a whole tensor "
      "at once, but {} are free; use a larger machine, or arithmetic exact.",
      printable(needs.held_by), show_bytes(needs.bytes_held), show_bytes(*free)));
}

}  // namespace hieron
