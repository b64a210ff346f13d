// The name of a model on a hub: org/name[@revision], or hf://org/name[@revision].
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace hieron {

struct HubReference {
  std::string repo;      // "org/name"; with hf:// also "name"
  std::string revision;  // a branch, a tag or a commit; empty: main

  const std::string& revision_or_main() const;
  friend bool operator==(const HubReference&, const HubReference&) = default;
};

// Nothing, if it is none by huggingface_hub's rules.
std::optional<HubReference> parse_hub_reference(std::string_view text);

// 40 digits, lower case: the name of a commit.
bool is_commit(std::string_view text);
// 64 digits: a SHA-256.
bool is_sha256(std::string_view text);

}  // namespace hieron
