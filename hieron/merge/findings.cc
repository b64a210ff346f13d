#include "hieron/merge/findings.h"

#include <fmt/format.h>

#include <utility>

namespace hieron {

void Findings::problem(std::string sentence, std::string tensor, int line) {
  plan_.problems.push_back({std::move(sentence), std::move(tensor), line});
}

void Findings::problem_at(int line, const std::string& clause, const std::string& tensor) {
  const std::string sentence = located(line, clause);
  if (said_.insert(sentence).second) problem(sentence, tensor, line);
}

void Findings::warn(const std::string& sentence) {
  if (said_.insert(sentence).second) plan_.warnings.push_back(sentence);
}

void Findings::warn_at(int line, const std::string& clause) { warn(located(line, clause)); }

std::string Findings::located(int line, const std::string& clause) const {
  const std::string& file = plan_.recipe.file;
  return line > 0 ? fmt::format("{}, line {}: {}.", file, line, clause)
                  : fmt::format("{}: {}.", file, clause);
}

}  // namespace hieron
