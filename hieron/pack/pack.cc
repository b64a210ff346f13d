#include "hieron/pack/pack.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "hieron/core/text.h"
#include "hieron/pack/squeeze.h"

namespace hieron {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::string_view kSchema = "hieron.evidence/1";
constexpr int kDeepest = 16;
constexpr size_t kMostModels = 512;
constexpr uint64_t kMostSampleBytes = uint64_t{1} << 50;
constexpr uint64_t kMostTextBytes = 256u << 20;  // of one small file

// ---- writing

std::string shown(const Json& value) {
  return value.dump(-1, ' ', false, Json::error_handler_t::replace);
}

Json text_or_null(const std::string& text) { return text.empty() ? Json() : Json(text); }

void add_content(Json& json, const PackedBytes& content) {
  json["bytes"] = content.bytes;
  json["sha256"] = content.sha256;
  if (content.planes == 0) return;
  json["deflated"] = content.stored;
  json["planes"] = content.planes;
}

// An array, an item a line: two packs can be compared with diff.
template <class Items, class Convert>
std::string lines(const Items& items, std::string_view indent, const Convert& convert) {
  if (items.empty()) return "[]";
  std::string out;
  for (const auto& item : items) {
    out += out.empty() ? "[\n" : ",\n";
    out += indent;
    out += convert(item);
  }
  return out + "]";
}

std::string block_json(const PackedBlock& block) {
  Json json{{"offset", block.offset}};
  add_content(json, block.content);
  return shown(json);
}

std::string text_json(const PackedText& text) {
  Json json{{"path", text.path}};
  add_content(json, text.content);
  return shown(json);
}

std::string weights_json(const PackedWeights& file) {
  const Json json{{"path", file.path},
                  {"bytes", file.bytes},
                  {"url", text_or_null(file.origin.url)},
                  {"etag", text_or_null(file.origin.etag)},
                  {"sha256", text_or_null(file.origin.sha256)}};
  std::string text = shown(json);
  text.pop_back();
  return text + ",\n    \"blocks\": " + lines(file.blocks, "     ", block_json) + "}";
}

std::string model_json(const PackedModel& model) {
  const Json json{{"ref", model.ref},
                  {"commit", text_or_null(model.commit)},
                  {"index", text_or_null(model.index_file)}};
  std::string text = shown(json);
  text.pop_back();
  return text + ",\n   \"files\": " + lines(model.files, "    ", weights_json) +
         ",\n   \"texts\": " + lines(model.texts, "    ", text_json) + "}";
}

Json audit_options_json(const Pack& pack) {
  Json pool;
  if (pack.pool) {
    pool = Json::array();
    for (const PackedPoolEntry& entry : *pack.pool) {
      pool.push_back(entry.model ? Json(*entry.model) : Json(entry.ref));
    }
  }
  return {{"suspect", pack.suspect},
          {"parents", pack.parents},
          {"base", pack.base ? Json(*pack.base) : Json()},
          {"controls", pack.controls},
          {"pool", std::move(pool)},
          {"seed", pack.seed.hex()},
          {"sample_bytes", pack.sample_bytes},
          {"more_bytes", pack.more_bytes},
          {"seed_search", pack.seeds == Seeds::kAll ? "full" : "popular"}};
}

// ---- reading

// Values by their path in the file, so that a complaint can name it.
class Reader {
 public:
  explicit Reader(const std::string& file) : file_(file) {}

  std::unexpected<Error> wrong(const std::string& where, std::string_view what) const {
    return refuse(fmt::format("{}: \"{}\" {}. The pack is damaged or was made to deceive; get it "
                              "again from a source you trust.",
                              printable(file_), printable(where), what),
                  file_);
  }

  Result<const Json*> field(const Json& object, const std::string& key,
                            const std::string& in) const {
    const auto found = object.is_object() ? object.find(key) : object.end();
    if (!object.is_object() || found == object.end()) return wrong(in + key, "is missing");
    return &*found;
  }
  Result<uint64_t> number(const Json& object, const std::string& key, const std::string& in) const {
    HIERON_TRY(const Json* value, field(object, key, in));
    if (!value->is_number_unsigned()) return wrong(in + key, "is no whole number");
    return value->get<uint64_t>();
  }
  // Null is the empty text.
  Result<std::string> text(const Json& object, const std::string& key,
                           const std::string& in) const {
    HIERON_TRY(const Json* value, field(object, key, in));
    if (value->is_null()) return std::string();
    if (!value->is_string()) return wrong(in + key, "is no text");
    return value->get<std::string>();
  }
  Result<const Json*> array(const Json& object, const std::string& key,
                            const std::string& in) const {
    HIERON_TRY(const Json* value, field(object, key, in));
    if (!value->is_array()) return wrong(in + key, "is no list");
    return value;
  }

