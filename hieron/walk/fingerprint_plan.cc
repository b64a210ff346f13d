#include "hieron/walk/fingerprint_plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>
#include <tuple>

#include "hieron/core/hash.h"
#include "hieron/model/config.h"

namespace hieron {
namespace {

// One role of one layer: its tensors take turns.
struct Stratum {
  std::string key;
  Role role{};
  std::vector<size_t> tensors;  // in drawn order
  uint64_t turn = 0;            // picks so far
  std::vector<size_t> open;     // tensors with slots left, in order of their next turn
  size_t next = 0;
};

uint64_t slot_elements(uint64_t elements, uint64_t slot) {
  const uint64_t slots = fingerprint_slots(elements);
  return slot + 1 == slots ? elements - slot * kSlot : kSlot;
}

Prf positions_of(std::string_view canonical, const Shape& shape) {
  return {fingerprint_seed(), std::string(canonical) + '\0' + to_string(shape)};
}

// Slots of one tensor, one after the other, none twice.
class SlotOrder {
 public:
  SlotOrder(std::string_view canonical, const Shape& shape, uint64_t slots)
      : prf_(positions_of(canonical, shape)), slots_(slots) {}

  uint64_t next() {
    // The last few of many would take long to hit: then the free ones are counted.
    if (2 * drawn_.size() < slots_) {
      for (;;) {
        const uint64_t slot = prf_.below(counter_++, slots_);
        if (drawn_.insert(slot).second) return slot;
      }
    }
    uint64_t skip = prf_.below(counter_++, slots_ - drawn_.size());
    uint64_t slot = 0;
    for (const uint64_t taken : drawn_) {
      if (slot + skip < taken) break;
      skip -= taken - slot;
      slot = taken + 1;
    }
    slot += skip;
    drawn_.insert(slot);
    return slot;
  }
  bool done() const { return drawn_.size() == slots_; }
  const std::set<uint64_t>& drawn() const { return drawn_; }

 private:
  Prf prf_;
  uint64_t slots_, counter_ = 0;
  std::set<uint64_t> drawn_;
};

std::vector<Run> runs_of(const std::set<uint64_t>& slots, uint64_t elements) {
  std::vector<Run> runs;
  for (const uint64_t slot : slots) {
    const Run run{slot * kSlot, slot_elements(elements, slot)};
    if (!runs.empty() && runs.back().first + runs.back().count == run.first) {
      runs.back().count += run.count;
    } else {
      runs.push_back(run);
    }
  }
  return runs;
}

class Planner {
 public:
  Planner(const Checkpoint& checkpoint, uint64_t elements) : checkpoint_(checkpoint) {
    plan_.elements = elements;
  }

  FingerprintPlan run() && {
    collect();
    take_groups();
    take_turns();
    rank_ = 0;
    for (size_t i = 0; i < all_.size(); ++i) {
      if (drawn_.contains(i)) add_companion(all_[i]);
    }
    for (auto& [i, order] : drawn_) {
      std::vector<Run> runs = runs_of(order.slots.drawn(), all_[i].elements);
      plan_.tensors.push_back({std::move(all_[i]), std::move(runs), order.rank});
    }
    std::ranges::sort(plan_.tensors, {}, [](const FingerprintTensor& t) {
      return std::tuple(-info(t.logical.tensor->dtype).bits, std::string_view(t.logical.name));
    });
    return std::move(plan_);
  }

 private:
  struct Drawn {
    SlotOrder slots;
    uint64_t rank;
  };

  void collect() {
    const auto config = parse_config(checkpoint_.config_json, checkpoint_.ref);
    const RoleTable roles = RoleTable::of(config ? config->architecture : "");
    std::map<std::string, Stratum> strata;
    for (LogicalTensor& logical : logical_tensors(checkpoint_)) {
      if (logical.elements == 0) continue;
      if (info(logical.tensor->dtype).bits % 8 != 0) {
        plan_.left_out.push_back(std::move(logical.name));
        continue;
      }
      const TensorRole role = roles.classify(logical.name, logical.shape);
      std::string key =
          fmt::format("{}/{}/{}", name(role.role), role.tower, role.layer.value_or(-1));
      Stratum& stratum = strata[key];
      stratum.key = std::move(key);
      stratum.role = role.role;
      stratum.tensors.push_back(all_.size());
      all_.push_back(std::move(logical));
    }
    for (auto& [key, stratum] : strata) strata_.push_back(std::move(stratum));
    shuffle();
  }

  // Strata, and the tensors of each, in the order of numbers drawn for their names.
  void shuffle() {
    std::ranges::sort(strata_, {}, [](const Stratum& stratum) {
      return std::pair(Prf(fingerprint_seed(), "stratum " + stratum.key).at(0),
                       std::string_view(stratum.key));
    });
    for (Stratum& stratum : strata_) {
      std::vector<std::tuple<uint64_t, std::string_view, size_t>> order;
      for (const size_t i : stratum.tensors) {
        const bool alone = stratum.tensors.size() == 1;
        const uint64_t number = alone ? 0 : Prf(fingerprint_seed(), "turn " + all_[i].name).at(0);
        order.emplace_back(number, all_[i].name, i);
      }
      std::ranges::sort(order);
      stratum.tensors.clear();
      for (const auto& [number, of, i] : order) stratum.tensors.push_back(i);
      stratum.open = stratum.tensors;
    }
  }

