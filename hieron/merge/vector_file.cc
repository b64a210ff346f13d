#include "hieron/merge/vector_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "hieron/core/text.h"
#include "hieron/format/safetensors.h"
#include "hieron/io/file.h"
#include "hieron/kernels/decode.h"

namespace hieron {
namespace {

constexpr uint64_t kMaxElements = uint64_t{1} << 24;

// At most one extent other than one.
bool is_vector(const StoredTensor& tensor) {
  const auto long_ones = std::ranges::count_if(tensor.shape, [](uint64_t n) { return n != 1; });
  return !tensor.shape.empty() && tensor.shape.size() <= 2 && long_ones <= 1;
}

Result<const StoredTensor*> only_vector(const SafetensorsHeader& header, const std::string& path) {
  const StoredTensor* found = nullptr;
  for (const StoredTensor& tensor : header.tensors) {
    if (!is_vector(tensor)) continue;
    if (found) {
      return refuse(fmt::format("{}: holds several vectors (\"{}\", \"{}\" …); say which one.",
                                path, printable(found->name), printable(tensor.name)),
                    path);
    }
    found = &tensor;
  }
  if (!found) return refuse(fmt::format("{}: holds no 1-D tensor; give a vector.", path), path);
  return found;
}

Result<const StoredTensor*> named(const SafetensorsHeader& header, const std::string& path,
                                  std::string_view name) {
  const auto found = std::ranges::find(header.tensors, name, &StoredTensor::name);
  if (found == header.tensors.end()) {
    std::vector<std::string_view> names;
    for (const StoredTensor& tensor : header.tensors) names.push_back(tensor.name);
    const std::string_view near = nearest(name, names);
    return refuse(fmt::format("{}: there is no tensor \"{}\"{}.", path, printable(name),
                              near.empty() ? "" : fmt::format(" (did you mean \"{}\"?)", near)),
                  path, std::string(name));
  }
  if (!is_vector(*found)) {
    return refuse(fmt::format("{}: tensor \"{}\" is {}, not a vector.", path, printable(name),
                              to_string(found->shape)),
                  path, found->name);
  }
  return &*found;
}

}  // namespace

Result<std::vector<double>> read_vector(const std::string& path, std::string_view name) {
  HIERON_TRY(const std::unique_ptr<File> file, open_file(path));
  HIERON_TRY(const SafetensorsHeader header, read_safetensors_header(*file));
  HIERON_TRY(const StoredTensor* tensor,
             name.empty() ? only_vector(header, path) : named(header, path, name));
  const uint64_t elements = element_count(tensor->shape).value_or(0);
  if (!info(tensor->dtype).format || info(tensor->dtype).bits < 16 || elements > kMaxElements) {
    return refuse(
        fmt::format("{}: tensor \"{}\" is {} {}; a direction is F64, F32, F16 or BF16 and "
                    "has at most {} elements.",
                    path, printable(tensor->name), info(tensor->dtype).name,
                    to_string(tensor->shape), with_commas(kMaxElements)),
        path, tensor->name);
  }
  std::vector<std::byte> raw(tensor->bytes);
  HIERON_CHECK(file->read_at(tensor->offset, raw));
  std::vector<double> out(elements);
  decode(tensor->dtype, raw.data(), std::span(out));
  const bool finite = std::ranges::all_of(out, [](double x) { return std::isfinite(x); });
  const bool zero = std::ranges::all_of(out, [](double x) { return x == 0; });
  if (!finite || zero) {
    return refuse(
        fmt::format("{}: tensor \"{}\" {}, so it has no direction.", path, printable(tensor->name),
                    finite ? "is zero" : "holds a NaN or an infinity"),
        path, tensor->name);
  }
  return out;
}

}  // namespace hieron
