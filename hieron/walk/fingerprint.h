// A fingerprint: a sample of a model's elements that stands for the model. It is a Checkpoint whose
// tensors have their whole logical shape, but know only some runs (TensorInfo::known).
//
// As a file it is plain safetensors: an entry a logical tensor, one-dimensional, the bits of its
// runs back to back in the storage format; __metadata__ says what they are. docs/fingerprint.md.
//
// Positions are public: whoever changes just these elements, or puts a model's into another,
// changes what a fingerprint says. What is concluded from one holds for its positions.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "hieron/core/error.h"
#include "hieron/walk/checkpoint.h"
#include "hieron/walk/fingerprint_plan.h"

namespace hieron {

inline constexpr std::string_view kFingerprintFormat = "hieron.fingerprint/1";

bool is_fingerprint(const Checkpoint& checkpoint);
// Elements that the fingerprint was asked to hold.
uint64_t fingerprint_elements(const Checkpoint& fingerprint);
uint64_t known_elements(const TensorInfo& tensor);

// The fingerprint of a checkpoint, not written: tensors read from where they lie, told to their
// files beforehand (File::will_read). Of a fingerprint: the part of it that a smaller one would
// have. `elements`: 0 for as many as usual.
Result<std::shared_ptr<const Checkpoint>> fingerprint_of(
    const std::shared_ptr<const Checkpoint>& checkpoint, uint64_t elements = 0);

// If one of the models is a fingerprint: all of them as fingerprints, of the size of the smallest
// (the others are left as they are, if none is). Nulls are passed over. Returns whether any is one.
Result<bool> match_fingerprints(std::span<std::shared_ptr<const Checkpoint>* const> models);

// Refuses a fingerprint where the weights themselves are needed.
Status require_model(const Checkpoint& checkpoint);

// What a fingerprint knows of each tensor as a tensor of its own, of one dimension and whole. What
// treats every element for itself works on it as on the model.
Result<std::shared_ptr<const Checkpoint>> packed(
    const std::shared_ptr<const Checkpoint>& fingerprint);

// What identifies the model a fingerprint was taken of; kept in the file.
struct FingerprintSource {
  std::string name;  // the last component of a local path, or org/name
  std::string commit{};
  struct SourceFile {
    std::string path;
    uint64_t bytes = 0;
    std::string sha256, etag;  // empty: not known
  };
  std::vector<SourceFile> files{};
};

// The whole file, for a fingerprint that fingerprint_of() made.
Result<std::string> fingerprint_file(const Checkpoint& fingerprint,
                                     const FingerprintSource& source);

// What open_checkpoint() does with a file whose format says that it is one: `stored` as it would be
// read without knowing. Refused: tensors without runs, runs that are not those of the published
// seed, lengths that do not fit.
Result<std::shared_ptr<const Checkpoint>> read_fingerprint(
    const std::shared_ptr<const Checkpoint>& stored);

}  // namespace hieron
