#include "hieron/report/json.h"

#include <charconv>
#include <cmath>
#include <nlohmann/json.hpp>

#include "hieron/report/curve.h"

namespace hieron {
namespace {

using Json = nlohmann::ordered_json;

constexpr size_t kCurvePoints = 512;  // a curve in the file; the peak is always among them

Json number(double value) { return std::isfinite(value) ? Json(value) : Json(nullptr); }
Json number(const std::optional<double>& value) { return value ? number(*value) : Json(nullptr); }
Json text_or_null(const std::string& text) { return text.empty() ? Json(nullptr) : Json(text); }

template <class Items, class Convert>
Json list(const Items& items, Convert convert) {
  Json out = Json::array();
  for (const auto& item : items) out.push_back(convert(item));
  return out;
}

template <class T, class Convert>
Json object_or_null(const std::optional<T>& value, Convert convert) {
  return value ? convert(*value) : Json(nullptr);
}

Json model_json(const ModelIdentity& model) {
  return {{"ref", model.ref},
          {"commit", text_or_null(model.commit)},
          {"files", list(model.files, [](const FileIdentity& file) {
             return Json{
                 {"path", file.path}, {"bytes", file.bytes}, {"sha256", text_or_null(file.sha256)}};
           })}};
}

Json verdict_json(const Verdict& verdict) {
  return {{"kind", name(verdict.kind)},
          {"of", verdict.of},
          {"sentence", verdict.sentence},
          {"reasons", verdict.reasons},
          {"falsifiers", verdict.falsifiers}};
}

Json layers_json(const std::vector<FoundLayer>& layers) {
  Json out = Json::array();
  for (size_t i = 0; i < layers.size(); ++i) {
    out.push_back({{"out", i},
                   {"model", layers[i].model},
                   {"layer", layers[i].layer},
                   {"scale", number(layers[i].scale)}});
  }
  return out;
}

Json recipe_json(const FoundRecipe& recipe) {
  Json parameters{{"normalize", recipe.normalize}};
  for (const auto& [name, value] : recipe.parameters) parameters[name] = number(value);
  Json json{{"method", recipe.method},
            {"models", list(recipe.models,
                            [](const RecipeModel& model) {
                              Json one{{"ref", model.ref},
                                       {"weight", number(model.weight)},
                                       {"effective", number(model.effective)},
                                       {"low", number(model.low)},
                                       {"high", number(model.high)}};
                              for (const auto& [name, value] : model.parameters) {
                                one[name] = number(value);
                              }
                              return one;
                            })},
            {"base_model", text_or_null(recipe.base_model)},
            {"seed", recipe.seed ? Json(*recipe.seed) : Json(nullptr)},
            {"parameters", parameters},
            {"varies", recipe.varies},
            {"arithmetic", recipe.arithmetic},
            {"arithmetics", list(recipe.arithmetics,
                                 [](const ArithmeticShare& arithmetic) {
                                   return Json{{"name", arithmetic.name},
                                               {"share", number(arithmetic.share)}};
                                 })},
            {"equivalent", recipe.equivalent},
            {"yaml", recipe.yaml}};
  if (!recipe.layers.empty()) json["layers"] = layers_json(recipe.layers);
  return json;
}

Json replay_json(const Replay& replay) {
  const Json first = object_or_null(replay.first_difference, [](const ElementPlace& place) {
    return Json{{"tensor", place.tensor},
                {"element", place.element},
                {"file", place.file},
                {"offset", place.offset}};
  });
  return {{"elements", replay.elements},   {"equal", replay.equal},
          {"share", number(replay.share)}, {"share_informative", number(replay.share_informative)},
          {"tensors", replay.tensors},     {"tensors_equal", replay.tensors_equal},
          {"first_difference", first}};
}

Json control_json(const NamedDepth& depth) {
  return {{"ref", depth.name}, {"d16", number(depth.d16)}, {"alpha", number(depth.alpha)}};
}

Json curve_json(const std::vector<CurvePoint>& curve) {
  return list(thin(curve, kCurvePoints), [](const CurvePoint& point) {
    return Json::array({number(point.alpha), number(point.share)});
  });
}

Json depth_json(const DepthFigures& depth) {
  return {{"ends", {depth.ends[0], depth.ends[1]}},
          {"alpha", number(depth.alpha)},
          {"low", number(depth.low)},
          {"high", number(depth.high)},
          {"d4", number(depth.d4)},
          {"d16", number(depth.d16)},
          {"d64", number(depth.d64)},
          {"informative", depth.informative},
          {"informative_16", depth.informative_16},
          {"bits", number(depth.bits)},
          {"controls", list(depth.controls, control_json)},
          {"self_checks", list(depth.self_checks,
                               [](const NamedDepth& check) {
                                 return Json{{"name", check.name},
                                             {"d16", number(check.d16)},
                                             {"alpha", number(check.alpha)},
                                             {"passed", check.passed}};
                               })},
          {"power", {{"d16", number(depth.power.d16)}, {"passed", depth.power.passed}}},
          {"curve", curve_json(depth.curve)},
          {"control_curves", list(depth.control_curves, [](const auto& control) {
             return Json{{"ref", control.first}, {"curve", curve_json(control.second)}};
           })}};
}

Json direction_json(const Direction& direction) {
  return {{"passed", direction.passed}, {"others", list(direction.others, control_json)}};
}

Json edit_json(const Edit& edit) {
  return {{"of", edit.of},
          {"kind", edit.kind},
          {"rank", edit.rank ? Json(*edit.rank) : Json(nullptr)},
          {"targets", list(edit.targets, [](Role role) { return Json(name(role)); })},
          {"strength", number(edit.strength)}};
}

// A layer's name is its number; as such it is written.
Json place_name(const ChangedPlace& place) {
  int64_t layer = 0;
  const char* end = place.name.data() + place.name.size();
  const auto parsed = std::from_chars(place.name.data(), end, layer);
  const bool whole = parsed.ec == std::errc() && parsed.ptr == end;
  return place.scope == "layer" && whole ? Json(layer) : Json(place.name);
}

Json after_merge_json(const AfterMerge& after) {
  return {{"checked", after.checked},
          {"changed", after.changed},
          {"upper_rate_95", number(after.upper_rate_95)},
          {"mean_update_ulp_95", number(after.mean_update_ulp_95)},
          {"where", list(after.where, [](const ChangedPlace& place) {
             return Json{{place.scope, place_name(place)}, {"rate", number(place.rate)}};
           })}};
}

Json tensor_json(const TensorFigures& tensor) {
  const auto& role = tensor.role;
  return {{"name", tensor.name},
          {"role", name(role.role)},
          {"layer", role.layer ? Json(*role.layer) : Json(nullptr)},
          {"expert", role.expert ? Json(*role.expert) : Json(nullptr)},
          {"elements", tensor.elements},
          {"read", tensor.read},
          {"informative", tensor.informative},
          {"informative_16", tensor.informative_16},
          {"alpha", number(tensor.alpha)},
          {"low", number(tensor.low)},
          {"high", number(tensor.high)},
          {"d16", number(tensor.d16)},
          {"equal", number(tensor.equal)},
          {"state", tensor.state}};
}

Json sampling_json(const Sampling& sampling) {
  Json json{{"mode", sampling.mode},
            {"bytes_read", sampling.bytes_read},
            {"bytes_total", sampling.bytes_total}};
  if (sampling.requests) json["requests"] = *sampling.requests;
  json["seed"] = sampling.seed;
  json["bound"] = sampling.bound;
  return json;
}

// The outermost object, a field a line and a list item a line: never the whole tree in memory at
// once, which matters for a model of 140,000 tensors.
class Document {
 public:
  void field(std::string_view key, const Json& value) {
    begin(key);
    out_ += shown(value);
  }
  template <class Items, class Convert>
  void items(std::string_view key, const Items& items, Convert convert) {
    begin(key);
    out_ += '[';
    const char* separator = "\n  ";
    for (const auto& item : items) {
      out_ += separator;
      out_ += shown(convert(item));
      separator = ",\n  ";
    }
    out_ += items.empty() ? "]" : "\n ]";
  }
  std::string finish() && {
    out_ += "\n}\n";
    return std::move(out_);
  }

