#include "hieron/walk/fingerprint.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <map>
#include <nlohmann/json.hpp>

#include "hieron/core/text.h"
#include "hieron/format/safetensors.h"
#include "hieron/format/strict_json.h"
#include "hieron/model/config.h"

namespace hieron {
namespace {

using Json = nlohmann::json;

constexpr const char* kTensors = "hieron.tensors";
constexpr const char* kElements = "hieron.elements";
constexpr const char* kSeed = "hieron.seed";
constexpr const char* kTool = "hieron.tool";
constexpr const char* kSource = "hieron.source";
constexpr const char* kConfig = "hieron.config";

// Some runs of a tensor, each a stretch of another tensor.
class KnownRuns final : public ComputedTensor {
 public:
  // at[i]: where run i begins in `tensor`, which belongs to `owner`.
  KnownRuns(std::shared_ptr<const Checkpoint> owner, const TensorInfo& tensor, std::string name,
            std::shared_ptr<const std::vector<Run>> runs, std::vector<uint64_t> at)
      : owner_(std::move(owner)),
        tensor_(tensor),
        name_(std::move(name)),
        runs_(std::move(runs)),
        at_(std::move(at)) {}

  Status read(uint64_t first, std::span<std::byte> out) const override {
    const uint64_t count = out.size() * 8 / static_cast<uint64_t>(info(tensor_.dtype).bits);
    const auto after = std::ranges::upper_bound(*runs_, first, {}, &Run::first);
    if (after != runs_->begin()) {
      const Run& run = *(after - 1);
      if (first + count <= run.first + run.count) {
        const auto number = static_cast<size_t>(after - 1 - runs_->begin());
        return read_elements(*owner_, tensor_, at_[number] + (first - run.first), out);
      }
    }
    return refuse(
        fmt::format("{}: a fingerprint holds elements {} to {} of tensor \"{}\" only in part; what "
                    "needs them all needs the model itself.",
                    owner_->ref, first, first + count, printable(name_)),
        owner_->ref, name_);
  }

 private:
  std::shared_ptr<const Checkpoint> owner_;
  const TensorInfo& tensor_;
  std::string name_;
  std::shared_ptr<const std::vector<Run>> runs_;
  std::vector<uint64_t> at_;
};

// The known elements of a tensor, back to back.
class Packed final : public ComputedTensor {
 public:
  explicit Packed(std::shared_ptr<const Checkpoint> owner, const TensorInfo& tensor)
      : owner_(std::move(owner)), tensor_(tensor) {}

  Status read(uint64_t first, std::span<std::byte> out) const override {
    const uint64_t width = static_cast<uint64_t>(info(tensor_.dtype).bits) / 8;
    if (!tensor_.known) return read_elements(*owner_, tensor_, first, out);
    uint64_t before = 0;
    for (const Run& run : *tensor_.known) {
      if (out.empty()) break;
      if (first < before + run.count) {
        const uint64_t inside = first - before;
        const uint64_t count = std::min(run.count - inside, out.size() / width);
        HIERON_CHECK(read_elements(*owner_, tensor_, run.first + inside, out.first(count * width)));
        out = out.subspan(count * width);
        first += count;
      }
      before += run.count;
    }
    return {};
  }

