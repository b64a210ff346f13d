// The plan as JSON (schema hieron.plan/1). Written piece by piece: a plan of 140,000 tensors makes
// tens of megabytes of text, which its digest need not hold at once.
#include <fmt/format.h>

#include <functional>
#include <nlohmann/json.hpp>

#include "hieron/core/hash.h"
#include "hieron/core/text.h"
#include "hieron/io/file.h"
#include "hieron/merge/plan.h"

namespace hieron {
namespace {

constexpr uint64_t kMaxParameterFile = 1u << 30;

using Sink = std::function<void(std::string_view)>;

std::string json_text(std::string_view text) {
  return nlohmann::json(text).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

std::string shape_json(const Shape& shape) {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); ++i) text += fmt::format("{}{}", i ? "," : "", shape[i]);
  return text + "]";
}

// {"weight": [0.6, 0.4], "normalize": 1}
std::string parameters_json(const Method& method, const TensorParameters& parameters) {
  std::string text;
  for (const ParameterInfo& about : method.describe().parameters) {
    const std::string separator = text.empty() ? "" : ",";
    if (!about.per_model) {
      const auto it = parameters.global.find(about.name);
      if (it != parameters.global.end())
        text += fmt::format("{}\"{}\":{}", separator, about.name, shortest(it->second));
      continue;
    }
    std::string values;
    for (const auto& model : parameters.per_model) {
      const auto it = model.find(about.name);
      values += fmt::format("{}{}", values.empty() ? "" : ",",
                            it == model.end() ? "null" : shortest(it->second));
    }
    text += fmt::format("{}\"{}\":[{}]", separator, about.name, values);
  }
  return "{" + text + "}";
}

std::string inputs_json(const Plan& plan, const PlannedTensor& tensor) {
  std::string text;
  for (const PlannedInput& input : tensor.inputs) {
    text += fmt::format("{}{{\"model\":{},\"tensor\":{}}}", text.empty() ? "" : ",",
                        plan.slots[input.slot], json_text(input.tensor->name));
  }
  return "[" + text + "]";
}

// `refs`: with the references as typed, which do not decide the output.
void write_models(const Plan& plan, bool refs, const Sink& out) {
  out("\"models\":[");
  for (size_t m = 0; m < plan.models.size(); ++m) {
    const PlannedModel& model = plan.models[m];
    out(m ? ",{" : "{");
    if (refs) out(fmt::format("\"ref\":{},", json_text(model.ref)));
    out("\"files\":[");
    for (size_t f = 0; f < model.checkpoint->files.size(); ++f) {
      const CheckpointFile& file = model.checkpoint->files[f];
      out(fmt::format("{}{{\"path\":{},\"bytes\":{}}}", f ? "," : "", json_text(file.path),
                      file.bytes));
    }
    out("]}");
  }
  out("]");
}

void write_tensors(const Plan& plan, const Sink& out) {
  out("\"shards\":[");
  for (size_t s = 0; s < plan.shards.size(); ++s) {
    const PlannedShard& shard = plan.shards[s];
    out(fmt::format("{}{{\"name\":{},\"bytes\":{},\"tensors\":{}}}", s ? "," : "",
                    json_text(shard.name), shard.bytes, shard.count));
  }
  out("],\"tensors\":[");
  for (size_t i = 0; i < plan.tensors.size(); ++i) {
    const PlannedTensor& t = plan.tensors[i];
    out(fmt::format(
        "{}\n{{\"name\":{},\"dtype\":\"{}\",\"shape\":{},\"rule\":\"{}\",\"inputs\":{},"
        "\"parameters\":{},"
        "\"arithmetic\":\"{}\",\"working\":\"{}\",\"shard\":{},\"offset\":{}}}",
        i ? "," : "", json_text(t.name), info(t.dtype).name, shape_json(t.shape()), name(t.rule),
        inputs_json(plan, t), parameters_json(*plan.method, *t.parameters), info(t.arithmetic).name,
        info(t.working).name, t.shard, t.offset));
  }
  out("]");
}

void write_accounting(const Plan& plan, const Sink& out) {
  out("\"accounting\":[");
  for (size_t i = 0; i < plan.accounting.size(); ++i) {
    const AccountedTensor& a = plan.accounting[i];
    out(fmt::format("{}\n{{\"model\":{},\"tensor\":{},\"rule\":\"{}\",\"reason\":{}}}",
                    i ? "," : "", a.model, json_text(a.tensor->name), name(a.rule),
                    json_text(plan.reasons[a.reason])));
  }
  out("],\"problems\":[");
  for (size_t i = 0; i < plan.problems.size(); ++i) {
    const Problem& p = plan.problems[i];
    out(fmt::format("{}{{\"sentence\":{},\"tensor\":{},\"file\":{},\"line\":{}}}", i ? "," : "",
                    json_text(p.sentence), p.tensor.empty() ? "null" : json_text(p.tensor),
                    p.line ? json_text(plan.recipe.file) : "null",
                    p.line ? std::to_string(p.line) : "null"));
  }
  out("],\"warnings\":[");
  for (size_t i = 0; i < plan.warnings.size(); ++i) {
    out(fmt::format("{}{}", i ? "," : "", json_text(plan.warnings[i])));
  }
  out("]");
}

// A file that a parameter names decides the output by what is in it.
std::string hash_of(const std::string& path) {
  const auto text = read_text(path, kMaxParameterFile);
  return text ? to_hex(sha256(*text)) : "";
}

}  // namespace

std::string Plan::to_json(std::string_view more) const {
  std::string text;
  const Sink out = [&text](std::string_view piece) { text += piece; };
  out(fmt::format(
      "{{\"schema\":\"hieron.plan/"
      "1\",\"recipe\":{},\"method\":{},\"arithmetic\":{},\"seed\":{},\"donor\":{},"
      "\"output_bytes\":{},",
      json_text(recipe.file), method ? json_text(method->describe().name) : "null",
      json_text(arithmetic), draws ? std::to_string(seed) : "null", donor, output_bytes()));
  write_models(*this, true, out);
  out(",");
  write_tensors(*this, out);
  out(",");
  write_accounting(*this, out);
  if (!more.empty()) out(fmt::format(",{}", more));
  out("}\n");
  return text;
}

std::string Plan::digest() const {
  Sha256 hash;
  const Sink out = [&hash](std::string_view piece) { hash.update(piece); };
  out(
      fmt::format("{{\"version\":\"{}\",\"method\":\"{}\",\"arithmetic\":{},\"donor\":{},"
                  "\"config\":{},\"recipe\":{},",
                  HIERON_VERSION, method->describe().name, json_text(arithmetic), donor,
                  json_text(config_json), json_text(recipe.text)));
  if (draws) out(fmt::format("\"seed\":{},", seed));
  for (const auto& [parameter, path] : texts) {
    out(fmt::format("{}:{},", json_text(parameter), json_text(hash_of(path))));
  }
  write_models(*this, false, out);
  out(",");
  write_tensors(*this, out);
  out("}");
  return to_hex(hash.finish());
}

}  // namespace hieron
