#include "hieron/assay/adapter_fit.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <set>
#include <utility>

#include "hieron/assay/replay.h"
#include "hieron/core/parallel.h"
#include "hieron/core/text.h"
#include "hieron/kernels/decode.h"
#include "hieron/merge/generation.h"

namespace hieron {
namespace {

constexpr size_t kChunk = 1u << 16;  // elements read at a time
constexpr const char* kPeftName = "mergekit-0.1.5";
constexpr double kSigmas = 6;        // of a tensor's estimate
constexpr double kSameScale = 1e-3;  // relative; estimates of few elements are biased by rounding
constexpr int kMostDigits = 9;

class Zeros final : public ComputedTensor {
 public:
  Status read(uint64_t, std::span<std::byte> out) const override {
    std::memset(out.data(), 0, out.size());
    return {};
  }
};

// A tensor of another checkpoint.
class Taken final : public ComputedTensor {
 public:
  Taken(std::shared_ptr<const Checkpoint> from, const TensorInfo& tensor)
      : from_(std::move(from)), tensor_(tensor) {}
  Status read(uint64_t first, std::span<std::byte> out) const override {
    return read_elements(*from_, tensor_, first, out);
  }

 private:
  const std::shared_ptr<const Checkpoint> from_;
  const TensorInfo& tensor_;
};

bool is_weights(const TensorInfo& tensor) {
  return info(tensor.dtype).format && info(tensor.dtype).bits >= 16;
}

// The base's tensors without its values, in f64: what an adapter adds to it is c·B·A unrounded.
std::shared_ptr<const Checkpoint> nothing_like(const Checkpoint& base) {
  auto out = std::make_shared<Checkpoint>(base);
  const auto zeros = std::make_shared<const Zeros>();
  for (TensorInfo& tensor : out->tensors) {
    if (is_weights(tensor)) tensor.dtype = DType::kF64;
    tensor.computed = zeros;
  }
  return out;
}

// Sums over one tensor: d what the adapter as declared adds, x what the suspect has more than the
// base.
struct Sums {
  double dd = 0, dx = 0, xx = 0;
  bool as_base = true;  // no bit differs from the base
  uint64_t elements = 0;

  double scale() const { return dd > 0 ? dx / dd : 0; }
  // Of the scale, from what it leaves unexplained.
  double deviation() const {
    if (dd <= 0 || elements < 2) return 0;
    const double left = std::max(0.0, xx - dx * dx / dd);
    return std::sqrt(left / static_cast<double>(elements - 1) / dd);
  }
};

struct Target {
  std::string name;
  const TensorInfo *suspect, *base, *change;
  Sums sums;
};

Status read_values(const Checkpoint& checkpoint, const TensorInfo& tensor, uint64_t first,
                   size_t count, std::vector<std::byte>& raw, std::vector<double>& values) {
  raw.resize(count * static_cast<size_t>(info(tensor.dtype).bits) / 8);
  HIERON_CHECK(read_elements(checkpoint, tensor, first, raw));
  values.resize(count);
  decode(tensor.dtype, raw.data(), std::span(values));
  return {};
}

// The decimals with fewest digits in [low, high], shortest first.
std::vector<double> plain_numbers(double low, double high) {
  std::vector<double> found;
  for (int digits = 0; digits <= kMostDigits && found.size() < 3; ++digits) {
    const double unit = std::pow(10.0, digits);
    const double value = std::round((low + high) / 2 * unit) / unit;
    if (value < low || value > high || value == 0) continue;
    if (std::ranges::find(found, value) == found.end()) found.push_back(value);
  }
  return found;
}

class AdapterFitter {
 public:
  AdapterFitter(const DeclaredAdapter& declared, double share,
                std::shared_ptr<const Checkpoint> suspect, const WalkOptions& walk)
      : declared_(declared), suspect_(std::move(suspect)), walk_(walk) {
    search_.best_share = share;
  }

  Result<FitSearch> run() {
    HIERON_TRY(config_, read_adapter_config(declared_.folder));
    HIERON_CHECK(find_targets());
    HIERON_CHECK(add_up());
    for (const AdapterUse& use : uses()) {
      for (const bool peft : arithmetics_to_try()) {
        AdapterUse with = use;
        with.arithmetic = peft ? AdapterArithmetic::kPeft : AdapterArithmetic::kExact;
        HIERON_TRY(const bool held, try_use(with));
        if (held) return std::move(search_);
      }
    }
    return std::move(search_);
  }

