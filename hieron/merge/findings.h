// What is wrong with a plan, and what is worth a warning: each sentence once, however many tensors
// have it.
#pragma once

#include <set>
#include <string>

#include "hieron/merge/plan.h"

namespace hieron {

class Findings {
 public:
  // Adds to the plan's problems and warnings.
  explicit Findings(Plan& plan) : plan_(plan) {}

  void problem(std::string sentence, std::string tensor = {}, int line = 0);
  // "FILE, line LINE: CLAUSE."; without the line if it is 0. Once.
  void problem_at(int line, const std::string& clause, const std::string& tensor = {});

  // Whole sentences. Once.
  void warn(const std::string& sentence);
  void warn_at(int line, const std::string& clause);

 private:
  std::string located(int line, const std::string& clause) const;

  Plan& plan_;
  std::set<std::string> said_;
};

}  // namespace hieron