 private:
  const std::string& file_;
};

bool is_digest(const std::string& text) {
  return text.size() == 64 && std::ranges::all_of(text, [](char c) {
           return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
         });
}

// A file of one folder: nothing that leads elsewhere.
bool is_plain(const std::string& name) {
  return !name.empty() && name.size() < 256 && name != "." && name != ".." &&
         name.find('/') == std::string::npos && name.find('\0') == std::string::npos;
}

// The same, perhaps in a folder below.
bool is_below(const std::string& path) {
  for (size_t begin = 0; begin <= path.size();) {
    const size_t end = std::min(path.find('/', begin), path.size());
    if (!is_plain(path.substr(begin, end - begin))) return false;
    begin = end + 1;
  }
  return true;
}

Result<PackedBytes> read_content(const Reader& reader, const Json& json, const std::string& in,
                                 uint64_t most) {
  PackedBytes content{};
  HIERON_TRY(content.bytes, reader.number(json, "bytes", in));
  HIERON_TRY(content.sha256, reader.text(json, "sha256", in));
  if (!is_digest(content.sha256)) return reader.wrong(in + "sha256", "is no SHA-256");
  if (content.bytes > most) {
    return reader.wrong(in + "bytes", fmt::format("is more than {}", with_commas(most)));
  }
  content.stored = content.bytes;
  if (!json.contains("deflated")) return content;
  HIERON_TRY(content.stored, reader.number(json, "deflated", in));
  HIERON_TRY(const uint64_t planes, reader.number(json, "planes", in));
  if (planes < 1 || planes > kMostPlanes || content.stored >= content.bytes) {
    return reader.wrong(in + "deflated", "does not make the bytes fewer");
  }
  content.planes = static_cast<int>(planes);
  return content;
}

Result<PackedWeights> read_weights(const Reader& reader, const Json& json, const std::string& in) {
  PackedWeights file{};
  HIERON_TRY(file.path, reader.text(json, "path", in));
  HIERON_TRY(file.bytes, reader.number(json, "bytes", in));
  HIERON_TRY(file.origin.url, reader.text(json, "url", in));
  HIERON_TRY(file.origin.etag, reader.text(json, "etag", in));
  HIERON_TRY(file.origin.sha256, reader.text(json, "sha256", in));
  if (!is_below(file.path)) return reader.wrong(in + "path", "leads out of the model's folder");
  if (file.bytes > INT64_MAX) return reader.wrong(in + "bytes", "is more than a file can have");
  HIERON_TRY(const Json* blocks, reader.array(json, "blocks", in));
  uint64_t end = 0;
  for (size_t i = 0; i < blocks->size(); ++i) {
    const std::string here = fmt::format("{}blocks/{}/", in, i);
    PackedBlock block{};
    HIERON_TRY(block.offset, reader.number((*blocks)[i], "offset", here));
    HIERON_TRY(block.content, read_content(reader, (*blocks)[i], here, kMostBlockBytes));
    if (block.offset < end) return reader.wrong(here + "offset", "overlaps the block before");
    if (block.content.bytes == 0 || block.offset > file.bytes ||
        block.content.bytes > file.bytes - block.offset) {
      return reader.wrong(here + "bytes", "reaches beyond the end of its file");
    }
    end = block.offset + block.content.bytes;
    file.blocks.push_back(std::move(block));
  }
  return file;
}

Result<PackedModel> read_model(const Reader& reader, const Json& json, const std::string& in) {
  PackedModel model{};
  HIERON_TRY(model.ref, reader.text(json, "ref", in));
  HIERON_TRY(model.commit, reader.text(json, "commit", in));
  HIERON_TRY(model.index_file, reader.text(json, "index", in));
  if (model.ref.empty()) return reader.wrong(in + "ref", "is empty");
  HIERON_TRY(const Json* files, reader.array(json, "files", in));
  for (size_t i = 0; i < files->size(); ++i) {
    HIERON_TRY(PackedWeights file,
               read_weights(reader, (*files)[i], fmt::format("{}files/{}/", in, i)));
    model.files.push_back(std::move(file));
  }
  HIERON_TRY(const Json* texts, reader.array(json, "texts", in));
  std::set<std::string> names;
  for (size_t i = 0; i < texts->size(); ++i) {
    const std::string here = fmt::format("{}texts/{}/", in, i);
    PackedText text{};
    HIERON_TRY(text.path, reader.text((*texts)[i], "path", here));
    HIERON_TRY(text.content, read_content(reader, (*texts)[i], here, kMostTextBytes));
    if (!is_plain(text.path)) return reader.wrong(here + "path", "leads out of the model's folder");
    if (!names.insert(text.path).second) return reader.wrong(here + "path", "was named before");
    model.texts.push_back(std::move(text));
  }
  if (!model.index_file.empty() && !names.contains(model.index_file)) {
    return reader.wrong(in + "index", "is none of the texts");
  }
  return model;
}

Result<size_t> read_member(const Reader& reader, const Pack& pack, const Json& value,
                           const std::string& where) {
  if (!value.is_number_unsigned() || value.get<uint64_t>() >= pack.models.size()) {
    return reader.wrong(where, "is none of the models");
  }
  return value.get<size_t>();
}

Result<std::vector<size_t>> read_members(const Reader& reader, const Pack& pack, const Json& audit,
                                         const std::string& key) {
  std::vector<size_t> members;
  HIERON_TRY(const Json* list, reader.array(audit, key, "audit/"));
  for (const Json& value : *list) {
    HIERON_TRY(const size_t member, read_member(reader, pack, value, "audit/" + key));
    members.push_back(member);
  }
  return members;
}

Status read_pool(const Reader& reader, const Json& audit, Pack& pack) {
  HIERON_TRY(const Json* pool, reader.field(audit, "pool", "audit/"));
  if (pool->is_null()) return {};
  if (!pool->is_array()) return reader.wrong("audit/pool", "is no list");
  pack.pool.emplace();
  for (const Json& value : *pool) {
    if (value.is_string()) {
      pack.pool->push_back({.model = std::nullopt, .ref = value.get<std::string>()});
      continue;
    }
    HIERON_TRY(const size_t member, read_member(reader, pack, value, "audit/pool"));
    pack.pool->push_back({.model = member, .ref = {}});
  }
  return {};
}

Status read_audit(const Reader& reader, const Json& json, Pack& pack) {
  HIERON_TRY(const Json* audit, reader.field(json, "audit", ""));
  HIERON_TRY(const Json* suspect, reader.field(*audit, "suspect", "audit/"));
  HIERON_TRY(pack.suspect, read_member(reader, pack, *suspect, "audit/suspect"));
  HIERON_TRY(pack.parents, read_members(reader, pack, *audit, "parents"));
  HIERON_TRY(pack.controls, read_members(reader, pack, *audit, "controls"));
  HIERON_TRY(const Json* base, reader.field(*audit, "base", "audit/"));
  if (!base->is_null()) {
    HIERON_TRY(pack.base, read_member(reader, pack, *base, "audit/base"));
  }
  HIERON_CHECK(read_pool(reader, *audit, pack));
  if (pack.parents.empty() && !pack.pool) return reader.wrong("audit/parents", "is empty");
  HIERON_TRY(const std::string seed, reader.text(*audit, "seed", "audit/"));
  const auto bits = Seed::from_hex(seed);
  if (!bits || seed.size() != 64) return reader.wrong("audit/seed", "is not 64 hex digits");
  pack.seed = *bits;
  HIERON_TRY(pack.sample_bytes, reader.number(*audit, "sample_bytes", "audit/"));
  HIERON_TRY(pack.more_bytes, reader.number(*audit, "more_bytes", "audit/"));
  if (pack.sample_bytes > kMostSampleBytes || pack.more_bytes > kMostSampleBytes) {
    return reader.wrong("audit/sample_bytes", "is more than a tensor has");
  }
  HIERON_TRY(const std::string search, reader.text(*audit, "seed_search", "audit/"));
  if (search != "popular" && search != "full") {
    return reader.wrong("audit/seed_search", "is neither popular nor full");
  }
  pack.seeds = search == "full" ? Seeds::kAll : Seeds::kPopular;
  return {};
}

// As nlohmann parses, but without a key twice and not deeper than need be.
Result<Json> parse_strictly(std::string_view text, const Reader& reader) {
  std::vector<std::set<std::string>> keys;
  std::string twice;
  bool too_deep = false;
  const auto look = [&](int depth, Json::parse_event_t event, Json& parsed) {
    too_deep = too_deep || depth > kDeepest;
    if (event == Json::parse_event_t::object_start) keys.emplace_back();
    if (event == Json::parse_event_t::object_end) keys.pop_back();
    if (event == Json::parse_event_t::key && twice.empty() &&
        !keys.back().insert(parsed.get<std::string>()).second) {
      twice = parsed.get<std::string>();
    }
    return !too_deep;
  };
  Json json = Json::parse(text, look, false);
  if (too_deep) return reader.wrong("", "is nested too deeply");
  if (json.is_discarded() || !json.is_object()) return reader.wrong("", "is no JSON object");
  if (!twice.empty()) return reader.wrong(twice, "is there twice");
  return json;
}

}  // namespace

