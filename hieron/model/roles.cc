#include "hieron/model/roles.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "hieron/model/architectures.h"

namespace hieron {

namespace {

constexpr std::array<std::string_view, kRoleCount> kNames = {
    "attention.q", "attention.k", "attention.v", "attention.o", "mlp.gate",    "mlp.up",
    "mlp.down",    "router",      "expert.gate", "expert.up",   "expert.down", "norm",
    "embedding",   "head",        "recurrent",   "other"};

// A number after one of these is the layer; without any, the first number that counts no experts
// is.
constexpr std::string_view kStacks[] = {"layers", "layer",     "h",   "blocks",
                                        "block",  "resblocks", "blk", "mtp"};
constexpr std::string_view kExpertLists[] = {"experts", "expert", "local_experts"};

// Keras and PyTorch number recurrent layers inside a segment: rnn_1.kernel,
// lstm.weight_ih_l0_reverse.
constexpr std::string_view kNumberedWords[] = {"rnn_",        "lstm_",     "gru_",
                                               "layer_",      "block_",    "weight_ih_l",
                                               "weight_hh_l", "bias_ih_l", "bias_hh_l"};

constexpr int kLargestNumber = 999'999;
constexpr std::string_view kLayerHole = "{layer}.";
constexpr std::string_view kExpertHole = "{expert}";

bool one_of(std::string_view word, std::span<const std::string_view> words) {
  return std::ranges::find(words, word) != words.end();
}

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_lower(char c) { return c >= 'a' && c <= 'z'; }

// The number that `text` begins with, if it can be a layer's or an expert's.
std::optional<int> leading_number(std::string_view text) {
  int value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || value < 0 || value > kLargestNumber) return std::nullopt;
  return value;
}

std::optional<int> whole_number(std::string_view segment) {
  if (segment.empty() || !std::ranges::all_of(segment, is_digit)) return std::nullopt;
  return leading_number(segment);
}

std::string_view tower_of(std::string_view segment) {
  for (const TowerName& known : tower_names()) {
    if (known.segment == segment) return known.tower;
  }
  return {};
}

std::optional<int> number_in_word(std::string_view segment) {
  for (std::string_view word : kNumberedWords) {
    if (segment.starts_with(word) && segment.size() > word.size()) {
      return leading_number(segment.substr(word.size()));
    }
  }
  return std::nullopt;
}

// Where a name says its tensor stands.
struct Place {
  std::string_view tower;
  std::optional<int> layer, expert;
  size_t tail = 0;                          // where the part after the layer's number begins
  size_t expert_begin = 0, expert_end = 0;  // the expert's number
};

class PlaceReader {
 public:
  Place read(std::string_view name) {
    for (size_t begin = 0; begin <= name.size();) {
      const size_t end = std::min(name.find('.', begin), name.size());
      take(name.substr(begin, end - begin), begin, end);
      begin = end + 1;
    }
    if (!place_.layer && first_) {
      place_.layer = first_;
      place_.tail = first_tail_;
    }
    if (!place_.layer) place_.layer = in_word_;
    return place_;
  }

 private:
  void take(std::string_view segment, size_t begin, size_t end) {
    if (const auto number = whole_number(segment)) {
      take_number(*number, begin, end);
    } else if (!place_.layer) {
      if (place_.tower.empty()) place_.tower = tower_of(segment);
      if (!in_word_) in_word_ = number_in_word(segment);
    }
    before_ = segment;
  }

  void take_number(int number, size_t begin, size_t end) {
    if (one_of(before_, kExpertLists)) {
      if (!place_.expert) {
        place_.expert = number;
        place_.expert_begin = begin;
        place_.expert_end = end;
      }
    } else if (!place_.layer && one_of(before_, kStacks)) {
      place_.layer = number;
      place_.tail = end + 1;
    } else if (!first_) {
      first_ = number;
      first_tail_ = end + 1;
    }
  }

  Place place_;
  std::string_view before_;
  std::optional<int> first_, in_word_;
  size_t first_tail_ = 0;
};

// The part of the name that patterns look at, with {expert} for the expert's number.
std::string foldable_tail(std::string_view name, const Place& place) {
  if (place.tail >= name.size()) return {};
  std::string tail(name.substr(place.tail));
  if (place.expert && place.expert_begin >= place.tail) {
    tail.replace(place.expert_begin - place.tail, place.expert_end - place.expert_begin,
                 kExpertHole);
  }
  return tail;
}

// All rules of a table as a dictionary, since a checkpoint may have 140,000 names. A rule's rank is
// its place in the tables: where several fit, the lowest wins.
class Rules {
 public:
  explicit Rules(std::span<const RoleRules> own) {
    for (std::span<const RoleRules> groups : {own, generic_rules()}) {
      for (RoleRules group : groups) {
        for (const RoleRule& rule : group) add(rule);
      }
    }
  }

