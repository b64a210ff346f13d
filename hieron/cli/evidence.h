// Evidence packs on the command line: `audit --evidence`, `verify PACK`.
#pragma once

#include <string>
#include <vector>

#include "hieron/cli/command.h"
#include "hieron/pack/record.h"

namespace hieron {

struct AskedEvidence {  // of an audit
  std::string path;     // empty: none
  std::string most;     // --max-evidence
  bool overwrite = false;
};

void add_evidence_options(CLI::App& command, AskedEvidence& asked);

// Null if none is asked for. `options`: what the audit will do; a pack holds a sample unless
// everything is asked for (`sample` is what --sample says).
Result<std::unique_ptr<Recorder>> begin_evidence(const AskedEvidence& asked,
                                                 const std::string& sample, AuditOptions& options);

// The audit's input as the recorder wants it. --hash: done here, beside the recorder.
Status record_evidence(Recorder& recorder, const AskedEvidence& asked, AuditInput& input,
                       std::vector<PoolEntry>* pool, AuditOptions& options);

struct AskedCheck {  // of a pack
  std::string pack;
  std::vector<std::string> against;  // NAME=REF
  std::string refetch = "auto";
};

void add_evidence_check_options(CLI::App& command, AskedCheck& asked);
Outcome verify_evidence(const AskedCheck& asked, const Context& context);

}  // namespace hieron
