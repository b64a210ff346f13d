#include "hieron/assay/evidence/copies.h"

#include <bit>
#include <cmath>

namespace hieron {
namespace {

bool same(double a, double b) {
  return std::bit_cast<uint64_t>(a) == std::bit_cast<uint64_t>(b) ||
         (std::isnan(a) && std::isnan(b));
}

bool rounds_to(double value, DType dtype, double stored) {
  return info(dtype).format && same(decode(dtype, encode(dtype, value)), stored);
}

}  // namespace

CopyFigures compare_copy(const Sample& sample, size_t suspect, size_t model) {
  CopyFigures figures{.model = model, .row_equal = std::vector<bool>(sample.rows.size(), false)};
  for (size_t r = 0; r < sample.rows.size(); ++r) {
    const SampleRow& row = sample.rows[r];
    const auto& s = row.values[suspect];
    const auto& m = row.values[model];
    if (s.empty() || m.empty()) continue;
    const DType s_dtype = row.dtypes[suspect], m_dtype = row.dtypes[model];
    figures.other_format = figures.other_format || s_dtype != m_dtype;
    uint64_t equal = 0;
    for (size_t i = 0; i < s.size(); ++i) {
      const bool same_value = same(s[i], m[i]);
      equal += same_value;
      if (s_dtype == m_dtype) continue;  // then rounding changes nothing
      figures.rounds_to_suspect += same_value || rounds_to(m[i], s_dtype, s[i]);
      figures.rounds_to_model += same_value || rounds_to(s[i], m_dtype, m[i]);
    }
    figures.elements += s.size();
    figures.equal += equal;
    if (s_dtype == m_dtype) {
      figures.rounds_to_suspect += equal;
      figures.rounds_to_model += equal;
    }
    figures.row_equal[r] = equal == s.size();
  }
  return figures;
}

}  // namespace hieron
