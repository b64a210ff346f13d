// The family that the audits of unit tests are about, each model loaded once. For tests only.
#pragma once

#include <map>
#include <string>

#include "hieron/recover/made_models.h"

namespace hieron {

inline const made::Model& family(const std::string& name) {
  static std::map<std::string, made::Model> loaded;
  auto [it, added] = loaded.try_emplace(name);
  if (added) it->second = made::load(name);
  return it->second;
}
inline const made::Model& hacker_news() { return family("textgenrnn/hacker_news-bf16"); }
inline const made::Model& base() { return family("textgenrnn/base-bf16"); }
inline const made::Model& puppers() { return family("textgenrnn/reddit_rarepuppers-bf16"); }
inline const made::Model& legal() { return family("textgenrnn/reddit_legaladvice-bf16"); }
inline const made::Model& apple() { return family("textgenrnn/reddit_apple_android-bf16"); }

}  // namespace hieron
