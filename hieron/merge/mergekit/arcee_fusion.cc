// arcee_fusion: the changes that matter most, by how far they move and how they bend their row.
//
//   importance = r(|r(x − base)|·KL),  KL = r(f32Σ r(p·r(log r(p/q)))) per row,
//   p, q = r(softmax of the row + 1e-8) of x and base
//   threshold  = median + 1.5·(third quartile − first), of a sample where there are over 10^6
//   out        = base + r(x − base) where importance ≥ threshold, else base: in F32
#include <algorithm>
#include <cmath>

#include "hieron/merge/mergekit/families.h"
#include "hieron/merge/mergekit/torch_lines.h"
#include "hieron/merge/mergekit/torch_random.h"
#include "hieron/merge/mergekit/torch_softmax.h"

namespace hieron::mergekit {
namespace {

constexpr size_t kSample = 1'000'000;

Values probabilities(Values values, const Lines& lines, const Rounding& r) {
  for (size_t line = 0; line < lines.count(); ++line) {
    softmax(std::span(values).subspan(line * lines.length, lines.length), r.dtype());
  }
  const float smallest = r(1e-8);
  for (float& p : values) p = r(r(p) + smallest);
  return values;
}

Values importance(const ReplayTask& task, size_t other) {
  const Rounding r(task.working);
  const Lines lines = Lines::along_last(task.shape, task.elements);
  Values terms = probabilities(values_of(task, other), lines, r);
  {
    const Values base = probabilities(values_of(task, *task.base), lines, r);
    for (size_t i = 0; i < terms.size(); ++i)
      terms[i] = r(terms[i] * r(torch_log(r(terms[i] / base[i]), task.working)));
  }
  const Values divergence = sums(terms, lines, r);
  Values scores = delta(task, other);
  for (size_t i = 0; i < scores.size(); ++i) {
    scores[i] = r(std::abs(scores[i]) * divergence[lines.of(i)]);
  }
  return scores;
}

// A million of the scores: of 0.1.5's torch.randint, or of the nth of 0.1.4's two torch.randperm.
Values sample(const ReplayTask& task, const Values& scores, uint64_t nth) {
  const uint64_t n = scores.size();
  if (n <= kSample) return scores;
  const bool permuted = task.version == Version::k014;
  const uint64_t earlier = permuted ? nth * words_of_permutation(n) : 0;
  const MersenneStream stream(task.seed, task.first_word + earlier);
  const auto places =
      permuted ? start_of_permutation(n, kSample, stream) : random_integers(n, kSample, stream);
  Values chosen(kSample);
  std::ranges::transform(places, chosen.begin(), [&](uint64_t place) { return scores[place]; });
  return chosen;
}

// The value at trunc(share·(n − 1)) of the sorted ones, the product in f32.
float quantile(Values& values, float share) {
  const float place = share * static_cast<float>(values.size() - 1);
  const auto nth = values.begin() + static_cast<ptrdiff_t>(place);
  const auto nan_last = [](float a, float b) { return a < b || (!std::isnan(a) && std::isnan(b)); };
  std::ranges::nth_element(values, nth, nan_last);
  return *nth;
}

float threshold(const ReplayTask& task, const Values& scores) {
  const Rounding r(task.working);
  Values chosen = sample(task, scores, 0);
  const float median = quantile(chosen, 0.5f);
  if (task.version == Version::k014) chosen = sample(task, scores, 1);
  const float first = quantile(chosen, 0.25f), third = quantile(chosen, 0.75f);
  return r(median + r(r(third - first) * 1.5f));
}

}  // namespace

uint64_t words_of_arcee_fusion(Version version, uint64_t elements) {
  if (elements <= kSample) return 0;
  return version == Version::k014 ? 2 * words_of_permutation(elements)
                                  : words_of_integers(elements, kSample);
}

Result<Values> arcee_fusion(const ReplayTask& task) {
  if (task.operands.size() == 1) return values_of(task, 0);
  if (task.operands.size() != 2 || !task.base) {
    return refused(task, "it takes exactly two models, one of them base_model");
  }
  if (task.elements == 0) return Values{};  // where mergekit stops with an IndexError
  const size_t other = 1 - *task.base;
  const Values scores = importance(task, other);
  const float least = threshold(task, scores);
  Values out = values_of(task, *task.base);
  const Values change = delta(task, other);
  for (size_t i = 0; i < out.size(); ++i)
    out[i] += scores[i] >= least ? change[i] : 0.0f * change[i];
  return out;
}

}  // namespace hieron::mergekit
