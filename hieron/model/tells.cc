#include "hieron/model/tells.h"

#include "hieron/model/tells/looks.h"

namespace hieron {

std::vector<Tell> tells(const ModelFiles& model) {
  const SmallFiles files = read_small_files(model);
  Findings found;
  look_at_files(files, found);
  look_at_metadata(files, found);
  look_at_writer(files, found);
  look_at_card(files, found);
  look_at_history(files, found);
  look_at_identity(files, found);
  look_at_licences(files, found);
  look_at_config(files, found);
  return std::move(found).by_weight();
}

std::vector<Tell> comparative_tells(const ModelFiles& suspect, std::span<const ModelFiles> others) {
  const SmallFiles own = read_small_files(suspect);
  std::vector<SmallFiles> theirs;
  theirs.reserve(others.size());
  for (const ModelFiles& other : others) theirs.push_back(read_small_files(other));
  Findings found;
  compare_cards(own, theirs, found);
  compare_settings(own, theirs, found);
  compare_layouts(own, theirs, found);
  compare_licences(own, theirs, found);
  return std::move(found).by_weight();
}

}  // namespace hieron
