// Tells: hints in small files and file names about how a checkpoint was made and what it calls
// itself. Free of weights, easy to fake, never a verdict by themselves. docs/tells.md lists them
// all, with how often each is seen on models that are no merges.
//
// Everything read here is hostile: files are read up to a limit, what cannot be parsed says
// nothing, and whatever a sentence quotes is made safe to print.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace hieron {

struct Tell {
  std::string id;        // "mergekit-index-version", "mergekit-config-file", …
  std::string sentence;  // what was seen, where
  std::string weight;    // "strong hint" | "hint" | "weak hint"
};

// Where a tensor lies.
struct TensorPlace {
  std::string_view name;
  uint32_t file;  // into ModelFiles::shards
  uint64_t bytes;
};

// What tells look at of a model.
struct ModelFiles {
  std::string ref;                              // as typed
  std::string folder;                           // of the small files; may be empty
  std::map<std::string, std::string> metadata;  // of the headers and the index
  std::string config_json;
  std::vector<std::string> shards;   // paths of the files with weights
  std::vector<TensorPlace> tensors;  // stored ones; in any order
};

// The files beside config.json that tells read, if they are there: whoever fetches a model from
// afar or packs it fetches these.
std::span<const std::string_view> telling_files();

// Of one model, the weightier first. Cost: a few small files.
std::vector<Tell> tells(const ModelFiles& model);

// Of a suspect beside the models it is compared with: whose config, tokenizer and chat template it
// has, whether its card names one of them, what notices of theirs it lacks. The weightier first.
std::vector<Tell> comparative_tells(const ModelFiles& suspect, std::span<const ModelFiles> others);

}  // namespace hieron
