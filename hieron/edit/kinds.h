// One function a kind of edit: does an edit of this kind turn the model of the profile into the
// suspect? Nothing: no. The profile is of the quick selection; what is found is proven on the whole
// one.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "hieron/edit/profile.h"

namespace hieron {

using EditTest = Result<std::optional<EditFinding>> (*)(const EditCase& given,
                                                        const Profile& profile,
                                                        std::vector<std::string>& reasons);

Result<std::optional<EditFinding>> find_dtype_trip(const EditCase& given, const Profile& profile,
                                                   std::vector<std::string>& reasons);
Result<std::optional<EditFinding>> find_pruned(const EditCase& given, const Profile& profile,
                                               std::vector<std::string>& reasons);
Result<std::optional<EditFinding>> find_requantised(const EditCase& given, const Profile& profile,
                                                    std::vector<std::string>& reasons);
// Or a direction that was taken out, which changes every tensor by a matrix of rank one.
Result<std::optional<EditFinding>> find_low_rank(const EditCase& given, const Profile& profile,
                                                 std::vector<std::string>& reasons);
Result<std::optional<EditFinding>> find_truncated(const EditCase& given, const Profile& profile,
                                                  std::vector<std::string>& reasons);
Result<std::optional<EditFinding>> find_units_permuted(const EditCase& given,
                                                       const Profile& profile,
                                                       std::vector<std::string>& reasons);

}  // namespace hieron
