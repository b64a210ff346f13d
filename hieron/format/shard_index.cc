#include "hieron/format/shard_index.h"

#include <fmt/format.h>
#include <simdjson.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "hieron/core/text.h"
#include "hieron/format/strict_json.h"

namespace hieron {
namespace {

constexpr uint64_t kMaxIndexBytes = 100'000'000;  // as a header, which names the same tensors

class IndexParser {
 public:
  explicit IndexParser(const std::string& file) : file_(file) {}
  Result<ShardIndex> parse(const simdjson::dom::object& root);

 private:
  Status add_metadata(const simdjson::dom::element& value);
  Status add_weight_map(const simdjson::dom::element& value);
  Status check_name(std::string_view tensor) const;
  Status check_shard(std::string_view tensor, std::string_view shard) const;
  std::unexpected<Error> refuse_index(std::string_view what, std::string_view tensor = {}) const {
    return refuse(fmt::format("{} {}. {}", printable(file_), what, kFetchAgain), file_,
                  std::string(tensor));
  }

  const std::string& file_;
  ShardIndex index_;
};

Result<ShardIndex> IndexParser::parse(const simdjson::dom::object& root) {
  std::vector<std::string_view> keys;
  for (const simdjson::dom::key_value_pair field : root) {
    keys.push_back(field.key);
    if (field.key == "metadata") HIERON_CHECK(add_metadata(field.value));
    if (field.key == "weight_map") HIERON_CHECK(add_weight_map(field.value));
  }
  if (const std::optional<std::string_view> key = repeated(keys)) {
    return refuse_index(fmt::format("has the key \"{}\" twice", printable(*key)));
  }
  if (std::ranges::find(keys, "weight_map") == keys.end())
    return refuse_index("has no \"weight_map\"");
  return std::move(index_);
}

std::string scalar_text(const simdjson::dom::element& value) {
  if (value.is_string()) return std::string(value.get_string().value_unsafe());
  if (value.is_double()) return shortest(value.get_double().value_unsafe());
  return simdjson::minify(value);
}

Status IndexParser::add_metadata(const simdjson::dom::element& value) {
  simdjson::dom::object entries;
  if (value.is_null()) return {};
  if (value.get(entries) != simdjson::SUCCESS) {
    return refuse_index("has a \"metadata\" that is not a JSON object");
  }
  for (const simdjson::dom::key_value_pair entry : entries) {
    if (!index_.metadata.emplace(entry.key, scalar_text(entry.value)).second) {
      return refuse_index(fmt::format("names \"{}\" twice in \"metadata\"", printable(entry.key)));
    }
  }
  return {};
}

Status IndexParser::add_weight_map(const simdjson::dom::element& value) {
  simdjson::dom::object entries;
  if (value.get(entries) != simdjson::SUCCESS) {
    return refuse_index("has a \"weight_map\" that is not a JSON object");
  }
  std::vector<std::string_view> tensors;
  std::set<std::string_view> shards;
  std::string_view last;  // neighbours mostly lie in one shard: what is known of it holds again
  tensors.reserve(entries.size());
  index_.weight_map.reserve(entries.size());
  for (const simdjson::dom::key_value_pair entry : entries) {
    std::string_view shard;
    if (entry.value.get(shard) != simdjson::SUCCESS) {
      return refuse_index(
          fmt::format("gives tensor \"{}\" a shard that is not a string", printable(entry.key)),
          entry.key);
    }
    HIERON_CHECK(check_name(entry.key));
    if (last.empty() || shard != last) {
      HIERON_CHECK(check_shard(entry.key, shard));
      shards.insert(shard);
      last = shard;
    }
    tensors.push_back(entry.key);
    index_.weight_map.emplace_back(entry.key, shard);
  }
  if (const std::optional<std::string_view> tensor = repeated(tensors)) {
    return refuse_index(fmt::format("names tensor \"{}\" twice", printable(*tensor)), *tensor);
  }
  index_.shards.assign(shards.begin(), shards.end());
  return {};
}

Status IndexParser::check_name(std::string_view tensor) const {
  if (tensor.empty()) return refuse_index("holds a tensor whose name is empty");
  if (tensor.find('\0') != tensor.npos) {
    return refuse_index(fmt::format("names tensor \"{}\", which has a NUL character in its name",
                                    printable(tensor)),
                        tensor);
  }
  return {};
}

// A shard lies beside its index. Anything else could make us read, or make another program write, a
// file that the model does not own.
Status IndexParser::check_shard(std::string_view tensor, std::string_view shard) const {
  const bool plain = !shard.empty() && shard != "." && shard != ".." &&
                     shard.find_first_of(std::string_view("/\\\0", 3)) == shard.npos &&
                     !has_control_or_bidi(shard);
  if (plain) return {};
  return refuse_index(
      fmt::format("puts tensor \"{}\" into \"{}\", which is not a plain file name in "
                  "the folder of the index",
                  printable(tensor), printable(shard)),
      tensor);
}

std::unexpected<Error> not_an_index(simdjson::error_code code, const std::string& file) {
  std::string what = fmt::format("is not valid JSON ({})", simdjson::error_message(code));
  if (code == simdjson::UTF8_ERROR) what = "is not valid UTF-8";
  if (code == simdjson::INCORRECT_TYPE) what = "is not a JSON object";
  if (code == simdjson::DEPTH_ERROR) {
    what = fmt::format("is nested more than {} levels deep", kMaxJsonDepth);
  }
  return refuse(fmt::format("{} {}. {}", printable(file), what, kFetchAgain), file);
}

}  // namespace

Result<ShardIndex> parse_shard_index(std::string_view json, const std::string& file) {
  if (json.size() > kMaxIndexBytes) {
    return refuse(
        fmt::format("{} has {} bytes, but an index has at most {}. Check that it is the file "
                    "you meant.",
                    printable(file), with_commas(json.size()), with_commas(kMaxIndexBytes)),
        file);
  }
  const simdjson::padded_string copy(json);
  simdjson::dom::parser parser(kMaxIndexBytes);
  simdjson::dom::object root;
  simdjson::error_code code = parser.allocate(json.size(), kMaxJsonDepth);
  if (!code) code = parser.parse(copy.data(), copy.size(), false).get(root);
  if (code) return not_an_index(code, file);
  return IndexParser(file).parse(root);
}

std::string write_shard_index(const std::vector<std::pair<std::string, std::string>>& weight_map,
                              uint64_t total_size) {
  nlohmann::json index;  // keys in order of name
  index["metadata"]["total_size"] = total_size;
  nlohmann::json& map = index["weight_map"] = nlohmann::json::object();
  for (const auto& [tensor, shard] : weight_map) map[tensor] = shard;
  // Names that are not UTF-8 cannot come from a file we read; rather a replaced character than a
  // throw.
  return index.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

}  // namespace hieron
