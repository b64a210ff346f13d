#include "hieron/report/html.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <span>
#include <string_view>
#include <vector>

#include "hieron/core/text.h"
#include "hieron/report/figures.h"
#include "hieron/report/html_style.h"
#include "hieron/report/layer_map.h"
#include "hieron/report/markup.h"
#include "hieron/report/spike.h"

namespace hieron {
namespace {

constexpr size_t kMostTensors = 2000;  // rows; the rest is in the JSON only
constexpr size_t kMostSkipped = 200;
constexpr size_t kNameBytes = 160;   // of a tensor in a table; the JSON has it whole
constexpr size_t kOpenTensors = 40;  // a table this short is not folded away

std::string section(std::string_view heading, std::string_view content) {
  if (content.empty()) return "";
  return fmt::format("<section>\n<h2>{}</h2>\n<div>\n{}</div>\n</section>\n", heading, content);
}

std::string paragraph(std::string_view text, std::string_view style = "") {
  return style.empty() ? fmt::format("<p>{}</p>\n", escape(text))
                       : fmt::format("<p class=\"{}\">{}</p>\n", style, escape(text));
}

std::string bullets(std::span<const std::string> items) {
  if (items.empty()) return "";
  std::string out = "<ul>\n";
  for (const std::string& item : items) out += fmt::format("<li>{}</li>\n", escape(item));
  return out + "</ul>\n";
}

std::string statements(std::span<const Statement> items) {
  if (items.empty()) return "";
  std::string out = "<dl class=\"findings\">\n";
  for (const Statement& item : items) {
    out += fmt::format("<dt>{}</dt><dd>{}</dd>\n", escape(item.about), escape(item.text));
  }
  return out + "</dl>\n";
}

// A table whose cells are escaped here; a column is numeric (right-aligned), a name, a hash or
// plain text.
struct TableColumn {
  std::string_view heading, style;
};

class Table {
 public:
  explicit Table(std::span<const TableColumn> columns) : columns_(columns) {
    out_ = "<div class=\"scroll\"><table>\n<thead><tr>";
    for (const TableColumn& column : columns) {
      out_ += fmt::format("<th scope=\"col\"{}>{}</th>", column.style == "n" ? " class=\"n\"" : "",
                          column.heading);
    }
    out_ += "</tr></thead>\n<tbody>\n";
  }
  void row(std::initializer_list<std::string> cells, std::string_view style = "") {
    out_ += style.empty() ? "<tr>" : fmt::format("<tr class=\"{}\">", style);
    size_t i = 0;
    for (const std::string& cell : cells) {
      const std::string_view kind = columns_[i++].style;
      out_ += kind.empty() ? "<td>" : fmt::format("<td class=\"{}\">", kind);
      out_ += escape(cell) + "</td>";
    }
    out_ += "</tr>\n";
  }
  std::string finish() && { return std::move(out_) + "</tbody></table></div>\n"; }