  // For the part of a name after the layer's number.
  std::optional<Role> in_layer(std::string_view tail) const {
    Ranked best;
    look(in_layer_, tail, most_segments_, best);
    return best.role();
  }

  // For a whole name without a layer: a pattern may begin at any segment.
  std::optional<Role> outside(std::string_view name) const {
    Ranked best;
    for (size_t begin = 0; begin < name.size();) {
      look(outside_, name.substr(begin), most_segments_, best);
      const size_t dot = name.find('.', begin);
      begin = dot == name.npos ? name.size() : dot + 1;
    }
    return best.role();
  }

 private:
  struct Ranked {
    size_t rank = SIZE_MAX;
    Role is = Role::kOther;
    std::optional<Role> role() const { return rank == SIZE_MAX ? std::nullopt : std::optional(is); }
  };
  using Dictionary = std::unordered_map<std::string_view, Ranked>;

  void add(const RoleRule& rule) {
    const bool layered = rule.pattern.starts_with(kLayerHole);
    const auto pattern = layered ? rule.pattern.substr(kLayerHole.size()) : rule.pattern;
    const auto dots = static_cast<size_t>(std::ranges::count(pattern, '.'));
    most_segments_ = std::max(most_segments_, dots + 1);
    (layered ? in_layer_ : outside_).try_emplace(pattern, Ranked{next_rank_++, rule.role});
  }

  // Every run of whole segments at the beginning of `text`, up to as many as a pattern has.
  static void look(const Dictionary& rules, std::string_view text, size_t most, Ranked& best) {
    size_t end = 0;
    for (size_t segments = 0; segments < most && end < text.size(); ++segments, ++end) {
      end = std::min(text.find('.', end), text.size());
      const auto found = rules.find(text.substr(0, end));
      if (found != rules.end() && found->second.rank < best.rank) best = found->second;
    }
  }

  Dictionary in_layer_, outside_;
  size_t next_rank_ = 0, most_segments_ = 0;
};

bool is_word_at(std::string_view text, size_t at, const RoleWord& word) {
  const size_t end = at + word.word.size();
  if (!text.substr(at).starts_with(word.word)) return false;
  const bool letter_before = at > 0 && is_lower(text[at - 1]);
  const bool letter_after = end < text.size() && is_lower(text[end]);
  return !word.whole || (!letter_before && !letter_after);
}

// The words by their first letter: every place of a text is looked at once.
class Words {
 public:
  Words() {
    for (size_t i = 0; i < role_words().size(); ++i) {
      by_letter_[static_cast<unsigned char>(role_words()[i].word[0])].push_back(i);
    }
  }

  // The first word of the table that stands in `text`, which is in lower case.
  std::optional<Role> first_in(std::string_view text, bool in_layer) const {
    size_t best = role_words().size();
    for (size_t at = 0; at < text.size(); ++at) {
      for (size_t i : by_letter_[static_cast<unsigned char>(text[at])]) {
        if (i >= best) break;
        const RoleWord& word = role_words()[i];
        if (!(word.outside_only && in_layer) && is_word_at(text, at, word)) best = i;
      }
    }
    return best < role_words().size() ? std::optional(role_words()[best].role) : std::nullopt;
  }

 private:
  std::array<std::vector<size_t>, 256> by_letter_;
};

Role as_expert(Role role) {
  switch (role) {
    case Role::kMlpGate:
      return Role::kExpertGate;
    case Role::kMlpUp:
      return Role::kExpertUp;
    case Role::kMlpDown:
      return Role::kExpertDown;
    default:
      return role;
  }
}

// A matrix called "gate" with far fewer rows than columns chooses experts; it is no half of an MLP.
bool looks_like_router(const Shape& shape) { return shape.size() == 2 && shape[0] * 4 <= shape[1]; }

Role refine(Role role, std::string_view text, const Shape& shape) {
  const bool expert = text.find("expert") != text.npos || text.find("exps") != text.npos;
  if (expert) return as_expert(role);
  if (role == Role::kMlpGate && text.find("proj") == text.npos && looks_like_router(shape)) {
    return Role::kRouter;
  }
  return role;
}

Role by_words(std::string_view text, bool in_layer, const Shape& shape) {
  std::string lower(text);
  std::ranges::transform(lower, lower.begin(), [](char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
  });
  static const Words words;
  const std::optional<Role> role = words.first_in(lower, in_layer);
  return role ? refine(*role, lower, shape) : Role::kOther;
}

}  // namespace

struct RoleTable::Impl {
  Rules rules;
};

