// Families of models as data: the architectures they alone use, the names they go by, what their
// templates say of themselves and what their licences ask for.
#pragma once

#include <span>
#include <string_view>

namespace hieron {

struct ModelFamily {
  std::string_view name;                    // as people write it
  std::span<const std::string_view> words;  // lower case: in names of models and cards
  std::span<const std::string_view> types;  // values of model_type
  std::span<const std::string_view> calls;  // lower case: what its system prompts say it is
};
std::span<const ModelFamily> model_families();

// The family whose word stands in this text (lower case), or null; the earliest in the text.
const ModelFamily* family_named_in(std::string_view lower_text);
const ModelFamily* family_of_type(std::string_view model_type);
bool names_family(std::string_view lower_text, const ModelFamily& family);

// Licences known by phrases of their own text.
struct KnownLicence {
  std::string_view name;                    // "Llama 3.1 Community License"
  std::span<const std::string_view> marks;  // lower case; all of them stand in the text
  std::string_view family;                  // of models it is written for; empty: any
  std::string_view display;                 // lower case: what it asks to be shown; may be empty
  std::string_view notice;                  // lower case: what a notice file must say; may be empty
};
std::span<const KnownLicence> known_licences();
const KnownLicence* licence_by_text(std::string_view lower_text);  // white space single

}  // namespace hieron
