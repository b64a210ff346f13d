#include "hieron/report/terminal.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <string_view>
#include <utility>
#include <vector>

#include "hieron/core/text.h"
#include "hieron/report/curve.h"
#include "hieron/report/figures.h"

namespace hieron {
namespace {

constexpr size_t kWholeText = 1 << 20;  // sentences are never cut
constexpr double kNoPeak = std::numeric_limits<double>::quiet_NaN();

enum class Ink { kPlain, kStrong, kQuiet, kSuspect, kControl };

// Columns of a UTF-8 text: code points. Names in scripts of double width come out a little ragged.
int width_of(std::string_view text) {
  return static_cast<int>(std::ranges::count_if(text, [](char c) { return (c & 0xC0) != 0x80; }));
}

std::string padded(std::string text, int width) {
  text.append(static_cast<size_t>(std::max(0, width - width_of(text))), ' ');
  return text;
}

std::string right(std::string text, int width) {
  return std::string(static_cast<size_t>(std::max(0, width - width_of(text))), ' ') + text;
}

// What Unicode says in ASCII. Anything else becomes its number.
constexpr std::array<std::pair<uint32_t, std::string_view>, 24> kAscii{{
    {U'–', "-"},     {U'—', "-"},   {U'…', "..."}, {U'×', "x"},  {U'·', "-"},  {U'±', "+-"},
    {U'≥', ">="},    {U'≤', "<="},  {U'≈', "~"},   {U'“', "\""}, {U'”', "\""}, {U'’', "'"},
    {U'α', "alpha"}, {U'Σ', "sum"}, {U'─', "-"},   {U'│', "|"},  {U'┤', "|"},  {U'└', "+"},
    {U'┴', "+"},     {U'→', "->"},  {U'−', "-"},   {U'²', "^2"}, {U'₀', "0"},  {U'√', "sqrt"},
}};

std::string ascii_of(uint32_t code_point) {
  for (const auto& [unicode, ascii] : kAscii) {
    if (unicode == code_point) return std::string(ascii);
  }
  if (code_point >= U'▁' && code_point <= U'█')
    return std::string(1, ".._::||#"[code_point - U'▁']);
  return fmt::format("\\u{{{:x}}}", code_point);
}

// `text` is valid UTF-8: everything printed went through printable().
std::string ascii(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size();) {
    const auto lead = static_cast<unsigned char>(text[i]);
    const size_t bytes = lead < 0x80 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
    uint32_t code_point = bytes == 1 ? lead : lead & (0xFFu >> (bytes + 1));
    for (size_t k = 1; k < bytes && i + k < text.size(); ++k) {
      code_point = code_point << 6 | (static_cast<unsigned char>(text[i + k]) & 0x3F);
    }
    out += code_point < 0x80 ? std::string(1, static_cast<char>(code_point)) : ascii_of(code_point);
    i += bytes;
  }
  return out;
}

// Words of `text` on lines of at most `width` columns; a longer word stands alone.
std::vector<std::string> wrapped(std::string_view text, int width) {
  std::vector<std::string> lines;
  std::string line;
  while (!text.empty()) {
    const size_t end = std::min(text.find(' '), text.size());
    const std::string_view word = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (!line.empty() && width_of(line) + 1 + width_of(word) > width) {
      lines.push_back(std::exchange(line, {}));
    }
    if (!line.empty()) line += ' ';
    line += word;
  }
  lines.push_back(line);
  return lines;
}

class Page {
 public:
  Page(const AuditResult& result, const TerminalStyle& style)
      : result_(result), style_(style), width_(std::clamp(style.width, 40, 120)) {}

  std::string print(std::span<const WrittenFile> written) {
    verdict();
    recipe();
    picture();
    figures();
    also();
    checked();
    files(written);
    return style_.unicode ? out_ : ascii(out_);
  }

