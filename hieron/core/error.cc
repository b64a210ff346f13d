#include "hieron/core/error.h"

namespace hieron {

int exit_status(ErrorCode code) {
  switch (code) {
    case ErrorCode::kUsage:
      return 2;
    case ErrorCode::kRefused:
      return 3;
    case ErrorCode::kSystem:
      return 4;
    case ErrorCode::kBug:
      return 70;
  }
  return 70;
}

}  // namespace hieron
