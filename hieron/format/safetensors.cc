#include "hieron/format/safetensors.h"

#include <fmt/format.h>
#include <simdjson.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cassert>
#include <cstring>
#include <iterator>
#include <optional>
#include <tuple>
#include <utility>
#include <vector>

#include "hieron/core/text.h"
#include "hieron/format/strict_json.h"

namespace hieron {
namespace {

constexpr uint64_t kLengthBytes = 8;
constexpr size_t kMaxRank = 64;  // more axes than PyTorch or NumPy can hold

static_assert(std::endian::native == std::endian::little,
              "tensor bytes are read as they are stored");

// Bytes that a tensor takes, multiplied in order as the official reader does; nothing if the
// product does not fit or ends inside a byte.
std::optional<uint64_t> stored_bytes(const Shape& shape, DType dtype) {
  uint64_t bits = 1;
  for (const uint64_t extent : shape) {
    if (__builtin_mul_overflow(bits, extent, &bits)) return {};
  }
  if (__builtin_mul_overflow(bits, static_cast<uint64_t>(info(dtype).bits), &bits)) return {};
  if (bits % 8 != 0) return {};
  return bits / 8;
}

std::string dtype_names() {
  std::string names;
  for (const DTypeInfo& row : dtypes()) fmt::format_to(std::back_inserter(names), " {}", row.name);
  return names;
}

class HeaderParser {
 public:
  HeaderParser(uint64_t file_size, uint64_t header_bytes, const std::string& file)
      : data_start_(kLengthBytes + header_bytes),
        data_bytes_(file_size - data_start_),
        file_size_(file_size),
        file_(file) {}

  Result<SafetensorsHeader> parse(const simdjson::dom::object& root);

 private:
  Status add_tensor(std::string_view name, const simdjson::dom::element& value);
  Result<DType> parse_dtype_of(std::string_view name, const simdjson::dom::element& value) const;
  Result<Shape> parse_shape_of(std::string_view name, const simdjson::dom::element& value) const;
  Result<std::pair<uint64_t, uint64_t>> parse_offsets_of(std::string_view name,
                                                         const simdjson::dom::element& value) const;
  Status add_metadata(const simdjson::dom::element& value);
  Status check_tiling();
  void warn_of_names();

  // `what` is a predicate: "has no dtype".
  std::unexpected<Error> refuse_tensor(std::string_view name, std::string_view what,
                                       std::optional<uint64_t> begin = {}) const {
    return refuse(fmt::format("{}: tensor \"{}\" {}. {}", printable(file_), printable(name), what,
                              kFetchAgain),
                  file_, std::string(name), begin);
  }
  std::unexpected<Error> refuse_file(std::string_view what) const {
    return refuse(fmt::format("{} {}. {}", printable(file_), what, kFetchAgain), file_);
  }
  std::unexpected<Error> truncated(const std::vector<StoredTensor>::const_iterator first) const;
  uint64_t end_of(const StoredTensor& t) const { return data_start_ + t.offset + t.bytes; }