 private:
  bool declared_peft() const { return casts_first(declared_.arithmetic); }
  std::array<bool, 2> arithmetics_to_try() const { return {declared_peft(), !declared_peft()}; }

  // What the adapter changes and both checkpoints have.
  Status find_targets() {
    const std::shared_ptr<const Checkpoint> nothing = nothing_like(*declared_.base);
    HIERON_TRY(change_, with_adapter(nothing, declared_.folder));
    for (const TensorInfo& change : change_->tensors) {
      const TensorInfo* without = nothing->find(change.name);
      if (!without || without->computed == change.computed) continue;
      const TensorInfo* base = declared_.base->find(change.name);
      const TensorInfo* suspect = suspect_->find(change.name);
      if (!suspect || !base || suspect->shape != base->shape || suspect->dtype != base->dtype ||
          change.elements != suspect->elements || !is_weights(*suspect)) {
        continue;
      }
      targets_.push_back({change.name, suspect, base, &change, {}});
    }
    return {};
  }

  Status add_up() {
    std::vector<Status> done(targets_.size());
    parallel_for(targets_.size(), walk_.threads, [&](size_t i) { done[i] = add_up(targets_[i]); });
    for (Status& status : done) HIERON_CHECK(std::move(status));
    return {};
  }

  Status add_up(Target& target) const {
    std::vector<std::byte> raw_suspect, raw_base, raw_change;
    std::vector<double> suspect, base, change;
    Sums& sums = target.sums;
    for (uint64_t first = 0; first < target.suspect->elements; first += kChunk) {
      if (walk_.cancel && *walk_.cancel) break;
      const size_t count = std::min<uint64_t>(kChunk, target.suspect->elements - first);
      HIERON_CHECK(read_values(*suspect_, *target.suspect, first, count, raw_suspect, suspect));
      HIERON_CHECK(read_values(*declared_.base, *target.base, first, count, raw_base, base));
      HIERON_CHECK(read_values(*change_, *target.change, first, count, raw_change, change));
      sums.as_base = sums.as_base && raw_suspect == raw_base;
      for (size_t j = 0; j < count; ++j) {
        const double x = suspect[j] - base[j], d = change[j];
        if (!std::isfinite(x) || !std::isfinite(d)) continue;
        sums.dd += d * d;
        sums.dx += d * x;
        sums.xx += x * x;
        ++sums.elements;
      }
    }
    return {};
  }

  // The scaling that every module is declared to have, if it is one.
  std::optional<double> one_scaling() const {
    if (!config_.ranks.empty() || !config_.alphas.empty()) return std::nullopt;
    return config_.scaling_of("");
  }

  std::vector<AdapterUse> uses() const {
    std::vector<AdapterUse> all{{}};
    if (config_.magnitudes) return all;  // not a sum that scales
    all.push_back({.root_of_rank = !config_.root_of_rank});
    const auto declared = one_scaling();
    double dd = 0, dx = 0;
    for (const Target& target : targets_) {
      if (target.sums.as_base) continue;
      dd += target.sums.dd;
      dx += target.sums.dx;
    }
    if (!declared || dd <= 0) return all;
    const double scale = dx / dd;
    double weight = 0;
    for (const Target& target : targets_) {
      const Sums& sums = target.sums;
      if (sums.as_base || sums.dd <= 0) continue;
      const double sigma = sums.deviation();
      if (std::abs(sums.scale() - scale) > kSigmas * sigma + kSameScale * std::abs(scale)) {
        return all;  // not one scale: each module would need its own
      }
      if (sigma > 0) weight += 1 / (sigma * sigma);
    }
    const double sigma = weight > 0 ? 1 / std::sqrt(weight) : 0;
    const double slack = kSigmas * sigma + 1e-9 * std::abs(scale);
    const double s = scale * *declared, wide = slack * std::abs(*declared);
    const double r = config_.root_of_rank ? std::sqrt(config_.rank) : config_.rank;
    for (const double alpha : plain_numbers((s - wide) * r, (s + wide) * r)) {
      all.push_back({.scaling = alpha / r});
    }
    for (const double plain : plain_numbers(s - wide, s + wide)) all.push_back({.scaling = plain});
    all.push_back({.scaling = s});
    return all;
  }

