#include "hieron/merge/mergekit/torch_softmax.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "hieron/merge/mergekit/elementary.h"

namespace hieron::mergekit {
namespace {

constexpr size_t kLanes = 16;

float fold(std::array<float, kLanes> lane) {
  for (size_t half = kLanes / 2; half > 0; half /= 2) {
    for (size_t i = 0; i < half; ++i) lane[i] += lane[i + half];
  }
  return lane[0];
}

}  // namespace

float sleef_exp(float x) {
  constexpr float kLog2E = 1.442695040888963407f;
  constexpr float kLn2High = 0.693145751953125f, kLn2Low = 1.428606765330187045e-06f;
  // Of (e^s − 1 − s)/s², highest power first.
  constexpr std::array kTerms{0.000198527617612853646278381f, 0.00139304355252534151077271f,
                              0.00833336077630519866943359f,  0.0416664853692054748535156f,
                              0.166666671633720397949219f,    0.5f};
  if (std::isnan(x)) return x;
  if (x < -104) return 0;
  if (x > 104) return HUGE_VALF;
  const float twos = std::nearbyint(x * kLog2E);
  const float s = std::fma(twos, -kLn2Low, std::fma(twos, -kLn2High, x));
  float u = kTerms[0];
  for (size_t i = 1; i < kTerms.size(); ++i) u = std::fma(u, s, kTerms[i]);
  return std::ldexp(1 + std::fma(s * s, u, s), static_cast<int>(twos));
}

void softmax(std::span<float> line) {
  if (line.empty()) return;
  const float largest = std::ranges::max(line);
  const size_t whole = line.size() - line.size() % kLanes;
  std::array<float, kLanes> lane{};
  for (size_t i = 0; i < whole; ++i) {
    line[i] = sleef_exp(line[i] - largest);
    lane[i % kLanes] += line[i];
  }
  float total = fold(lane);
  for (size_t i = whole; i < line.size(); ++i) {
    line[i] = static_cast<float>(exponential(static_cast<double>(line[i] - largest)));
    total += line[i];
  }
  const float factor = 1 / total;
  for (float& x : line) x *= factor;
}

}  // namespace hieron::mergekit
