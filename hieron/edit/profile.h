// The suspect against one model, element by element: equal, set to zero, or gone through a narrower
// format and back. One pass.
#pragma once

#include <array>
#include <limits>
#include <vector>

#include "hieron/edit/edit.h"

namespace hieron {

// Formats that weights are passed through.
inline constexpr std::array kTrips{DType::kF16, DType::kBF16, DType::kF8E4M3, DType::kF8E5M2};

struct RowProfile {
  uint64_t read = 0;
  uint64_t equal = 0;       // the model's value, in the suspect's format
  uint64_t zeroed = 0;      // zero here, not in the model
  uint64_t kept = 0;        // neither zero here nor in the model
  uint64_t kept_equal = 0;  // of those
  uint64_t borders = 0;     // neighbours of which one was set to zero and one kept
  double largest_zeroed = 0, smallest_kept = std::numeric_limits<double>::infinity();  // |model|
  std::array<uint64_t, kTrips.size()> trip{};  // equal to the model after the trip
  uint64_t first_miss = ~uint64_t{0};

  bool changed() const { return equal < read; }
};

struct Profile {
  size_t model = 0;
  std::vector<RowProfile> rows;  // by row of the alignment; nothing read where the model has none
  RowProfile total;              // without first_miss
};

Result<Profile> profile(const EditCase& given, size_t model, const Selection& selection);

// Rows that differ from the model.
std::vector<size_t> changed_rows(const Profile& profile);
// Their roles, each once, in order.
std::vector<Role> roles_of(const EditCase& given, const std::vector<size_t>& rows);
// "attention.q, attention.v"
std::string in_words(const std::vector<Role>& roles);

}  // namespace hieron