 private:
  std::shared_ptr<const Checkpoint> owner_;
  const TensorInfo& tensor_;
};

// A tensor of which `runs` are known; all of it, if that is one run.
TensorInfo partly_known(std::string name, DType dtype, Shape shape, uint64_t elements,
                        std::shared_ptr<const ComputedTensor> source,
                        std::shared_ptr<const std::vector<Run>> runs) {
  const bool whole = runs->size() == 1 && runs->front().count == elements;
  return {.name = std::move(name),
          .dtype = dtype,
          .shape = std::move(shape),
          .elements = elements,
          .stored = {},
          .computed = std::move(source),
          .known = whole ? nullptr : std::move(runs)};
}

// What roles and tells are read from.
std::string config_essentials(const std::string& config_json) {
  const Json all = Json::parse(config_json, nullptr, false);
  if (!all.is_object()) return {};
  Json kept = Json::object();
  const auto keep = [](const Json& from, Json& to) {
    for (const char* key :
         {"architectures", "model_type", "num_hidden_layers", "hidden_size", "intermediate_size",
          "moe_intermediate_size", "num_attention_heads", "num_key_value_heads", "head_dim",
          "vocab_size", "num_experts", "num_local_experts", "n_routed_experts",
          "num_experts_per_tok", "tie_word_embeddings", "torch_dtype", "dtype"}) {
      if (from.contains(key)) to[key] = from[key];
    }
  };
  keep(all, kept);
  if (all.contains("text_config") && all["text_config"].is_object()) {
    kept["text_config"] = Json::object();
    keep(all["text_config"], kept["text_config"]);
  }
  return kept.dump(-1, ' ', false, Json::error_handler_t::replace);
}

Status announce(const Checkpoint& checkpoint, const FingerprintPlan& plan) {
  std::vector<Wanted> wanted;
  for (const FingerprintTensor& drawn : plan.tensors) {
    for (const Run& run : drawn.runs) {
      wanted.push_back(
          {&checkpoint, drawn.logical.tensor, drawn.logical.first + run.first, run.count});
    }
  }
  return will_read(wanted);
}

// Those tensors of a fingerprint that one of fewer elements has too.
Result<std::shared_ptr<const Checkpoint>> narrowed(
    const std::shared_ptr<const Checkpoint>& fingerprint, uint64_t elements) {
  if (elements == 0 || elements >= fingerprint_elements(*fingerprint)) return fingerprint;
  const Json ranks = Json::parse(fingerprint->metadata.at(kTensors), nullptr, false);
  auto out = without_tensors(*fingerprint);
  for (const TensorInfo& tensor : fingerprint->tensors) {
    if (ranks.at(tensor.name).at("rank").get<uint64_t>() < std::max<uint64_t>(1, elements)) {
      out->tensors.push_back(tensor);
    }
  }
  out->metadata[kElements] = std::to_string(elements);
  HIERON_CHECK(out->index());
  return out;
}

// --- reading ---

class Reader {
 public:
  explicit Reader(const std::shared_ptr<const Checkpoint>& stored)
      : stored_(stored), out_(without_tensors(*stored)) {}

  Result<std::shared_ptr<const Checkpoint>> run() {
    HIERON_CHECK(check_seed());
    const Json tensors = Json::parse(text(kTensors), nullptr, false);
    if (!tensors.is_object()) return damaged(std::string("has no list of tensors in ") + kTensors);
    if (tensors.size() != stored_->tensors.size()) {
      return damaged(fmt::format("holds {} tensors, but its list names {}", stored_->tensors.size(),
                                 tensors.size()));
    }
    for (const TensorInfo& held : stored_->tensors) {
      const auto entry = tensors.find(held.name);
      if (entry == tensors.end()) return damaged("does not list it", held.name);
      HIERON_CHECK(add(held, *entry));
    }
    HIERON_CHECK(out_->index());
    out_->config_json = text(kConfig);
    out_->folder.clear();  // what lies beside the file belongs to others
    return out_;
  }

 private:
  std::string text(const char* key) const {
    const auto found = stored_->metadata.find(key);
    return found == stored_->metadata.end() ? std::string() : found->second;
  }

  std::unexpected<Error> damaged(const std::string& what, const std::string& tensor = {}) const {
    const std::string where =
        tensor.empty() ? "" : fmt::format("tensor \"{}\": ", printable(tensor));
    return refuse(fmt::format("{}: {}the fingerprint {}; make it again with `hieron fingerprint`.",
                              stored_->ref, where, what),
                  stored_->ref, tensor);
  }

  Status check_seed() const {
    const uint64_t elements = fingerprint_elements(*stored_);
    if (elements == 0) return damaged(std::string("says nothing in ") + kElements);
    if (text(kSeed) == fingerprint_seed().hex()) return {};
    return damaged("was not drawn with the published seed, so that its positions may be chosen");
  }

  static std::optional<uint64_t> number(const Json& value) {
    if (!value.is_number_unsigned()) return std::nullopt;
    return value.get<uint64_t>();
  }

  std::optional<std::vector<Run>> runs_in(const Json& entry) const {
    if (!entry.contains("runs") || !entry["runs"].is_array()) return std::nullopt;
    std::vector<Run> runs;
    for (const Json& pair : entry["runs"]) {
      if (!pair.is_array() || pair.size() != 2) return std::nullopt;
      const auto first = number(pair[0]), count = number(pair[1]);
      if (!first || !count) return std::nullopt;
      runs.push_back({*first, *count});
    }
    return runs;
  }

  static std::optional<Shape> shape_in(const Json& entry) {
    if (!entry.contains("shape") || !entry["shape"].is_array()) return std::nullopt;
    Shape shape;
    for (const Json& extent : entry["shape"]) {
      const auto value = number(extent);
      if (!value) return std::nullopt;
      shape.push_back(*value);
    }
    return shape;
  }

