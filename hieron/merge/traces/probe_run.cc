#include "hieron/merge/traces/probe_run.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <optional>
#include <span>

#include "hieron/fit/interval.h"
#include "hieron/kernels/decode.h"
#include "hieron/merge/mergekit/replay_work.h"
#include "hieron/merge/telling.h"

namespace hieron {
namespace {

constexpr double kPromising = 0.15;
constexpr double kExplained = 0.4;      // of the elements that are nobody's, within the noise:
constexpr double kCells = 2.5;          // in bf16 and f16, of the largest number involved
constexpr double kCellsOfF32 = 64;      // sums over whole tensors leave errors of many cells
constexpr uint64_t kLeastTelling = 50;  // below, the noise hides who made an element
constexpr uint64_t kPiece = uint64_t{1} << 16;  // elements; whole grains of it at a time

size_t width(DType dtype) { return static_cast<size_t>(info(dtype).bits) / 8; }

std::vector<std::byte> stored(DType dtype, std::span<const float> values) {
  std::vector<std::byte> bytes(values.size() * width(dtype));
  encode(dtype, values, bytes.data());
  return bytes;
}

std::vector<float> rounded(DType dtype, std::span<const float> values) {
  const std::vector<std::byte> bytes = stored(dtype, values);
  std::vector<float> back(values.size());
  decode(dtype, bytes.data(), std::span(back));
  return back;
}

double value_for(const ParameterValue& value, const std::string& tensor) {
  const auto own =
      std::ranges::find(value.by_tensor, tensor, &std::pair<std::string, double>::first);
  return own == value.by_tensor.end() ? value.otherwise : own->second;
}

ParameterMap resolved(const MethodInfo& about, const ParameterValues& given, bool per_model,
                      const std::string& tensor) {
  ParameterMap map;
  for (const ParameterInfo& parameter : about.parameters) {
    if (parameter.per_model != per_model) continue;
    const auto written = given.find(parameter.name);
    if (written != given.end()) {
      map.emplace(parameter.name, value_for(written->second, tensor));
    } else if (parameter.standard) {
      map.emplace(parameter.name, *parameter.standard);
    }
  }
  return map;
}

// The models that are operands, and which of them is the base.
struct Roles {
  std::vector<size_t> models;
  std::optional<size_t> base;
};

Roles roles_of(const MethodInfo& about, const Hypothesis& hypothesis) {
  Roles roles;
  for (const HypothesisInput& input : hypothesis.inputs) roles.models.push_back(input.model);
  if (!hypothesis.base || about.base == BaseModel::kUnused) return roles;
  const auto listed = std::ranges::find(roles.models, *hypothesis.base);
  roles.base = static_cast<size_t>(listed - roles.models.begin());
  if (listed == roles.models.end()) roles.models.push_back(*hypothesis.base);
  return roles;
}

// Against each candidate.
struct Counted {
  std::vector<TellingCount> counts;

  void add(const Evidence& evidence, const WholeTensor& tensor, std::span<const float> made) {
    counts.resize(evidence.candidates.size());
    for (size_t k = 0; k < counts.size(); ++k) {
      counts[k].add(tensor.values[0], made, as_suspect(tensor, evidence.candidates[k]));
    }
  }

  double least_share() const {
    double least = 1;
    bool any = false;  // where suspect and result are both one of the candidates, it says nothing
    for (const TellingCount& count : counts) {
      if (count.telling == 0) continue;
      any = true;
      least = std::min(least, count.share());
    }
    return any ? least : 0;
  }
};

// The smallest probe, and how far each of its elements may be off by the noise of an arithmetic.
class NearlyMade {
 public:
  explicit NearlyMade(const Evidence& evidence) : tensor_(*evidence.probes.front()) {
    const std::vector<float>& suspect = tensor_.values[0];
    std::vector<double> largest(suspect.size());
    std::vector<float> nearest(suspect.size(), std::numeric_limits<float>::infinity());
    const auto take = [&](std::span<const float> values) {
      for (size_t i = 0; i < values.size(); ++i) {
        largest[i] = std::max(largest[i], static_cast<double>(std::abs(values[i])));
      }
    };
    take(suspect);
    for (const size_t m : evidence.candidates) {
      const std::vector<float> values = as_suspect(tensor_, m);
      take(values);
      for (size_t i = 0; i < values.size(); ++i) {
        nearest[i] = std::min(nearest[i], std::abs(values[i] - suspect[i]));
      }
    }
    std::vector<CellEnds> cells(suspect.size());
    cell_ends(tensor_.dtype, largest, cells);
    const double count = tensor_.dtype == DType::kF32 ? kCellsOfF32 : kCells;
    for (size_t i = 0; i < suspect.size(); ++i) {
      const double noise = count * (cells[i].high - cells[i].low);
      if (static_cast<double>(nearest[i]) > 2 * noise) telling_.emplace_back(i, noise);
    }
  }

  bool made_by(const Hypothesis& hypothesis, Program program) const {
    const std::vector<float> made = computed_on(tensor_, hypothesis, program);
    if (made.empty()) return false;
    uint64_t near = 0;
    for (const auto& [i, noise] : telling_) {
      near += static_cast<double>(std::abs(made[i] - tensor_.values[0][i])) <= noise;
    }
    return telling_.size() < kLeastTelling ||
           static_cast<double>(near) >= kExplained * static_cast<double>(telling_.size());
  }

