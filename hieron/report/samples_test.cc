#include "hieron/report/samples_test.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace hieron::samples {
using namespace std::string_literals;
namespace {

constexpr double kNone = std::numeric_limits<double>::quiet_NaN();

// The shape that rounding cells give: element i admits alpha ± half a cell, cells as narrow as 1/k
// for the largest deltas, so that the share falls like 1/distance from the peak until it meets the
// floor.
std::vector<CurvePoint> curve(double peak, double top, double floor) {
  std::vector<CurvePoint> points;
  for (int i = 0; i <= 1800; ++i) {
    const double alpha = -4 + 9.0 * i / 1800, distance = std::abs(alpha - peak);
    const double reach = 0.004;
    const double ripple = floor * (1 + 0.3 * std::sin(31 * alpha) * std::cos(7 * alpha));
    const double skirt =
        distance > 0.0625
            ? 0
            : top * std::min(1.0, reach / (distance + reach) * (1 - distance / 0.0625));
    points.push_back({alpha, std::max(skirt, ripple / (1 + alpha * alpha))});
  }
  return points;
}

FileIdentity file(std::string path, uint64_t bytes) {
  return {std::move(path), bytes,
          "9b74c9897bac770ffc029102a200c5de2d0d6b3f2b0a9e5c3c1bb6d4e8f70a11"};
}

ModelIdentity model(const std::string& ref) {
  return {ref, "", {file("model.safetensors", 351'880)}};
}

TensorFigures tensor(std::string name, Role role, std::optional<int> layer, uint64_t elements,
                     std::string state = "equal") {
  TensorFigures t;
  t.name = std::move(name);
  t.role = {role, layer, std::nullopt};
  t.elements = t.read = elements;
  t.informative = elements * 9 / 10;
  t.informative_16 = elements * 6 / 10;
  t.alpha = 0.6, t.low = 0.599998, t.high = 0.600003;
  t.d16 = 0.99997, t.equal = 1;
  t.state = std::move(state);
  return t;
}

std::vector<TensorFigures> lstm_tensors() {
  std::vector<TensorFigures> tensors{
      tensor("embedding.weight", Role::kEmbedding, std::nullopt, 46'500),
      tensor("rnn_1.weight_ih_l0", Role::kRecurrent, 0, 51'200),
      tensor("rnn_1.weight_hh_l0", Role::kRecurrent, 0, 65'536),
      tensor("rnn_1.bias_ih_l0", Role::kRecurrent, 0, 512),
      tensor("rnn_2.weight_ih_l0", Role::kRecurrent, 1, 65'536),
      tensor("rnn_2.weight_hh_l0", Role::kRecurrent, 1, 65'536),
      tensor("rnn_2.bias_ih_l0", Role::kRecurrent, 1, 512),
      tensor("attention.weight", Role::kOther, std::nullopt, 356),
      tensor("output.weight", Role::kHead, std::nullopt, 165'540),
      tensor("output.bias", Role::kHead, std::nullopt, 465),
  };
  tensors[7].informative = tensors[7].informative_16 = 31;
  tensors[7].alpha = tensors[7].low = tensors[7].high = tensors[7].d16 = kNone;
  tensors[7].state = "uninformative";
  return tensors;
}

void cover(AuditResult& result) {
  for (int r = 0; r < kRoleCount; ++r) {
    RoleCoverage coverage{static_cast<Role>(r)};
    for (const TensorFigures& t : result.tensors) {
      if (t.role.role != coverage.role) continue;
      coverage.parameters += t.elements;
      coverage.read += t.read;
      coverage.informative += t.informative;
    }
    if (coverage.parameters) result.coverage.push_back(coverage);
  }
}

DepthFigures depth(std::string one, std::string other) {
  DepthFigures d{};
  d.ends[0] = std::move(one), d.ends[1] = std::move(other);
  d.alpha = 0.6, d.low = 0.5999995, d.high = 0.6000006;
  d.d4 = 0.999992, d.d16 = 0.999988, d.d64 = 0.999979;
  d.informative = 402'117, d.informative_16 = 276'430, d.bits = 2'184'211.5;
  d.controls = {{"models/legaladvice", 0.00712, 0.41, true},
                {"models/rarepuppers", 0.00934, 0.58, true},
                {"models/apple_android", 0.00811, 0.22, true}};
  d.self_checks = {{"rows permuted", 0.00241, 0.03, true},
                   {"signs flipped", 0.00102, 0.01, true},
                   {"parent swapped for models/legaladvice", 0.0123, 0.47, true},
                   {"parent swapped for models/rarepuppers", 0.0148, 0.51, true},
                   {"parent swapped for models/apple_android", 0.0119, 0.44, true}};
  d.power = {"", 0.999991, 0.6, true};
  d.curve = curve(0.6, 0.999988, 0.005);
  d.control_curves = {{"models/legaladvice", curve(0.41, 0.00712, 0.006)},
                      {"models/rarepuppers", curve(0.58, 0.00934, 0.008)},
                      {"models/apple_android", curve(0.22, 0.00811, 0.007)}};
  return d;
}

}  // namespace

AuditResult exact_merge() {
  AuditResult r;
  r.suspect = model("suspect");
  r.base = model("models/base");
  r.parents = {model("models/hacker_news")};
  r.controls = {model("models/legaladvice"), model("models/rarepuppers"),
                model("models/apple_android")};
  r.verdict = {
      VerdictKind::kExactMerge,
      {"models/hacker_news", "models/base"},
      "suspect is 0.6 of models/hacker_news and 0.4 of models/base, to the last bit: every one of "
      "its "
      "461,693 numbers follows from theirs by one formula.",
      {"The replay reproduces 1.000000 of all aligned elements bit for bit, and no difference is "
       "left that "
       "rounding does not explain.",
       "3 controls went through the same test: conformal p = 1/4 at best; the strength lies in the "
       "exactness, the controls prove specificity."},
      {"One element of suspect that differs from hieron merge recovered.yml.",
       "Another fine-tune of models/base that took no part and is explained as well (controls "
       "reach 0.00934)."}};
  FoundRecipe recipe;
  recipe.method = "linear";
  recipe.models = {{"models/hacker_news", 0.6, 0.6, 0.5999995, 0.6000006},
                   {"models/base", 0.4, 0.4, 0.3999994, 0.4000005}};
  recipe.arithmetic = "exact";
  recipe.arithmetics = {{"exact", 1},          {"f32-fma", 1},         {"mergekit-0.1.5", 1},
                        {"f32-once", 0.99984}, {"bf16-delta", 0.9831}, {"bf16-products", 0.7312}};
  recipe.equivalent = {"merge_method: task_arithmetic\nbase_model: models/base\n"};
  recipe.yaml =
      "merge_method: linear\nmodels:\n  - model: models/hacker_news\n    parameters:\n      "
      "weight: 0.6\n"
      "  - model: models/base\n    parameters:\n      weight: 0.4\ndtype: bfloat16\nhieron:\n  "
      "arithmetic: exact\n";
  r.recipe = recipe;
  r.replay = Replay{461'693, 461'693, 1, 1, 10, 10, std::nullopt};
  r.depth = depth("models/hacker_news", "models/base");
  r.direction = Direction{true,
                          {{"models/hacker_news from suspect and models/base", 0.6012, 1.667, true},
                           {"models/base from suspect and models/hacker_news", 0.5544, 2.5, true}}};
  r.after_merge = AfterMerge{276'430, 0, 1.0837e-5, 1.1e-5, {}};
  r.kinship = {{"models/base", 4, 512, 512, 0}};
  r.tensors = lstm_tensors();
  cover(r);
  r.unexplained = Unexplained{0, 0, 2.1e-6};
  r.sampling = {"full", 5'541'000, 5'541'000, "6d1f3b5c9a7e0d42",
                "Everything was read: nothing is left to sampling."};
  r.tells = {
      {"mergekit-config-file", "mergekit_config.yml lies beside the weights", "strong hint"}};
  r.seconds = 0.4183;
  return r;
}

SecondUpload second_upload_of(const AuditResult& first) {
  SecondUpload also;
  also.model = model("someone/big-model-24@new");
  also.kind = "trained";
  also.sentence =
      "someone/big-model-24@new is someone/big-model-24 with 192 of 288 tensors changed: 0.61 "
      "times "
      "what training changed in models/rarepuppers.";
  also.reasons = {"Bytes show that weights changed, not why."};
  also.verdict.sentence = "No verdict on someone/big-model-24@new.";
  also.recipe_replay = first.replay;
  also.tensors = 288, also.tensors_changed = 192, also.tensors_unpaired = 1;
  also.elements = 88'080'384, also.changed = 44'000'000, also.median_step = 3;
  also.change = 0.0102, also.ratio = 0.61;
  also.yardsticks = {{"models/rarepuppers", "control", 0.0167, 0.61}};
  also.where = {{"role", "mlp.up", 24, 24, 25'165'824, 25'000'000, 3, 0.8},
                {"layer", "7", 8, 6, 7'340'032, 5'000'000, 2, std::nullopt}};
  return also;
}

AuditResult merge_with_changes() {
  AuditResult r = exact_merge();
  r.suspect.ref = "someone/big-model-24";
  r.suspect.commit = "1f0c9d7be1a2c3d4e5f60718293a4b5c6d7e8f90";
  r.verdict.kind = VerdictKind::kMergeWithChanges;
  r.verdict.sentence =
      "someone/big-model-24 is 0.6 of models/hacker_news and 0.4 of models/base, changed "
      "afterwards in one tensor: "
      "model.layers.7.mlp.up_proj.weight.";
  r.verdict.reasons = {
      "4,096 elements differ from the replay by more than rounding, in 1 tensor: "
      "\"model.layers.7.mlp.up_proj.weight\"."};
  r.replay = Replay{88'080'384,
                    88'076'288,
                    0.99995349,
                    0.99994,
                    288,
                    287,
                    ElementPlace{"model.layers.7.mlp.up_proj.weight", 77,
                                 "model-00002-of-00004.safetensors", 9'663'676'416}};
  r.depth->d4 = 0.9971, r.depth->d16 = 0.9958, r.depth->d64 = 0.9902;
  r.after_merge = AfterMerge{60'112'233,
                             4'096,
                             7.0e-5,
                             kNone,
                             {{"tensor", "model.layers.7.mlp.up_proj.weight", 0.0112},
                              {"role", "mlp.up", 0.00047},
                              {"layer", "7", 0.0009}}};
  r.tensors.clear();
  static constexpr std::pair<Role, const char*> kParts[] = {
      {Role::kAttentionQ, "self_attn.q_proj"}, {Role::kAttentionK, "self_attn.k_proj"},
      {Role::kAttentionV, "self_attn.v_proj"}, {Role::kAttentionO, "self_attn.o_proj"},
      {Role::kMlpGate, "mlp.gate_proj"},       {Role::kMlpUp, "mlp.up_proj"},
      {Role::kMlpDown, "mlp.down_proj"},       {Role::kNorm, "input_layernorm"}};
  for (int layer = 0; layer < 24; ++layer) {
    for (const auto& [role, part] : kParts) {
      r.tensors.push_back(tensor(fmt::format("model.layers.{}.{}.weight", layer, part), role, layer,
                                 role == Role::kNorm ? 1024 : 1u << 20));
      if (role == Role::kNorm) r.tensors.back().state = "explained";
      if (layer == 7 && role == Role::kMlpUp) {
        r.tensors.back().state = "changed";
        r.tensors.back().equal = 0.99609375;
      }
      if (layer == 11 && role == Role::kMlpDown) {
        r.tensors.back().state = "unexplained";
        r.tensors.back().alpha = 0.83, r.tensors.back().d16 = 0.02, r.tensors.back().equal = 0.11;
      }
    }
  }
  r.tensors.push_back(tensor("lm_head.weight", Role::kHead, std::nullopt, 1u << 22, "skipped"));
  r.tensors.back().read = r.tensors.back().informative = r.tensors.back().informative_16 = 0;
  r.tensors.back().alpha = r.tensors.back().low = r.tensors.back().high = r.tensors.back().d16 =
      r.tensors.back().equal = kNone;
  r.coverage.clear();
  cover(r);
  r.skipped = {{"lm_head.weight", "shape [32000, 4096] here, [32016, 4096] in models/base"}};
  r.sampling = {"sample", 41'000'000, 1'100'000'000, "00ff",
                "Zero bad blocks of 1,024 bound the share of bad blocks below 0.29 % (95 %)."};
  r.warnings = {"config.json: unreadable JSON at byte 17; generic tensor roles were used."};
  r.also = second_upload_of(r);
  return r;
}

AuditResult fine_tune() {
  AuditResult r = exact_merge();
  r.suspect = model("models/rarepuppers");
  r.controls.pop_back();
  r.verdict = {VerdictKind::kFineTune,
               {"models/base"},
               "models/rarepuppers is a fine-tune of models/base, and no blend with "
               "models/hacker_news explains it: the "
               "best explains 0.93 % of its informative numbers, a merge explains all.",
               {"The best blend explains 0.0093 of the informative elements (a merge reaches 1)."},
               {"A third model that, blended with models/base, reproduces its bytes."}};
  r.recipe.reset(), r.replay.reset(), r.after_merge.reset(), r.direction.reset();
  r.depth->alpha = 0.178, r.depth->low = 0.17791, r.depth->high = 0.17803;
  r.depth->d4 = 0.0261, r.depth->d16 = 0.0093, r.depth->d64 = 0.0041, r.depth->bits = -1'000'000;
  r.depth->curve = curve(0.178, 0.0093, 0.008);
  r.depth->controls.pop_back(), r.depth->control_curves.pop_back();
  for (TensorFigures& t : r.tensors) {
    if (t.state == "equal") t.state = "unexplained", t.d16 = 0.011, t.equal = 0.008;
  }
  r.unexplained = Unexplained{0.93, 0.91, 0.95};
  return r;
}

AuditResult edit() {
  AuditResult r = fine_tune();
  r.suspect = model("models/uncensored");
  r.verdict = {VerdictKind::kEdit,
               {"models/hacker_news"},
               "models/uncensored is models/hacker_news with one direction taken out of 2 tensors "
               "(attention.o, mlp.down), 1.000 of it.",
               {"The changes of both tensors have one vector in common."},
               {"A tensor whose change has another form."}};
  r.depth.reset(), r.unexplained.reset();
  r.edit = Edit{.of = "models/hacker_news",
                .kind = "direction-removed",
                .rank = std::nullopt,
                .targets = {Role::kAttentionO, Role::kMlpDown},
                .strength = 1.0};
  r.replay = Replay{.elements = 10'000,
                    .equal = 9'930,
                    .share = 0.993,
                    .share_informative = 0.993,
                    .tensors = 10,
                    .tensors_equal = 8,
                    .first_difference = std::nullopt};
  return r;
}

AuditResult undetermined() {
  AuditResult r;
  r.suspect.ref = "empty.safetensors";
  r.verdict.sentence =
      "Nothing can be said about empty.safetensors: no tensor of it has a counterpart in the "
      "parents.";
  r.verdict.reasons = {"0 of 3 tensors were aligned."};
  r.sampling.mode = "full";
  return r;
}

AuditResult hostile() {
  AuditResult r = exact_merge();
  const std::string script = "<script>alert(1)</script>",
                    quote = "\"><img src=x onerror='alert(2)'>";
  const std::string codes = "\x1b[2J\x1b]0;owned\x07\r\n\t\0 end"s, bidi =
                                                                        "safe\xe2\x80\xae"
                                                                        "gnp.exe";
  const std::string broken = "\xff\xfe\xc0\x80 \xed\xa0\x80 half\xe2\x82";
  r.suspect.ref = "; rm -rf ~ '" + script;
  r.suspect.commit = quote;
  r.suspect.files = {{script + broken, 1, quote}, {"]]>--></style></title>", 2, ""}};
  r.base->ref = codes;
  r.parents[0].ref = bidi;
  r.verdict.of = {script, broken};
  r.verdict.sentence = script + quote + codes + bidi + broken;
  r.verdict.reasons = {script, codes, broken};
  r.verdict.falsifiers = {quote, bidi};
  r.recipe->yaml = "a: " + script + "\n\x1b[31mb: </pre>" + quote + "\r\n" + broken + "\n";
  r.recipe->equivalent = {"</details>" + script};
  r.recipe->arithmetic = script;
  r.recipe->models[0].ref = broken;
  r.replay->equal -= 1;
  r.replay->first_difference = ElementPlace{script, 1, quote, 2};
  r.depth->ends[0] = script, r.depth->ends[1] = broken + "</title>";
  r.depth->controls[0].name = quote;
  r.depth->self_checks[0].name = codes;
  r.depth->control_curves[0].first = script;
  r.direction->others[0].name = script;
  r.after_merge->where = {{"tensor", script, 0.5}, {"layer", "99999999999999999999", 0.1}};
  r.kinship[0].with = quote;
  r.tensors[0].name = script;
  r.tensors[1].name = quote;
  r.tensors[2].name = codes;
  r.tensors[3].name = bidi;
  r.tensors[4].name = broken;
  r.tensors[5].name = std::string(5000, 'x') + "</td>";
  r.tensors[6].role.layer = 2'000'000'000;
  r.skipped = {{script, quote}, {codes, broken}, {bidi, codes}};
  r.sampling.seed = script;
  r.sampling.bound = quote + codes;
  r.tells = {{script, quote + codes, broken}};
  r.also = second_upload_of(r);
  r.also->model.ref = script;
  r.also->sentence = script + quote + codes + bidi + broken;
  r.also->reasons = {broken, codes};
  r.also->yardsticks[0].ref = codes;
  r.also->nearest = bidi;
  r.warnings = {script, quote, codes, bidi, broken};
  return r;
}

AuditResult large(int layers, int experts) {
  AuditResult r = exact_merge();
  r.suspect.ref = "org/large";
  r.tensors.clear();
  for (int layer = 0; layer < layers; ++layer) {
    for (Role role : {Role::kAttentionQ, Role::kAttentionK, Role::kAttentionV, Role::kAttentionO,
                      Role::kRouter, Role::kNorm}) {
      r.tensors.push_back(
          tensor(fmt::format("model.layers.{}.{}", layer, name(role)), role, layer, 1u << 20));
      r.tensors.back().alpha = 0.45 + 0.3 * layer / layers;
    }
    for (int expert = 0; expert < experts; ++expert) {
      for (Role role : {Role::kExpertGate, Role::kExpertUp, Role::kExpertDown}) {
        r.tensors.push_back(
            tensor(fmt::format("model.layers.{}.experts.{}.{}", layer, expert, name(role)), role,
                   layer, 1u << 18));
        r.tensors.back().role.expert = expert;
      }
    }
  }
  r.coverage.clear();
  cover(r);
  return r;
}

std::vector<std::pair<std::string, AuditResult>> all() {
  return {{"exact-merge", exact_merge()},   {"merge-with-changes", merge_with_changes()},
          {"fine-tune", fine_tune()},       {"edit", edit()},
          {"undetermined", undetermined()}, {"hostile", hostile()}};
}

}  // namespace hieron::samples
