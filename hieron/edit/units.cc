// Hidden units in another order: rows of gate and up, columns of down, all moved alike. The
// function is the same; so are the bytes, once the model is put into the suspect's order.
#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <numeric>
#include <string>
#include <tuple>
#include <unordered_map>

#include "hieron/core/text.h"
#include "hieron/edit/kinds.h"
#include "hieron/kernels/decode.h"

namespace hieron {
namespace {

constexpr uint64_t kBlockElements = 1 << 20;

enum class Axis : uint8_t { kRows, kColumns };

struct Part {
  size_t row;  // of the alignment
  Axis axis;   // along which the units lie
  uint64_t gates = 1;
};

// One feed-forward block: its tensors that hold hidden units. The first one finds the order.
struct FeedForward {
  uint64_t units = 0;
  std::vector<Part> parts;
};

bool is_down(Role role) { return role == Role::kMlpDown || role == Role::kExpertDown; }
bool is_hidden(Role role) {
  return role == Role::kMlpGate || role == Role::kMlpUp || role == Role::kExpertGate ||
         role == Role::kExpertUp;
}

// "model.layers.3.mlp." of "model.layers.3.mlp.gate_proj.weight".
std::string block_name(const std::string& tensor) {
  const size_t last = tensor.rfind('.');
  const size_t before = last == std::string::npos || last == 0 ? last : tensor.rfind('.', last - 1);
  return before == std::string::npos ? std::string() : tensor.substr(0, before + 1);
}

std::vector<FeedForward> feed_forward_blocks(const EditCase& given, size_t model) {
  std::map<std::string, FeedForward> blocks;
  const auto usable = [&](const Row& row) {
    return row.views[model] && info(row.views[0]->tensor->dtype).format &&
           info(row.views[model]->tensor->dtype).format;
  };
  const auto& rows = given.alignment.rows;
  for (size_t i = 0; i < rows.size(); ++i) {  // what numbers the units
    const TensorRole role = given.roles.classify(rows[i].name, rows[i].shape);
    const auto layout = unit_layout(role, rows[i].name, rows[i].shape);
    if (!usable(rows[i]) || !is_hidden(role.role) || !layout) continue;
    FeedForward& block = blocks[block_name(rows[i].name)];
    if (block.units != 0 && block.units != layout->units) continue;
    block.units = layout->units;
    block.parts.push_back(
        {i, layout->rows ? Axis::kRows : Axis::kColumns, static_cast<uint64_t>(layout->gates)});
  }
  for (size_t i = 0; i < rows.size(); ++i) {  // what follows their order
    const auto found = blocks.find(block_name(rows[i].name));
    const Role role = given.roles.classify(rows[i].name, rows[i].shape).role;
    if (found == blocks.end() || !usable(rows[i])) continue;
    FeedForward& block = found->second;
    const Shape& shape = rows[i].shape;
    if (is_down(role) && shape.size() == 2) {
      const Axis axis = block.parts.front().axis == Axis::kRows ? Axis::kColumns : Axis::kRows;
      if (shape[axis == Axis::kRows ? 0 : 1] == block.units) block.parts.push_back({i, axis});
    } else if (is_hidden(role) && shape.size() == 1 && shape[0] == block.units) {
      block.parts.push_back({i, Axis::kRows});
    }
  }
  std::vector<FeedForward> all;
  for (auto& [name, block] : blocks) {
    // Rows of matrices first: the cheapest key that tells units apart.
    std::ranges::sort(block.parts, {}, [&](const Part& part) {
      return std::tuple(part.axis, rows[part.row].shape.size() == 1, part.row);
    });
    all.push_back(std::move(block));
  }
  return all;
}

// Rows of one model's tensor as the suspect would store them.
class StoredRows {
 public:
  StoredRows(const EditCase& given, size_t row, size_t model)
      : checkpoint_(*given.alignment.models[model]),
        view_(*given.alignment.rows[row].views[model]),
        wanted_(given.alignment.rows[row].views[0]->tensor->dtype),
        columns_(given.alignment.rows[row].shape.size() == 1
                     ? 1
                     : row_length(given.alignment.rows[row].shape)),
        rows_(given.alignment.rows[row].elements / columns_) {}

