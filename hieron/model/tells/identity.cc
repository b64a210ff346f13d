// Leftover names: in configs, and whom the chat template says the model is.
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "hieron/core/text.h"
#include "hieron/model/tells/families.h"
#include "hieron/model/tells/looks.h"

namespace hieron {
namespace {

bool says_nothing(const std::string& path) {
  return path.empty() || path == "." || path == "./" || path == "/";
}

// What the public is told: the ref, the card.
std::string own_words(const SmallFiles& files) {
  return lower_case(fmt::format("{}\n{}\n{}", files.name, published_name(files),
                                files.card ? files.card->text : ""));
}

}  // namespace

// transformers notes where a model was loaded from. Many honest fine-tunes carry it too.
void look_at_config(const SmallFiles& files, Findings& found) {
  if (!files.config) return;
  if (const std::string path = text_at(*files.config, "_name_or_path"); !says_nothing(path)) {
    found.add("config-name-or-path",
              fmt::format("config.json says it was loaded from \"{}\"", printable(path)));
  }
  if (const auto text = small_text(files.model.folder, "tokenizer_config.json", 16 << 20)) {
    const auto config = parse_object(*text);
    const std::string path = config ? text_at(*config, "name_or_path") : "";
    if (!says_nothing(path)) {
      found.add(
          "tokenizer-name-or-path",
          fmt::format("tokenizer_config.json says it was loaded from \"{}\"", printable(path)));
    }
  }
  const std::string type = text_at(*files.config, "model_type");
  const ModelFamily* family = family_of_type(type);
  if (files.card && family && !names_family(own_words(files), *family)) {
    found.add(
        "family-unnamed",
        fmt::format("config.json says model_type \"{}\", an architecture of {}, which neither "
                    "the model's name nor README.md mentions",
                    printable(type), family->name));
  }
}

// Only where the public is told something else: a fine-tune that says what it was made from may
// keep its template.
void look_at_identity(const SmallFiles& files, Findings& found) {
  if (!files.chat_template) return;
  const std::string lower = lower_case(*files.chat_template);
  const std::string own = own_words(files);
  for (const ModelFamily& family : model_families()) {
    if (names_family(own, family)) continue;
    for (const std::string_view call : family.calls) {
      const size_t at = lower.find(call);
      if (at == lower.npos) continue;
      // "you are phi" in "you are philosophical"
      const size_t end = at + call.size();
      if (end < lower.size() && lower[end] >= 'a' && lower[end] <= 'z') continue;
      constexpr size_t kShown = 80;
      std::string quote = files.chat_template->substr(at, kShown);
      quote = quote.substr(0, quote.find_first_of("\n\\'\""));
      found.add("template-names-another",
                fmt::format("the chat template says \"{}\", while {} {}", printable(quote),
                            files.card ? "neither the model's name nor README.md mentions"
                                       : "the model's name does not mention",
                            family.name));
      break;
    }
  }
}

}  // namespace hieron
