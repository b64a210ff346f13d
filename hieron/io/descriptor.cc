#include "hieron/io/descriptor.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

namespace hieron {

void Descriptor::close() {
  if (fd_ >= 0) ::close(std::exchange(fd_, -1));
}

Descriptor open_descriptor(const char* path, int flags) {
  constexpr int kMode = 0666;  // the umask takes away what the user does not want to give
  int fd;
  do {
    fd = ::open(path, flags | O_CLOEXEC, kMode);
  } while (fd < 0 && errno == EINTR);
  return Descriptor(fd);
}

}  // namespace hieron