  Status add(const TensorInfo& held, const Json& entry) {
    if (!entry.is_object()) return damaged("says nothing about it", held.name);
    const auto shape = shape_in(entry);
    const auto runs = runs_in(entry);
    if (!shape || !runs || !entry.contains("rank") || !number(entry["rank"])) {
      return damaged("lacks its shape, runs or rank", held.name);
    }
    const auto elements = element_count(*shape);
    if (!elements || *elements == 0) return damaged("gives it no elements", held.name);
    if (!are_published(held, *shape, *runs)) {
      return damaged(
          "holds other elements of it than the published positions, or not as many as it says",
          held.name);
    }
    std::vector<uint64_t> at;
    uint64_t before = 0;
    for (const Run& run : *runs) {
      at.push_back(before);
      before += run.count;
    }
    auto known = std::make_shared<const std::vector<Run>>(*runs);
    auto source = std::make_shared<const KnownRuns>(stored_, held, held.name, known, std::move(at));
    out_->tensors.push_back(partly_known(held.name, held.dtype, *shape, *elements,
                                         std::move(source), std::move(known)));
    out_->tensors.back().stored = held.stored;  // where its first known element lies, for listings
    return {};
  }

  // The runs are the first slots of the published order, and as long as the entry.
  static bool are_published(const TensorInfo& held, const Shape& shape,
                            const std::vector<Run>& runs) {
    uint64_t slots = 0, count = 0;
    const uint64_t elements = *element_count(shape);
    for (const Run& run : runs) {
      if (run.count > held.elements || run.first > elements) return false;
      const bool last = run.first + run.count == elements;
      slots += last ? fingerprint_slots(elements) -
                          std::min(run.first / kSlot, fingerprint_slots(elements))
                    : run.count / kSlot;
      count += run.count;
      if (count > held.elements) return false;
    }
    return count == held.elements && slots > 0 && runs == fingerprint_runs(held.name, shape, slots);
  }