 private:
  std::string inked(std::string_view text, Ink ink) const {
    static constexpr std::array<std::string_view, 5> kCodes{"", "1", "2", "1;34", "33"};
    const std::string_view code = kCodes[static_cast<size_t>(ink)];
    if (!style_.colour || code.empty()) return std::string(text);
    return fmt::format("\x1b[{}m{}\x1b[0m", code, text);
  }
  void line(std::string_view text = "", Ink ink = Ink::kPlain) {
    out_ += text.empty() ? "" : inked(text, ink);
    out_ += '\n';
  }
  // Ends a line that was put together in place, without the blanks at its end.
  void end_row() {
    out_.resize(out_.find_last_not_of(' ') + 1);
    out_ += '\n';
  }
  void heading(std::string_view text) {
    line();
    line(text, Ink::kStrong);
  }
  // "label  text that goes on below itself".
  void entry(std::string_view label, int label_width, std::string_view text,
             Ink ink = Ink::kPlain) {
    const std::string indent(static_cast<size_t>(label_width), ' ');
    const auto lines = wrapped(printable(text, kWholeText), width_ - label_width);
    for (size_t i = 0; i < lines.size(); ++i) {
      out_ += i == 0 ? padded(std::string(label), label_width) : indent;
      line(lines[i], ink);
    }
  }
  void entries(std::span<const Statement> statements) {
    for (const Statement& statement : statements) {
      entry("  " + statement.about, 19, statement.text);
    }
  }

  void verdict();
  void recipe();
  void weights(std::span<const RecipeModel> models);
  void yaml(std::string_view text);
  void picture();
  void panel_row(const std::vector<double>& shares, int row, int rows, Ink ink);
  void figure_table();
  void figures();
  void also();
  void checked();
  void coverage();
  void skipped();
  void files(std::span<const WrittenFile> written);

  const AuditResult& result_;
  TerminalStyle style_;
  int width_;
  std::string out_;
};

void Page::verdict() {
  const Verdict& verdict = result_.verdict;
  for (const std::string& text :
       wrapped(fmt::format("{}: {}", name(verdict.kind), printable(verdict.sentence, kWholeText)),
               width_)) {
    line(text, Ink::kStrong);
  }
  if (!verdict.falsifiers.empty()) line("What would prove it wrong:");
  for (const std::string& text : verdict.falsifiers) entry("  ·", 4, text);
  constexpr size_t kShown = 4;
  for (size_t i = 0; i < std::min(result_.warnings.size(), kShown); ++i) {
    entry("  !", 4, "Warning: " + result_.warnings[i]);
  }
  if (result_.warnings.size() > kShown) {
    entry("  !", 4, fmt::format("and {} more warnings", result_.warnings.size() - kShown));
  }
}

void Page::recipe() {
  if (!result_.recipe) return;
  const FoundRecipe& found = *result_.recipe;
  heading("The recipe found: " + printable(found.method));
  const bool plain =
      found.method == "linear" && !found.models.empty() && found.varies == "global" &&
      std::ranges::all_of(found.models, [](const RecipeModel& m) { return m.weight.has_value(); });
  plain ? weights(found.models) : yaml(found.yaml);
  if (!found.arithmetic.empty()) entry("  arithmetic", 14, arithmetic_summary(found));
}

// One weight for every tensor: a line a model says as much as the YAML.
void Page::weights(std::span<const RecipeModel> models) {
  for (const RecipeModel& model : models) {
    std::string text = printable(model.ref);
    if (model.effective && *model.effective != *model.weight) {
      text += fmt::format("  (effectively {})", shortest(*model.effective));
    }
    if (model.low && model.high) text += "  within " + show_bounds(*model.low, *model.high);
    entry("  " + padded(shortest(*model.weight), 11) + ' ', 14, text);
  }
}

void Page::yaml(std::string_view text) {
  constexpr int kShown = 24;
  int shown = 0, left_out = 0;
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    const std::string_view row = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (row.find_first_not_of(" \r") == std::string_view::npos) continue;
    if (++shown > kShown) {
      ++left_out;
    } else {
      line("  " + printable(row, static_cast<size_t>(width_ - 2)));
    }
  }
  if (left_out > 0) line(fmt::format("  … and {} more lines (--recipe FILE)", left_out));
}

// One text row of a filled curve, in eighths of a row. What is above nothing shows at least a
// sliver.
void Page::panel_row(const std::vector<double>& shares, int row, int rows, Ink ink) {
  static constexpr std::array<std::string_view, 9> kEighths{" ", "▁", "▂", "▃", "▄",
                                                            "▅", "▆", "▇", "█"};
  std::string cells;
  for (double share : shares) {
    const int eighths =
        std::max(static_cast<int>(std::lround(share * rows * 8)), share > 0 ? 1 : 0);
    cells += kEighths[static_cast<size_t>(std::clamp(eighths - (rows - 1 - row) * 8, 0, 8))];
  }
  if (cells.find_first_not_of(' ') == std::string::npos) {
    out_ += cells;
  } else {
    out_ += inked(cells, ink);
  }
}

