// What is known of a suspect before its recipe is: what the fits saw, for the methods' `recover`.
//
// Models are numbered as in an alignment: 0 is the suspect, the rest are candidates. Gathered by
// recover/gather.h.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "hieron/core/dtype.h"
#include "hieron/core/error.h"
#include "hieron/core/shape.h"
#include "hieron/fit/span_fit.h"
#include "hieron/kernels/seed_search.h"
#include "hieron/model/roles.h"

namespace hieron {

// One tensor of the suspect and of every candidate, all of it. BF16, F16 and F32 are exact in f32.
struct WholeTensor {
  std::string name;
  Shape shape;
  TensorRole role;
  DType dtype;                             // the suspect's, after undoing a widening
  std::vector<std::vector<float>> values;  // per model; empty where it has no such tensor

  size_t elements() const { return values[0].size(); }
};

// The best combination for one tensor, from a sample of it. weights[k] belongs to candidates[k].
struct TensorFit {
  std::string name;
  TensorRole role;
  SpanFit fit;
};

// How the rounding of a combination looks (docs/recovery.md §2).
enum class FitClass : uint8_t {
  kOneRounding,       // E: every element in its cell
  kSeveralRoundings,  // A: a few cells off, never more
  kOther,             // M: masked, not linear, foreign, or trained afterwards
};

struct MaskReading;  // merge/traces/mask_reading.h

// Which seeds of random masks are tried.
enum class Seeds : uint8_t {
  kNone,     // the masks alone are asked for
  kPopular,  // small ones, and those that people choose
  kAll,      // and all 2^32 of torch's
};

struct SeedEffort {
  Seeds which = Seeds::kPopular;
  unsigned threads = 0;
  std::function<bool(const SeedSearch&)> go_on = {};  // about once a second; false ends the search
};

struct Evidence {
  std::vector<size_t> candidates;  // models that may be inputs, the base among them
  std::optional<size_t> base;      // as stated by whoever asks
  std::vector<TensorFit> fits;     // of tensors with enough informative elements, in file order
  SpanFit pooled;                  // one combination for all; weights[k]: of candidates[k]
  FitClass fit_class = FitClass::kOther;
  bool constant = false;  // the pooled weights explain each tensor as well as its own do
  // Candidates that the fit gives weight to (median over tensors), heaviest first; all of them
  // where no combination holds.
  std::vector<size_t> used;
  // Whole tensors to work on, in all candidates and not equal in any two of them, smallest first;
  // several roles and layers if there are. At least one, of a few thousand elements or more.
  std::vector<std::shared_ptr<const WholeTensor>> probes;
  // Any other tensor, read when asked for; kept while there is room.
  std::function<Result<std::shared_ptr<const WholeTensor>>(const std::string& tensor)> whole;
  // Its first rows alone, `most` elements or fewer, one row at least; not kept.
  std::function<Result<std::shared_ptr<const WholeTensor>>(const std::string& tensor,
                                                           uint64_t most)>
      start;
  // How large that one would be; 0 if there is none.
  std::function<uint64_t(const std::string& tensor)> elements;
  // Names of the tensors of numbers that suspect and candidates have, in the order in which
  // mergekit draws random numbers for them.
  std::vector<std::string> drawn;
  SeedEffort seeds;
  // What read_masks() found, once it was asked: for all methods that mask, and for the report.
  mutable std::optional<std::shared_ptr<const MaskReading>> masks;

  // The base if it is known; else whoever may be it, each candidate.
  std::vector<size_t> possible_bases() const;
};

}  // namespace hieron