std::string_view name(Role role) { return kNames.at(static_cast<size_t>(role)); }

const RoleTable& RoleTable::of(std::string_view architecture) {
  // One for each architecture and one, under the empty name, without rules of its own. Built once,
  // never changed.
  static const auto tables = [] {
    std::unordered_map<std::string_view, Impl> built;
    built.try_emplace("", Impl{Rules({})});
    for (const ArchitectureRules& known : architectures()) {
      built.try_emplace(known.architecture, Impl{Rules(known.rules)});
    }
    return built;
  }();
  static const auto handles = [] {
    std::unordered_map<std::string_view, RoleTable> built;
    for (const auto& [known, impl] : tables) built.try_emplace(known, RoleTable(impl));
    return built;
  }();
  const auto found = handles.find(architecture);
  return found == handles.end() ? handles.at("") : found->second;
}

TensorRole RoleTable::classify(std::string_view tensor, const Shape& shape) const {
  const Place place = PlaceReader().read(tensor);
  const bool in_layer = place.tail > 0;
  const std::string folded = in_layer ? foldable_tail(tensor, place) : std::string();
  const std::string_view text = in_layer ? std::string_view(folded) : tensor;
  std::optional<Role> role = in_layer ? impl_->rules.in_layer(text) : impl_->rules.outside(text);
  if (!role) role = by_words(text, in_layer, shape);
  return {.role = *role,
          .layer = place.tower.empty() ? place.layer : std::nullopt,
          .expert = place.expert,
          .tower = place.tower};
}

namespace {

std::string_view last_segment(std::string_view name) {
  const size_t dot = name.rfind('.');
  return dot == name.npos ? name : name.substr(dot + 1);
}

bool is_matrix_of_weights(std::string_view tensor, const Shape& shape) {
  return shape.size() == 2 && shape[0] > 0 && shape[1] > 0 && !tensor.ends_with("_inv") &&
         !tensor.ends_with("scale") && !tensor.ends_with("scales");
}

// Gates of a cell by its name: an LSTM has four, a GRU three; unnamed ones are taken for LSTMs.
int gates_by_name(std::string_view tensor) { return tensor.find("gru") != tensor.npos ? 3 : 4; }

// `long_side` holds all gates of all units. A state-to-state matrix is units × gates·units and so
// tells the number of its gates itself.
std::optional<UnitLayout> recurrent_layout(bool rows, uint64_t long_side, uint64_t short_side,
                                           bool state_to_state, int named_gates) {
  const auto gates = static_cast<uint64_t>(named_gates);
  if (state_to_state) {
    const uint64_t ratio = long_side / short_side;
    const bool known = ratio == 1 || ratio == 3 || ratio == 4;
    if (!known || long_side % short_side != 0) return std::nullopt;
    return UnitLayout{rows, static_cast<int>(ratio), short_side};
  }
  if (long_side % gates != 0) return std::nullopt;
  return UnitLayout{rows, named_gates, long_side / gates};
}

std::optional<UnitLayout> recurrent_layout(std::string_view tensor, const Shape& shape) {
  const std::string_view last = last_segment(tensor);
  const int gates = gates_by_name(tensor);
  if (last.starts_with("weight_ih"))
    return recurrent_layout(true, shape[0], shape[1], false, gates);
  if (last.starts_with("weight_hh")) return recurrent_layout(true, shape[0], shape[1], true, gates);
  if (last == "kernel") return recurrent_layout(false, shape[1], shape[0], false, gates);
  if (last == "recurrent_kernel") return recurrent_layout(false, shape[1], shape[0], true, gates);
  return std::nullopt;
}

std::optional<UnitLayout> mlp_layout(std::string_view tensor, const Shape& shape) {
  const bool fused = tensor.find("gate_up_proj") != tensor.npos;
  if (fused) {
    if (shape[0] % 2 != 0) return std::nullopt;
    return UnitLayout{true, 2, shape[0] / 2};
  }
  const bool input_major = tensor.find("c_fc") != tensor.npos && shape[1] > shape[0];
  return UnitLayout{!input_major, 1, input_major ? shape[1] : shape[0]};
}

}  // namespace

std::optional<UnitLayout> unit_layout(const TensorRole& role, std::string_view tensor,
                                      const Shape& shape) {
  if (!is_matrix_of_weights(tensor, shape)) return std::nullopt;
  switch (role.role) {
    case Role::kMlpGate:
    case Role::kMlpUp:
    case Role::kExpertGate:
    case Role::kExpertUp:
      return mlp_layout(tensor, shape);
    case Role::kRecurrent:
      return recurrent_layout(tensor, shape);
    default:
      return std::nullopt;
  }
}

}  // namespace hieron