 private:
  const WholeTensor& tensor_;
  std::vector<std::pair<size_t, double>> telling_;  // elements that are nobody's, and their noise
};

}  // namespace

WholeTensor telling_part(const WholeTensor& whole, std::span<const size_t> models, uint64_t most) {
  std::vector<size_t> telling;
  for (size_t i = 0; i < whole.elements(); ++i) {
    const float first = whole.values[models.front()][i];
    const bool differ =
        std::ranges::any_of(models, [&](size_t m) { return whole.values[m][i] != first; });
    if (differ || models.size() == 1) telling.push_back(i);
  }
  const size_t step = std::max<size_t>(1, (telling.size() + most - 1) / most);
  WholeTensor part{whole.name, {}, whole.role, whole.dtype, {}};
  for (const std::vector<float>& values : whole.values) {
    auto& some = part.values.emplace_back();
    if (values.empty()) continue;
    for (size_t i = 0; i < telling.size(); i += step) some.push_back(values[telling[i]]);
  }
  part.shape = {part.elements()};
  return part;
}

float rounding_noise(DType dtype) {
  switch (dtype) {
    case DType::kBF16:
      return 0x1p-7f;
    case DType::kF16:
      return 0x1p-10f;
    default:
      return 0x1p-21f;
  }
}

std::vector<float> as_suspect(const WholeTensor& tensor, size_t model) {
  return rounded(tensor.dtype, tensor.values[model]);
}

std::vector<float> computed_on(const WholeTensor& tensor, const Hypothesis& hypothesis,
                               Program program) {
  const Method& method = *find_method(hypothesis.method);
  const Roles roles = roles_of(method.describe(), hypothesis);
  auto parameters = std::make_shared<TensorParameters>();
  for (size_t k = 0; k < roles.models.size(); ++k) {
    if (tensor.values[roles.models[k]].size() != tensor.elements()) return {};
    const bool listed = k < hypothesis.inputs.size();
    parameters->per_model.push_back(
        resolved(method.describe(), listed ? hypothesis.inputs[k].parameters : ParameterValues{},
                 true, tensor.name));
  }
  parameters->global = resolved(method.describe(), hypothesis.parameters, false, tensor.name);
  TensorTask task{.name = tensor.name,
                  .shape = tensor.shape,
                  .parameters = parameters,
                  .inputs = {},
                  .base = roles.base,
                  .arithmetic = program.arithmetic};
  task.elements = tensor.elements();
  const auto& version = program.version;
  const DType working = version ? tensor.dtype : DType::kF32;
  task.inputs.assign(roles.models.size(), working);
  task.out =
      version ? mergekit::returned_dtype(*version, hypothesis.method, working) : tensor.dtype;
  if (method.check(task) || (version && !mergekit::replays(*version, hypothesis.method))) return {};

  std::vector<std::vector<std::byte>> inputs;
  for (const size_t m : roles.models) inputs.push_back(stored(working, tensor.values[m]));
  const auto work = version ? mergekit::replay_work(*version, hypothesis.method, task, working, 0)
                            : method.start(task);
  const uint64_t grain = std::max<uint64_t>(1, work->grain());
  const uint64_t step = std::max(grain, kPiece / grain * grain);
  WorkScratch scratch;
  std::vector<Operand> operands(roles.models.size());
  const auto over_all = [&](const auto& act) {
    for (uint64_t first = 0; first < task.elements; first += step) {
      for (size_t k = 0; k < operands.size(); ++k) {
        operands[k] = {working, inputs[k].data() + first * width(working)};
      }
      act(Piece{first, std::min(step, task.elements - first), operands});
    }
  };
  while (work->wants_pass()) {
    over_all([&](const Piece& piece) { work->look(piece, scratch); });
    if (!work->end_pass()) return {};
  }
  std::vector<std::byte> bytes(task.elements * width(task.out));
  over_all([&](const Piece& piece) {
    work->apply(piece, bytes.data() + piece.first * width(task.out), scratch);
  });
  std::vector<float> made(task.elements);
  decode(task.out, bytes.data(), std::span(made));
  return task.out == tensor.dtype ? made : rounded(tensor.dtype, made);
}

uint64_t elements_reproduced(const WholeTensor& tensor, const Hypothesis& hypothesis,
                             Program program) {
  const std::vector<float> made = computed_on(tensor, hypothesis, program);
  uint64_t equal = 0;
  for (size_t i = 0; i < made.size(); ++i) {
    equal += std::bit_cast<uint32_t>(tensor.values[0][i]) == std::bit_cast<uint32_t>(made[i]);
  }
  return equal;
}

double share_reproduced(const Evidence& evidence, const WholeTensor& tensor,
                        const Hypothesis& hypothesis, Program program) {
  const std::vector<float> made = computed_on(tensor, hypothesis, program);
  if (made.empty()) return 0;
  Counted counted;
  counted.add(evidence, tensor, made);
  return counted.least_share();
}

double share_reproduced(const Evidence& evidence, const Hypothesis& hypothesis) {
  Counted counted;
  for (const auto& probe : evidence.probes) {
    const std::vector<float> made = computed_on(*probe, hypothesis);
    if (made.empty()) return 0;
    counted.add(evidence, *probe, made);
  }
  return counted.least_share();
}

bool promising(const Evidence& evidence, const Hypothesis& hypothesis) {
  if (evidence.probes.empty()) return false;
  return share_reproduced(evidence, *evidence.probes.front(), hypothesis) >= kPromising;
}

bool explains(const Evidence& evidence, const Hypothesis& hypothesis) {
  const NearlyMade near(evidence);
  if (near.made_by(hypothesis, {})) return true;
  if (evidence.fit_class == FitClass::kOneRounding) return false;
  return near.made_by(hypothesis, {.version = mergekit::Version::k015}) ||
         near.made_by(hypothesis, {.version = mergekit::Version::k014});
}

}  // namespace hieron