 private:
  std::span<const TableColumn> columns_;
  std::string out_;
};

std::string head(const AuditResult& result) {
  return fmt::format(
      "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
      "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src "
      "'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'\">\n"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
      "<meta name=\"referrer\" content=\"no-referrer\">\n"
      "<title>{}: {}</title>\n<style>{}</style>\n</head>\n<body>\n",
      escape(title(result.verdict.kind)), escape(result.suspect.ref), kStyle);
}

std::string_view badge_style(VerdictKind kind) {
  switch (kind) {
    case VerdictKind::kUndetermined:
    case VerdictKind::kIndependent:
    case VerdictKind::kFineTune:
      return "kind open";
    case VerdictKind::kMergeWithChanges:
    case VerdictKind::kEdit:
      return "kind changed";
    default:
      return "kind";
  }
}

std::string fact(std::string_view what, std::string_view figure, std::string_view note) {
  return fmt::format("<div><dt>{}</dt><dd>{}<small>{}</small></dd></div>\n", what, escape(figure),
                     escape(note));
}

std::string facts(const AuditResult& result) {
  std::string out;
  if (result.depth) {
    const DepthFigures& depth = *result.depth;
    out += fact("Alpha of the best blend", show_alpha(depth.alpha, depth.low, depth.high),
                "weight of " + printable(depth.ends[0], 40));
    out += fact("Explained to the last bit (D16)", show_share(depth.d16),
                fmt::format("of {} informative elements", with_commas(depth.informative_16)));
    const auto highest = std::ranges::max_element(depth.controls, {}, &NamedDepth::d16);
    if (highest == depth.controls.end()) {
      out += fact("Highest control", "–", "none was given");
    } else {
      out += fact("Highest control", show_share(highest->d16),
                  fmt::format("of {}: {}", depth.controls.size(), printable(highest->name, 40)));
    }
  }
  if (result.replay) {
    out += fact("Replayed bit for bit", show_percent(result.replay->equal, result.replay->elements),
                fmt::format("of {} elements", with_commas(result.replay->elements)));
  }
  if (!result.depth && !result.kinship.empty()) {
    const Kinship& nearest = *std::ranges::min_element(result.kinship, {}, &Kinship::p);
    out += fact("Kinship", show_p(nearest.p), "with " + printable(nearest.with, 40));
  }
  return out.empty() ? out : "<dl class=\"facts\">\n" + out + "</dl>\n";
}

std::string header(const AuditResult& result) {
  std::string commit;
  if (!result.suspect.commit.empty()) commit = " at " + result.suspect.commit;
  return fmt::format(
      "<header>\n<div class=\"top\"><span>Audit of <b>{}</b>{}</span><span>hieron {}</span></div>\n"
      "<div class=\"{}\">{}</div>\n<h1>{}</h1>\n{}</header>\n",
      escape(result.suspect.ref), escape(commit), HIERON_VERSION, badge_style(result.verdict.kind),
      title(result.verdict.kind), escape(result.verdict.sentence), facts(result));
}

std::string warnings(const AuditResult& result) {
  std::string out;
  for (const std::string& warning : result.warnings) out += paragraph(warning, "warning");
  return out;
}

std::string recipe(const AuditResult& result) {
  if (!result.recipe) return "";
  const FoundRecipe& found = *result.recipe;
  std::string out = fmt::format("<pre>{}</pre>\n", escape_lines(found.yaml));
  if (!found.arithmetic.empty()) {
    out += paragraph("Arithmetic: " + arithmetic_summary(found) + ".");
  }
  out += paragraph(
      "hieron merge and mergekit read this file; hieron verify recovered.yml SUSPECT proves it.",
      "quiet");
  if (found.equivalent.empty()) return out;
  out += "<details><summary>Other recipes with the same bytes</summary>\n";
  for (const std::string& yaml : found.equivalent) {
    out += fmt::format("<pre>{}</pre>\n", escape_lines(yaml));
  }
  return out + "</details>\n";
}

std::string picture(const AuditResult& result) {
  if (!result.depth || result.depth->curve.empty()) return "";
  const DepthFigures& depth = *result.depth;
  std::string out = "<figure>\n<div class=\"panels\">\n";
  out += spike_svg(depth, DepthScale::kLinear, "lin") +
         spike_svg(depth, DepthScale::kLogarithmic, "log") + "</div>\n";
  out += "<p class=\"quiet keys\"><span><i class=\"key\"></i>the suspect</span>";
  if (!depth.control_curves.empty()) {
    out += fmt::format("<span><i class=\"key dashed\"></i>{}</span>",
                       depth.control_curves.size() == 1
                           ? "the control"
                           : fmt::format("{} controls, a line each", depth.control_curves.size()));
  }
  out += "<span><i class=\"key dotted\"></i>limit for controls</span></p>\n";
  out += fmt::format(
      "<figcaption>Depth at alpha: the share of informative elements (parents at least 16 ulps "
      "apart, {} of them) whose stored value is the rounding of alpha · {} + (1 − alpha) · {}. A "
      "merge reaches 1 at one alpha; anything else stays near the floor.</figcaption>\n</figure>\n",
      with_commas(depth.informative_16), escape(depth.ends[0]), escape(depth.ends[1]));
  return out;
}

std::string layer_map(const AuditResult& result) {
  if (result.tensors.empty()) return "";
  return "<figure>\n<div class=\"scroll\">" + layer_map_svg(result.tensors) + "</div>\n" +
         layer_map_legend() +
         "<figcaption>Each cell is the tensors of one role in one layer, coloured by the worst of "
         "them. The height of its tick is alpha, from −0.25 at the foot to 1.25 at the top: one "
         "recipe for all layers is one straight line. Point at a cell for its "
         "figures.</figcaption>\n"
         "</figure>\n";
}

std::string figures(const AuditResult& result) {
  static constexpr TableColumn kColumns[] = {{"", "short"}, {"", "name"}, {"D4", "n"},
                                             {"D16", "n"},  {"D64", "n"}, {"alpha", "n"},
                                             {"", "short"}};
  std::string out;
  const auto rows = figure_rows(result);
  if (!rows.empty()) {
    Table table(kColumns);
    const auto shown = [](double share) { return std::isnan(share) ? "" : show_share(share); };
    for (const FigureRow& row : rows) {
      std::string style = row.kind == "suspect" || row.kind == "control" ? row.kind : "";
      if (!row.passed) style += style.empty() ? "failed" : " failed";
      table.row({row.kind, row.name, shown(row.d4), show_share(row.d16), shown(row.d64), row.alpha,
                 row.outcome},
                style);
    }
    out += std::move(table).finish();
    out +=
        "<p class=\"quiet\">Dk: the largest share of elements, with parents at least k ulps "
        "apart, that one alpha explains to the last bit. Exactness carries the strength; the "
        "controls prove that the test can say no.</p>\n";
  }
  return out + statements(findings(result));
}

std::string coverage(const AuditResult& result) {
  static constexpr TableColumn kColumns[] = {{"role", "short"}, {"parameters", "n"},  {"read", "n"},
                                             {"", "n"},         {"informative", "n"}, {"", "n"}};
  std::string out;
  if (!result.coverage.empty()) {
    Table table(kColumns);
    for (const RoleCoverage& role : result.coverage) {
      table.row({std::string(name(role.role)), with_commas(role.parameters), with_commas(role.read),
                 show_percent(role.read, role.parameters), with_commas(role.informative),
                 show_percent(role.informative, role.read)});
    }
    out += std::move(table).finish();
  }
  return out + statements(limits(result));
}

std::string left_out(const AuditResult& result) {
  static constexpr TableColumn kColumns[] = {{"tensor", "name"}, {"why", ""}};
  std::string out;
  if (result.skipped.empty()) {
    out = paragraph("Every tensor of the suspect was compared.");
  } else {
    Table table(kColumns);
    const size_t shown = std::min(result.skipped.size(), kMostSkipped);
    for (size_t i = 0; i < shown; ++i) {
      table.row({printable(result.skipped[i].tensor, kNameBytes), result.skipped[i].reason});
    }
    out = fmt::format(
        "<details{}><summary>{} left out</summary>\n", result.skipped.size() <= 12 ? " open" : "",
        result.skipped.size() == 1 ? "1 tensor was"
                                   : with_commas(result.skipped.size()) + " tensors were");
    out += std::move(table).finish();
    if (shown < result.skipped.size()) {
      out += paragraph(fmt::format("{} more are listed in the JSON report only.",
                                   with_commas(result.skipped.size() - shown)),
                       "quiet");
    }
    out += "</details>\n";
  }
  out +=
      "<p class=\"quiet\">No audit of bytes can see training that was never uploaded, nor who "
      "did what; it states which bytes follow from which.</p>\n";
  return out;
}

std::string tensors(const AuditResult& result) {
  static constexpr TableColumn kColumns[] = {
      {"tensor", "name"}, {"role", "short"},    {"elements", "n"},
      {"read", "n"},      {"informative", "n"}, {"alpha", "n"},
      {"D16", "n"},       {"equal", "n"},       {"state", "short"}};
  if (result.tensors.empty()) return "";
  Table table(kColumns);
  const size_t shown = std::min(result.tensors.size(), kMostTensors);
  for (size_t i = 0; i < shown; ++i) {
    const TensorFigures& t = result.tensors[i];
    table.row({printable(t.name, kNameBytes), std::string(name(t.role.role)),
               with_commas(t.elements), show_percent(t.read, t.elements),
               with_commas(t.informative), show_alpha(t.alpha, t.low, t.high), show_share(t.d16),
               show_share(t.equal), t.state});
  }
  std::string out =
      fmt::format("<details{}><summary>{} tensor{}</summary>\n",
                  result.tensors.size() <= kOpenTensors ? " open" : "",
                  with_commas(result.tensors.size()), result.tensors.size() == 1 ? "" : "s");
  out += std::move(table).finish();
  if (shown < result.tensors.size()) {
    out += paragraph(fmt::format("The first {} are shown; {} more are in the JSON report only.",
                                 with_commas(shown), with_commas(result.tensors.size() - shown)),
                     "quiet");
  }
  return out + "</details>\n";
}

std::string threshold_table() {
  static constexpr TableColumn kColumns[] = {
      {"threshold", "short"}, {"value", "n"}, {"what it is", ""}};
  Table table(kColumns);
  for (const Threshold& threshold : thresholds()) {
    table.row(
        {std::string(threshold.id), shortest(threshold.value), std::string(threshold.reason)});
  }
  return "<details><summary>Fixed before looking; the same for every audit</summary>\n" +
         std::move(table).finish() + "</details>\n";
}

std::string repeat(const AuditResult& result) {
  return fmt::format("<pre class=\"wrap\">{}</pre>\n", escape(repeat_command(result))) +
         fmt::format(
             "<p class=\"quiet\">hieron {}, with the files whose sizes and hashes are "
             "below. The same command gives the same figures on every machine.</p>\n",
             HIERON_VERSION);
}

std::string files(const AuditResult& result) {
  static constexpr TableColumn kColumns[] = {
      {"model", ""}, {"file", "name"}, {"bytes", "n"}, {"SHA-256", "hash"}};
  Table table(kColumns);
  const auto add = [&](std::string_view part, const ModelIdentity& model) {
    std::string who = fmt::format("{} {}", part, model.ref);
    if (!model.commit.empty()) who += " at " + model.commit;
    if (model.files.empty()) table.row({who, "–", "–", "not known"});
    for (const FileIdentity& file : model.files) {
      table.row({who, file.path, with_commas(file.bytes),
                 file.sha256.empty() ? "not taken (--hash)" : file.sha256});
      who.clear();
    }
  };
  add("suspect", result.suspect);
  if (result.base) add("base", *result.base);
  for (const ModelIdentity& parent : result.parents) add("parent", parent);
  for (const ModelIdentity& control : result.controls) add("control", control);
  if (result.also) add("second upload", result.also->model);
  return std::move(table).finish();
}

std::string tells(const AuditResult& result) {
  if (result.tells.empty()) return "";
  std::vector<std::string> items;
  for (const Tell& tell : result.tells) {
    items.push_back(fmt::format("{} ({})", tell.sentence, tell.weight));
  }
  return bullets(items) + paragraph(
                              "Tells come from small files beside the weights. They are easy "
                              "to fake and are never part of the verdict.",
                              "quiet");
}

}  // namespace

std::string audit_html(const AuditResult& result) {
  std::string page = head(result) + header(result) + "<main>\n";
  page += section("What would prove it wrong", bullets(result.verdict.falsifiers));
  page += section("Why this verdict", bullets(result.verdict.reasons));
  page += section("Warnings", warnings(result));
  page += section("Recipe found", recipe(result));
  page += section("Depth against alpha", picture(result));
  page += section("Layers and roles", layer_map(result));
  page += section("Figures and controls", figures(result));
  page += section("The second upload", statements(second_upload(result)));
  page += section("What was checked", coverage(result));
  page += section("What was not", left_out(result));
  page += section("Tells", tells(result));
  page += section("Tensors", tensors(result));
  page += section("Thresholds", threshold_table());
  page += section("How to repeat it", repeat(result));
  page += section("Files", files(result));
  page += fmt::format(
      "</main>\n<footer>Evidence about bytes: which files follow from which, by what arithmetic. "
      "Made by hieron {} in {:.2f} s.</footer>\n</body>\n</html>\n",
      HIERON_VERSION, result.seconds);
  return page;
}

}  // namespace hieron
