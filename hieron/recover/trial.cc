#include "hieron/recover/trial.h"

#include <algorithm>
#include <set>

#include "hieron/core/parallel.h"
#include "hieron/kernels/decode.h"
#include "hieron/merge/computed.h"
#include "hieron/merge/dtype_names.h"
#include "hieron/merge/mergekit/replay.h"
#include "hieron/merge/method.h"
#include "hieron/recover/plan_recipe.h"

namespace hieron {
namespace {

constexpr double kWorthMore = 0.3;  // share on the smallest probe; wrong recipes reach .04
constexpr size_t kFinalists = 16;
constexpr size_t kBatch = 64;  // hypotheses; where one reproduces all, no later batch is tried

DType stored_dtype(const Candidates& given, size_t model, const std::string& tensor) {
  const TensorInfo* found = given.alignment.models[model]->find(tensor);
  return found ? found->dtype : DType::kF32;
}

std::vector<float> rounded(DType dtype, std::span<const float> values) {
  std::vector<std::byte> bytes(values.size() * static_cast<size_t>(info(dtype).bits) / 8);
  encode(dtype, values, bytes.data());
  std::vector<float> back(values.size());
  decode(dtype, bytes.data(), std::span(back));
  return back;
}

}  // namespace

Trial::Trial(const Candidates& given, const Evidence& evidence)
    : given_(given), evidence_(evidence), names_(model_names(given.models.size())) {
  cut_ = cut_to_probes();
}

Trial::Models Trial::cut_to_probes() const {
  std::set<std::string, std::less<>> wanted;
  for (const auto& probe : evidence_.probes) wanted.insert(probe->name);
  Models cut(given_.models.size());
  for (const size_t m : given_.candidates) {
    auto copy = std::make_shared<Checkpoint>(*given_.models[m]);
    std::erase_if(copy->tensors,
                  [&](const TensorInfo& tensor) { return !wanted.contains(tensor.name); });
    if (copy->index()) cut[m] = std::move(copy);
  }
  return cut;
}

// Without the values of tensors that are no probes: a list of hundreds takes its time to read.
Hypothesis Trial::for_probes(Hypothesis hypothesis) const {
  const auto cut = [&](ParameterValues& values) {
    for (auto& [name, value] : values) {
      std::erase_if(value.by_tensor, [&](const auto& of) {
        return std::ranges::none_of(
            evidence_.probes, [&](const auto& probe) { return probe->name.contains(of.first); });
      });
    }
  };
  cut(hypothesis.parameters);
  for (HypothesisInput& input : hypothesis.inputs) cut(input.parameters);
  return hypothesis;
}

std::vector<Rendering> Trial::renderings(const Hypothesis& hypothesis) const {
  const WholeTensor& probe = *evidence_.probes.front();
  const DType stored = stored_dtype(given_, 0, probe.name), real = probe.dtype;
  const DType input = stored_dtype(given_, hypothesis.inputs.front().model, probe.name);
  const std::string real_name(torch_name(real)), stored_name(torch_name(stored));
  const std::string out = stored == real ? std::string() : stored_name;
  const Method* method = find_method(hypothesis.method);
  std::vector<Rendering> all;
  const auto wanted = [&](std::string_view arithmetic) {
    const auto& given = hypothesis.arithmetics;
    return given.empty() || std::ranges::find(given, arithmetic) != given.end();
  };
  const auto add = [&](std::string_view arithmetic, std::string dtype, std::string out_dtype) {
    if (wanted(arithmetic)) {
      all.push_back({std::string(arithmetic), std::move(dtype), std::move(out_dtype)});
    }
  };
  // As the inputs are, rounded at the end; or the inputs rounded first.
  const auto add_plain = [&](std::string_view arithmetic) {
    if (input == real && stored == real) {
      add(arithmetic, "", "");
    } else {
      if (stored == real) add(arithmetic, "", real_name);
      add(arithmetic, real_name, out);
    }
  };
  add_plain("exact");
  for (const ArithmeticInfo& about : arithmetics()) {
    if (!method->describe().weighted_sum || about.arithmetic == Arithmetic::kExact) continue;
    if (about.two_inputs_only && hypothesis.inputs.size() != 2) continue;
    add_plain(about.name);
  }
  for (const auto& [version, name] : {std::pair{mergekit::Version::k015, "mergekit-0.1.5"},
                                      std::pair{mergekit::Version::k014, "mergekit-0.1.4"}}) {
    if (!mergekit::replays(version, hypothesis.method)) continue;
    add(name, real_name, out);
    if (real != DType::kF32 && stored == real) {
      add(name, std::string(torch_name(DType::kF32)), real_name);
    }
    // Some methods return f32 whatever they work in, and that is what is stored.
    if (input != real && mergekit::returned_dtype(version, hypothesis.method, input) == stored) {
      add(name, std::string(torch_name(input)), "");
    }
  }
  return all;
}

Result<std::shared_ptr<const Plan>> Trial::plan_with(const Models& models,
                                                     const Hypothesis& hypothesis,
                                                     const Rendering& rendering) const {
  return plan_recipe(recipe_yaml(hypothesis, names_, rendering), names_, models);
}

Result<std::shared_ptr<const Plan>> Trial::plan(const Hypothesis& hypothesis,
                                                const Rendering& rendering) const {
  return plan_with(given_.models, hypothesis, rendering);
}

Result<std::shared_ptr<const Checkpoint>> Trial::computed(const Hypothesis& hypothesis,
                                                          const Rendering& rendering) const {
  // Random streams run through all tensors: those of a part of the model would be others.
  const auto planned = hypothesis.seed ? plan_with(given_.models, hypothesis, rendering)
                                       : plan_with(cut_, for_probes(hypothesis), rendering);
  if (!planned) return std::unexpected(planned.error());
  return computed_checkpoint(*planned);
}

TellingCount Trial::score(const Hypothesis& hypothesis, const Rendering& rendering,
                          Probes probes) const {
  const auto made = computed(hypothesis, rendering);
  if (!made) return {};
  std::vector<TellingCount> by_origin(given_.candidates.size());
  std::vector<std::byte> bytes;
  std::vector<float> values;
  for (const auto& probe : probes) {
    const TensorInfo* tensor = (*made)->find(probe->name);
    if (!tensor || tensor->elements != probe->elements() ||
        tensor->dtype != stored_dtype(given_, 0, probe->name)) {
      return {};
    }
    bytes.resize(tensor->bytes());
    values.resize(tensor->elements);
    if (!read_elements(**made, *tensor, 0, bytes)) return {};
    decode(tensor->dtype, bytes.data(), std::span(values));
    for (size_t k = 0; k < by_origin.size(); ++k) {
      const size_t model = given_.candidates[k];
      const std::vector<float>& origin = probe->values[model];
      const bool same = stored_dtype(given_, model, probe->name) == tensor->dtype;
      by_origin[k].add(probe->values[0], values, same ? origin : rounded(tensor->dtype, origin));
    }
  }
  return *std::ranges::min_element(by_origin, std::ranges::less{}, &TellingCount::share);
}

std::vector<Tried> Trial::best_of(std::span<const Hypothesis> hypotheses) const {
  const Probes probes(evidence_.probes);
  const auto sort = [](std::vector<Tried>& tried) {
    std::ranges::stable_sort(tried, [](const Tried& a, const Tried& b) {
      if (a.score.share() != b.score.share()) return a.score.share() > b.score.share();
      return a.hypothesis.complexity < b.hypothesis.complexity;
    });
  };
  const auto on = [&](std::vector<Tried> tried, Probes where) {
    parallel_for(tried.size(), given_.walk.threads, [&](size_t i) {
      tried[i].score = score(tried[i].hypothesis, tried[i].rendering, where);
    });
    sort(tried);
    return tried;
  };
  std::vector<Tried> best;  // by the smallest probe
  for (size_t first = 0; first < hypotheses.size(); first += kBatch) {
    const auto batch = hypotheses.subspan(first, std::min(kBatch, hypotheses.size() - first));
    const std::vector<Tried> tried = on(rendered(batch), probes.first(1));
    best.insert(best.end(), tried.begin(), tried.end());
    sort(best);
    std::erase_if(best, [](const Tried& t) { return t.score.share() < kWorthMore; });
    if (best.size() > kFinalists) best.resize(kFinalists);
    if (best.empty() || best.front().score.share() < 1) continue;
    std::vector<Tried> finalists = on(best, probes);
    if (finalists.front().score.share() == 1) return finalists;
  }
  return on(best, probes);
}

std::vector<Tried> Trial::rendered(std::span<const Hypothesis> hypotheses) const {
  std::vector<Tried> all;
  for (const Hypothesis& hypothesis : hypotheses) {
    if (hypothesis.inputs.empty() || !find_method(hypothesis.method)) continue;
    for (Rendering& rendering : renderings(hypothesis)) {
      all.push_back({hypothesis, std::move(rendering), {}});
    }
  }
  return all;
}

TellingCount Trial::score_of(const Hypothesis& hypothesis, const Rendering& rendering,
                             size_t model) const {
  std::vector<std::shared_ptr<const WholeTensor>> probes;
  for (const auto& probe : evidence_.probes) {
    if (model >= probe->values.size() || probe->values[model].empty()) continue;
    auto other = std::make_shared<WholeTensor>(*probe);
    other->values[0] = other->values[model];
    probes.push_back(std::move(other));
  }
  return score(hypothesis, rendering, probes);
}

}  // namespace hieron
