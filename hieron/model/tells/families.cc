#include "hieron/model/tells/families.h"

#include <algorithm>

namespace hieron {
namespace {

using Words = std::string_view[];

// model_type only where others seldom train under it: "llama" and "mistral" are everybody's.
constexpr Words kQwenWords = {"qwen", "qwq", "tongyi"};
constexpr Words kQwenTypes = {"qwen",      "qwen2",      "qwen2_moe",   "qwen3",
                              "qwen3_moe", "qwen3_5",    "qwen3_5_moe", "qwen3_5_moe_text",
                              "qwen2_vl",  "qwen2_5_vl", "qwen3_vl",    "qwen3_vl_moe",
                              "qwen3_next"};
constexpr Words kQwenCalls = {"you are qwen", "created by alibaba cloud"};

constexpr Words kLlamaWords = {"llama"};
constexpr Words kLlamaTypes = {"llama4", "llama4_text", "mllama"};
constexpr Words kLlamaCalls = {"you are llama", "you are meta ai"};

constexpr Words kMistralWords = {"mistral",  "mixtral",   "ministral",
                                 "devstral", "magistral", "codestral"};
constexpr Words kMistralTypes = {"mixtral", "mistral3"};
constexpr Words kMistralCalls = {"you are mistral", "you are devstral", "you are le chat",
                                 "created by mistral ai", "trained by mistral ai"};

constexpr Words kDeepSeekWords = {"deepseek"};
constexpr Words kDeepSeekTypes = {"deepseek_v2", "deepseek_v3", "deepseek_v32", "deepseek_v4"};
constexpr Words kDeepSeekCalls = {"you are deepseek", "created by deepseek"};

constexpr Words kGemmaWords = {"gemma"};
constexpr Words kGemmaTypes = {"gemma", "gemma2", "gemma3", "gemma3_text", "gemma3n", "gemma4"};
constexpr Words kGemmaCalls = {"you are gemma"};

constexpr Words kPhiWords = {"phi"};
constexpr Words kPhiTypes = {"phi", "phi3", "phimoe"};
constexpr Words kPhiCalls = {"you are phi"};

constexpr Words kGraniteWords = {"granite"};
constexpr Words kGraniteTypes = {"granite", "granitemoe", "granitemoehybrid"};
constexpr Words kGraniteCalls = {"you are granite", "developed by ibm"};

constexpr Words kGlmWords = {"glm"};
constexpr Words kGlmTypes = {"chatglm", "glm", "glm4", "glm4_moe", "glm_moe_dsa"};
constexpr Words kGlmCalls = {"you are chatglm", "you are glm", "you are z.ai",
                             "developed by zhipu"};

constexpr Words kKimiWords = {"kimi", "moonlight"};
constexpr Words kKimiTypes = {"kimi_k2", "kimi_k25"};
constexpr Words kKimiCalls = {"you are kimi", "created by moonshot ai"};

constexpr Words kGptWords = {"gpt-oss", "gpt_oss"};
constexpr Words kGptTypes = {"gpt_oss"};
constexpr Words kGptCalls = {"you are chatgpt", "trained by openai"};

constexpr Words kMiniMaxWords = {"minimax"};
constexpr Words kMiniMaxTypes = {"minimax", "minimax_m2"};
constexpr Words kMiniMaxCalls = {"you are minimax", "built by minimax"};

constexpr Words kNemotronWords = {"nemotron"};
constexpr Words kNemotronTypes = {"nemotron", "nemotron_h"};
constexpr Words kNemotronCalls = {"you are nemotron", "created by nvidia"};

constexpr Words kDolphinWords = {"dolphin"};
constexpr Words kDolphinCalls = {"you are dolphin"};

constexpr Words kClaudeWords = {"claude"};
constexpr Words kClaudeCalls = {"you are claude", "made by anthropic", "created by anthropic"};

constexpr Words kYiWords = {"yi-", "01-ai"};
constexpr Words kYiCalls = {"you are yi", "developed by 01.ai"};

constexpr Words kExaoneWords = {"exaone"};
constexpr Words kExaoneTypes = {"exaone", "exaone4"};
constexpr Words kExaoneCalls = {"you are exaone"};

constexpr Words kSmolWords = {"smollm"};
constexpr Words kSmolTypes = {"smollm3"};
constexpr Words kSmolCalls = {"you are smollm", "named smollm"};

constexpr Words kNexWords = {"nex-", "nex_"};
constexpr Words kNexCalls = {"you are nex"};

constexpr ModelFamily kFamilies[] = {
    {"Qwen", kQwenWords, kQwenTypes, kQwenCalls},
    {"Llama", kLlamaWords, kLlamaTypes, kLlamaCalls},
    {"Mistral", kMistralWords, kMistralTypes, kMistralCalls},
    {"DeepSeek", kDeepSeekWords, kDeepSeekTypes, kDeepSeekCalls},
    {"Gemma", kGemmaWords, kGemmaTypes, kGemmaCalls},
    {"Phi", kPhiWords, kPhiTypes, kPhiCalls},
    {"Granite", kGraniteWords, kGraniteTypes, kGraniteCalls},
    {"GLM", kGlmWords, kGlmTypes, kGlmCalls},
    {"Kimi", kKimiWords, kKimiTypes, kKimiCalls},
    {"gpt-oss", kGptWords, kGptTypes, kGptCalls},
    {"MiniMax", kMiniMaxWords, kMiniMaxTypes, kMiniMaxCalls},
    {"Nemotron", kNemotronWords, kNemotronTypes, kNemotronCalls},
    {"Dolphin", kDolphinWords, {}, kDolphinCalls},
    {"Claude", kClaudeWords, {}, kClaudeCalls},
    {"Yi", kYiWords, {}, kYiCalls},
    {"EXAONE", kExaoneWords, kExaoneTypes, kExaoneCalls},
    {"SmolLM", kSmolWords, kSmolTypes, kSmolCalls},
    {"Nex", kNexWords, {}, kNexCalls},
};

constexpr Words kLlama2 = {"llama 2 community license agreement"};
constexpr Words kLlama3 = {"llama 3 community license agreement"};
constexpr Words kLlama31 = {"llama 3.1 community license agreement"};
constexpr Words kLlama32 = {"llama 3.2 community license agreement"};
constexpr Words kLlama33 = {"llama 3.3 community license agreement"};
constexpr Words kLlama4 = {"llama 4 community license agreement"};
constexpr Words kGemmaTerms = {"gemma terms of use"};
constexpr Words kQwenResearch = {"qwen research license agreement"};
constexpr Words kQwenLicence = {"qwen license agreement"};
constexpr Words kTongyi = {"tongyi qianwen license agreement"};
constexpr Words kDeepSeek = {"deepseek license agreement"};
constexpr Words kMistralResearch = {"mistral ai research license"};
constexpr Words kMistralOther = {"mistral ai non-production license"};
constexpr Words kModifiedMit = {"modified mit license"};
constexpr Words kMit = {"permission is hereby granted, free of charge, to any person"};
constexpr Words kApache = {"apache license", "version 2.0, january 2004"};
constexpr Words kAgpl = {"gnu affero general public license"};
constexpr Words kGpl = {"gnu general public license"};
constexpr Words kNonCommercial = {"creative commons", "noncommercial"};
constexpr Words kRail = {"openrail"};
constexpr Words kRail2 = {"open rail-m license"};

// The more particular first: the text of one may name another.
constexpr KnownLicence kLicences[] = {
    {"Llama 2 Community License", kLlama2, "Llama", "", "llama 2 is licensed under"},
    {"Llama 3 Community License", kLlama3, "Llama", "built with meta llama 3",
     "meta llama 3 is licensed under"},
    {"Llama 3.1 Community License", kLlama31, "Llama", "built with llama",
     "llama 3.1 is licensed under"},
    {"Llama 3.2 Community License", kLlama32, "Llama", "built with llama",
     "llama 3.2 is licensed under"},
    {"Llama 3.3 Community License", kLlama33, "Llama", "built with llama",
     "llama 3.3 is licensed under"},
    {"Llama 4 Community License", kLlama4, "Llama", "built with llama",
     "llama 4 is licensed under"},
    {"Gemma Terms of Use", kGemmaTerms, "Gemma", "", "gemma is provided under"},
    {"Qwen Research License", kQwenResearch, "Qwen", "", ""},
    {"Tongyi Qianwen License", kTongyi, "Qwen", "", ""},
    {"Qwen License", kQwenLicence, "Qwen", "", ""},
    {"DeepSeek License", kDeepSeek, "DeepSeek", "", ""},
    {"Mistral AI Research License", kMistralResearch, "Mistral", "", ""},
    {"Mistral AI Non-Production License", kMistralOther, "Mistral", "", ""},
    {"Modified MIT License", kModifiedMit, "", "", ""},
    {"GNU AGPL", kAgpl, "", "", ""},
    {"GNU GPL", kGpl, "", "", ""},
    {"Apache License 2.0", kApache, "", "", ""},
    {"MIT License", kMit, "", "", ""},
    {"Creative Commons NonCommercial", kNonCommercial, "", "", ""},
    {"OpenRAIL", kRail, "", "", ""},
    {"OpenRAIL", kRail2, "", "", ""},
};

bool letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

// Where the word begins a word: "phi" in "phi-3" and "phi3", not in "dolphin" or "sophia".
size_t find_word(std::string_view text, std::string_view word) {
  for (size_t at = text.find(word); at != text.npos; at = text.find(word, at + 1)) {
    if (at > 0 && letter(text[at - 1]) && word.size() <= 4) continue;
    const size_t end = at + word.size();
    if (word.size() <= 3 && end < text.size() && letter(text[end])) continue;
    return at;
  }
  return text.npos;
}

size_t first_word(std::string_view text, const ModelFamily& family) {
  size_t first = text.npos;
  for (const std::string_view word : family.words) first = std::min(first, find_word(text, word));
  return first;
}

}  // namespace

std::span<const ModelFamily> model_families() { return kFamilies; }

const ModelFamily* family_named_in(std::string_view lower_text) {
  const ModelFamily* best = nullptr;
  size_t first = lower_text.npos;
  for (const ModelFamily& family : kFamilies) {
    const size_t at = first_word(lower_text, family);
    if (at == lower_text.npos || at >= first) continue;
    first = at;
    best = &family;
  }
  return best;
}

const ModelFamily* family_of_type(std::string_view model_type) {
  const auto* const found = std::ranges::find_if(kFamilies, [&](const ModelFamily& family) {
    return std::ranges::find(family.types, model_type) != family.types.end();
  });
  return found == std::end(kFamilies) ? nullptr : found;
}

bool names_family(std::string_view lower_text, const ModelFamily& family) {
  return first_word(lower_text, family) != lower_text.npos;
}

std::span<const KnownLicence> known_licences() { return kLicences; }

const KnownLicence* licence_by_text(std::string_view lower_text) {
  // The title of a licence stands at its beginning; what it says of others, farther down.
  constexpr size_t kHead = 2000;
  const std::string_view head = lower_text.substr(0, kHead);
  const auto* const found = std::ranges::find_if(kLicences, [&](const KnownLicence& licence) {
    return std::ranges::all_of(licence.marks,
                               [&](std::string_view mark) { return head.find(mark) != head.npos; });
  });
  return found == std::end(kLicences) ? nullptr : found;
}

}  // namespace hieron
