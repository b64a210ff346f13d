// Licence texts known by their titles, and the notices that some of them ask for. What is missing
// is a hint that somebody should ask, no more: rights can be had by other ways.
#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "hieron/core/text.h"
#include "hieron/model/tells/families.h"
#include "hieron/model/tells/looks.h"

namespace hieron {
namespace {

// Lower case, every stretch of white space one blank.
std::string flowing(std::string_view text) {
  std::string flow;
  flow.reserve(text.size());
  for (const char c : text) {
    const bool blank = c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '#' || c == '*';
    if (blank && (flow.empty() || flow.back() == ' ')) continue;
    flow += blank ? ' ' : c;
  }
  return lower_case(flow);
}

struct Found {
  const KnownLicence* licence = nullptr;
  std::string file;
};

Found licence_of(const SmallFiles& files) {
  for (const LicenceFile& one : files.licences) {
    if (const KnownLicence* known = licence_by_text(flowing(one.text))) return {known, one.file};
  }
  return {};
}

std::string shown(const Found& found) {
  return found.licence ? std::string(found.licence->name) : "a licence that is not known here";
}

// "llama3.1" of the card's `license`, as the hub spells it.
const KnownLicence* licence_by_id(std::string_view id) {
  struct Spelling {
    std::string_view id, name;
  };
  static constexpr Spelling kSpellings[] = {
      {"llama2", "Llama 2 Community License"},
      {"llama3", "Llama 3 Community License"},
      {"llama3.1", "Llama 3.1 Community License"},
      {"llama3.2", "Llama 3.2 Community License"},
      {"llama3.3", "Llama 3.3 Community License"},
      {"llama4", "Llama 4 Community License"},
      {"gemma", "Gemma Terms of Use"},
  };
  const auto* const spelled = std::ranges::find(kSpellings, id, &Spelling::id);
  if (spelled == std::end(kSpellings)) return nullptr;
  return &*std::ranges::find(known_licences(), spelled->name, &KnownLicence::name);
}

}  // namespace

void look_at_licences(const SmallFiles& files, Findings& found) {
  Found own = licence_of(files);
  if (own.licence && !own.licence->family.empty() && files.config) {
    const std::string type = text_at(*files.config, "model_type");
    const ModelFamily* family = family_of_type(type);
    if (family && family->name != own.licence->family) {
      found.add("licence-of-another-family",
                fmt::format("{} is the {}, while config.json says model_type \"{}\", an "
                            "architecture of {}",
                            own.file, own.licence->name, printable(type), family->name));
    }
  }
  const KnownLicence* asked = own.licence;
  std::string source = own.file;
  if (files.card && !asked) {
    asked = licence_by_id(lower_case(files.card->licence));
    source = "README.md's license";
  }
  if (!asked || !files.card) return;
  const std::string all =
      flowing(fmt::format("{}\n{}", files.card->text, files.notice.value_or("")));
  std::vector<std::string> missing;
  if (!asked->display.empty() && !mentions(all, asked->display)) {
    missing.push_back(fmt::format("\"{}\"", asked->display));
  }
  if (!asked->notice.empty() && !mentions(all, asked->notice)) {
    missing.push_back(fmt::format("a notice that \"{} …\"", asked->notice));
  }
  if (!missing.empty()) {
    found.add("licence-notice-missing",
              fmt::format("{} is the {}, which asks for {}{}{}: neither README.md nor a NOTICE "
                          "file has it",
                          source, asked->name, missing[0], missing.size() > 1 ? " and " : "",
                          missing.size() > 1 ? missing[1] : ""));
  }
  // Of the Llama licences from version 3 on: the name of what is made from it begins with Llama.
  if (const std::string called = published_name(files);
      !asked->display.empty() && !called.empty()) {
    const std::string name = lower_case(called);
    if (!name.starts_with("llama") && !name.starts_with("meta-llama")) {
      found.add("licence-name-rule",
                fmt::format("{} is the {}, which asks that names of models made from it begin with "
                            "Llama; this one is called {}",
                            source, asked->name, printable(called)));
    }
  }
}

void compare_licences(const SmallFiles& suspect, std::span<const SmallFiles> others,
                      Findings& found) {
  // A folder without small files was not published as one: what it lacks says nothing.
  if (!suspect.card && suspect.licences.empty()) return;
  const Found own = licence_of(suspect);
  std::vector<size_t> other_licence, notices;
  std::string theirs;
  for (size_t i = 0; i < others.size(); ++i) {
    if (others[i].notice && !suspect.notice) notices.push_back(i);
    if (others[i].licences.empty()) continue;
    const Found its = licence_of(others[i]);
    const bool same = suspect.licences.empty() ? false
                      : its.licence            ? its.licence == own.licence
                                    : suspect.licences[0].text == others[i].licences[0].text;
    if (same) continue;
    if (other_licence.empty()) theirs = shown(its);
    if (shown(its) == theirs) other_licence.push_back(i);
  }
  if (!other_licence.empty()) {
    found.add("licence-differs",
              fmt::format("{} comes with {}, the suspect with {}", names_of(others, other_licence),
                          theirs, suspect.licences.empty() ? "no licence file" : shown(own)));
  }
  if (!notices.empty()) {
    found.add("notice-dropped", fmt::format("{} comes with a NOTICE file, the suspect without one",
                                            names_of(others, notices)));
  }
  if (!suspect.card || suspect.card->licence.empty()) return;
  std::vector<size_t> differs;
  std::string declared;
  for (size_t i = 0; i < others.size(); ++i) {
    if (!others[i].card || others[i].card->licence.empty()) continue;
    const std::string& its = others[i].card->licence;
    if (lower_case(its) == lower_case(suspect.card->licence)) continue;
    if (differs.empty()) declared = its;
    if (its == declared) differs.push_back(i);
  }
  if (differs.empty()) return;
  found.add("card-licence-differs",
            fmt::format("README.md says license {}, that of {} says {}",
                        printable(suspect.card->licence, 40), names_of(others, differs),
                        printable(declared, 40)));
}

}  // namespace hieron
