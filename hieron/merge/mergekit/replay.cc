#include "hieron/merge/mergekit/replay.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "hieron/merge/mergekit/families.h"

namespace hieron::mergekit {
namespace {

struct Row {
  std::string_view method;
  Result<Values> (*run)(const ReplayTask&);
  bool element_wise;
  bool since_015 = false;  // not in the 0.1.4 of PyPI
  bool returns_f32 = false;
};

constexpr std::array kMethods{
    Row{"linear", linear, true},
    Row{"task_arithmetic", task_vectors, true},
    Row{"ties", task_vectors, false},
    Row{"dare_ties", task_vectors, false},
    Row{"dare_linear", task_vectors, false},
    Row{"breadcrumbs", task_vectors, false},
    Row{"breadcrumbs_ties", task_vectors, false},
    Row{"della", task_vectors, false},
    Row{"della_linear", task_vectors, false},
    Row{"slerp", slerp, false},
    Row{"nuslerp", nuslerp, false},
    Row{"multislerp", multislerp, false},
    Row{"karcher", karcher, false},
    Row{"model_stock", model_stock, false},
    Row{"sce", sce, false},
    Row{"nearswap", nearswap, true},
    Row{"arcee_fusion", arcee_fusion, false, false, true},
    Row{"ram", ram, true, true},
    Row{"ramplus_tl", ramplus_tl, false, true, true},
    Row{"passthrough", passthrough, true},
};

const Row* find(Version version, std::string_view method) {
  const auto* row = std::ranges::find(kMethods, method, &Row::method);
  if (row == kMethods.end() || (row->since_015 && version == Version::k014)) return nullptr;
  return row;
}

}  // namespace

bool replays(Version version, std::string_view method) { return find(version, method) != nullptr; }

bool element_wise(Version version, std::string_view method) {
  const Row* row = find(version, method);
  return row != nullptr && row->element_wise;
}

DType returned_dtype(Version version, std::string_view method, DType working) {
  const Row* row = find(version, method);
  return row != nullptr && row->returns_f32 ? DType::kF32 : working;
}

uint64_t words_drawn(Version version, std::string_view method, const TensorParameters& parameters,
                     std::optional<size_t> base, uint64_t elements) {
  if (method == "arcee_fusion" && parameters.per_model.size() == 1) return 0;
  if (method == "arcee_fusion") return words_of_arcee_fusion(version, elements);
  return words_of_task_vectors(method, parameters, base, elements);
}

std::optional<std::string> refusal(const ReplayTask& task) { return refusal_of_task_vectors(task); }

Status replay(const ReplayTask& task, std::span<std::byte> out) {
  const Row* row = find(task.version, task.method);
  if (row == nullptr) {
    return refuse(
        fmt::format("mergekit {} has no method \"{}\" that is replayed here; use "
                    "arithmetic: exact for tensor \"{}\"",
                    task.version == Version::k014 ? "0.1.4" : "0.1.5", task.method, task.tensor),
        {}, std::string(task.tensor));
  }
  HIERON_TRY(const Values values, row->run(task));
  store_values(returned_dtype(task.version, task.method, task.working), values, out.data());
  return {};
}

double global_of(const ReplayTask& task, std::string_view name, double otherwise) {
  return value_of(task.parameters->global, name, otherwise);
}

double model_of(const ReplayTask& task, size_t operand, std::string_view name, double otherwise) {
  const auto& models = task.parameters->per_model;
  return operand < models.size() ? value_of(models[operand], name, otherwise) : otherwise;
}

std::vector<size_t> operands_but_base(const ReplayTask& task) {
  std::vector<size_t> others;
  for (size_t k = 0; k < task.operands.size(); ++k) {
    if (k != task.base) others.push_back(k);
  }
  return others;
}

Values values_of(const ReplayTask& task, size_t operand) {
  return values_of(task.operands[operand], task.elements);
}

Values delta(const ReplayTask& task, size_t operand) {
  const Rounding r(task.working);
  Values d = values_of(task, operand);
  const Values base = values_of(task, *task.base);
  for (size_t i = 0; i < d.size(); ++i) d[i] = r(d[i] - base[i]);
  return d;
}

std::unexpected<Error> refused(const ReplayTask& task, std::string_view reason) {
  return refuse(fmt::format("mergekit {} refuses tensor \"{}\" with method {}: {}",
                            task.version == Version::k014 ? "0.1.4" : "0.1.5", task.tensor,
                            task.method, reason),
                {}, std::string(task.tensor));
}

}  // namespace hieron::mergekit
