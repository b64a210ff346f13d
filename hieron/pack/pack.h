// An evidence pack: what an audit read, how it was asked, and what it said. Format:
// docs/evidence.md.
//
//   SHA256SUMS      of the other three, as sha256sum writes it
//   blocks.bin      every byte that was read, once
//   evidence.json   which bytes those are: model, file, offset, SHA-256; the options
//   report.json     the audit's answer (schema hieron.audit/1)
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "hieron/assay/audit.h"
#include "hieron/core/error.h"
#include "hieron/walk/checkpoint.h"

namespace hieron {

inline constexpr std::string_view kSumsName = "SHA256SUMS";
inline constexpr std::string_view kBlocksName = "blocks.bin";
inline constexpr std::string_view kIndexName = "evidence.json";
inline constexpr std::string_view kReportName = "report.json";

inline constexpr uint64_t kMostBlockBytes = 64u << 10;  // a change is found to within so many

// Some bytes of blocks.bin. They lie behind those named before them, unless the same content was.
struct PackedBytes {
  uint64_t bytes;
  std::string sha256;
  uint64_t stored = 0;  // that blocks.bin has for them
  int planes = 0;       // deflated after being split into so many (squeeze.h); 0: as they are
  uint64_t at = 0;      // in blocks.bin
};

struct PackedBlock {  // a stretch of a weight file
  uint64_t offset;
  PackedBytes content;
};

struct PackedWeights {
  std::string path;  // in its model's folder
  uint64_t bytes;    // of the whole file
  Origin origin;
  std::vector<PackedBlock> blocks;  // ascending, disjoint
};

struct PackedText {  // a small file of the model's folder
  std::string path;
  PackedBytes content;
};

struct PackedModel {
  std::string ref;         // public: never a path of whoever made the pack
  std::string commit;      // empty: not known
  std::string index_file;  // one of the texts; empty: none
  std::vector<PackedWeights> files;
  std::vector<PackedText> texts;
};

struct PackedPoolEntry {
  std::optional<size_t> model;  // none: it could not be read
  std::string ref;              // if there is no model
};

struct Pack {
  std::string version;  // of the program that made it
  std::vector<PackedModel> models;
  size_t suspect = 0;  // into models, like the others
  std::vector<size_t> parents, controls;
  std::optional<size_t> base;
  std::optional<std::vector<PackedPoolEntry>> pool;
  Seed seed;
  uint64_t sample_bytes = 0, more_bytes = 0;
  Seeds seeds = Seeds::kPopular;
  uint64_t blocks_bytes = 0;  // of blocks.bin
  std::string report_sha256;
};

// Every content of the pack in the order of blocks.bin, those that came before left out; each with
// its place set, also of the left out. The bytes of all of them.
struct Placed {
  std::vector<const PackedBytes*> contents;
  uint64_t bytes = 0;
};
Placed place_contents(Pack& pack);

std::string pack_json(const Pack& pack);

// Refused: anything but what pack_json writes (up to white space and fields that it does not know):
// another schema, a key twice, names that lead elsewhere, blocks out of order, overlapping or
// beyond their file, more or fewer bytes than blocks.bin has.
Result<Pack> parse_pack(std::string_view json, const std::string& file);

}  // namespace hieron
