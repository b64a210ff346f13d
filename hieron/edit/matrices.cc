#include "hieron/edit/matrices.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <mutex>
#include <thread>

#include "hieron/kernels/decode.h"

namespace hieron {
namespace {

// Eigen cuts its products by the size of the caches it finds, which decides the order of sums.
void fix_block_sizes() {
  static std::once_flag once;
  std::call_once(once, [] { Eigen::setCpuCacheSizes(32 << 10, 512 << 10, 4 << 20); });
}

std::span<const double> numbers(const Matrix& values) {
  return {values.data(), static_cast<size_t>(values.size())};
}

bool holds_all(DType dtype, const Matrix& values) {
  std::vector<std::byte> raw(static_cast<size_t>(values.size()) *
                             static_cast<size_t>(info(dtype).bits) / 8);
  std::vector<double> back(static_cast<size_t>(values.size()));
  encode(dtype, numbers(values), raw.data());
  decode(dtype, raw.data(), std::span(back));
  return std::ranges::equal(back, numbers(values));
}

Status read_rows(const Checkpoint& model, const TensorView& view, uint64_t width, uint64_t first,
                 std::span<double> out) {
  const TensorInfo& tensor = *view.tensor;
  std::vector<std::byte> raw(out.size() * static_cast<size_t>(info(tensor.dtype).bits) / 8);
  HIERON_CHECK(read_elements(model, tensor, view.first + first * width, raw));
  decode(tensor.dtype, raw.data(), out);
  for (double& value : out) {
    if (!std::isfinite(value)) value = 0;  // says nothing, and would spoil every sum
  }
  return {};
}

}  // namespace

Rounding::Rounding(DType stored, const Matrix& values) : dtype_(stored) {
  for (const DType narrow : {DType::kBF16, DType::kF16}) {
    if (info(stored).bits > 16 && holds_all(narrow, values)) dtype_ = narrow;
  }
  format_ = *info(dtype_).format;
}

double Rounding::ulp(double value) const {
  const int least = 1 - format_.bias;
  const int exponent = value == 0 ? least : std::max(least, std::ilogb(value));
  return std::ldexp(1.0, exponent - format_.mantissa_bits);
}

unsigned matrix_threads(const WalkOptions& walk, uint64_t elements) {
  constexpr uint64_t kCopies = 4;  // suspect, model, their difference, what is made of it
  const unsigned wanted =
      walk.threads > 0 ? walk.threads : std::max(1u, std::thread::hardware_concurrency());
  const uint64_t fit = walk.memory / (kCopies * sizeof(double) * elements);
  return static_cast<unsigned>(std::clamp<uint64_t>(fit, 1, wanted));
}

bool is_matrix_of_both(const Row& row, size_t model) {
  return row.shape.size() == 2 && row.elements > 0 && row.views[model] &&
         info(row.views[0]->tensor->dtype).format && info(row.views[model]->tensor->dtype).format &&
         info(row.views[0]->tensor->dtype).bits >= 8 &&
         info(row.views[model]->tensor->dtype).bits >= 8;
}

Result<MatrixPair> read_some(const EditCase& given, size_t index, size_t model, uint64_t most_rows,
                             uint64_t most_columns) {
  fix_block_sizes();
  const Row& row = given.alignment.rows[index];
  const uint64_t all_rows = row.shape[0], all_columns = row.shape[1];
  const uint64_t rows = std::min(all_rows, most_rows);
  const uint64_t columns = std::min(all_columns, most_columns);
  MatrixPair pair;
  std::vector<double> whole(all_columns);
  for (const size_t m : {size_t{0}, model}) {
    Matrix& into = m == 0 ? pair.suspect : pair.model;
    into.resize(static_cast<Eigen::Index>(rows), static_cast<Eigen::Index>(columns));
    for (uint64_t i = 0; i < rows; ++i) {
      HIERON_CHECK(read_rows(*given.alignment.models[m], *row.views[m], all_columns,
                             i * all_rows / rows, whole));
      std::copy_n(whole.begin(), columns, into.data() + i * columns);
    }
  }
  return pair;
}

Status for_each_rows(const EditCase& given, size_t index, size_t model,
                     const std::function<void(Eigen::Index, const MatrixPair&)>& visit) {
  constexpr uint64_t kBlock = 1 << 20;
  fix_block_sizes();
  const Row& row = given.alignment.rows[index];
  const uint64_t columns = row.shape[1];
  const uint64_t step = std::max<uint64_t>(1, kBlock / columns);
  MatrixPair pair;
  for (uint64_t first = 0; first < row.shape[0]; first += step) {
    const uint64_t count = std::min(step, row.shape[0] - first);
    for (const size_t m : {size_t{0}, model}) {
      Matrix& into = m == 0 ? pair.suspect : pair.model;
      into.resize(static_cast<Eigen::Index>(count), static_cast<Eigen::Index>(columns));
      HIERON_CHECK(read_rows(*given.alignment.models[m], *row.views[m], columns, first,
                             std::span(into.data(), count * columns)));
    }
    visit(static_cast<Eigen::Index>(first), pair);
  }
  return {};
}

ExplainedRow compare_rounded(const Matrix& suspect, const Matrix& made, const Rounding& rounding) {
  const DType dtype = rounding.dtype();
  const auto count = static_cast<size_t>(made.size());
  std::vector<std::byte> a(count * static_cast<size_t>(info(dtype).bits) / 8), b(a.size());
  encode(dtype, numbers(suspect), a.data());
  encode(dtype, numbers(made), b.data());
  ExplainedRow row{.read = count};
  for (size_t i = 0; i < count; ++i)
    row.equal += load_bits(dtype, a.data(), i) == load_bits(dtype, b.data(), i);
  return row;
}

}  // namespace hieron
