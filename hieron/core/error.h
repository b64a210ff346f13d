// Errors as values. A user's mistake or a bad file is an Error; a broken invariant is an assertion.
//
// An Error is one sentence that says what is wrong, where (file, tensor, number), and what to do.
// Functions that can fail return Result<T>; only the command line prints, once, at the top.
#pragma once

#include <cstdint>
#include <expected>
#include <optional>
#include <string>
#include <utility>

namespace hieron {

enum class ErrorCode : uint8_t {
  kUsage,    // the command line is wrong                                           exit 2
  kRefused,  // an input or a recipe is damaged, hostile, unsupported, or unfitting  exit 3
  kSystem,   // the system or the network failed; a model that cannot be found       exit 4
  kBug,      // ours                                                                 exit 70
};

struct Error {
  ErrorCode code = ErrorCode::kBug;
  std::string
      sentence{};        // complete: names the file, the tensor and the number, then the next step
  std::string file{};    // where, again, for programs; empty if not applicable
  std::string tensor{};  //
  std::optional<uint64_t> offset{};  // byte offset in `file`, or line of a recipe
  int also = 0;                      // how many more problems there are ("and N more")
};

int exit_status(ErrorCode code);

template <class T>
using Result = std::expected<T, Error>;
using Status = Result<void>;

inline std::unexpected<Error> refuse(std::string sentence, std::string file = {},
                                     std::string tensor = {}, std::optional<uint64_t> offset = {}) {
  return std::unexpected(
      Error{ErrorCode::kRefused, std::move(sentence), std::move(file), std::move(tensor), offset});
}

inline std::unexpected<Error> system_error(std::string sentence, std::string file = {}) {
  return std::unexpected(Error{ErrorCode::kSystem, std::move(sentence), std::move(file)});
}

inline std::unexpected<Error> usage_error(std::string sentence) {
  return std::unexpected(Error{ErrorCode::kUsage, std::move(sentence)});
}

}  // namespace hieron

#define HIERON_JOIN_(a, b) a##b
#define HIERON_JOIN(a, b) HIERON_JOIN_(a, b)

// HIERON_TRY(auto header, read_header(file));    declares `header`, or returns the error
#define HIERON_TRY(declaration, expression)                                 \
  auto HIERON_JOIN(try_, __LINE__) = (expression);                          \
  if (!HIERON_JOIN(try_, __LINE__)) {                                       \
    return std::unexpected(std::move(HIERON_JOIN(try_, __LINE__).error())); \
  }                                                                         \
  declaration = *std::move(HIERON_JOIN(try_, __LINE__))

// HIERON_CHECK(file.write(...));    for a Status
#define HIERON_CHECK(expression)                          \
  do {                                                    \
    if (auto status_ = (expression); !status_) {          \
      return std::unexpected(std::move(status_.error())); \
    }                                                     \
  } while (false)
