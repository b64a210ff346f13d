#include "hieron/report/figures.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <utility>

#include "hieron/core/text.h"

namespace hieron {
namespace {

constexpr double kNone = std::numeric_limits<double>::quiet_NaN();
constexpr const char* kDash = "–";

int alpha_digits(double low, double high) {
  const double width = high - low;
  if (!std::isfinite(width) || width <= 0) return 6;
  return std::clamp(static_cast<int>(std::ceil(-std::log10(width))), 3, 8);
}

std::string plain_alpha(double alpha) {
  return std::isfinite(alpha) ? fmt::format("{:.3f}", alpha) : kDash;
}

// "1 in 2,300,000", or a percentage where that is easier to read.
std::string show_rate(double rate) {
  if (!std::isfinite(rate)) return kDash;
  if (rate <= 0) return "none";
  if (rate < 0.01) return "1 in " + with_commas(static_cast<uint64_t>(1 / rate));
  return fmt::format("{:.2g} %", 100 * rate);
}

std::string counted(uint64_t n, std::string_view one, std::string_view many) {
  return fmt::format("{} {}", with_commas(n), n == 1 ? one : many);
}

Statement replay_finding(const Replay& replay, const std::optional<FoundRecipe>& recipe) {
  std::string text = fmt::format("{} of {} aligned elements ({}) are reproduced bit for bit",
                                 with_commas(replay.equal), with_commas(replay.elements),
                                 show_percent(replay.equal, replay.elements));
  if (recipe && !recipe->arithmetic.empty()) {
    text += fmt::format(" in arithmetic {}", printable(recipe->arithmetic));
  }
  text += fmt::format("; {} of {} tensors to the last bit.", with_commas(replay.tensors_equal),
                      with_commas(replay.tensors));
  if (replay.share_informative < 1) {
    text += fmt::format(" Where the ends differ: {}.", show_share(replay.share_informative));
  }
  if (const auto& first = replay.first_difference) {
    text += fmt::format(" First difference: tensor \"{}\", element {}, in {} at byte {}.",
                        printable(first->tensor), with_commas(first->element),
                        printable(first->file), with_commas(first->offset));
  }
  return {"Replay", text};
}

// The kinds that are names of what was done: "low-rank" alone says little.
std::string_view edit_in_words(std::string_view kind) {
  static constexpr std::array<std::pair<std::string_view, std::string_view>, 7> kWords{{
      {"low-rank", "an adapter merged in"},
      {"direction-removed", "a direction taken out"},
      {"pruned", "weights set to zero"},
      {"requantised", "rounded to integers and back"},
      {"dtype-trip", "through a narrower number format and back"},
      {"truncated", "small singular values dropped"},
      {"other", "changed without another model"},
  }};
  for (const auto& [known, words] : kWords) {
    if (known == kind) return words;
  }
  return kind;
}

Statement edit_finding(const Edit& edit) {
  std::string text = fmt::format("{}: {} ({})", printable(edit.of), edit_in_words(edit.kind),
                                 printable(edit.kind));
  if (edit.rank) text += fmt::format(", rank {}", with_commas(*edit.rank));
  if (edit.strength) text += fmt::format(", strength {:.4f}", *edit.strength);
  std::vector<std::string_view> targets;
  for (const Role role : edit.targets) targets.push_back(name(role));
  if (!targets.empty()) text += fmt::format(", in {}", fmt::join(targets, ", "));
  return {"Edit", text + '.'};
}

Statement evidence_finding(const DepthFigures& depth) {
  if (!std::isfinite(depth.alpha)) {
    return {"Blend",
            fmt::format("Uninformative: {}.",
                        counted(depth.informative, "informative element", "informative elements"))};
  }
  std::string text = fmt::format(
      "{} of {} + {} of {}, hard bounds {}: explains {} of {} to the last bit (D4; D64 {})",
      show_alpha(depth.alpha, depth.low, depth.high), printable(depth.ends[0]),
      show_alpha(1 - depth.alpha, depth.low, depth.high), printable(depth.ends[1]),
      show_bounds(depth.low, depth.high), show_share(depth.d4),
      counted(depth.informative, "informative element", "informative elements"),
      show_share(depth.d64));
  if (std::isfinite(depth.bits) && depth.bits > 0) {
    text += fmt::format("; {} bits of evidence against chance",
                        with_commas(static_cast<uint64_t>(depth.bits)));
  }
  return {"Best blend", text + "."};
}

Statement direction_finding(const Direction& direction) {
  return {"Direction",
          direction.passed
              ? "Settled: no parent is explained better by the suspect than the suspect is by them."
              : "Not settled: a parent is explained as a blend of the suspect at least as well."};
}

Statement after_merge_finding(const AfterMerge& after) {
  std::string text =
      fmt::format("{} of {} checked differ from the replay; ", with_commas(after.changed),
                  counted(after.checked, "element", "elements"));
  text += fmt::format("at most {} changed (95 %)", show_rate(after.upper_rate_95));
  if (std::isfinite(after.mean_update_ulp_95)) {
    text += fmt::format(", mean update below {:.2g} ulp", after.mean_update_ulp_95);
  }
  text += '.';
  constexpr size_t kShown = 5;
  std::vector<std::string> places;
  for (const ChangedPlace& place : after.where) {
    if (places.size() == kShown) break;
    places.push_back(
        fmt::format("{} {} ({})", place.scope, printable(place.name), show_rate(place.rate)));
  }
  if (!places.empty()) text += fmt::format(" Changed in: {}", fmt::join(places, ", "));
  if (after.where.size() > kShown) text += fmt::format(" and {} more", after.where.size() - kShown);
  return {"After the merge", places.empty() ? text : text + '.'};
}

Statement unexplained_finding(const Unexplained& rest) {
  std::string text =
      fmt::format("{} of the squared change from the nearer end", show_share(rest.share));
  if (std::isfinite(rest.low) && std::isfinite(rest.high)) {
    text += fmt::format(" ({} to {})", show_share(rest.low), show_share(rest.high));
  }
  return {"Unexplained", text + " is accounted for by no blend of these two."};
}

Statement kinship_finding(const Kinship& kin) {
  return {"Kinship",
          fmt::format("with {}: {} of {} hidden units match their own index in {}; strangers match "
                      "about {}; {}.",
                      printable(kin.with), with_commas(kin.matched), with_commas(kin.units),
                      counted(kin.matrices, "matrix", "matrices"), with_commas(kin.matrices),
                      show_p(kin.p))};
}

FigureRow other_row(std::string kind, const NamedDepth& depth, std::string outcome) {
  return {std::move(kind),          printable(depth.name), kNone,       depth.d16, kNone,
          plain_alpha(depth.alpha), std::move(outcome),    depth.passed};
}

bool plain_for_shell(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
         std::string_view("_./:@=+,%-").contains(c);
}

std::string shell_word(std::string_view word) {
  if (!word.empty() && std::ranges::all_of(word, plain_for_shell)) return std::string(word);
  std::string out = "'";
  for (char c : word) {
    if (c == '\'') {
      out += "'\\''";
    } else {
      out += c;
    }
  }
  return printable(out + '\'', 4096);
}

}  // namespace

std::string show_share(double share) {
  if (!std::isfinite(share)) return kDash;
  if (share > 0 && share < 5e-6) return "<0.00001";
  if (share < 1 && share >= 0.999995) return "0.99999";
  return fmt::format("{:.5f}", share);
}

std::string show_percent(uint64_t part, uint64_t whole) {
  if (whole == 0) return kDash;
  if (part == whole) return "100 %";
  if (part == 0) return "0 %";
  const double percent = 100.0 * static_cast<double>(part) / static_cast<double>(whole);
  if (percent < 0.01) return "<0.01 %";
  if (percent >= 99.995) return ">99.99 %";
  return percent >= 99 || percent < 1 ? fmt::format("{:.2f} %", percent)
                                      : fmt::format("{:.1f} %", percent);
}

std::string show_alpha(double alpha, double low, double high) {
  if (!std::isfinite(alpha)) return kDash;
  return fmt::format("{:.{}f}", alpha, alpha_digits(low, high));
}

std::string show_bounds(double low, double high) {
  if (!std::isfinite(low) || !std::isfinite(high)) return kDash;
  const int digits = alpha_digits(low, high) + 1;
  // Outward: a hard bound may be printed wider than it is, never narrower.
  const double scale = std::pow(10.0, digits);
  return fmt::format("[{:.{}f}, {:.{}f}]", std::floor(low * scale) / scale, digits,
                     std::ceil(high * scale) / scale, digits);
}

std::string show_p(double p) {
  if (!std::isfinite(p)) return "p unknown";
  return p < 1e-300 ? "p < 1e-300" : fmt::format("p = {:.2g}", p);
}

std::string title(VerdictKind kind) {
  std::string text(name(kind));
  std::ranges::replace(text, '-', ' ');
  if (kind == VerdictKind::kFineTune) text = "fine-tune";
  text[0] = static_cast<char>(text[0] - 'a' + 'A');
  return text;
}

std::vector<FigureRow> figure_rows(const AuditResult& result) {
  std::vector<FigureRow> rows;
  if (!result.depth) return rows;
  const DepthFigures& depth = *result.depth;
  rows.push_back({"suspect", printable(result.suspect.ref), depth.d4, depth.d16, depth.d64,
                  show_alpha(depth.alpha, depth.low, depth.high), "", true});
  for (const NamedDepth& control : depth.controls) {
    const bool quiet = control.d16 < threshold::kControlDepth.value;
    rows.push_back(other_row("control", control, quiet ? "not explained" : "explained too"));
    rows.back().passed = quiet;
  }
  for (const NamedDepth& check : depth.self_checks) {
    rows.push_back(other_row("self-check", check, check.passed ? "collapsed" : "did not collapse"));
  }
  rows.push_back(other_row("power check", depth.power, depth.power.passed ? "found" : "not found"));
  if (rows.back().name.empty()) rows.back().name = "a merge made here of the same ends";
  if (!result.direction) return rows;
  for (const NamedDepth& other : result.direction->others) {
    rows.push_back(other_row("direction", other,
                             other.passed ? "explained less" : "explained at least as well"));
  }
  return rows;
}

std::vector<Statement> findings(const AuditResult& result) {
  std::vector<Statement> out;
  if (result.edit) out.push_back(edit_finding(*result.edit));
  if (result.replay) out.push_back(replay_finding(*result.replay, result.recipe));
  if (result.depth) out.push_back(evidence_finding(*result.depth));
  if (result.direction) out.push_back(direction_finding(*result.direction));
  if (result.after_merge) out.push_back(after_merge_finding(*result.after_merge));
  if (result.unexplained && result.unexplained->share > 0)
    out.push_back(unexplained_finding(*result.unexplained));
  for (const Kinship& kin : result.kinship) out.push_back(kinship_finding(kin));
  return out;
}

std::vector<Statement> limits(const AuditResult& result) {
  const Sampling& sampling = result.sampling;
  std::string read = fmt::format("{} of {} ({})", show_bytes(sampling.bytes_read),
                                 show_bytes(sampling.bytes_total),
                                 show_percent(sampling.bytes_read, sampling.bytes_total));
  if (!sampling.mode.empty()) read += fmt::format(", mode {}", printable(sampling.mode));
  if (sampling.requests) {
    read += fmt::format(", {} requests to the hub", with_commas(*sampling.requests));
  }
  if (!sampling.seed.empty()) read += fmt::format(", seed {}", printable(sampling.seed));
  if (result.seconds > 0) read += fmt::format(", in {:.2f} s", result.seconds);
  std::vector<Statement> out{{"Read", read + '.'}};
  if (!sampling.bound.empty()) out.push_back({"Unread", printable(sampling.bound, 4096)});
  return out;
}

std::string arithmetic_summary(const FoundRecipe& recipe) {
  std::vector<std::string> as_good, other;
  double best = 0;
  for (const ArithmeticShare& arithmetic : recipe.arithmetics) {
    if (arithmetic.name == recipe.arithmetic) best = arithmetic.share;
  }
  for (const ArithmeticShare& arithmetic : recipe.arithmetics) {
    if (arithmetic.name == recipe.arithmetic) continue;
    const std::string shown = printable(arithmetic.name);
    if (arithmetic.share >= best) {
      as_good.push_back(shown);
    } else {
      other.push_back(fmt::format("{} {}", shown, show_share(arithmetic.share)));
    }
  }
  std::string text = printable(recipe.arithmetic);
  if (!as_good.empty()) text += fmt::format("; the same bytes: {}", fmt::join(as_good, ", "));
  if (!other.empty()) text += fmt::format("; fewer: {}", fmt::join(other, ", "));
  return text;
}

std::string repeat_command(const AuditResult& result) {
  std::string line = "hieron audit " + shell_word(result.suspect.ref);
  for (const ModelIdentity& parent : result.parents) line += " --parent " + shell_word(parent.ref);
  if (result.base) line += " --base " + shell_word(result.base->ref);
  for (const ModelIdentity& control : result.controls)
    line += " --control " + shell_word(control.ref);
  if (result.sampling.mode == "full") line += " --sample full";
  if (!result.sampling.seed.empty()) line += " --seed " + shell_word(result.sampling.seed);
  return line;
}

}  // namespace hieron
