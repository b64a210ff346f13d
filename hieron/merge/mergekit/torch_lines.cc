#include "hieron/merge/mergekit/torch_lines.h"

#include "hieron/merge/mergekit/torch_sum.h"

namespace hieron::mergekit {

Lines Lines::along_last(const Shape& shape, size_t elements) {
  const size_t length = shape.empty() ? 1 : shape.back();
  return {length == 0 ? 0 : elements / length, length, 1};
}

Lines Lines::along_first(const Shape& shape, size_t elements) {
  const size_t length = shape.empty() ? 1 : shape.front();
  return {1, length, length == 0 ? 0 : elements / length};
}

Values sums(const Values& values, const Lines& lines, const Rounding& r) {
  Values found(lines.count());
  if (lines.stride == 1) {
    for (size_t line = 0; line < found.size(); ++line) {
      found[line] = r(sum(std::span(values).subspan(line * lines.length, lines.length), r.dtype()));
    }
    return found;
  }
  // Lines side by side are added as models are, one after the other.
  const ModelSum add(lines.stride, r.dtype());
  Values terms(lines.length);
  for (size_t line = 0; line < found.size(); ++line) {
    const size_t block = line / lines.stride, column = line % lines.stride;
    const float* first = values.data() + block * lines.length * lines.stride + column;
    for (size_t i = 0; i < lines.length; ++i) terms[i] = first[i * lines.stride];
    found[line] = r(add(terms, column));
  }
  return found;
}

Values norms(const Values& values, const Lines& lines, const Rounding& r) {
  Values found(lines.count());
  for (size_t line = 0; line < found.size(); ++line) {
    const float* first =
        values.data() + line / lines.stride * lines.length * lines.stride + line % lines.stride;
    found[line] = r(lines.stride == 1 ? norm(std::span(first, lines.length), r.dtype())
                                      : norm_one_by_one(first, lines.length, lines.stride));
  }
  return found;
}

}  // namespace hieron::mergekit
