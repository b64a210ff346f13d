#include "hieron/cli/inspection.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>

#include "hieron/core/text.h"
#include "hieron/walk/fingerprint.h"
#include "hieron/walk/model_files.h"

namespace hieron {

void Count::add(const TensorInfo& tensor) {
  ++tensors;
  parameters += tensor.elements;
  bytes += tensor.bytes();
}

namespace {

// How config.json spells the formats that weights are usually stored in.
struct ConfigDtype {
  std::string_view spelling;
  DType dtype;
};
constexpr ConfigDtype kConfigDtypes[] = {
    {"float32", DType::kF32}, {"bfloat16", DType::kBF16}, {"float16", DType::kF16}};

std::string counted(uint64_t n, std::string_view one) {
  return fmt::format("{} {}{}", with_commas(n), one, n == 1 ? "" : "s");
}

void count_roles(const Checkpoint& checkpoint, const RoleTable& table, Inspection& found) {
  std::map<std::pair<std::string_view, Role>, RoleCount> roles;
  found.of_tensor.reserve(checkpoint.tensors.size());
  for (const TensorInfo& tensor : checkpoint.tensors) {
    const TensorRole place = table.classify(tensor.name, tensor.shape);
    found.of_tensor.push_back(place);
    found.total.add(tensor);
    found.dtypes[tensor.dtype].add(tensor);
    RoleCount& row =
        roles.try_emplace({place.tower, place.role}, RoleCount{place.role, place.tower, {}, {}})
            .first->second;
    row.count.add(tensor);
    row.dtypes.insert(tensor.dtype);
    if (place.layer) found.layers.insert(*place.layer);
    if (place.expert && place.tower.empty()) found.experts.insert(*place.expert);
  }
  for (auto& [key, row] : roles) found.roles.push_back(std::move(row));
}

// The format that holds most parameters.
DType main_dtype(const Inspection& found) {
  return std::ranges::max_element(found.dtypes, {},
                                  [](const auto& entry) { return entry.second.parameters; })
      ->first;
}

void look_at_dtypes(const Checkpoint& checkpoint, Inspection& found) {
  if (found.total.parameters == 0) return;
  const DType usual = main_dtype(found);
  for (const auto& [dtype, count] : found.dtypes) {
    if (dtype == usual) continue;
    const auto example = std::ranges::find(checkpoint.tensors, dtype, &TensorInfo::dtype);
    found.oddities.push_back(
        fmt::format("{} with {} {} {} where most of the model is {}, e.g. \"{}\".",
                    counted(count.tensors, "tensor"), counted(count.parameters, "parameter"),
                    count.tensors == 1 ? "is" : "are", info(dtype).name, info(usual).name,
                    printable(example->name)));
  }
  if (!found.config) return;
  const auto stated = std::ranges::find(kConfigDtypes, found.config->dtype, &ConfigDtype::spelling);
  if (stated != std::end(kConfigDtypes) && stated->dtype != usual && info(usual).blend) {
    found.oddities.push_back(fmt::format("config.json says {}, but most of the weights are {}.",
                                         stated->spelling, info(usual).name));
  }
}

void look_at_empty_tensors(const Checkpoint& checkpoint, Inspection& found) {
  const auto empty = [](const TensorInfo& tensor) { return tensor.elements == 0; };
  const auto n = std::ranges::count_if(checkpoint.tensors, empty);
  if (n == 0) return;
  const auto first = std::ranges::find_if(checkpoint.tensors, empty);
  found.oddities.push_back(fmt::format("{} without any element, e.g. \"{}\" {}.",
                                       counted(static_cast<uint64_t>(n), "tensor"),
                                       printable(first->name), to_string(first->shape)));
}

// Numbers of a run 0, 1, 2 … that are not there, the first few of them.
std::string gaps(const std::set<int>& numbers) {
  std::vector<int> missing;
  int expected = 0;
  for (int number : numbers) {
    for (; expected < number && missing.size() < 6; ++expected) missing.push_back(expected);
    expected = number + 1;
  }
  if (missing.size() < 6) return fmt::format("{}", fmt::join(missing, ", "));
  missing.pop_back();
  return fmt::format("{} …", fmt::join(missing, ", "));
}

void look_at_numbers(const std::set<int>& numbers, std::string_view what,
                     std::optional<uint64_t> stated, Inspection& found) {
  if (numbers.empty()) return;
  const auto seen = static_cast<uint64_t>(numbers.size());
  const auto highest = static_cast<uint64_t>(*numbers.rbegin());
  // Keras and others count from one.
  const bool from_one = !numbers.contains(0) && *numbers.begin() == 1 && highest == seen;
  if (highest + 1 != seen && !from_one) {
    found.oddities.push_back(
        fmt::format("The {} numbers run to {}, but there are only {} of them "
                    "(not there: {}).",
                    what, highest, seen, gaps(numbers)));
  }
  if (stated && *stated != seen) {
    const bool extra = seen > *stated;
    found.oddities.push_back(fmt::format(
        "config.json says {} {}s, the tensors show {}{}.", with_commas(*stated), what,
        with_commas(seen),
        extra && what == "layer" ? " (blocks that predict further tokens count as layers)" : ""));
  }
}

bool has_role(const Inspection& found, Role role) {
  return std::ranges::any_of(
      found.roles, [&](const RoleCount& row) { return row.role == role && row.tower.empty(); });
}

void look_at_head(const Inspection& inspected, std::vector<std::string>& oddities) {
  if (!inspected.config || !inspected.config->tied) return;
  const bool head = has_role(inspected, Role::kHead);
  if (*inspected.config->tied && head) {
    oddities.push_back("config.json ties the head to the embedding, but a head is stored too.");
  }
  if (!*inspected.config->tied && !head && has_role(inspected, Role::kEmbedding)) {
    oddities.push_back("No head is stored, and config.json does not tie it to the embedding.");
  }
}

void look_at_vocabulary(const Checkpoint& checkpoint, Inspection& found) {
  if (!found.config || !found.config->vocab_size) return;
  const TensorInfo* embedding = nullptr;
  for (size_t i = 0; i < checkpoint.tensors.size(); ++i) {
    const TensorInfo& tensor = checkpoint.tensors[i];
    const TensorRole& place = found.of_tensor[i];
    const bool candidate = place.role == Role::kEmbedding && place.tower.empty() && !place.layer &&
                           tensor.shape.size() == 2;
    if (candidate && (!embedding || tensor.elements > embedding->elements)) embedding = &tensor;
  }
  if (!embedding || embedding->shape[0] == *found.config->vocab_size) return;
  found.oddities.push_back(fmt::format(
      "\"{}\" has {} rows, config.json says vocab_size {} (resized, padded or truncated).",
      printable(embedding->name), with_commas(embedding->shape[0]),
      with_commas(*found.config->vocab_size)));
}

void look_at_unknown(Inspection& found) {
  const auto other = std::ranges::find_if(found.roles, [](const RoleCount& row) {
    return row.role == Role::kOther && row.tower.empty();
  });
  if (other == found.roles.end() || found.total.parameters == 0) return;
  const double share =
      static_cast<double>(other->count.parameters) / static_cast<double>(found.total.parameters);
  if (share < 0.01) return;
  found.oddities.push_back(
      fmt::format("{:.1f} % of the parameters have names that tell no role.", 100 * share));
}

void say_fingerprint(const Checkpoint& checkpoint, Inspection& found) {
  uint64_t known = 0;
  for (const TensorInfo& tensor : checkpoint.tensors) known += known_elements(tensor);
  found.oddities.push_back(fmt::format(
      "This is a fingerprint: it holds {} elements of the tensors listed, at public positions; the "
      "model may have tensors that were not drawn.",
      with_commas(known)));
}

}  // namespace

Inspection inspect(const Checkpoint& checkpoint, ModelIdentity identity) {
  Inspection found;
  found.identity = std::move(identity);
  found.warnings = checkpoint.warnings;
  if (!checkpoint.config_json.empty()) {
    auto config = parse_config(checkpoint.config_json, "config.json");
    if (config) {
      found.config = *std::move(config);
    } else {
      found.warnings.push_back(config.error().sentence);
    }
  }
  const std::string architecture = found.config ? found.config->architecture : "";
  count_roles(checkpoint, RoleTable::of(architecture), found);
  look_at_dtypes(checkpoint, found);
  look_at_empty_tensors(checkpoint, found);
  if (is_fingerprint(checkpoint)) {
    say_fingerprint(checkpoint, found);  // what was not drawn is not missing
    return found;
  }
  const ModelConfig stated = found.config.value_or(ModelConfig{});
  look_at_numbers(found.layers, "layer", stated.layers, found);
  look_at_numbers(found.experts, "expert", stated.experts, found);
  look_at_head(found, found.oddities);
  look_at_vocabulary(checkpoint, found);
  look_at_unknown(found);
  found.tells = tells(model_files(checkpoint));
  return found;
}

}  // namespace hieron
