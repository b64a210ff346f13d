#include "hieron/pack/archive.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <filesystem>
#include <optional>

#include "hieron/core/text.h"
#include "hieron/io/output_file.h"

namespace hieron {
namespace {

namespace fs = std::filesystem;

// POSIX.1-1988 ustar: a header of 512 bytes, the file's bytes, zeros up to the next 512; two blocks
// of zeros end it.
constexpr uint64_t kTarBlock = 512;
constexpr uint64_t kMostTarFile = (uint64_t{1} << 33) - 1;  // eleven octal digits
using Header = std::array<char, kTarBlock>;

struct Field {
  size_t at, size;
};
constexpr Field kName{0, 100}, kMode{100, 8}, kOwner{108, 8}, kGroup{116, 8}, kSize{124, 12},
    kTime{136, 12}, kSum{148, 8}, kType{156, 1}, kMagic{257, 8}, kPrefix{345, 155};

std::string_view text_of(const Header& header, Field field) {
  const std::string_view all(header.data() + field.at, field.size);
  return all.substr(0, all.find('\0'));
}

void put(Header& header, Field field, std::string_view text) {
  std::memcpy(header.data() + field.at, text.data(), std::min(field.size, text.size()));
}

// Of all bytes, those of the sum itself taken as spaces.
unsigned sum_of(const Header& header) {
  unsigned sum = 0;
  for (size_t i = 0; i < header.size(); ++i) {
    const bool own = i >= kSum.at && i < kSum.at + kSum.size;
    sum += own ? ' ' : static_cast<unsigned char>(header[i]);
  }
  return sum;
}

std::string sum_text(unsigned sum) { return fmt::format("{:06o}", sum) + '\0' + ' '; }

std::optional<uint64_t> octal(std::string_view digits) {
  uint64_t value = 0;
  while (digits.ends_with(' ')) digits.remove_suffix(1);
  if (digits.empty() || digits.size() > 11) return std::nullopt;
  for (const char c : digits) {
    if (c < '0' || c > '7') return std::nullopt;
    value = value * 8 + static_cast<uint64_t>(c - '0');
  }
  return value;
}

uint64_t padded(uint64_t bytes) { return (bytes + kTarBlock - 1) / kTarBlock * kTarBlock; }

class Slice final : public File {
 public:
  Slice(std::shared_ptr<const File> file, uint64_t start, uint64_t size, std::string name)
      : file_(std::move(file)), start_(start), size_(size), name_(std::move(name)) {}
  uint64_t size() const override { return size_; }
  const std::string& name() const override { return name_; }
  int64_t modified() const override { return file_->modified(); }
  Status read_at(uint64_t offset, std::span<std::byte> out) const override {
    if (offset > size_ || out.size() > size_ - offset) {
      return refuse(fmt::format("{}: ends at byte {}, but more was asked for.", printable(name_),
                                with_commas(size_)),
                    name_);
    }
    return file_->read_at(start_ + offset, out);
  }

 private:
  const std::shared_ptr<const File> file_;
  const uint64_t start_, size_;
  const std::string name_;
};

class TarReader {
 public:
  TarReader(std::shared_ptr<const File> file, const std::vector<std::string_view>& wanted)
      : file_(std::move(file)), wanted_(wanted) {}

  Result<Members> run() {
    uint64_t at = 0;
    while (true) {
      if (file_->size() - at < kTarBlock) return damaged("ends before its end mark");
      Header header;
      HIERON_CHECK(file_->read_at(at, std::as_writable_bytes(std::span(header))));
      if (std::ranges::all_of(header, [](char c) { return c == 0; })) break;
      HIERON_TRY(const uint64_t bytes, add(header, at + kTarBlock));
      HIERON_CHECK(check_zeros(at + kTarBlock + bytes, padded(bytes) - bytes));
      at += kTarBlock + padded(bytes);
    }
    if (file_->size() - at < 2 * kTarBlock) return damaged("ends before its end mark");
    HIERON_CHECK(check_zeros(at, file_->size() - at));
    return std::move(members_);
  }

 private:
  std::unexpected<Error> damaged(std::string_view what) const {
    return refuse(fmt::format("{}: the archive {}; it is incomplete or damaged, get it again.",
                              printable(file_->name()), what),
                  file_->name());
  }

  // Bytes of the member that begins at `start`.
  Result<uint64_t> add(const Header& header, uint64_t start) {
    if (std::string_view(header.data() + kSum.at, kSum.size) != sum_text(sum_of(header))) {
      return damaged(fmt::format("has a header at byte {} with a wrong checksum",
                                 with_commas(start - kTarBlock)));
    }
    const auto bytes = octal(text_of(header, kSize));
    if (!bytes || *bytes > file_->size() - start || padded(*bytes) > file_->size() - start) {
      return damaged("names more bytes than it has");
    }
    const char type = header[kType.at];
    if (type == '5' && *bytes == 0) return 0;  // a folder
    if (type != '0' && type != '\0') return damaged("holds more than plain files");
    std::string name(text_of(header, kName));
    if (!text_of(header, kPrefix).empty() && text_of(header, kMagic).starts_with("ustar")) {
      name = std::string(text_of(header, kPrefix)) + "/" + name;
    }
    HIERON_CHECK(note(name, start, *bytes));
    return *bytes;
  }

