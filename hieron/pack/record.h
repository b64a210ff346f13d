// An audit's evidence: everything it reads is kept while it runs, and becomes a pack.
//
//   Recorder::begin  →  the models through record()  →  audit()  →  write()
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "hieron/assay/audit.h"
#include "hieron/assay/pool.h"
#include "hieron/pack/pack.h"
#include "hieron/pack/recording_file.h"

namespace hieron {

inline constexpr uint64_t kPackSample = 64u << 10;    // per tensor and model, unless told otherwise
inline constexpr uint64_t kMostPack = 1'000'000'000;  // bytes of weights, unless told otherwise

struct PackPlace {
  std::string path;  // a folder, or a file that ends in .tar
  bool overwrite = false;
  uint64_t most_bytes = kMostPack;
};

struct WrittenPack {
  uint64_t bytes;      // of its files
  std::string sha256;  // of evidence.json, which names the hash of everything else
  std::vector<std::string> warnings;
};

class Recorder {
 public:
  // Refused: a place that holds anything but a pack, or a pack without `overwrite`.
  static Result<std::unique_ptr<Recorder>> begin(PackPlace place);
  ~Recorder();
  Recorder(const Recorder&) = delete;
  Recorder& operator=(const Recorder&) = delete;

  // The same models, which keep what is read of them. Refused: a model whose tensors are computed.
  Result<AuditInput> record(const AuditInput& input);
  Result<std::vector<PoolEntry>> record(const std::vector<PoolEntry>& pool);
  // SHA-256 of all whole files, noted as their origin's: the pack holds no such file.
  Status hash_files(unsigned threads);

  // After the audit of what record() gave. The audit is run once more, from the pack alone and with
  // public names, for its report; `result`: what it said the first time. Nothing is left behind
  // unless the pack is whole.
  Result<WrittenPack> write(const AuditOptions& options, const AuditResult& result);

 private:
  struct Model {
    std::shared_ptr<const Checkpoint> original;
    std::shared_ptr<Checkpoint> recorded;
    std::vector<std::shared_ptr<const RecordingFile>> files;
  };

  Recorder(PackPlace place, std::string part) : place_(std::move(place)), part_(std::move(part)) {}
  Result<size_t> add(const std::shared_ptr<const Checkpoint>& original);
  Result<std::shared_ptr<const Checkpoint>> recorded(
      const std::shared_ptr<const Checkpoint>& original, size_t& number);
  Result<Pack> gather(const AuditOptions& options);
  Status gather_files(const Model& model, PackedModel& packed);
  Status gather_texts(const Model& model, PackedModel& packed);
  std::vector<std::string> folders() const;  // of the models
  Status write_blocks(Pack& pack);
  Result<AuditResult> decide(const Pack& pack, const WalkOptions& walk) const;
  Status put_in_place();
  std::string part(std::string_view name) const { return part_ + "/" + std::string(name); }

  const PackPlace place_;
  const std::string part_;  // the folder that will be the pack, or become its archive
  std::shared_ptr<GrowingFile> spool_;
  std::vector<Model> models_;
  Pack roles_;  // who is who
  std::vector<std::string> warnings_;
};

}  // namespace hieron