  uint64_t data_start_;
  uint64_t data_bytes_;
  uint64_t file_size_;
  const std::string& file_;
  SafetensorsHeader header_;  // offsets count from data_start_ until the tiling is checked
};

Result<SafetensorsHeader> HeaderParser::parse(const simdjson::dom::object& root) {
  std::vector<std::string_view> names;
  names.reserve(root.size());
  header_.tensors.reserve(root.size());
  for (const simdjson::dom::key_value_pair field : root) {
    names.push_back(field.key);
    if (field.key == "__metadata__") {
      HIERON_CHECK(add_metadata(field.value));
    } else {
      HIERON_CHECK(add_tensor(field.key, field.value));
    }
  }
  if (const std::optional<std::string_view> name = repeated(names)) {
    return refuse_file(fmt::format("names \"{}\" twice in its header", printable(*name)));
  }
  HIERON_CHECK(check_tiling());
  warn_of_names();
  header_.data_start = data_start_;
  return std::move(header_);
}

Status HeaderParser::add_tensor(std::string_view name, const simdjson::dom::element& value) {
  if (name.empty()) return refuse_file("holds a tensor whose name is empty");
  if (name.find('\0') != name.npos) return refuse_tensor(name, "has a NUL character in its name");
  simdjson::dom::object entry;
  if (value.get(entry) != simdjson::SUCCESS) {
    return refuse_tensor(name, "is not described by a JSON object");
  }
  std::optional<DType> dtype;
  std::optional<Shape> shape;
  std::optional<std::pair<uint64_t, uint64_t>> offsets;
  for (const simdjson::dom::key_value_pair field : entry) {
    const bool known = field.key == "dtype" || field.key == "shape" || field.key == "data_offsets";
    if (!known)
      return refuse_tensor(name, fmt::format("has an unknown key \"{}\"", printable(field.key)));
    const bool again = (field.key == "dtype" && dtype) || (field.key == "shape" && shape) ||
                       (field.key == "data_offsets" && offsets);
    if (again) return refuse_tensor(name, fmt::format("has two values for \"{}\"", field.key));
    if (field.key == "dtype") {
      HIERON_TRY(dtype, parse_dtype_of(name, field.value));
    } else if (field.key == "shape") {
      HIERON_TRY(shape, parse_shape_of(name, field.value));
    } else {
      HIERON_TRY(offsets, parse_offsets_of(name, field.value));
    }
  }
  if (!dtype) return refuse_tensor(name, "has no dtype");
  if (!shape) return refuse_tensor(name, "has no shape");
  if (!offsets) return refuse_tensor(name, "has no data_offsets");
  const std::optional<uint64_t> bytes = stored_bytes(*shape, *dtype);
  if (!bytes) {
    return refuse_tensor(name,
                         fmt::format("of shape {} and dtype {} has a size that overflows 64 bits "
                                     "or is no whole number of bytes",
                                     to_string(*shape), info(*dtype).name));
  }
  const auto [begin, end] = *offsets;
  if (end < begin || end - begin != *bytes) {
    return refuse_tensor(
        name, fmt::format("of shape {} and dtype {} needs {} bytes, but its data_offsets "
                          "are {} to {}",
                          to_string(*shape), info(*dtype).name, with_commas(*bytes),
                          with_commas(begin), with_commas(end)));
  }
  header_.tensors.push_back({std::string(name), *dtype, *std::move(shape), begin, *bytes});
  return {};
}

Result<DType> HeaderParser::parse_dtype_of(std::string_view name,
                                           const simdjson::dom::element& value) const {
  std::string_view text;
  if (value.get(text) != simdjson::SUCCESS) {
    return refuse_tensor(name, "has a dtype that is not a string");
  }
  if (const std::optional<DType> dtype = parse_dtype(text)) return *dtype;
  return refuse(
      fmt::format("{}: tensor \"{}\" has the unknown dtype \"{}\". Convert it to one of:{}.",
                  printable(file_), printable(name), printable(text), dtype_names()),
      file_, std::string(name));
}

Result<Shape> HeaderParser::parse_shape_of(std::string_view name,
                                           const simdjson::dom::element& value) const {
  simdjson::dom::array extents;
  if (value.get(extents) != simdjson::SUCCESS) {
    return refuse_tensor(name, "has a shape that is not a list");
  }
  if (extents.size() > kMaxRank) {
    return refuse_tensor(name, fmt::format("has {} axes, but no program uses more than {}",
                                           with_commas(extents.size()), kMaxRank));
  }
  Shape shape;
  shape.reserve(extents.size());
  for (const simdjson::dom::element element : extents) {
    uint64_t extent;
    if (element.get(extent) != simdjson::SUCCESS) {
      return refuse_tensor(name, "has a shape that is not made of non-negative integers");
    }
    shape.push_back(extent);
  }
  return shape;
}

Result<std::pair<uint64_t, uint64_t>> HeaderParser::parse_offsets_of(
    std::string_view name, const simdjson::dom::element& value) const {
  simdjson::dom::array pair;
  uint64_t begin, end;
  if (value.get(pair) != simdjson::SUCCESS || pair.size() != 2 ||
      pair.at(0).get(begin) != simdjson::SUCCESS || pair.at(1).get(end) != simdjson::SUCCESS) {
    return refuse_tensor(name, "has data_offsets that are not two non-negative integers");
  }
  return std::pair(begin, end);
}

Status HeaderParser::add_metadata(const simdjson::dom::element& value) {
  simdjson::dom::object entries;
  if (value.get(entries) != simdjson::SUCCESS) {
    return refuse_file("has a \"__metadata__\" that is not a JSON object");
  }
  for (const simdjson::dom::key_value_pair entry : entries) {
    std::string_view text;
    if (entry.value.get(text) != simdjson::SUCCESS) {
      return refuse_file(fmt::format(
          "has a value in \"__metadata__\" that is not a string, at \"{}\"", printable(entry.key)));
    }
    if (!header_.metadata.emplace(entry.key, text).second) {
      return refuse_file(
          fmt::format("names \"{}\" twice in \"__metadata__\"", printable(entry.key)));
    }
  }
  return {};
}

// The tensors, in order, must cover the bytes after the header exactly; then no byte can hide.
Status HeaderParser::check_tiling() {
  std::vector<StoredTensor>& tensors = header_.tensors;
  const auto before = [](const StoredTensor& a, const StoredTensor& b) {
    return std::tie(a.offset, a.bytes, a.name) < std::tie(b.offset, b.bytes, b.name);
  };
  if (!std::ranges::is_sorted(tensors, before)) std::ranges::sort(tensors, before);
  uint64_t covered = 0;
  for (auto t = tensors.begin(); t != tensors.end(); ++t) {
    if (t->offset < covered) {
      return refuse_tensor(
          t->name,
          fmt::format("begins at byte {} of the data, inside tensor \"{}\", which "
                      "ends at byte {}",
                      with_commas(t->offset), printable(std::prev(t)->name), with_commas(covered)),
          data_start_ + t->offset);
    }
    if (t->offset > covered) {
      return refuse_tensor(
          t->name,
          fmt::format("begins at byte {} of the data, but what is before it ends at "
                      "byte {}: the bytes between belong to no tensor",
                      with_commas(t->offset), with_commas(covered)),
          data_start_ + covered);
    }
    if (t->bytes > data_bytes_ - covered) return truncated(t);
    covered += t->bytes;
  }
  if (covered < data_bytes_) {
    return refuse_file(fmt::format("has {} bytes after its last tensor, which ends at byte {}",
                                   with_commas(data_bytes_ - covered),
                                   with_commas(data_start_ + covered)));
  }
  for (StoredTensor& t : tensors) t.offset += data_start_;
  return {};
}

std::unexpected<Error> HeaderParser::truncated(
    const std::vector<StoredTensor>::const_iterator first) const {
  uint64_t end = 0;
  const bool countable = !__builtin_add_overflow(data_start_ + first->offset, first->bytes, &end);
  const std::string where = countable ? "at byte " + with_commas(end) : "beyond any file";
  auto failure =
      refuse(fmt::format("{}: tensor \"{}\" ends {}, but the file has {}. The download is "
                         "probably incomplete; fetch it again.",
                         printable(file_), printable(first->name), where, with_commas(file_size_)),
             file_, first->name, file_size_);
  failure.error().also = static_cast<int>(std::distance(first, header_.tensors.cend())) - 1;
  return failure;
}

void HeaderParser::warn_of_names() {
  const StoredTensor* first = nullptr;
  uint64_t count = 0;
  for (const StoredTensor& t : header_.tensors) {
    if (!has_control_or_bidi(t.name)) continue;
    if (count++ == 0) first = &t;
  }
  if (count == 0) return;
  header_.warnings.push_back(
      fmt::format("{}: {} tensor name{} hold{} control or text-direction characters, first \"{}\"; "
                  "such names can "
                  "look like others.",
                  printable(file_), with_commas(count), count == 1 ? "" : "s",
                  count == 1 ? "s" : "", printable(first->name)));
}

// What else people put where a safetensors file should be, by its first bytes.
struct OtherFormat {
  std::string_view magic;
  std::string_view sentence;
};

constexpr std::array kOtherFormats{
    OtherFormat{"version https://git-lfs",
                "is a Git LFS pointer, not the weights. Run git lfs pull."},
    OtherFormat{"<",
                "is a web page or XML, not the weights. Fetch the file itself, with a token if "
                "the model is gated."},
    OtherFormat{"PK\x03\x04", "is a ZIP or PyTorch file. Convert it to safetensors."},
    OtherFormat{"\x80", "is a Python pickle. Convert it to safetensors."},
    OtherFormat{"GGUF", "is a GGUF file. Name the safetensors files of the model."},
};

std::unexpected<Error> header_too_long(uint64_t n, const std::string& file) {
  const auto bytes = std::bit_cast<std::array<char, kLengthBytes>>(n);
  const std::string_view first(bytes.data(), bytes.size());
  for (const OtherFormat& other : kOtherFormats) {
    if (first.starts_with(other.magic.substr(0, kLengthBytes))) {
      return refuse(fmt::format("{} {}", printable(file), other.sentence), file);
    }
  }
  return refuse(
      fmt::format("{} says that its header has {} bytes, but at most {} are allowed. It is "
                  "no safetensors file, or damaged; fetch it again.",
                  printable(file), with_commas(n), with_commas(kMaxHeaderBytes)),
      file, {}, 0);
}

std::unexpected<Error> header_past_the_end(uint64_t n, uint64_t file_size,
                                           const std::string& file) {
  return refuse(fmt::format("{} says that its header ends at byte {}, but the file has {}. The "
                            "download is probably incomplete; fetch it again.",
                            printable(file), with_commas(kLengthBytes + n), with_commas(file_size)),
                file, {}, 0);
}

Status check_length(uint64_t n, uint64_t file_size, const std::string& file) {
  if (file_size < kLengthBytes) {
    return refuse(
        fmt::format("{} has {} bytes, but a safetensors file has at least {}. The download "
                    "probably failed; fetch it again.",
                    printable(file), file_size, kLengthBytes),
        file);
  }
  if (n > kMaxHeaderBytes) return header_too_long(n, file);
  if (n > file_size - kLengthBytes) return header_past_the_end(n, file_size, file);
  return {};
}

Status check_frame(std::string_view json, const std::string& file) {
  if (!json.starts_with('{')) {
    return refuse(
        fmt::format("{}: the header does not begin with \"{{\". {}", printable(file), kFetchAgain),
        file, {}, kLengthBytes);
  }
  const size_t last = json.find_last_not_of(' ');
  if (json[last] != '}') {
    return refuse(
        fmt::format("{}: the header ends in byte 0x{:02X}, but only spaces may follow its "
                    "closing brace. {}",
                    printable(file), static_cast<unsigned char>(json[last]), kFetchAgain),
        file, {}, kLengthBytes + last);
  }
  return {};
}

std::unexpected<Error> not_json(simdjson::error_code code, const std::string& file) {
  std::string what = fmt::format("is not valid JSON ({})", simdjson::error_message(code));
  if (code == simdjson::UTF8_ERROR) what = "is not valid UTF-8";
  if (code == simdjson::DEPTH_ERROR) {
    what = fmt::format("is nested more than {} levels deep", kMaxJsonDepth);
  }
  if (code == simdjson::NUMBER_ERROR) what = "holds a malformed number, or one above 64 bits";
  return refuse(fmt::format("{}: the header {}. {}", printable(file), what, kFetchAgain), file, {},
                kLengthBytes);
}

// `padded` is readable for simdjson::SIMDJSON_PADDING bytes past its end.
Result<SafetensorsHeader> parse_padded(std::string_view padded, uint64_t file_size,
                                       const std::string& file) {
  HIERON_CHECK(check_length(padded.size(), file_size, file));
  HIERON_CHECK(check_frame(padded, file));
  simdjson::dom::parser parser(kMaxHeaderBytes);
  simdjson::dom::object root;
  simdjson::error_code code = parser.allocate(padded.size(), kMaxJsonDepth);
  if (!code) code = parser.parse(padded.data(), padded.size(), false).get(root);
  if (code) return not_json(code, file);
  if (padded.find("-0") != padded.npos && has_negative_number(padded)) {
    return refuse(
        fmt::format("{}: the header holds a negative number. {}", printable(file), kFetchAgain),
        file, {}, kLengthBytes);
  }
  return HeaderParser(file_size, padded.size(), file).parse(root);
}

}  // namespace

Result<SafetensorsHeader> parse_safetensors_header(std::string_view json, uint64_t file_size,
                                                   const std::string& file) {
  HIERON_CHECK(check_length(json.size(), file_size, file));
  const simdjson::padded_string copy(json);
  return parse_padded(copy, file_size, file);
}

Result<SafetensorsHeader> read_safetensors_header(const File& file) {
  HIERON_CHECK(check_length(0, file.size(), file.name()));
  uint64_t n = 0;
  HIERON_CHECK(file.read_at(0, std::as_writable_bytes(std::span(&n, 1))));
  HIERON_CHECK(check_length(n, file.size(), file.name()));
  simdjson::padded_string json(n);
  const std::span<char> text(json.data(), n);
  HIERON_CHECK(file.read_at(kLengthBytes, std::as_writable_bytes(text)));
  return parse_padded({json.data(), n}, file.size(), file.name());
}

SafetensorsHeaderWriter::SafetensorsHeaderWriter(const std::map<std::string, std::string>& metadata,
                                                 size_t expected_bytes)
    : text_(kLengthBytes, '\0') {
  text_.reserve(expected_bytes);
  text_ += '{';
  if (metadata.empty()) return;
  text_ += "\"__metadata__\":{";
  for (const auto& [key, value] : metadata) {
    append_json_string(text_, key);
    text_ += ':';
    append_json_string(text_, value);
    text_ += ',';
  }
  text_.back() = '}';
  text_ += ',';
}

uint64_t SafetensorsHeaderWriter::add(std::string_view name, DType dtype, const Shape& shape) {
  const std::optional<uint64_t> bytes = stored_bytes(shape, dtype);
  assert(bytes && "a tensor to be written has a size");
  const uint64_t begin = data_bytes_;
  data_bytes_ += bytes.value_or(0);
  append_json_string(text_, name);
  fmt::format_to(std::back_inserter(text_),
                 R"(:{{"dtype":"{}","shape":[{}],"data_offsets":[{},{}]}},)", info(dtype).name,
                 fmt::join(shape, ","), begin, data_bytes_);
  return begin;
}

std::string SafetensorsHeaderWriter::finish(uint64_t alignment) {
  if (text_.back() == ',') text_.pop_back();
  text_ += '}';
  const uint64_t unit = std::max<uint64_t>(alignment, kLengthBytes);
  text_.resize((text_.size() + unit - 1) / unit * unit, ' ');
  const uint64_t n = text_.size() - kLengthBytes;
  std::memcpy(text_.data(), &n, kLengthBytes);
  return std::move(text_);
}

std::string write_safetensors_header(std::vector<StoredTensor>& tensors,
                                     const std::map<std::string, std::string>& metadata,
                                     uint64_t alignment) {
  SafetensorsHeaderWriter writer(metadata);
  for (StoredTensor& t : tensors) {
    t.offset = writer.add(t.name, t.dtype, t.shape);
    t.bytes = writer.data_bytes() - t.offset;
  }
  std::string header = writer.finish(alignment);
  for (StoredTensor& t : tensors) t.offset += header.size();
  return header;
}

}  // namespace hieron