  std::shared_ptr<const Checkpoint> stored_;
  std::shared_ptr<Checkpoint> out_;
};

Json source_json(const FingerprintSource& source) {
  Json files = Json::array();
  for (const auto& file : source.files) {
    Json entry = {{"path", file.path}, {"bytes", file.bytes}};
    if (!file.sha256.empty()) entry["sha256"] = file.sha256;
    if (!file.etag.empty()) entry["etag"] = file.etag;
    files.push_back(std::move(entry));
  }
  Json json = {{"name", source.name}};
  if (!source.commit.empty()) json["commit"] = source.commit;
  json["files"] = std::move(files);
  return json;
}

// Compact, and in one pass: {"name":{"shape":[…],"runs":[[first,count],…],"rank":n},…}
std::string tensors_text(const Checkpoint& fingerprint,
                         const std::map<std::string, uint64_t, std::less<>>& ranks) {
  std::string text = "{";
  for (const TensorInfo& tensor : fingerprint.tensors) {
    if (text.size() > 1) text += ',';
    append_json_string(text, tensor.name);
    std::string runs;
    const std::vector<Run> whole{{0, tensor.elements}};
    for (const Run& run : tensor.known ? *tensor.known : whole) {
      runs += fmt::format("{}[{},{}]", runs.empty() ? "" : ",", run.first, run.count);
    }
    text += fmt::format(R"(:{{"shape":[{}],"runs":[{}],"rank":{}}})", fmt::join(tensor.shape, ","),
                        runs, ranks.find(tensor.name)->second);
  }
  return text + "}";
}

}  // namespace

bool is_fingerprint(const Checkpoint& checkpoint) {
  const auto format = checkpoint.metadata.find("format");
  return format != checkpoint.metadata.end() && format->second == kFingerprintFormat;
}

uint64_t fingerprint_elements(const Checkpoint& fingerprint) {
  const auto found = fingerprint.metadata.find(kElements);
  if (found == fingerprint.metadata.end()) return 0;
  uint64_t value = 0;
  const std::string& text = found->second;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc{} && end == text.data() + text.size() ? value : 0;
}

uint64_t known_elements(const TensorInfo& tensor) {
  if (!tensor.known) return tensor.elements;
  uint64_t count = 0;
  for (const Run& run : *tensor.known) count += run.count;
  return count;
}

Result<std::shared_ptr<const Checkpoint>> fingerprint_of(
    const std::shared_ptr<const Checkpoint>& checkpoint, uint64_t elements) {
  if (is_fingerprint(*checkpoint)) return narrowed(checkpoint, elements);
  if (elements == 0) {
    uint64_t parameters = 0;
    for (const TensorInfo& tensor : checkpoint->tensors) parameters += tensor.elements;
    elements = usual_fingerprint_elements(parameters);
  }
  FingerprintPlan plan = plan_fingerprint(*checkpoint, elements);
  if (plan.tensors.empty()) {
    return refuse(fmt::format("{}: it has no tensor that a fingerprint can hold; give a checkpoint "
                              "with weights of whole bytes.",
                              checkpoint->ref),
                  checkpoint->ref);
  }
  HIERON_CHECK(announce(*checkpoint, plan));
  auto out = without_tensors(*checkpoint);
  if (!plan.left_out.empty()) {
    out->warnings.push_back(fmt::format(
        "{} tensors with elements of less than a byte are not in the fingerprint (\"{}\" first).",
        with_commas(plan.left_out.size()), printable(plan.left_out.front())));
  }
  std::map<std::string, uint64_t, std::less<>> ranks;
  for (FingerprintTensor& drawn : plan.tensors) {
    LogicalTensor& logical = drawn.logical;
    std::vector<uint64_t> at;
    for (const Run& run : drawn.runs) at.push_back(logical.first + run.first);
    auto known = std::make_shared<const std::vector<Run>>(std::move(drawn.runs));
    ranks[logical.name] = drawn.rank;
    auto source = std::make_shared<const KnownRuns>(checkpoint, *logical.tensor, logical.name,
                                                    known, std::move(at));
    out->tensors.push_back(partly_known(logical.name, logical.tensor->dtype,
                                        std::move(logical.shape), logical.elements,
                                        std::move(source), std::move(known)));
  }
  out->metadata["format"] = kFingerprintFormat;
  out->metadata[kElements] = std::to_string(elements);
  out->metadata[kTensors] = tensors_text(*out, ranks);
  HIERON_CHECK(out->index());
  return out;
}

Result<bool> match_fingerprints(std::span<std::shared_ptr<const Checkpoint>* const> models) {
  uint64_t least = 0;
  for (const auto* model : models) {
    if (!*model || !is_fingerprint(**model)) continue;
    const uint64_t elements = fingerprint_elements(**model);
    least = least == 0 ? elements : std::min(least, elements);
  }
  if (least == 0) return false;
  for (auto* model : models) {
    if (!*model) continue;
    HIERON_TRY(*model, fingerprint_of(*model, least));
  }
  return true;
}

Status require_model(const Checkpoint& checkpoint) {
  if (!is_fingerprint(checkpoint)) return {};
  return refuse(fmt::format("{}: this is a fingerprint, which holds only some of a model's "
                            "elements; give the model itself.",
                            printable(checkpoint.ref)),
                checkpoint.ref);
}

Result<std::shared_ptr<const Checkpoint>> packed(
    const std::shared_ptr<const Checkpoint>& fingerprint) {
  auto out = without_tensors(*fingerprint);
  for (const TensorInfo& tensor : fingerprint->tensors) {
    const uint64_t held = known_elements(tensor);
    out->tensors.push_back({.name = tensor.name,
                            .dtype = tensor.dtype,
                            .shape = {held},
                            .elements = held,
                            .stored = {},
                            .computed = std::make_shared<const Packed>(fingerprint, tensor)});
  }
  HIERON_CHECK(out->index());
  return out;
}

Result<std::string> fingerprint_file(const Checkpoint& fingerprint,
                                     const FingerprintSource& source) {
  const std::map<std::string, std::string> metadata{
      {"format", std::string(kFingerprintFormat)},
      {kTool, "hieron " HIERON_VERSION},
      {kSeed, fingerprint_seed().hex()},
      {kElements, fingerprint.metadata.at(kElements)},
      {kTensors, fingerprint.metadata.at(kTensors)},
      {kSource, source_json(source).dump(-1, ' ', false, Json::error_handler_t::replace)},
      {kConfig, config_essentials(fingerprint.config_json)}};
  std::vector<StoredTensor> stored;
  for (const TensorInfo& tensor : fingerprint.tensors) {
    stored.push_back({tensor.name, tensor.dtype, {known_elements(tensor)}, 0, 0});
  }
  std::string file = write_safetensors_header(stored, metadata, 8);
  const size_t data = file.size();
  file.resize(data + (stored.empty() ? 0 : stored.back().offset + stored.back().bytes - data));
  for (size_t i = 0; i < stored.size(); ++i) {
    const TensorInfo& tensor = fingerprint.tensors[i];
    const uint64_t width = static_cast<uint64_t>(info(tensor.dtype).bits) / 8;
    uint64_t at = stored[i].offset;
    const std::vector<Run> whole{{0, tensor.elements}};
    for (const Run& run : tensor.known ? *tensor.known : whole) {
      const auto bytes = std::as_writable_bytes(std::span(file)).subspan(at, run.count * width);
      HIERON_CHECK(read_elements(fingerprint, tensor, run.first, bytes));
      at += bytes.size();
    }
  }
  return file;
}

Result<std::shared_ptr<const Checkpoint>> read_fingerprint(
    const std::shared_ptr<const Checkpoint>& stored) {
  return Reader(stored).run();
}

}  // namespace hieron
