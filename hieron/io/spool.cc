#include "hieron/io/spool.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include <cerrno>

#include "hieron/io/block.h"
#include "hieron/io/system_failure.h"

namespace hieron {
namespace {

std::string spool_folder() {
  const char* folder = std::getenv("TMPDIR");
  return folder && *folder ? folder : "/tmp";
}

}  // namespace

Result<std::shared_ptr<Spool>> Spool::make() {
  const std::string folder = spool_folder();
  int fd = ::open(folder.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
  if (fd < 0) {
    std::string path = folder + "/hieron-XXXXXX";
    fd = ::mkostemp(path.data(), O_CLOEXEC);
    if (fd < 0) return system_failure(path, "made (set TMPDIR to another folder)", errno);
    ::unlink(path.c_str());
  }
  return std::shared_ptr<Spool>(new Spool(Descriptor(fd), "the temporary file in " + folder));
}

Result<std::shared_ptr<Spool>> Spool::open(const std::string& path) {
  Descriptor fd = open_descriptor(path.c_str(), O_RDWR | O_CREAT);
  if (!fd) return system_failure(path, "made", errno);
  return std::shared_ptr<Spool>(new Spool(std::move(fd), path));
}

uint64_t Spool::reserve(uint64_t bytes) { return end_.fetch_add(block_ceil(bytes)); }

Status Spool::write(uint64_t at, std::span<const std::byte> bytes) const {
  return write_all(fd_.get(), name_, at, bytes);
}

Status Spool::read(uint64_t at, std::span<std::byte> out) const {
  return read_all(fd_.get(), name_, at, out);
}

}  // namespace hieron