  // The adapter added so, but to the modules that the suspect shows.
  Result<std::shared_ptr<const Checkpoint>> make(const AdapterUse& use) const {
    HIERON_TRY(const std::shared_ptr<const Checkpoint> whole,
               with_adapter(declared_.base, declared_.folder, use));
    auto made = std::make_shared<Checkpoint>(*whole);
    for (const Target& target : targets_) {
      if (!target.sums.as_base || target.sums.dd <= 0) continue;
      const TensorInfo* place = made->find(target.name);
      made->tensors[static_cast<size_t>(place - made->tensors.data())].computed =
          std::make_shared<const Taken>(declared_.base, *target.base);
    }
    return made;
  }

  Result<bool> try_use(const AdapterUse& use) {
    if (walk_.cancel && *walk_.cancel) return false;
    HIERON_TRY(const std::shared_ptr<const Checkpoint> made, make(use));
    ++search_.tried;
    HIERON_TRY(const Comparison whole, replay(*made, *suspect_, walk_));
    const bool equal = whole.total.elements > 0 && whole.total.equal == whole.total.elements &&
                       whole.ledger.empty();
    search_.best_share = std::max(search_.best_share, whole.total.share);
    if (!equal) return false;
    const bool peft = use.arithmetic == AdapterArithmetic::kPeft;
    search_.fits = Fit{.yaml = {},
                       .arithmetic = peft == declared_peft() ? declared_.arithmetic
                                     : peft                  ? kPeftName
                                                             : "exact",
                       .whole = whole.total,
                       .differences = differences(use)};
    return true;
  }

  // ---- in words

  std::vector<RecipeDifference> differences(const AdapterUse& use) const {
    std::vector<RecipeDifference> all;
    note_modules(all);
    note_scaling(use, all);
    const bool peft = use.arithmetic == AdapterArithmetic::kPeft;
    if (peft != declared_peft()) {
      all.push_back(
          {"arithmetic", declared_.arithmetic, peft ? kPeftName : "exact",
           fmt::format("the arithmetic of the replay is {}, declared {}",
                       peft ? "PEFT's (mergekit-0.1.5)" : "exact", declared_.arithmetic)});
    }
    return all;
  }

  void note_modules(std::vector<RecipeDifference>& all) const {
    constexpr size_t kShown = 8;
    std::vector<std::string> absent;
    for (const Target& target : targets_) {
      if (target.sums.as_base && target.sums.dd > 0) absent.push_back(printable(target.name));
    }
    if (absent.empty()) return;
    const size_t merged = targets_.size() - absent.size(), more = absent.size();
    absent.resize(std::min(absent.size(), kShown));
    const std::string rest =
        more > kShown ? fmt::format(" and {} more", more - kShown) : std::string();
    all.push_back(
        {"modules", fmt::format("{} tensors", targets_.size()), fmt::format("{} tensors", merged),
         merged == 0
             ? std::string("declared an adapter, but none of its modules is merged: the bytes are "
                           "the base's")
             : fmt::format("declared {} tensors changed, the bytes say {}: without {}{}",
                           targets_.size(), merged, fmt::join(absent, ", "), rest)});
  }

  void note_scaling(const AdapterUse& use, std::vector<RecipeDifference>& all) const {
    if (use.root_of_rank) {
      all.push_back({"use_rslora", config_.root_of_rank ? "true" : "false",
                     *use.root_of_rank ? "true" : "false",
                     fmt::format("declared use_rslora {}, the bytes say {}", config_.root_of_rank,
                                 *use.root_of_rank)});
    }
    if (!use.scaling) return;
    const double declared = one_scaling().value_or(0);
    const double r = config_.root_of_rank ? std::sqrt(config_.rank) : config_.rank;
    const auto shown = [](double value) { return shortest(std::round(value * 1e9) / 1e9); };
    all.push_back({"scaling", shown(declared), shown(*use.scaling),
                   fmt::format("declared scaling {} (lora_alpha {}), the bytes say {} (lora_alpha "
                               "{})",
                               shown(declared), shown(config_.alpha), shown(*use.scaling),
                               shown(*use.scaling * r))});
  }

  const DeclaredAdapter& declared_;
  const std::shared_ptr<const Checkpoint> suspect_;
  const WalkOptions& walk_;
  AdapterConfig config_;
  std::shared_ptr<const Checkpoint> change_;
  std::vector<Target> targets_;
  FitSearch search_;
};

}  // namespace

Result<FitSearch> find_fitting_adapter(const DeclaredAdapter& declared, double share,
                                       const std::shared_ptr<const Checkpoint>& suspect,
                                       const WalkOptions& walk) {
  return AdapterFitter(declared, share, suspect, walk).run();
}

}  // namespace hieron