// Labels under a panel's axis, each centred on its alpha; one that would touch its left neighbour
// is left out.
std::string axis_labels(AlphaRange range, int columns, double peak,
                        std::string_view ticks_or_labels) {
  std::vector<std::pair<double, std::string>> marks{{0, "0"}, {1, "1"}};
  if (std::isfinite(peak) && std::abs(peak) > 0.08 && std::abs(peak - 1) > 0.08) {
    marks.insert(marks.begin(), {peak, fmt::format("{:.3f}", peak)});
  }
  std::string out(static_cast<size_t>(columns), ' ');
  for (const auto& [alpha, label] : marks) {
    const int centre = static_cast<int>((alpha - range.low) / (range.high - range.low) * columns);
    if (centre < 0 || centre >= columns) continue;
    if (ticks_or_labels == "ticks") {
      out[static_cast<size_t>(centre)] = '^';
      continue;
    }
    const int size = static_cast<int>(label.size());
    const int start = std::clamp(centre - size / 2, 0, columns - size);
    const auto from = out.begin() + start, to = from + size;
    if (std::any_of(from, to, [](char c) { return c != ' '; })) continue;
    std::ranges::copy(label, from);
  }
  if (ticks_or_labels != "ticks") return out;
  std::string drawn;
  for (char c : out) drawn += c == '^' ? "┴" : "─";
  return drawn;
}

void Page::picture() {
  if (!result_.depth || result_.depth->curve.empty()) return;
  const DepthFigures& depth = *result_.depth;
  constexpr int kRows = 8, kAxis = 6;
  const bool beside = !depth.control_curves.empty() && width_ >= 76;
  const int count = beside ? std::min((width_ - kAxis - 4) / 2, 46) : std::min(width_ - kAxis, 64);
  const AlphaRange range = alpha_range(depth);
  const auto suspect = columns(with_peak(depth), range, count);
  const auto floor = columns(envelope(depth), range, count);

  heading("Depth against alpha");
  entry("", 2,
        fmt::format("share of {} informative elements that each blend explains; alpha = weight of "
                    "{} (1), the rest {} (0)",
                    with_commas(depth.informative_16), printable(depth.ends[0]),
                    printable(depth.ends[1])),
        Ink::kQuiet);
  const size_t n = depth.control_curves.size();
  const std::string control_title =
      n == 1 ? "the control" : fmt::format("the controls, highest of {}", n);
  out_ += std::string(kAxis, ' ') + inked(padded("the suspect", count), Ink::kSuspect);
  if (beside) out_ += "    " + inked(control_title, Ink::kControl);
  line();
  for (int row = 0; row < kRows; ++row) {
    out_ += row == 0 ? " 1.0 ┤" : row == kRows / 2 ? " 0.5 ┤" : "     │";
    panel_row(suspect, row, kRows, Ink::kSuspect);
    if (beside) {
      out_ += "   │";
      panel_row(floor, row, kRows, Ink::kControl);
    }
    end_row();
  }
  for (const char* what : {"ticks", "labels"}) {
    const bool ticks = std::string_view(what) == "ticks";
    out_ += ticks ? "   0 └" : "      ";
    out_ += axis_labels(range, count, depth.alpha, what);
    if (beside) out_ += (ticks ? "   └" : "    ") + axis_labels(range, count, kNoPeak, what);
    end_row();
  }
}

// Of the rows of one kind, when there are more than `most` and none failed: the one of the highest
// depth.
std::vector<FigureRow> summarised(std::vector<FigureRow> rows, std::string_view kind, size_t most) {
  const auto of_kind = [&](const FigureRow& row) { return row.kind == kind; };
  const auto count = static_cast<size_t>(std::ranges::count_if(rows, of_kind));
  const auto failed = [&](const FigureRow& row) { return of_kind(row) && !row.passed; };
  if (count <= most || std::ranges::any_of(rows, failed)) return rows;
  const auto first = std::ranges::find_if(rows, of_kind);
  FigureRow highest = *first;
  for (const FigureRow& row : rows) {
    if (of_kind(row) && row.d16 > highest.d16) highest = row;
  }
  highest.name = fmt::format("highest of {}: {}", count, highest.name);
  const auto at = first - rows.begin();
  std::erase_if(rows, of_kind);
  rows.insert(rows.begin() + at, std::move(highest));
  return rows;
}

