// slerp, nuslerp, multislerp and karcher: models as points on a sphere.
//
//   slerp       c_a·x + c_b·y in f32,  c_a = sin((1−t)θ)/sin θ,  c_b = sin(tθ)/sin θ
//   nuslerp     r( r(r(sin((1−t)θ)·x) + r(sin(tθ)·y)) / sin θ ), θ per tensor, row or column
//   multislerp  a step from the weighted mean direction along the weighted mean tangent
//   karcher     the same step, repeated from the new mean
//
// A number of the recipe multiplies and divides a tensor unrounded, but is rounded to the dtype
// where it is added; a 0-d f32 tensor is rounded only where it stands on the left of a product.
#include <algorithm>
#include <cmath>
#include <limits>

#include "hieron/merge/mergekit/elementary.h"
#include "hieron/merge/mergekit/families.h"
#include "hieron/merge/mergekit/torch_lines.h"
#include "hieron/merge/mergekit/torch_sum.h"

namespace hieron::mergekit {
namespace {

constexpr double kNoWeight = std::numeric_limits<double>::quiet_NaN();

float sin_of(float x) { return static_cast<float>(sine(static_cast<double>(x))); }
float cos_of(float x) { return static_cast<float>(cosine(static_cast<double>(x))); }
float acos_of(float x) { return static_cast<float>(arc_cosine(static_cast<double>(x))); }

float dot_of_products(const Values& a, const Values& b, const Rounding& r) {
  Values products(a.size());
  for (size_t i = 0; i < a.size(); ++i) products[i] = r(a[i] * b[i]);
  return r(sum(products, r.dtype()));
}

// --- slerp ---

constexpr float kParallel = 0.9995f;

Values unit_of(const Values& x, float norm) {
  Values unit = x;
  if (norm > 1e-8f) std::ranges::transform(x, unit.begin(), [=](float v) { return v / norm; });
  return unit;
}

struct Coefficients {
  float a, b;
};

Coefficients numpy_coefficients(const Values& a, const Values& b, double t) {
  Values products = unit_of(a, numpy_norm(a));
  const Values other = unit_of(b, numpy_norm(b));
  for (size_t i = 0; i < products.size(); ++i) products[i] *= other[i];
  const float dot = numpy_sum(products);
  if (std::abs(dot) > kParallel) return {static_cast<float>(1 - t), static_cast<float>(t)};
  const float angle = acos_of(dot), part = angle * static_cast<float>(t);
  return {sin_of(angle - part) / sin_of(angle), sin_of(part) / sin_of(angle)};
}

constexpr size_t kChunk = size_t{1} << 20;

template <class Work>
void for_chunks(size_t n, const Work& work) {
  for (size_t first = 0; first < n; first += kChunk) work(first, std::min(kChunk, n - first));
}

float norm_in_chunks(std::span<const float> x) {
  Values parts;
  for_chunks(x.size(), [&](size_t first, size_t n) {
    parts.push_back(norm(x.subspan(first, n), DType::kF32));
  });
  const float total = norm(parts, DType::kF32);
  return total > 1e-8f ? total : 1;
}

Coefficients torch_coefficients(const Values& a, const Values& b, double share) {
  const float norm_a = norm_in_chunks(a), norm_b = norm_in_chunks(b);
  Values parts, products;
  for_chunks(a.size(), [&](size_t first, size_t n) {
    products.resize(n);
    for (size_t i = 0; i < n; ++i) products[i] = a[first + i] / norm_a * (b[first + i] / norm_b);
    parts.push_back(sum(products, DType::kF32));
  });
  const float dot = std::clamp(sum(parts, DType::kF32), -1.0f, 1.0f);
  const auto t = static_cast<float>(share);
  if (std::abs(dot) > kParallel) return {1 - t, t};
  const float angle = acos_of(dot), sine_of_angle = sin_of(angle);
  return {sin_of((1 - t) * angle) / sine_of_angle, sin_of(t * angle) / sine_of_angle};
}

// --- nuslerp ---

Values unit_lines(const Values& x, const Lines& lines, const Rounding& r) {
  const float smallest = r(1e-7);
  const Values lengths = norms(x, lines, r);
  Values unit(x.size());
  for (size_t i = 0; i < x.size(); ++i)
    unit[i] = r(x[i] / std::max(lengths[lines.of(i)], smallest));
  return unit;
}

struct Arc {
  float sine_of_angle, a, b;  // a, b: sin((1−t)θ), sin(tθ)
  bool straight;
};

Arc arc(float cosine_of_angle, double t, Version version, const Rounding& r) {
  const float clamped = std::clamp(cosine_of_angle, -1.0f, 1.0f);
  const float angle = r(acos_of(clamped));
  const float sine_of_angle = r(sin_of(angle));
  const bool straight = version == Version::k014 ? std::abs(sine_of_angle) < r(1e-8)
                                                 : r(1 - r(clamped * clamped)) <= r(1e-16);
  return {sine_of_angle, r(sin_of(r(angle * static_cast<float>(1 - t)))),
          r(sin_of(r(angle * static_cast<float>(t)))), straight};
}

Values nuslerp_of(const Values& x, const Values& y, double t, const Lines& lines, Version version,
                  const Rounding& r) {
  Values products = unit_lines(x, lines, r);
  const Values other = unit_lines(y, lines, r);
  for (size_t i = 0; i < products.size(); ++i) products[i] = r(products[i] * other[i]);
  std::vector<Arc> arcs;
  for (float c : sums(products, lines, r)) arcs.push_back(arc(c, t, version, r));
  const auto s = static_cast<float>(1 - t), u = static_cast<float>(t);
  Values out(x.size());
  for (size_t i = 0; i < out.size(); ++i) {
    const Arc& along = arcs[lines.of(i)];
    out[i] = along.straight ? r(r(x[i] * s) + r(y[i] * u))
                            : r(r(r(along.a * x[i]) + r(along.b * y[i])) / along.sine_of_angle);
  }
  return out;
}

// --- multislerp ---

// r(Σ r(w_k·x_k)) over models.
Values weighted_sum(const std::vector<Values>& inputs, const Values& weights, const Rounding& r) {
  const ModelSum add(inputs[0].size(), r.dtype());
  Values out(inputs[0].size()), terms(inputs.size());
  for (size_t i = 0; i < out.size(); ++i) {
    for (size_t k = 0; k < terms.size(); ++k) terms[k] = r(inputs[k][i] * weights[k]);
    out[i] = r(add(terms, i));
  }
  return out;
}

Values multislerp_weights(const ReplayTask& task, std::span<const size_t> members) {
  const Rounding r(task.working);
  Values weights;
  for (size_t k : members) weights.push_back(r(model_of(task, k, "weight", kNoWeight)));
  if (global_of(task, "normalize_weights", 1) == 0) return weights;
  const float total = r(sum(weights, task.working));
  for (float& w : weights) w = r(w / total);
  return weights;
}

// μ cos n + τ sin n / n, times the weighted mean length; `units` become tangents.
Values along_tangent(std::vector<Values>& units, const Values& weights, const Values& mu,
                     float length, double eps, const Rounding& r) {
  for (Values& unit : units) {
    const float dot = dot_of_products(unit, mu, r);
    for (size_t i = 0; i < mu.size(); ++i) unit[i] = r(unit[i] - r(dot * mu[i]));
  }
  Values out = weighted_sum(units, weights, r);
  const float n = r(r(norm(out, r.dtype())) + r(eps));
  const float straight = r(cos_of(n)), aside = r(r(sin_of(n)) / n);
  for (size_t i = 0; i < out.size(); ++i) {
    out[i] = r(r(r(mu[i] * straight) + r(out[i] * aside)) * length);
  }
  return out;
}

Result<Values> multislerp_of(const ReplayTask& task, std::vector<Values>& inputs,
                             const Values& weights) {
  const Rounding r(task.working);
  const double eps = global_of(task, "eps", 1e-8);
  std::vector<Values> units = inputs;
  Values weighted_lengths;
  for (size_t k = 0; k < units.size(); ++k) {
    const float length = r(norm(inputs[k], task.working));
    weighted_lengths.push_back(r(length * weights[k]));
    const float divisor = r(length + r(eps));
    for (float& x : units[k]) x = r(x / divisor);
  }
  Values mu = weighted_sum(units, weights, r);
  const float size = r(norm(mu, task.working));
  if (size < r(eps)) {
    if (inputs.size() == 2) return weighted_sum(inputs, weights, r);
    return refused(task, "the weighted sum of the directions is zero; use other weights");
  }
  for (float& x : mu) x = r(x / size);
  return along_tangent(units, weights, mu, r(sum(weighted_lengths, task.working)), eps, r);
}

// --- karcher ---

class Karcher {
 public:
  Karcher(const ReplayTask& task)
      : r_(task.working), tolerance_(global_of(task, "tol", 1e-5)), n_(task.elements) {}

