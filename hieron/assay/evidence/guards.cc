#include "hieron/assay/evidence/guards.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "hieron/assay/recipe_search.h"
#include "hieron/assay/thresholds.h"

namespace hieron {
namespace {

// The subject's depth against the ends, with the freedom that the suspect had.
NamedDepth measure(const GuardInput& input, std::string name, const SubjectOf& subject, Ends ends,
                   EndsFit* keep = nullptr) {
  EndsFit fit = fit_ends(input.sample, subject, ends, Depths::kOnly16, input.threads);
  NamedDepth depth{.name = std::move(name)};
  depth.d16 = input.varies == Varies::kGlobal
                  ? fit.d16.share()
                  : fit_groups(input.alignment, input.sample, fit, input.varies).share();
  if (fit.d16.informative > 0) depth.alpha = fit.d16.alpha();
  if (keep) *keep = std::move(fit);
  return depth;
}

std::vector<double> picture_grid() {
  std::vector<double> grid;
  for (int i = -60; i <= 260; ++i) grid.push_back(i / 200.0);
  return grid;
}

std::vector<CurvePoint> points(const EndsFit& fit, std::span<const double> grid) {
  const std::vector<double> shares = depth_curve(fit.intervals, 16, grid);
  std::vector<CurvePoint> curve;
  for (size_t i = 0; i < grid.size(); ++i) curve.push_back({grid[i], shares[i]});
  return curve;
}

// An odd weight that nobody would choose, drawn from the seed, so that the check is not tuned to
// it.
double power_alpha(const Seed& seed) { return 0.25 + 0.5 * Prf(seed, "power check").uniform(0); }

NamedDepth power_check(const GuardInput& input) {
  const double alpha = power_alpha(input.seed);
  NamedDepth power = measure(input, fmt::format("synthetic merge at alpha {:.6f}", alpha),
                             synthetic_merge(input.suspect, input.ends, alpha), input.ends);
  power.passed = power.d16 >= threshold::kPowerDepth.value && std::abs(power.alpha - alpha) < 1e-3;
  return power;
}

// Is the model stored in finer formats than the other, in all but a hundredth of the sampled
// elements?
bool finer_nearly_everywhere(const Sample& sample, size_t model, size_t than) {
  uint64_t elements = 0, finer = 0;
  for (const SampleRow& row : sample.rows) {
    if (!row.blend || row.values[model].empty() || row.values[than].empty()) continue;
    elements += row.count;
    if (info(row.dtypes[model]).format->mantissa_bits >
        info(row.dtypes[than]).format->mantissa_bits) {
      finer += row.count;
    }
  }
  return elements > 0 && 100 * (elements - finer) <= elements;
}

}  // namespace

std::vector<CurvePoint> Guards::curve(const EndsFit& suspect) const {
  std::vector<double> with_peak = grid;
  for (const double alpha :
       {suspect.d4.alpha() - 5e-4, suspect.d4.alpha(), suspect.d4.alpha() + 5e-4}) {
    with_peak.insert(std::ranges::upper_bound(with_peak, alpha), alpha);
  }
  return points(suspect, with_peak);
}

Guards run_guards(const GuardInput& input) {
  Guards guards;
  guards.grid = picture_grid();
  const auto& models = input.alignment.models;
  const auto collapsed = [](NamedDepth depth) {
    depth.passed = depth.d16 < threshold::kControlDepth.value;
    return depth;
  };
  for (const size_t control : input.controls) {
    EndsFit fit;
    guards.controls.push_back(
        collapsed(measure(input, models[control]->ref, model_subject(control), input.ends, &fit)));
    guards.control_curves.emplace_back(models[control]->ref, points(fit, guards.grid));
  }
  guards.self_checks.push_back(
      collapsed(measure(input, "rows permuted", rows_permuted(input.suspect), input.ends)));
  guards.self_checks.push_back(
      collapsed(measure(input, "signs flipped", signs_flipped(input.suspect), input.ends)));
  for (const size_t control : input.controls) {
    guards.self_checks.push_back(collapsed(measure(
        input,
        fmt::format("{} replaced by {}", models[input.ends.first]->ref, models[control]->ref),
        model_subject(input.suspect), Ends{control, input.ends.second})));
  }
  guards.power = power_check(input);
  return guards;
}

DirectionCheck check_direction(const GuardInput& input, double suspect_replay_share) {
  DirectionCheck check;
  const auto& models = input.alignment.models;
  const EndsFit own = fit_ends(input.sample, model_subject(input.suspect), input.ends,
                               Depths::kOnly16, input.threads);
  const double own_d16 = input.varies == Varies::kGlobal
                             ? own.d16.share()
                             : fit_groups(input.alignment, input.sample, own, input.varies).share();
  const std::pair<size_t, Ends> turned[] = {{input.ends.first, {input.suspect, input.ends.second}},
                                            {input.ends.second, {input.suspect, input.ends.first}}};
  for (const auto& [subject, ends] : turned) {
    EndsFit fit;
    NamedDepth other = measure(input, models[subject]->ref, model_subject(subject), ends, &fit);
    // In formats as fine as the slack both readings reach full depth; then the replay decides.
    double replayed = 0;
    if (other.d16 >= own_d16 && other.d16 >= threshold::kChangedDepth.value) {
      const auto recipe = search_recipe(input.alignment, input.sample, subject, ends, fit,
                                        input.varies, true, input.threads);
      replayed = recipe ? recipe->share() : 0;
    }
    // Parents in a coarser format are recovered from a finer child just as exactly; the finer one
    // is the child.
    const bool finer = finer_nearly_everywhere(input.sample, input.suspect, subject);
    other.passed = other.d16 < own_d16 || replayed < suspect_replay_share || finer;
    if (!other.passed) {
      check.figures.passed = false;
      check.reason = fmt::format(
          "{} is itself explained better as a blend of {} and {} (D16 {:.4f} at alpha {:.6f}, "
          "against "
          "{:.4f} for the suspect): the relation reads the other way.",
          models[subject]->ref, models[ends.first]->ref, models[ends.second]->ref, other.d16,
          other.alpha, own_d16);
    }
    check.figures.others.push_back(std::move(other));
  }
  return check;
}

}  // namespace hieron
