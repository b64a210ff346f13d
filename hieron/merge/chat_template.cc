#include "hieron/merge/chat_template.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "hieron/core/text.h"
#include "hieron/merge/json_text.h"

namespace hieron {
namespace {

constexpr size_t kShortest = 20;  // characters of a template

struct NamedTemplate {
  std::string_view name, text;
};

// A role and a text between <|im_start|> and <|im_end|>.
constexpr std::string_view kChatml = R"({%- for message in messages -%}
{{- '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{- '<|im_start|>assistant\n' -}}
{%- endif -%}
)";

// Stanford Alpaca: an introduction, then instructions and responses under headings.
constexpr std::string_view kAlpaca = R"({%- if messages and messages[0]['role'] == 'system' -%}
{{- messages[0]['content'] + '\n\n' -}}
{%- else -%}
{{- 'Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n' -}}
{%- endif -%}
{%- for message in messages -%}
{%- if message['role'] == 'user' -%}
{{- '### Instruction:\n' + message['content'] + '\n\n' -}}
{%- elif message['role'] == 'assistant' -%}
{{- '### Response:\n' + message['content'] + eos_token + '\n\n' -}}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{- '### Response:\n' -}}
{%- endif -%}
)";

// Llama 3: a header with the role, two line breaks, the text, <|eot_id|>.
constexpr std::string_view kLlama3 = R"({{- '<|begin_of_text|>' -}}
{%- for message in messages -%}
{{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' -}}
{{- message['content'] | trim + '<|eot_id|>' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{- '<|start_header_id|>assistant<|end_header_id|>\n\n' -}}
{%- endif -%}
)";

// Mistral instruct: user turns in [INST], a system text at the head of the first of them.
constexpr std::string_view kMistral = R"({{- bos_token -}}
{%- set prompt = namespace(system='') -%}
{%- for message in messages -%}
{%- if message['role'] == 'system' -%}
{%- set prompt.system = message['content'] + '\n\n' -%}
{%- elif message['role'] == 'user' -%}
{{- '[INST] ' + prompt.system + message['content'] + ' [/INST]' -}}
{%- set prompt.system = '' -%}
{%- elif message['role'] == 'assistant' -%}
{{- ' ' + message['content'] + eos_token -}}
{%- endif -%}
{%- endfor -%}
)";

// EXAONE 3: a role in [| |]; system and assistant turns end with [|endofturn|].
constexpr std::string_view kExaone = R"({%- if not messages or messages[0]['role'] != 'system' -%}
{{- '[|system|][|endofturn|]\n' -}}
{%- endif -%}
{%- for message in messages -%}
{{- '[|' + message['role'] + '|]' + message['content'] -}}
{{- '\n' if message['role'] == 'user' else '[|endofturn|]\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{- '[|assistant|]' -}}
{%- endif -%}
)";

constexpr std::array<std::string_view, 5> kNames{"alpaca", "chatml", "exaone", "llama3", "mistral"};
constexpr std::array<NamedTemplate, 5> kTemplates{{{kNames[0], kAlpaca},
                                                   {kNames[1], kChatml},
                                                   {kNames[2], kExaone},
                                                   {kNames[3], kLlama3},
                                                   {kNames[4], kMistral}}};

std::string_view without_space_around(std::string_view text) {
  constexpr std::string_view kSpace = " \t\r\n\f\v";
  const size_t first = text.find_first_not_of(kSpace);
  if (first == text.npos) return {};
  return text.substr(first, text.find_last_not_of(kSpace) - first + 1);
}

size_t characters(std::string_view text) {
  return static_cast<size_t>(std::ranges::count_if(
      text, [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }));
}

// The most frequent; of several, the one that came first.
std::optional<std::string> plurality(std::span<const std::optional<std::string>> inputs) {
  std::string_view best;
  ptrdiff_t most = 0;
  for (const auto& input : inputs) {
    const std::string_view text = input ? without_space_around(*input) : std::string_view();
    if (text.empty()) continue;
    const ptrdiff_t count = std::ranges::count_if(
        inputs, [&](const auto& other) { return other && without_space_around(*other) == text; });
    if (count <= most) continue;
    most = count;
    best = text;
  }
  if (most == 0) return std::nullopt;
  return std::string(best);
}

}  // namespace

std::span<const std::string_view> chat_template_names() { return kNames; }

Result<std::optional<std::string>> chat_template_of(
    std::string_view wish, std::span<const std::optional<std::string>> inputs) {
  if (wish == "auto") return plurality(inputs);
  const auto named = std::ranges::find(kTemplates, wish, &NamedTemplate::name);
  if (named != kTemplates.end()) return std::string(named->text);
  if (!valid_utf8(wish)) return refuse("chat_template is not valid UTF-8; save it as such.");
  if (characters(wish) >= kShortest && wish.find('{') != wish.npos) return std::string(wish);
  std::vector<std::string_view> candidates(kNames.begin(), kNames.end());
  candidates.push_back("auto");
  const std::string_view meant = nearest(wish, candidates);
  return refuse(
      fmt::format("chat_template \"{}\" is neither auto nor one of {}, and too short for "
                  "a Jinja template{}",
                  printable(wish, 60), fmt::join(kNames, ", "),
                  meant.empty() ? std::string(".") : fmt::format("; did you mean \"{}\"?", meant)));
}

Status set_chat_template(std::vector<TokenizerFile>& files, std::string_view text) {
  constexpr std::string_view kConfig = "tokenizer_config.json";
  if (std::ranges::find(files, kConfig, &TokenizerFile::name) == files.end()) {
    files.push_back({std::string(kConfig), "{\n}\n"});
  }
  for (TokenizerFile& file : files) {
    if (file.name == "chat_template.jinja") file.text = std::string(text);
    if (file.name != kConfig && file.name != "chat_template.json") continue;
    HIERON_CHECK(json_text::check_object(file.text, file.name));
    json_text::Edits edits(file.text);
    edits.set(file.text, "chat_template", json_text::quoted(text));
    file.text = std::move(edits).apply();
  }
  return {};
}

}  // namespace hieron