  uint64_t rows() const { return rows_; }
  uint64_t columns() const { return columns_; }
  size_t width() const { return static_cast<size_t>(info(wanted_).bits) / 8; }

  Result<std::vector<std::byte>> read(uint64_t first, uint64_t count) const {
    const DType stored = view_.tensor->dtype;
    std::vector<std::byte> raw(count * columns_ * static_cast<size_t>(info(stored).bits) / 8);
    HIERON_CHECK(read_elements(checkpoint_, *view_.tensor, view_.first + first * columns_, raw));
    if (stored == wanted_) return raw;
    std::vector<double> values(count * columns_);
    decode(stored, raw.data(), std::span(values));
    std::vector<std::byte> made(values.size() * width());
    encode(wanted_, std::span<const double>(values), made.data());
    return made;
  }

 private:
  const Checkpoint& checkpoint_;
  const TensorView view_;
  const DType wanted_;
  const uint64_t columns_, rows_;
};

// Unit by unit a key of all its bytes in one tensor.
Result<std::vector<size_t>> keys_of(const StoredRows& rows, const Part& part, uint64_t units) {
  std::vector<size_t> keys(units, 0);
  const uint64_t step = std::max<uint64_t>(1, kBlockElements / rows.columns());
  const auto mix = [](size_t a, size_t b) {
    return a ^ (b + 0x9E3779B97F4A7C15u + (a << 6) + (a >> 2));
  };
  for (uint64_t first = 0; first < rows.rows(); first += step) {
    const uint64_t count = std::min(step, rows.rows() - first);
    HIERON_TRY(const std::vector<std::byte> block, rows.read(first, count));
    const auto text = [&](uint64_t element, uint64_t elements) {
      return std::string_view(reinterpret_cast<const char*>(block.data()) + element * rows.width(),
                              elements * rows.width());
    };
    const std::hash<std::string_view> hash;
    for (uint64_t r = 0; r < count; ++r) {
      if (part.axis == Axis::kRows) {
        size_t& key = keys[(first + r) % units];
        key = mix(key, hash(text(r * rows.columns(), rows.columns())));
        continue;
      }
      for (uint64_t c = 0; c < rows.columns(); ++c) {
        keys[c % units] = mix(keys[c % units], hash(text(r * rows.columns() + c, 1)));
      }
    }
  }
  return keys;
}

// from[u]: the model's unit that stands at u in the suspect. Empty: most units are not the model's.
Result<std::vector<uint64_t>> order_of(const EditCase& given, const FeedForward& block,
                                       size_t model) {
  constexpr double kMost = 0.99;
  const Part& part = block.parts.front();
  HIERON_TRY(const auto here, keys_of(StoredRows(given, part.row, 0), part, block.units));
  HIERON_TRY(const auto there, keys_of(StoredRows(given, part.row, model), part, block.units));
  std::unordered_multimap<size_t, uint64_t> known;
  for (uint64_t u = block.units; u-- > 0;) known.emplace(there[u], u);
  std::vector<uint64_t> from(block.units, block.units);
  uint64_t found = 0;
  for (uint64_t u = 0; u < block.units; ++u) {
    const auto match = known.find(here[u]);
    if (match == known.end()) continue;
    from[u] = match->second;
    known.erase(match);
    ++found;
  }
  if (static_cast<double>(found) < kMost * static_cast<double>(block.units)) {
    return std::vector<uint64_t>{};
  }
  // The few others in the order that is left.
  std::vector<bool> used(block.units, false);
  for (const uint64_t u : from) {
    if (u < block.units) used[u] = true;
  }
  uint64_t next = 0;
  for (uint64_t& u : from) {
    if (u < block.units) continue;
    while (used[next]) ++next;
    u = next++;
  }
  return from;
}

// The suspect's tensor against the model's in that order.
Result<ExplainedRow> compare_in_order(const EditCase& given, const Part& part, size_t model,
                                      const std::vector<uint64_t>& from) {
  const StoredRows here(given, part.row, 0), there(given, part.row, model);
  const uint64_t units = from.size(), columns = here.columns(), width = here.width();
  ExplainedRow total;
  const uint64_t step = std::max<uint64_t>(1, kBlockElements / columns);
  for (uint64_t first = 0; first < here.rows(); first += step) {
    const uint64_t count = std::min(step, here.rows() - first);
    HIERON_TRY(const std::vector<std::byte> suspect, here.read(first, count));
    std::vector<std::byte> block;
    if (part.axis == Axis::kColumns) {
      HIERON_TRY(block, there.read(first, count));
    }
    for (uint64_t r = 0; r < count; ++r) {
      const std::byte* line = block.data() + r * columns * width;
      if (part.axis == Axis::kRows) {
        const uint64_t row = first + r, gate = row / units;
        HIERON_TRY(block, there.read(gate * units + from[row % units], 1));
        line = block.data();
      }
      for (uint64_t c = 0; c < columns; ++c) {
        const uint64_t source = part.axis == Axis::kRows ? c : c / units * units + from[c % units];
        const bool same = std::memcmp(suspect.data() + (r * columns + c) * width,
                                      line + source * width, width) == 0;
        ++total.read;
        total.equal += same;
        if (!same) total.first_miss = std::min(total.first_miss, (first + r) * columns + c);
      }
    }
  }
  return total;
}

}  // namespace

Result<std::optional<EditFinding>> find_units_permuted(const EditCase& given, const Profile& quick,
                                                       std::vector<std::string>&) {
  const size_t model = quick.model;
  const std::vector<FeedForward> blocks = feed_forward_blocks(given, model);
  EditFinding found{.kind = EditKind::kUnitsPermuted, .model = model, .what = {}};
  std::vector<std::optional<ExplainedRow>> moved(given.alignment.rows.size());
  uint64_t units = 0, displaced = 0;
  size_t reordered = 0;
  std::vector<size_t> rows;
  for (const FeedForward& block : blocks) {
    if (std::ranges::none_of(block.parts,
                             [&](const Part& part) { return quick.rows[part.row].changed(); })) {
      continue;
    }
    if (block.parts.size() < 2) return std::nullopt;  // the order would be fitted, and nothing said
    HIERON_TRY(const std::vector<uint64_t> from, order_of(given, block, model));
    if (from.empty()) return std::nullopt;
    for (const Part& part : block.parts) {
      HIERON_TRY(moved[part.row], compare_in_order(given, part, model, from));
      rows.push_back(part.row);
    }
    units += block.units;
    uint64_t here = 0;
    for (uint64_t u = 0; u < from.size(); ++u) here += from[u] != u;
    displaced += here;
    reordered += here > 0;
  }
  if (displaced == 0) return std::nullopt;
  HIERON_TRY(const Profile all, profile(given, model, given.whole));
  for (size_t i = 0; i < all.rows.size(); ++i) {
    found.rows.push_back(
        moved[i] ? *moved[i]
                 : ExplainedRow{all.rows[i].read, all.rows[i].equal, all.rows[i].first_miss});
  }
  if (static_cast<double>(found.equal()) <
      edit_threshold::kKept * static_cast<double>(found.read())) {
    return std::nullopt;
  }
  found.targets = roles_of(given, rows);
  found.what = fmt::format(
      "with the hidden units of {} feed-forward block{} in another order ({} of {} moved)",
      reordered, reordered == 1 ? "" : "s", with_commas(displaced), with_commas(units));
  found.reasons.push_back(fmt::format(
      "The order was read from the rows of one matrix a block; in that order the others are the "
      "model's as well, {} of {} elements of the whole model bit for bit.",
      with_commas(found.equal()), with_commas(found.read())));
  return found;
}

}  // namespace hieron