  void add(Values input) {
    const float length = norm(input, DType::kF32);
    lengths_.push_back(length);
    if (!(static_cast<double>(length) > tolerance_)) return;
    divide(input, length);
    units_.push_back(std::move(input));
  }

  bool nothing() const { return units_.empty(); }

  Values mean(int iterations) const {
    const double alpha = share();
    Values u(n_, 0.0f);
    for (const Values& unit : units_) {
      for (size_t i = 0; i < n_; ++i) u[i] = r_(u[i] + r_(unit[i] * static_cast<float>(alpha)));
    }
    const float length = norm(u, DType::kF32);
    if (static_cast<double>(length) < tolerance_) {
      u = units_[0];
    } else {
      divide(u, length);
    }
    while (iterations-- > 0 && step(u, alpha)) {
    }
    return u;
  }

  // The mean length over all inputs, as a multiplier of a tensor.
  float scale(Version version) const {
    const double alpha = 1.0 / static_cast<double>(lengths_.size());
    double exact = 0;
    float tensor = 0;
    for (float length : lengths_) {
      exact += alpha * static_cast<double>(length);
      tensor += static_cast<float>(alpha) * length;
    }
    return version == Version::k014 ? static_cast<float>(exact) : r_(tensor);
  }

 private:
  // Equal shares of all inputs, normalised over those that are not zero, as Python does it.
  double share() const {
    const double alpha = 1.0 / static_cast<double>(lengths_.size());
    double total = 0;
    for (size_t k = 0; k < units_.size(); ++k) total += alpha;
    return alpha / total;
  }

