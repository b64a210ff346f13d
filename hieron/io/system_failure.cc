#include "hieron/io/system_failure.h"

#include <fmt/format.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "hieron/core/text.h"

namespace hieron {
namespace {

struct Cause {
  int error_number;
  std::string_view meaning;  // after "cannot be …: "
  std::string_view next_step;
};

constexpr std::array kCauses{
    Cause{ENOENT, "it does not exist", "Check the path for a misspelling."},
    Cause{EACCES, "permission denied", "Check who may use it and its folder (ls -l)."},
    Cause{EPERM, "the system does not allow it", "Check who owns it (ls -l)."},
    Cause{ELOOP, "its symbolic links form a loop", "Replace the link by the file it should name."},
    Cause{ENOTDIR, "a part of its path is a file, not a folder", "Check the path."},
    Cause{EISDIR, "it is a folder", "Name a file."},
    Cause{ENAMETOOLONG, "its name is too long for this file system", "Use a shorter name."},
    Cause{EMFILE, "this program has too many files open", "Raise the limit (ulimit -n) and retry."},
    Cause{ENFILE, "the system has too many files open", "Close other programs and retry."},
    Cause{EIO, "the device reports an I/O error",
          "The disk or its connection may be failing: check the system log, then copy the file to "
          "another disk and retry."},
    Cause{ESTALE, "the network file system lost it", "Mount it again and retry."},
    Cause{ENOSPC, "the disk is full", "Free some space or choose another folder."},
    Cause{EDQUOT, "the disk quota is used up", "Free some space or choose another folder."},
    Cause{EROFS, "the file system is read-only", "Choose another folder."},
    Cause{EFBIG, "the file is larger than this file system or the process limit allows",
          "Use smaller shards, raise the limit (ulimit -f), or choose another folder."},
    Cause{ENOMEM, "the system is out of memory", "Close other programs and retry."},
    Cause{ETXTBSY, "another program is using it", "Wait for that program and retry."},
    Cause{ETIMEDOUT, "the storage did not answer in time", "Check the connection and retry."},
};

}  // namespace

std::unexpected<Error> system_failure(const std::string& path, std::string_view verb,
                                      int error_number) {
  for (const Cause& cause : kCauses) {
    if (cause.error_number != error_number) continue;
    return system_error(fmt::format("{} cannot be {}: {}. {}", printable(path), verb, cause.meaning,
                                    cause.next_step),
                        path);
  }
  return system_error(
      fmt::format("{} cannot be {}: the system says \"{}\" (errno {}). Check the path "
                  "and the disk, then retry.",
                  printable(path), verb, std::strerror(error_number), error_number),
      path);
}

}  // namespace hieron
