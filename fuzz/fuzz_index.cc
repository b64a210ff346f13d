// Any bytes as model.safetensors.index.json: refused with a sentence, or shards that stay in the
// folder.
#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>
#include <string>

#include "hieron/core/text.h"
#include "hieron/format/shard_index.h"

namespace {

void require(bool holds) {
  if (!holds) std::abort();
}

void check_refusal(const hieron::Error& error) {
  require(error.code == hieron::ErrorCode::kRefused);
  require(!error.sentence.empty() && hieron::valid_utf8(error.sentence));
  require(!hieron::has_control_or_bidi(error.sentence));
}

void check_accepted(const hieron::ShardIndex& index, std::string_view json) {
  require(nlohmann::json::accept(json));  // a second opinion
  const std::filesystem::path folder = "/models/m";
  for (const std::string& shard : index.shards) {
    require((folder / shard).lexically_normal().parent_path() == folder);
  }
  std::set<std::string_view> tensors;
  for (const auto& [tensor, shard] : index.weight_map) require(tensors.insert(tensor).second);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view json(reinterpret_cast<const char*>(data), size);
  const auto index = hieron::parse_shard_index(json, "fuzzed.index.json");
  if (index) {
    check_accepted(*index, json);
  } else {
    check_refusal(index.error());
  }
  return 0;
}
