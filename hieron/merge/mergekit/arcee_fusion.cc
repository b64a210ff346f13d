// arcee_fusion: the changes that matter most, by how far they move and how they bend their row.
//
//   importance = r(|r(x − base)|·KL),  KL = r(f32Σ r(p·r(log r(p/q)))) per row,
//   p, q = r(softmax of the row + 1e-8) of x and base
//   threshold  = median + 1.5·(third quartile − first), of a sample where there are over 10^6
//   out        = base + r(x − base) where importance ≥ threshold, else base: in F32
#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <numeric>

#include "hieron/merge/mergekit/elementary.h"
#include "hieron/merge/mergekit/families.h"
#include "hieron/merge/mergekit/torch_lines.h"
#include "hieron/merge/mergekit/torch_random.h"
#include "hieron/merge/mergekit/torch_softmax.h"

namespace hieron::mergekit {
namespace {

constexpr size_t kSample = 1'000'000;
constexpr size_t kWideRange = size_t{1} << 28;  // torch.randint takes two words from here on

Values probabilities(Values values, const Lines& lines, const Rounding& r) {
  for (size_t line = 0; line < lines.count(); ++line) {
    softmax(std::span(values).subspan(line * lines.length, lines.length));
  }
  const float smallest = r(1e-8);
  for (float& p : values) p = r(r(p) + smallest);
  return values;
}

float log_of(float x) {
  if (!(x > 0)) return x == 0 ? -HUGE_VALF : std::numeric_limits<float>::quiet_NaN();
  return std::isinf(x) ? x : static_cast<float>(logarithm(static_cast<double>(x)));
}

Values importance(const ReplayTask& task, size_t other) {
  const Rounding r(task.working);
  const Lines lines = Lines::along_last(task.shape, task.elements);
  Values terms = probabilities(values_of(task, other), lines, r);
  {
    const Values base = probabilities(values_of(task, *task.base), lines, r);
    for (size_t i = 0; i < terms.size(); ++i)
      terms[i] = r(terms[i] * r(log_of(r(terms[i] / base[i]))));
  }
  const Values divergence = sums(terms, lines, r);
  Values scores = delta(task, other);
  for (size_t i = 0; i < scores.size(); ++i) {
    scores[i] = r(std::abs(scores[i]) * divergence[lines.of(i)]);
  }
  return scores;
}

// 0.1.4: the first million of torch.randperm.
Values sample_of_permutation(const Values& scores, MersenneStream& stream) {
  std::vector<uint32_t> order(scores.size());
  std::iota(order.begin(), order.end(), 0u);
  for (size_t i = 0; i + 1 < order.size(); ++i) {
    std::swap(order[i], order[i + stream.word() % (order.size() - i)]);
  }
  Values sample(kSample);
  for (size_t i = 0; i < kSample; ++i) sample[i] = scores[order[i]];
  return sample;
}

// 0.1.5: a million of torch.randint.
Values sample_with_replacement(const Values& scores, MersenneStream& stream) {
  Values sample(kSample);
  for (float& x : sample) {
    uint64_t draw = stream.word();
    if (scores.size() >= kWideRange) draw = draw << 32 | stream.word();
    x = scores[draw % scores.size()];
  }
  return sample;
}

Values sample(const Values& scores, Version version, MersenneStream& stream) {
  if (scores.size() <= kSample) return scores;
  return version == Version::k014 ? sample_of_permutation(scores, stream)
                                  : sample_with_replacement(scores, stream);
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
  MersenneStream stream(task.seed, scores.size() > kSample ? task.first_word : 0);
  Values chosen = sample(scores, task.version, stream);
  const float median = quantile(chosen, 0.5f);
  if (task.version == Version::k014) chosen = sample(scores, task.version, stream);
  const float first = quantile(chosen, 0.25f), third = quantile(chosen, 0.75f);
  return r(median + r(r(third - first) * 1.5f));
}

}  // namespace

uint64_t words_of_arcee_fusion(Version version, uint64_t elements) {
  if (elements <= kSample) return 0;
  if (version == Version::k014) return 2 * (elements - 1);
  return elements >= kWideRange ? 2 * kSample : kSample;
}

Result<Values> arcee_fusion(const ReplayTask& task) {
  if (task.operands.size() == 1) return values_of(task, 0);
  if (task.operands.size() != 2 || !task.base) {
    return refused(task, "it takes exactly two models, one of them base_model");
  }
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
