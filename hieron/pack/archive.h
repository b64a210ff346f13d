// The files of a pack: in a folder, or in one .tar (ustar, as any tar program reads it).
#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "hieron/core/error.h"
#include "hieron/io/file.h"

namespace hieron {

// By name. A .tar is read where it lies: nothing is unpacked.
using Members = std::map<std::string, std::shared_ptr<const File>, std::less<>>;

// A path that ends so is (to be) an archive; any other one a folder.
bool is_tar_path(std::string_view path);

// Those of `wanted` that are there. Refused: an archive that is cut short, damaged, or holds
// anything but plain files (of one folder at most), or one of them twice.
Result<Members> open_members(const std::string& path, const std::vector<std::string_view>& wanted);

// The files of `folder`, sorted, as an archive at `path` that depends on their names and bytes
// alone. It appears whole or not at all.
Status write_tar(const std::string& folder, const std::vector<std::string>& names,
                 const std::string& path);

}  // namespace hieron