  Status note(std::string_view path, uint64_t start, uint64_t bytes) {
    if (path.starts_with("./")) path.remove_prefix(2);
    const size_t slash = path.rfind('/');
    const std::string_view folder = slash == path.npos ? "" : path.substr(0, slash);
    const std::string_view name = slash == path.npos ? path : path.substr(slash + 1);
    if (folder.find('/') != folder.npos || folder == ".." || folder == "." ||
        path.starts_with('/')) {
      return damaged(fmt::format("names \"{}\", which a pack has not", printable(path)));
    }
    if (std::ranges::find(wanted_, name) == wanted_.end()) return {};
    if (folder_ && *folder_ != folder) return damaged("holds the files of more than one pack");
    folder_ = folder;
    auto slice = std::make_shared<const Slice>(file_, start, bytes,
                                               fmt::format("{}: {}", file_->name(), name));
    if (!members_.emplace(name, std::move(slice)).second) {
      return damaged(fmt::format("holds {} twice", printable(name)));
    }
    return {};
  }

  Status check_zeros(uint64_t at, uint64_t bytes) const {
    std::array<char, 64 * kTarBlock> buffer;
    while (bytes > 0) {
      const size_t n = std::min<uint64_t>(bytes, buffer.size());
      HIERON_CHECK(file_->read_at(at, std::as_writable_bytes(std::span(buffer).first(n))));
      const auto end = buffer.begin() + static_cast<std::ptrdiff_t>(n);
      const auto found = std::find_if(buffer.begin(), end, [](char c) { return c != 0; });
      if (found != end) {
        const auto where = at + static_cast<uint64_t>(found - buffer.begin());
        return damaged(fmt::format("has a byte at {} that belongs to no file", with_commas(where)));
      }
      at += n;
      bytes -= n;
    }
    return {};
  }

  const std::shared_ptr<const File> file_;
  const std::vector<std::string_view>& wanted_;
  Members members_;
  std::optional<std::string> folder_;
};

Header header_of(const std::string& name, uint64_t bytes) {
  Header header{};
  put(header, kName, name);
  put(header, kMode, "0000644");
  put(header, kOwner, "0000000");
  put(header, kGroup, "0000000");
  put(header, kSize, fmt::format("{:011o}", bytes));
  put(header, kTime, "00000000000");
  put(header, kType, "0");
  put(header, kMagic, std::string_view("ustar\00000", 8));
  put(header, kSum, sum_text(sum_of(header)));
  return header;
}

Status copy(const File& from, OutputFile& to, uint64_t at) {
  const AlignedBuffer buffer(1u << 20);
  for (uint64_t done = 0; done < from.size(); done += buffer.size()) {
    const auto piece = buffer.span().first(std::min<uint64_t>(buffer.size(), from.size() - done));
    HIERON_CHECK(from.read_at(done, piece));
    HIERON_CHECK(to.write_at(at + done, piece));
  }
  return {};
}

}  // namespace

bool is_tar_path(std::string_view path) { return path.ends_with(".tar"); }

Result<Members> open_members(const std::string& path, const std::vector<std::string_view>& wanted) {
  std::error_code ignored;
  if (!fs::is_directory(path, ignored)) {
    HIERON_TRY(std::shared_ptr<const File> file, open_file(path));
    return TarReader(std::move(file), wanted).run();
  }
  Members members;
  for (const std::string_view name : wanted) {
    const fs::path place = fs::path(path) / name;
    if (!fs::exists(place, ignored)) continue;
    HIERON_TRY(std::shared_ptr<const File> file, open_file(place.string()));
    members.emplace(name, std::move(file));
  }
  return members;
}

Status write_tar(const std::string& folder, const std::vector<std::string>& names,
                 const std::string& path) {
  std::vector<std::string> sorted = names;
  std::ranges::sort(sorted);
  std::vector<std::unique_ptr<File>> files;
  uint64_t total = 2 * kTarBlock;
  for (const std::string& name : sorted) {
    HIERON_TRY(std::unique_ptr<File> file, open_file((fs::path(folder) / name).string()));
    if (file->size() > kMostTarFile) {
      return refuse(fmt::format("{}: {} has {}, and a file in a .tar has at most 8 GiB; write the "
                                "pack to a folder.",
                                printable(path), name, show_bytes(file->size())),
                    path);
    }
    total += kTarBlock + padded(file->size());
    files.push_back(std::move(file));
  }
  HIERON_TRY(const std::unique_ptr<OutputFile> out, create_file(path, total));
  const std::array<std::byte, 2 * kTarBlock> zeros{};
  uint64_t at = 0;
  for (size_t i = 0; i < files.size(); ++i) {
    const uint64_t bytes = files[i]->size();
    const Header header = header_of(sorted[i], bytes);
    HIERON_CHECK(out->write_at(at, std::as_bytes(std::span(header))));
    HIERON_CHECK(copy(*files[i], *out, at + kTarBlock));
    const std::span<const std::byte> padding = std::span(zeros).first(padded(bytes) - bytes);
    HIERON_CHECK(out->write_at(at + kTarBlock + bytes, padding));
    at += kTarBlock + padded(bytes);
  }
  HIERON_CHECK(out->write_at(at, zeros));
  return out->commit();
}

}  // namespace hieron
