// The inputs of a strip of elements as f64, and how a sum of their differences gets stored: most
// elements by a vector loop that encloses the sum, the few in doubt by round_delta.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "hieron/kernels/isa.h"
#include "hieron/kernels/round_delta.h"
#include "hieron/merge/method.h"

namespace hieron {

// Elements worked on at once: the arrays of a few models stay in the first-level cache.
inline constexpr size_t kStrip = 512;

// The differences x − b inside a kernel. With kModels > 0 the loop over the models is unrolled, and
// the one around it over elements becomes vector code; 0: any number of models.
template <size_t kModels>
struct Differences {
  const double* base;
  const double* const* values;
  size_t count;

  HIERON_INLINE size_t models() const { return kModels > 0 ? kModels : count; }
  HIERON_INLINE double operator()(size_t m, size_t i) const { return values[m][i] - base[i]; }
};

// Arrays of kStrip elements each in the scratch of a thread, valid until the next use of it.
class DeltaArrays {
 public:
  DeltaArrays(const Piece& piece, size_t base, WorkScratch& scratch);

  // Elements [first, first + count) of the piece; count <= kStrip.
  void read(size_t first, size_t count);

  size_t count() const { return count_; }
  size_t models() const { return values_.size(); }
  const double* base() const { return base_; }
  const double* value(size_t m) const { return values_[m]; }
  double difference(size_t m, size_t i) const { return values_[m][i] - base_[i]; }

  // act(Differences<kModels>), where kModels suits the number of models.
  template <class Act>
  void with_differences(const Act& act) const {
    if (models() == 1) return act(differences<1>());
    if (models() == 2) return act(differences<2>());
    if (models() == 3) return act(differences<3>());
    if (models() == 4) return act(differences<4>());
    act(differences<0>());
  }

  // Where a kernel puts the ends of an interval that holds an element's exact value. Both ends
  // being b means that no model takes part; an interval across zero, that the kernel cannot tell.
  double* low() { return low_; }
  double* high() { return high_; }
  // Do enclosures help? All inputs are so far inside the range of f64 that what is computed from
  // them neither overflows nor underflows there, and f64 is not what is stored.
  bool can_enclose(DType out_dtype) const { return narrow_ && out_dtype != DType::kF64; }

  // Stores b + Σ c·(x − b) [/ Σ w] as `out_dtype`. terms(i, c, w) sets the coefficients of element
  // i, one a model, which are zeros before, and if `divided` its weights. It is asked where the
  // enclosure leaves the value open; without `enclosed`, for all elements.
  template <class Terms>
  void round(bool enclosed, bool divided, DType out_dtype, std::byte* out, const Terms& terms) {
    const std::span<const uint32_t> open =
        enclosed ? store_enclosed(out_dtype, out) : all_elements();
    if (open.empty()) return;
    std::array<double, 256> c, w;
    const std::span coefficients(c.data(), models()), weights(w.data(), models());
    for (size_t j = 0; j < open.size(); ++j) {
      std::ranges::fill(coefficients, 0.0);
      std::ranges::fill(weights, 0.0);
      terms(open[j], coefficients, weights);
      gather(j, open[j], coefficients, weights);
    }
    round_gathered(open, divided, out_dtype, out);
  }

 private:
  template <size_t kModels>
  Differences<kModels> differences() const {
    return {base_, values_.data(), values_.size()};
  }

  // Stores the elements whose two ends round to the same; the others are returned.
  std::span<const uint32_t> store_enclosed(DType out_dtype, std::byte* out);
  std::span<const uint32_t> all_elements();
  void gather(size_t j, size_t i, std::span<const double> c, std::span<const double> w);
  void round_gathered(std::span<const uint32_t> elements, bool divided, DType out_dtype,
                      std::byte* out);

  const Piece& piece_;
  WorkScratch& scratch_;
  size_t count_ = 0;
  bool narrow_ = true;
  double *base_, *low_, *high_, *open_base_;
  std::vector<double*> read_;  // by operand
  std::vector<const double*> values_;
  // Of the elements in doubt, one behind another.
  std::vector<double*> open_values_, open_coefficients_, open_weights_;
  std::array<uint32_t, kStrip> open_;
};

}  // namespace hieron