  void divide(Values& x, float length) const {
    for (float& v : x) v = r_(v / length);
  }

  // One step towards the mean; false once it is reached.
  bool step(Values& u, double alpha) const {
    Values tangent(n_, 0.0f);
    for (const Values& unit : units_) {
      const float c = std::clamp(r_(dot(u, unit, r_.dtype())), -1.0f, 1.0f);
      const float angle = r_(acos_of(c));
      if (static_cast<double>(angle) < tolerance_) continue;
      const float ratio = r_(angle / r_(sin_of(angle)));
      const float factor = r_(ratio * static_cast<float>(alpha));
      for (size_t i = 0; i < n_; ++i) {
        tangent[i] = r_(tangent[i] + r_(factor * r_(unit[i] - r_(c * u[i]))));
      }
    }
    const float n = norm(tangent, DType::kF32);
    if (static_cast<double>(n) < tolerance_) return false;
    const float straight = r_(cos_of(n)), aside = r_(sin_of(n));
    for (size_t i = 0; i < n_; ++i) {
      u[i] = r_(r_(straight * u[i]) + r_(aside * r_(tangent[i] / n)));
    }
    const float length = norm(u, DType::kF32);
    if (static_cast<double>(length) > tolerance_) divide(u, length);
    return true;
  }

  const Rounding r_;
  const double tolerance_;
  const size_t n_;
  std::vector<Values> units_;
  Values lengths_;
};

}  // namespace

Result<Values> slerp(const ReplayTask& task) {
  if (task.operands.size() == 1) return values_of(task, 0);
  if (task.operands.size() != 2 || !task.base) {
    return refused(task, "it takes exactly two models, one of them base_model");
  }
  const double t = global_of(task, "t", kNoWeight);
  if (std::isnan(t)) return refused(task, "parameter t is missing");
  Values a = values_of(task, *task.base);
  const Values b = values_of(task, 1 - *task.base);
  const Rounding r(task.working);
  const auto [ca, cb] =
      task.version == Version::k014 ? numpy_coefficients(a, b, t) : torch_coefficients(a, b, t);
  for (size_t i = 0; i < a.size(); ++i) a[i] = r(ca * a[i] + cb * b[i]);
  return a;
}

Result<Values> nuslerp(const ReplayTask& task) {
  const std::vector<size_t> pair = operands_but_base(task);
  if (task.operands.size() == 1) return values_of(task, 0);
  if (pair.size() != 2) {
    return refused(task, "it takes exactly two models, and base_model besides if there is one");
  }
  const double first = model_of(task, pair[0], "weight", kNoWeight);
  const double second = model_of(task, pair[1], "weight", kNoWeight);
  const double total = first + second, t = std::abs(total) < 1e-6 ? 0.5 : second / total;
  const Lines lines = global_of(task, "nuslerp_flatten", 1) != 0 ? Lines::whole(task.elements)
                      : global_of(task, "nuslerp_row_wise", 0) != 0
                          ? Lines::along_first(task.shape, task.elements)
                          : Lines::along_last(task.shape, task.elements);
  const Rounding r(task.working);
  const auto input = [&](size_t k) { return task.base ? delta(task, k) : values_of(task, k); };
  Values out = nuslerp_of(input(pair[0]), input(pair[1]), t, lines, task.version, r);
  if (!task.base) return out;
  const Values base = values_of(task, *task.base);
  for (size_t i = 0; i < out.size(); ++i) out[i] = r(base[i] + out[i]);
  return out;
}

Result<Values> multislerp(const ReplayTask& task) {
  const std::vector<size_t> members = operands_but_base(task);
  if (members.empty()) return refused(task, "it takes at least one model besides base_model");
  if (members.size() == 1) return values_of(task, members[0]);
  std::vector<Values> inputs;
  for (size_t k : members) inputs.push_back(task.base ? delta(task, k) : values_of(task, k));
  HIERON_TRY(Values out, multislerp_of(task, inputs, multislerp_weights(task, members)));
  if (!task.base) return out;
  const Rounding r(task.working);
  const Values base = values_of(task, *task.base);
  for (size_t i = 0; i < out.size(); ++i) out[i] = r(out[i] + base[i]);
  return out;
}

Result<Values> karcher(const ReplayTask& task) {
  if (task.operands.size() == 1) return values_of(task, 0);
  Karcher sphere(task);
  for (size_t k = 0; k < task.operands.size(); ++k) sphere.add(values_of(task, k));
  if (sphere.nothing()) return Values(task.elements, 0.0f);
  Values out = sphere.mean(static_cast<int>(global_of(task, "max_iter", 10)));
  const Rounding r(task.working);
  const float scale = sphere.scale(task.version);
  for (float& x : out) x = r(scale * x);
  return out;
}

}  // namespace hieron::mergekit
