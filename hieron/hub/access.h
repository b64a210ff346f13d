// What will be read of a model, and where models come from that are not on this disk.
#pragma once

#include <cstdint>
#include <memory>

namespace hieron {

class Hub;

enum class Access : uint8_t {
  kSampled,  // headers, and blocks here and there
  kHeaders,  // headers, and the tokenizer
  kWhole,    // everything: weights are downloaded into the cache
};

struct ModelSource {
  std::shared_ptr<Hub> hub = {};  // null: only what is on this disk
  Access access = Access::kSampled;
};

}  // namespace hieron