  // One slot of the stratum; how many elements that was, 0 if there is none left.
  uint64_t take(Stratum& stratum) {
    if (stratum.open.empty()) return 0;
    if (stratum.next >= stratum.open.size()) stratum.next = 0;
    const size_t i = stratum.open[stratum.next];
    const LogicalTensor& logical = all_[i];
    Drawn& drawn = draw(i);
    const uint64_t taken = slot_elements(logical.elements, drawn.slots.next());
    plan_.held += taken;
    ++stratum.turn;
    if (drawn.slots.done()) {
      stratum.open.erase(stratum.open.begin() + static_cast<std::ptrdiff_t>(stratum.next));
    } else {
      ++stratum.next;
    }
    return taken;
  }

  Drawn& draw(size_t i) {
    const LogicalTensor& logical = all_[i];
    return drawn_
        .try_emplace(
            i, Drawn{SlotOrder(logical.name, logical.shape, fingerprint_slots(logical.elements)),
                     rank_})
        .first->second;
  }

  // What every group of roles gets, whatever is asked for.
  void take_groups() {
    std::map<std::string_view, std::vector<Stratum*>> groups;
    for (Stratum& stratum : strata_) groups[fingerprint_group(stratum.role)].push_back(&stratum);
    for (auto& [group, members] : groups) {
      uint64_t got = 0;
      for (bool any = true; any && got < kGroupElements;) {
        any = false;
        for (Stratum* stratum : members) {
          if (got >= kGroupElements) break;
          const uint64_t taken = take(*stratum);
          got += taken;
          any = any || taken > 0;
        }
      }
    }
  }

  // Round after round, one slot a stratum, until there are as many as asked for.
  void take_turns() {
    bool any = true;
    for (uint64_t round = 1; any; ++round) {
      any = false;
      for (Stratum& stratum : strata_) {
        if (stratum.turn >= round) {
          any = any || !stratum.open.empty();
          continue;
        }
        if (plan_.held >= plan_.elements) return;
        rank_ = plan_.held;
        any = take(stratum) > 0 || any;
      }
    }
  }

  // Codes are none without the scales beside them: who reads the one must know of the other.
  void add_companion(const LogicalTensor& logical) {
    if (info(logical.tensor->dtype).bits != 8 || logical.part) return;
    for (const std::string_view ending : {"_scale_inv", "_scale"}) {
      const TensorInfo* scale = checkpoint_.find(logical.tensor->name + std::string(ending));
      if (!scale) continue;
      const auto found = std::ranges::find(all_, scale, &LogicalTensor::tensor);
      if (found == all_.end()) continue;
      const auto i = static_cast<size_t>(found - all_.begin());
      if (drawn_.contains(i)) continue;
      plan_.held += slot_elements(found->elements, draw(i).slots.next());
    }
  }

  const Checkpoint& checkpoint_;
  FingerprintPlan plan_;
  std::vector<LogicalTensor> all_;
  std::vector<Stratum> strata_;
  std::map<size_t, Drawn> drawn_;
  uint64_t rank_ = 0;  // of a tensor drawn now
};

}  // namespace

const Seed& fingerprint_seed() {
  static const Seed seed = [] {
    constexpr std::string_view kText = "hieron.fingerprint/1";
    Sha256 hash;
    hash.update(std::as_bytes(std::span(kText)));
    return *Seed::from_hex(to_hex(hash.finish()));
  }();
  return seed;
}

uint64_t fingerprint_slots(uint64_t elements) { return std::max<uint64_t>(1, elements / kSlot); }

std::vector<Run> fingerprint_runs(std::string_view canonical, const Shape& shape, uint64_t count) {
  const uint64_t elements = element_count(shape).value_or(0);
  const uint64_t slots = fingerprint_slots(elements);
  SlotOrder order(canonical, shape, slots);
  for (uint64_t i = 0; i < std::min(count, slots); ++i) order.next();
  return runs_of(order.drawn(), elements);
}

uint64_t usual_fingerprint_elements(uint64_t parameters) {
  struct Step {
    uint64_t parameters, elements;
  };
  constexpr Step kSteps[] = {{100'000'000, 49'152},
                             {1'000'000'000, 262'144},
                             {20'000'000'000, 860'160},
                             {UINT64_MAX, 1'744'896}};
  return std::ranges::find_if(kSteps, [&](const Step& s) { return parameters <= s.parameters; })
      ->elements;
}

FingerprintPlan plan_fingerprint(const Checkpoint& checkpoint, uint64_t elements) {
  return Planner(checkpoint, elements).run();
}

std::string_view fingerprint_group(Role role) {
  using enum Role;
  switch (role) {
    case kEmbedding:
      return "embedding";
    case kHead:
      return "head";
    case kNorm:
      return "norm";
    case kRouter:
      return "router";
    case kAttentionQ:
    case kAttentionK:
    case kAttentionV:
    case kAttentionO:
      return "attention";
    case kMlpGate:
    case kMlpUp:
    case kMlpDown:
      return "mlp";
    case kExpertGate:
    case kExpertUp:
    case kExpertDown:
      return "experts";
    case kRecurrent:
      return "recurrent";
    case kOther:
      return "other";
  }
  return "other";
}

}  // namespace hieron