void Page::figure_table() {
  const auto rows = summarised(summarised(figure_rows(result_), "self-check", 2), "control", 8);
  if (rows.empty()) return;
  constexpr int kKind = 13, kDepth = 9, kAlpha = 11;
  int longest = 0, outcome_width = 0;
  // In a narrow terminal only what failed is said in words.
  const auto said = [&](const FigureRow& row) -> std::string {
    if (row.outcome.empty() || (row.passed && width_ < 72)) return "";
    return (row.passed ? "  " : "  ! ") + row.outcome;
  };
  for (const FigureRow& row : rows) {
    longest = std::max(longest, width_of(row.name));
    outcome_width = std::max(outcome_width, width_of(said(row)));
  }
  const int rest = 2 + kKind + kDepth + kAlpha + outcome_width;
  const int name_width = std::clamp(width_ - rest, 12, std::max(12, longest));
  line(std::string(static_cast<size_t>(2 + kKind + name_width), ' ') + right("D16", kDepth) +
           right("alpha", kAlpha),
       Ink::kQuiet);
  for (const FigureRow& row : rows) {
    const bool suspect = row.kind == "suspect";
    const std::string text =
        "  " + padded(row.kind, kKind) +
        padded(printable(row.name, static_cast<size_t>(name_width)), name_width) +
        right(show_share(row.d16), kDepth) + right(row.alpha, kAlpha);
    line(text + said(row), suspect                 ? Ink::kSuspect
                           : row.kind == "control" ? Ink::kControl
                                                   : Ink::kPlain);
  }
}

void Page::figures() {
  const auto found = findings(result_);
  const auto& reasons = result_.verdict.reasons;
  if (!result_.depth && found.empty() && reasons.empty()) return;
  heading(result_.depth || !found.empty() ? "The figures" : "The reasons");
  figure_table();
  for (const Statement& statement : found) {
    // The rows above say it already.
    const bool said = statement.about == "Direction" && result_.direction->passed &&
                      !result_.direction->others.empty();
    if (!said) entry("  " + statement.about, 19, statement.text);
  }
  for (size_t i = 0; i < reasons.size(); ++i) entry(i == 0 ? "  Why" : "", 19, reasons[i]);
}

// "all of attention.q 25,165,824, …; head 0 % of 4,194,304": the complete ones first.
void Page::coverage() {
  std::string whole, part;
  for (const RoleCoverage& role : result_.coverage) {
    if (role.parameters == 0) continue;
    std::string& text = role.read == role.parameters ? whole : part;
    const std::string share =
        role.read == role.parameters ? "" : show_percent(role.read, role.parameters) + " of ";
    text += fmt::format("{}{} {}{}", text.empty() ? "" : ", ", name(role.role), share,
                        with_commas(role.parameters));
  }
  if (!whole.empty()) entry("  Read whole", 19, whole + " parameters.");
  if (!part.empty()) entry("  Read in part", 19, part + " parameters.");
}

void Page::skipped() {
  if (result_.skipped.empty()) {
    entry("  Left out", 19, "nothing.");
    return;
  }
  constexpr size_t kShown = 4;
  for (size_t i = 0; i < std::min(result_.skipped.size(), kShown); ++i) {
    const SkippedTensor& skipped = result_.skipped[i];
    entry(i == 0 ? "  Left out" : "", 19,
          fmt::format("\"{}\": {}", printable(skipped.tensor), skipped.reason));
  }
  if (result_.skipped.size() > kShown) {
    entry("", 19, fmt::format("and {} more tensors", result_.skipped.size() - kShown));
  }
}

void Page::also() {
  const auto statements = second_upload(result_);
  if (statements.empty()) return;
  heading("The second upload");
  for (const Statement& statement : statements) {
    entry(statement.about.empty() ? "" : "  " + statement.about, 19, statement.text);
  }
}

void Page::checked() {
  heading("What was checked, and what was not");
  entries(limits(result_));
  coverage();
  skipped();
  constexpr size_t kShown = 3;
  for (size_t i = 0; i < std::min(result_.tells.size(), kShown); ++i) {
    entry(i == 0 ? "  Tells" : "", 19,
          fmt::format("{} ({})", result_.tells[i].sentence, result_.tells[i].weight));
  }
}

void Page::files(std::span<const WrittenFile> written) {
  if (written.empty()) return;
  heading("Written");
  for (const WrittenFile& file : written) {
    entry("  " + printable(file.what), 19, printable(file.path, kWholeText));
  }
}

}  // namespace

std::string audit_text(const AuditResult& result, const TerminalStyle& style,
                       std::span<const WrittenFile> written) {
  return Page(result, style).print(written);
}

}  // namespace hieron
