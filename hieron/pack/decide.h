// The audit of a pack, run again from its bytes alone.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "hieron/io/file.h"
#include "hieron/pack/pack.h"

namespace hieron {

// Read at a time by an audit that is recorded and by its repetition: so little that the walk reads
// what was selected and no byte around it, whatever the machine.
inline constexpr uint64_t kEvidenceReads = 32u << 10;

// The models of a pack, open: weights come from its blocks, small files lie in a private folder
// that goes with this object. `pack` must outlive it.
class OpenPack {
 public:
  static Result<std::unique_ptr<OpenPack>> open(const Pack& pack,
                                                const std::shared_ptr<const File>& blocks);
  ~OpenPack();
  OpenPack(const OpenPack&) = delete;
  OpenPack& operator=(const OpenPack&) = delete;

  // With `seconds` 0: nothing in it depends on when, where or how fast it ran.
  Result<AuditResult> decide(WalkOptions walk) const;

 private:
  explicit OpenPack(const Pack& pack) : pack_(pack) {}

  const Pack& pack_;
  std::string folder_;  // temporary
  std::vector<std::shared_ptr<const Checkpoint>> models_;
};

}  // namespace hieron