 private:
  static std::string shown(const Json& value) {
    return value.dump(-1, ' ', false, Json::error_handler_t::replace);
  }
  void begin(std::string_view key) {
    out_ += out_.empty() ? "{\n \"" : ",\n \"";
    out_ += key;
    out_ += "\": ";
  }
  std::string out_;
};

Json pool_json(const PoolReport& pool) {
  return {{"looked_at", pool.members.size()},
          {"members", list(pool.members,
                           [](const PoolMember& member) {
                             return Json{{"ref", member.ref},
                                         {"state", member.state},
                                         {"reason", member.reason},
                                         {"gain", number(member.gain)},
                                         {"peak", number(member.peak)}};
                           })},
          {"near_copies", pool.near_copies}};
}

}  // namespace

std::string audit_json(const AuditResult& result) {
  const auto same = [](const std::string& text) { return Json(text); };
  Document out;
  out.field("schema", "hieron.audit/1");
  out.field("tool", {{"name", "hieron"}, {"version", HIERON_VERSION}});
  out.field("suspect", model_json(result.suspect));
  out.field("base", object_or_null(result.base, model_json));
  out.items("parents", result.parents, model_json);
  out.items("controls", result.controls, model_json);
  out.field("verdict", verdict_json(result.verdict));
  out.field("recipe", object_or_null(result.recipe, recipe_json));
  out.field("replay", object_or_null(result.replay, replay_json));
  out.field("depth", object_or_null(result.depth, depth_json));
  out.field("direction", object_or_null(result.direction, direction_json));
  out.field("edit", object_or_null(result.edit, edit_json));
  out.field("after_merge", object_or_null(result.after_merge, after_merge_json));
  out.items("kinship", result.kinship, [](const Kinship& kin) {
    return Json{{"with", kin.with},
                {"matrices", kin.matrices},
                {"units", kin.units},
                {"matched", kin.matched},
                {"p", number(kin.p)}};
  });
  out.items("tensors", result.tensors, tensor_json);
  out.items("coverage", result.coverage, [](const RoleCoverage& role) {
    return Json{{"role", name(role.role)},
                {"parameters", role.parameters},
                {"read", role.read},
                {"informative", role.informative}};
  });
  out.field("unexplained", object_or_null(result.unexplained, [](const Unexplained& rest) {
              return Json{{"share", number(rest.share)},
                          {"low", number(rest.low)},
                          {"high", number(rest.high)}};
            }));
  out.field("sampling", sampling_json(result.sampling));
  out.items("skipped", result.skipped, [](const SkippedTensor& skipped) {
    return Json{{"tensor", skipped.tensor}, {"reason", skipped.reason}};
  });
  out.items("tells", result.tells, [](const Tell& tell) {
    return Json{{"id", tell.id}, {"sentence", tell.sentence}, {"weight", tell.weight}};
  });
  out.field("pool", object_or_null(result.pool, pool_json));
  out.items("warnings", result.warnings, same);
  out.items("thresholds", thresholds(), [](const Threshold& threshold) {
    return Json{{"id", threshold.id}, {"value", threshold.value}, {"reason", threshold.reason}};
  });
  out.field("seconds", number(result.seconds));
  return std::move(out).finish();
}

}  // namespace hieron
