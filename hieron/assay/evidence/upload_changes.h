// Which elements of a second upload differ from the first, by how many steps between neighbouring
// numbers, and whether one rounding to another format explains it. Counts only: the same for any
// number of threads.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <vector>

#include "hieron/core/error.h"
#include "hieron/model/roles.h"
#include "hieron/walk/walk.h"

namespace hieron {

// Steps up to 64 are counted one by one, larger ones to about a twentieth.
class StepCounts {
 public:
  void add(uint64_t step) { ++counts_[bucket(step)]; }
  void add(const StepCounts& other);
  double median() const;  // 0 if there are none

 private:
  static constexpr size_t kSingle = 64, kPerOctave = 16, kOctaves = 58;
  static size_t bucket(uint64_t step);
  static double step_of(size_t bucket);
  std::array<uint64_t, kSingle + kPerOctave * kOctaves + 1> counts_{};
};

struct PartCounts {
  uint64_t tensors = 0, tensors_changed = 0, elements = 0, changed = 0;
  StepCounts steps;
};

// One of the uploads is the other one, rounded to this format and stored again.
struct FormatTrip {
  DType format;
  bool forward;  // the second is what the trip made of the first
};

struct UploadChanges {
  PartCounts all;
  std::map<Role, PartCounts> roles;
  std::map<int, PartCounts> layers;
  bool other_storage = false;      // of some tensor
  std::optional<FormatTrip> trip;  // that explains what changed
};

// `alignment`: model 0 the first upload, 1 the second; rows that both can be decoded in.
Result<UploadChanges> count_changes(const Alignment& alignment, const RoleTable& roles,
                                    const Selection& selection, const WalkOptions& options);

}  // namespace hieron
