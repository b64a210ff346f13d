#include "hieron/merge/modules.h"

#include <algorithm>
#include <array>

#include "hieron/merge/layers.h"

namespace hieron {
namespace {

using Name = std::string_view;

// ---- where config.json counts layers: all that are there and equal are rewritten, the first one
// decides, and without any it is written

constexpr std::array<Name, 5> kTextCounts{
    "text_config.num_hidden_layers", "llm_config.num_hidden_layers",
    "language_config.num_hidden_layers", "thinker_config.text_config.num_hidden_layers",
    "num_hidden_layers"};
constexpr std::array<Name, 6> kVisionCounts{
    "vision_config.num_hidden_layers",    "vision_config.depth",
    "vision_config.num_layers",           "vision_config.n_layers",
    "vision_config.vt_num_hidden_layers", "thinker_config.vision_config.depth"};
constexpr std::array<Name, 4> kAudioCounts{
    "audio_config.num_hidden_layers", "audio_config.encoder_layers",
    "audio_config.conf_num_hidden_layers", "thinker_config.audio_config.encoder_layers"};
constexpr std::array<Name, 5> kEncoderCounts{"encoder_layers", "num_encoder_layers", "num_layers",
                                             "encoder.num_hidden_layers", "num_hidden_layers"};
constexpr std::array<Name, 4> kDecoderCounts{"decoder_layers", "num_decoder_layers",
                                             "decoder.num_hidden_layers", "decoder.n_layer"};
constexpr std::array<Name, 2> kT5EncoderCounts{"num_layers", "num_hidden_layers"};
constexpr std::array<Name, 1> kT5DecoderCounts{"num_decoder_layers"};

// Layers by their number: right for the old stack, and nobody can tell what for the new one.
constexpr std::array<Name, 3> kVisionNumbering{
    "vision_feature_layer", "vision_config.deepstack_visual_indexes", "vision_config.out_indices"};

// ---- what names begin with

constexpr std::array<Name, 4> kText{"language_model", "model.language_model", "text_model",
                                    "model.text_model"};
constexpr std::array<Name, 1> kHead{"lm_head"};
constexpr std::array<Name, 8> kVision{
    "vision_tower",   "model.vision_tower",   "vision_model", "model.vision_model",
    "vision_encoder", "model.vision_encoder", "visual",       "model.visual"};
constexpr std::array<Name, 11> kProjector{"multi_modal_projector",
                                          "model.multi_modal_projector",
                                          "mm_projector",
                                          "model.mm_projector",
                                          "connector",
                                          "model.connector",
                                          "embed_vision",
                                          "model.embed_vision",
                                          "visual.merger",
                                          "model.visual.merger",
                                          "model.visual.deepstack_merger_list"};
constexpr std::array<Name, 4> kAudio{"audio_tower", "model.audio_tower", "audio_model",
                                     "model.audio_model"};
constexpr std::array<Name, 1> kMtp{"mtp"};
constexpr std::array<Name, 2> kEncoder{"encoder", "model.encoder"};
constexpr std::array<Name, 2> kDecoder{"decoder", "model.decoder"};
constexpr std::array<Name, 2> kShared{"shared", "model.shared"};
constexpr std::array<Name, 2> kWhisperHead{"proj_out", "lm_head"};

// Before 2025 these began the text model's names with "model.", the tower's with "visual.".
constexpr std::array<Name, 2> kQwenText{"model", "model.language_model"};
constexpr std::array<Name, 2> kQwenVision{"visual", "model.visual"};
constexpr std::array<Name, 2> kQwenProjector{"visual.merger", "model.visual.merger"};
constexpr std::array<Name, 2> kLlamaVision{"vision_model", "model.vision_model"};

constexpr ModuleRule kProjectorRule{"multi_modal_projector", kProjector};

constexpr std::array<ModuleRule, 3> kVisionLanguage{{
    {"text_decoder", kText, kHead, kTextCounts},
    kProjectorRule,
    {"vision_tower", kVision, {}, kVisionCounts, kVisionNumbering},
}};
constexpr std::array<ModuleRule, 3> kLlama4{{
    {"text_decoder", kText, kHead, kTextCounts},
    kProjectorRule,
    {"vision_model", kLlamaVision, {}, kVisionCounts, kVisionNumbering},
}};
constexpr std::array<ModuleRule, 3> kQwen2Vision{{
    {"text_decoder", kQwenText, kHead, kTextCounts},
    {"multi_modal_projector", kQwenProjector},
    {"vision_tower", kQwenVision, {}, kVisionCounts, kVisionNumbering},
}};
constexpr std::array<ModuleRule, 3> kT5{{
    {"encoder", kEncoder, {}, kT5EncoderCounts},
    {"decoder", kDecoder, {}, kT5DecoderCounts, {}, "num_layers"},
    {"shared", kShared, kHead},
}};
constexpr std::array<ModuleRule, 2> kWhisper{{
    {"encoder", kEncoder, {}, kEncoderCounts},
    {"decoder", kDecoder, kWhisperHead, kDecoderCounts},
}};

// Everybody else.
constexpr std::array<ModuleRule, 8> kAnyParts{{
    {"text_decoder", kText, kHead, kTextCounts},
    kProjectorRule,
    {"vision_tower", kVision, {}, kVisionCounts, kVisionNumbering},
    {"audio_tower", kAudio, {}, kAudioCounts},
    {"mtp", kMtp},
    {"encoder", kEncoder, {}, kEncoderCounts},
    {"decoder", kDecoder, {}, kDecoderCounts},
    {"shared", kShared, kHead},
}};

// Those whose parts mergekit has by name; the names are its own.
struct KnownArchitecture {
  Name architecture;
  std::span<const ModuleRule> rules;
};
constexpr std::array<KnownArchitecture, 9> kKnown{{
    {"Gemma3ForConditionalGeneration", kVisionLanguage},
    {"Llama4ForConditionalGeneration", kLlama4},
    {"Mistral3ForConditionalGeneration", kVisionLanguage},
    {"Qwen2VLForConditionalGeneration", kQwen2Vision},
    {"Qwen2_5_VLForConditionalGeneration", kQwen2Vision},
    {"Qwen3VLForConditionalGeneration", kVisionLanguage},
    {"Qwen3VLMoeForConditionalGeneration", kVisionLanguage},
    {"T5ForConditionalGeneration", kT5},
    {"WhisperForConditionalGeneration", kWhisper},
}};

constexpr Name kModelPrefix = "model.";
constexpr size_t kBeginningSegments = 3;

bool begins(Name tensor, Name prefix) {
  return tensor.starts_with(prefix) && tensor.size() > prefix.size() &&
         tensor[prefix.size()] == '.';
}

// The length of the longest that `tensor` begins with; 0 if with none.
template <class Prefixes>
size_t longest(Name tensor, const Prefixes& prefixes) {
  size_t best = 0;
  for (const auto& prefix : prefixes) {
    if (prefix.size() > best && begins(tensor, prefix)) best = prefix.size();
  }
  return best;
}

bool is_number(Name segment) {
  return !segment.empty() &&
         std::ranges::all_of(segment, [](char c) { return c >= '0' && c <= '9'; });
}

// Where segments end: "model.visual.blocks.0" -> 5, 12, 19 (not before numbers, no more than
// three).
std::vector<size_t> segment_ends(Name name) {
  std::vector<size_t> ends;
  for (size_t begin = 0; ends.size() < kBeginningSegments;) {
    const size_t end = name.find('.', begin);
    if (end == Name::npos || is_number(name.substr(begin, end - begin))) break;
    ends.push_back(end);
    begin = end + 1;
  }
  return ends;
}

// Does `name` (dots and underscores alike) begin `text` at a whole segment?
bool begins_alike(Name text, Name name) {
  if (text.size() <= name.size() || text[name.size()] != '.') return false;
  return std::ranges::equal(text.substr(0, name.size()), name, [](char a, char b) {
    return a == b || ((a == '.' || a == '_') && (b == '.' || b == '_'));
  });
}

// As written, and below "model.". Names with "model." are those of a loaded model, which files may
// have in an older order: model.language_model.layers is language_model.model.layers there.
std::vector<std::string> spellings_of(Name name) {
  std::vector<std::string> spellings{std::string(name),
                                     std::string(kModelPrefix) + std::string(name)};
  if (!name.starts_with(kModelPrefix)) return spellings;
  const Name bare = name.substr(kModelPrefix.size());
  spellings.emplace_back(bare);
  if (const size_t end = std::min(bare.find('.'), bare.size());
      bare.starts_with("language_model")) {
    spellings.push_back(std::string(bare.substr(0, end)) + ".model" +
                        std::string(bare.substr(end)));
  }
  return spellings;
}

std::vector<std::string> strings(ModuleRule::Names a, ModuleRule::Names b) {
  std::vector<std::string> all(a.begin(), a.end());
  all.insert(all.end(), b.begin(), b.end());
  return all;
}

}  // namespace

ModuleRule::Names text_layer_counts() { return kTextCounts; }

bool ModelPart::takes(std::string_view tensor) const {
  const size_t own = longest(tensor, prefixes_);
  return own > 0 && longest(tensor, except_) <= own;
}

ModelParts::ModelParts(std::string_view architecture, std::vector<const Checkpoint*> models)
    : rules_(kAnyParts), models_(std::move(models)) {
  const auto known = std::ranges::find(kKnown, architecture, &KnownArchitecture::architecture);
  if (known != kKnown.end()) {
    rules_ = known->rules;
    known_to_mergekit_ = true;
  }
  for (const Checkpoint* model : models_) {
    for (const TensorInfo& tensor : model->tensors) {
      const Name name = tensor.name;
      for (const size_t end : segment_ends(name)) {
        if (!beginnings_.contains(name.substr(0, end))) beginnings_.emplace(name.substr(0, end));
      }
    }
  }
}

bool ModelParts::knows(std::string_view architecture) {
  return std::ranges::find(kKnown, architecture, &KnownArchitecture::architecture) != kKnown.end();
}

bool ModelParts::there(const ModuleRule& rule) const {
  return std::ranges::any_of(rule.prefixes, [&](Name p) { return beginnings_.contains(p); });
}

std::optional<ModelPart> ModelParts::find(std::string_view name) const {
  auto part = by_rule(name);
  return part ? std::move(part) : by_prefix(name);
}

std::optional<ModelPart> ModelParts::by_rule(std::string_view name) const {
  const auto rule = std::ranges::find(rules_, name, &ModuleRule::name);
  if (rule == rules_.end() || !there(*rule)) return std::nullopt;
  std::vector<std::string> except;
  for (const ModuleRule& other : rules_) {
    if (&other != &*rule) except.insert(except.end(), other.prefixes.begin(), other.prefixes.end());
  }
  return ModelPart(strings(rule->prefixes, rule->also), std::move(except));
}

std::optional<ModelPart> ModelParts::by_prefix(std::string_view name) const {
  while (name.ends_with('.')) name.remove_suffix(1);
  if (name.empty()) return std::nullopt;
  const std::vector<std::string> spellings = spellings_of(name);
  std::set<std::string, std::less<>> prefixes;
  for (const Checkpoint* model : models_) {
    for (const TensorInfo& tensor : model->tensors) {
      const Name text = tensor.name;
      for (const std::string& spelling : spellings) {
        if (!begins_alike(text, spelling)) continue;
        if (const Name prefix = text.substr(0, spelling.size()); !prefixes.contains(prefix)) {
          prefixes.emplace(prefix);
        }
      }
    }
  }
  if (prefixes.empty()) return std::nullopt;
  return ModelPart({prefixes.begin(), prefixes.end()}, {});
}

std::vector<std::string> ModelParts::names() const {
  std::vector<std::string> names;
  for (const ModuleRule& rule : rules_) {
    if (there(rule)) names.emplace_back(rule.name);
  }
  if (!names.empty()) return names;
  // As mergekit infers them: every place where layers stand, and the rest.
  for (const Checkpoint* model : models_) {
    for (const TensorInfo& tensor : model->tensors) {
      const auto number = layer_number(tensor.name);
      if (!number || number->begin == 0) continue;
      std::string row = tensor.name.substr(0, number->begin - 1);
      if (std::ranges::find(names, row) == names.end()) names.push_back(std::move(row));
    }
  }
  if (names.size() < 2) return {};
  names.emplace_back(kDefaultModule);
  return names;
}

bool ModelParts::unknown_to_mergekit(std::string_view name) const {
  return known_to_mergekit_ && std::ranges::find(rules_, name, &ModuleRule::name) == rules_.end();
}

const ModuleRule* ModelParts::rule_of(std::string_view tensor) const {
  const ModuleRule* best = nullptr;
  size_t length = 0;
  for (const ModuleRule& rule : rules_) {
    if (!there(rule)) continue;
    const size_t own = std::max(longest(tensor, rule.prefixes), longest(tensor, rule.also));
    if (own <= length) continue;
    length = own;
    best = &rule;
  }
  return best;
}

}  // namespace hieron
