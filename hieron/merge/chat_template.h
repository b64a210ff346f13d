// `chat_template` of a recipe: auto, the name of a well-known format, or the template itself
// (Jinja).
//
// A template is text for others to run; here it is only stored.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "hieron/core/error.h"
#include "hieron/model/tokenizer.h"

namespace hieron {

// "alpaca", "chatml", "exaone", "llama3", "mistral".
std::span<const std::string_view> chat_template_names();

// The template that `wish` stands for, among inputs with these templates (nothing: has none). auto:
// the one that most inputs have; of several, the first input's. Nothing if auto finds none. A text
// is a template if it has 20 characters and a "{"; anything else is refused.
Result<std::optional<std::string>> chat_template_of(
    std::string_view wish, std::span<const std::optional<std::string>> inputs);

// Puts it into tokenizer_config.json, and into chat_template.jinja and a processor's
// chat_template.json where there are any. Without a tokenizer_config.json one is made.
Status set_chat_template(std::vector<TokenizerFile>& files, std::string_view text);

}  // namespace hieron