Placed place_contents(Pack& pack) {
  Placed placed;
  std::map<std::pair<std::string_view, uint64_t>, const PackedBytes*> known;
  const auto place = [&](PackedBytes& content) {
    const auto [same, fresh] = known.try_emplace({content.sha256, content.bytes}, &content);
    if (!fresh) {
      content.at = same->second->at;
      content.stored = same->second->stored;
      content.planes = same->second->planes;
      return;
    }
    content.at = placed.bytes;
    placed.bytes += content.stored;
    placed.contents.push_back(&content);
  };
  for (PackedModel& model : pack.models) {
    for (PackedWeights& file : model.files) {
      for (PackedBlock& block : file.blocks) place(block.content);
    }
  }
  for (PackedModel& model : pack.models) {
    for (PackedText& text : model.texts) place(text.content);
  }
  return placed;
}

std::string pack_json(const Pack& pack) {
  const Json tool{{"name", "hieron"}, {"version", pack.version}};
  return fmt::format(
      "{{\n \"schema\": {},\n \"tool\": {},\n \"audit\": {},\n \"models\": {},\n \"blocks\": {},\n "
      "\"report\": {}\n}}\n",
      shown(kSchema), shown(tool), shown(audit_options_json(pack)),
      lines(pack.models, "  ", model_json),
      shown(Json{{"path", kBlocksName}, {"bytes", pack.blocks_bytes}}),
      shown(Json{{"path", kReportName}, {"sha256", pack.report_sha256}}));
}

