// A replay of mergekit as a TensorWork: element-wise methods piece by piece, all others on the
// whole tensor, gathered in one pass.
#pragma once

#include <memory>

#include "hieron/merge/mergekit/replay.h"
#include "hieron/merge/method.h"

namespace hieron::mergekit {

// Bytes held while a tensor that needs to be whole is under way; 0 for element-wise methods.
uint64_t bytes_held(Version version, std::string_view method, const TensorTask& task,
                    DType working);

std::unique_ptr<TensorWork> replay_work(Version version, std::string_view method, TensorTask task,
                                        DType working, uint64_t first_word);

}  // namespace hieron::mergekit