Result<Pack> parse_pack(std::string_view text, const std::string& file) {
  const Reader reader(file);
  HIERON_TRY(const Json json, parse_strictly(text, reader));
  HIERON_TRY(const std::string schema, reader.text(json, "schema", ""));
  if (schema != kSchema) {
    return refuse(
        fmt::format("{}: its schema is \"{}\", and this version reads {}; use the version "
                    "of hieron that made the pack.",
                    printable(file), printable(schema), kSchema),
        file);
  }
  Pack pack;
  HIERON_TRY(const Json* tool, reader.field(json, "tool", ""));
  HIERON_TRY(pack.version, reader.text(*tool, "version", "tool/"));
  HIERON_TRY(const Json* models, reader.array(json, "models", ""));
  if (models->size() > kMostModels) return reader.wrong("models", "are too many");
  for (size_t i = 0; i < models->size(); ++i) {
    HIERON_TRY(PackedModel model, read_model(reader, (*models)[i], fmt::format("models/{}/", i)));
    pack.models.push_back(std::move(model));
  }
  HIERON_CHECK(read_audit(reader, json, pack));
  HIERON_TRY(const Json* report, reader.field(json, "report", ""));
  HIERON_TRY(pack.report_sha256, reader.text(*report, "sha256", "report/"));
  HIERON_TRY(const Json* blocks, reader.field(json, "blocks", ""));
  HIERON_TRY(pack.blocks_bytes, reader.number(*blocks, "bytes", "blocks/"));
  if (place_contents(pack).bytes != pack.blocks_bytes) {
    return reader.wrong("blocks/bytes", "is not the sum of the blocks");
  }
  return pack;
}

}  // namespace hieron
