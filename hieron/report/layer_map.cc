#include "hieron/report/layer_map.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <set>

#include "hieron/core/text.h"
#include "hieron/report/figures.h"
#include "hieron/report/markup.h"

namespace hieron {
namespace {

struct State {
  std::string_view id, meaning;
};
// The worst first: it is what a cell of several tensors shows.
constexpr std::array<State, 6> kStates{{
    {"changed", "part of the merge, but changed since"},
    {"unexplained", "no offered blend explains it"},
    {"explained", "a blend within rounding"},
    {"equal", "reproduced to the last bit"},
    {"uninformative", "too little to tell"},
    {"skipped", "not compared"},
}};

constexpr size_t kMostColumns = 256;
constexpr double kRowHeight = 26, kLabels = 104, kTop = 24;
constexpr double kAlphaLow = -0.25, kAlphaHigh = 1.25;

struct MapCell {
  size_t tensors = 0, state = kStates.size() - 1;
  std::array<size_t, kStates.size()> in_state{};
  const TensorFigures* surest = nullptr;  // the one with most informative elements gives alpha
};

size_t state_index(std::string_view id) {
  for (size_t i = 0; i < kStates.size(); ++i) {
    if (kStates[i].id == id) return i;
  }
  return kStates.size() - 1;
}

struct Column {
  int first = -1, last = -1;  // -1: outside any layer
};

class Map {
 public:
  explicit Map(const std::vector<TensorFigures>& tensors) {
    make_columns(tensors);
    for (const TensorFigures& tensor : tensors) add(tensor);
    cell_width_ = std::clamp(730.0 / static_cast<double>(columns_.size()), 2.8, 64.0);
  }

  std::string draw() const {
    const double width = kLabels + cell_width_ * static_cast<double>(columns_.size()) + 2;
    const double height = kTop + kRowHeight * static_cast<double>(rows_.size()) + 4;
    std::string out = fmt::format(
        "<svg class=\"map\" viewBox=\"0 0 {0:.0f} {1:.0f}\" width=\"{0:.0f}\" height=\"{1:.0f}\" "
        "role=\"img\" aria-labelledby=\"map-t\" xmlns=\"http://www.w3.org/2000/svg\">\n"
        "<title id=\"map-t\">State and alpha by role and layer</title>\n",
        width, height);
    out += column_labels();
    size_t row = 0;
    for (const auto& [role, cells] : rows_) {
      const double y = kTop + kRowHeight * static_cast<double>(row++);
      out += fmt::format("<text class=\"role\" x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text>\n",
                         kLabels - 8, y + 16, name(role));
      for (const auto& [column, cell] : cells) out += draw_cell(role, column, cell, y);
    }
    return out + "</svg>\n";
  }

 private:
  void make_columns(const std::vector<TensorFigures>& tensors) {
    std::set<int> layers;
    bool outside = false;
    for (const TensorFigures& tensor : tensors) {
      tensor.role.layer ? void(layers.insert(*tensor.role.layer)) : void(outside = true);
    }
    const size_t group = std::max<size_t>(1, (layers.size() + kMostColumns - 1) / kMostColumns);
    size_t i = 0;
    for (int layer : layers) {
      if (i++ % group == 0) columns_.push_back({layer, layer});
      columns_.back().last = layer;
      column_of_[layer] = columns_.size() - 1;
    }
    if (outside) columns_.push_back({});
  }

  void add(const TensorFigures& tensor) {
    const size_t column =
        tensor.role.layer ? column_of_.at(*tensor.role.layer) : columns_.size() - 1;
    MapCell& cell = rows_[tensor.role.role][column];
    const size_t state = state_index(tensor.state);
    cell.state = std::min(cell.state, state);
    ++cell.in_state[state];
    ++cell.tensors;
    if (!cell.surest || tensor.informative_16 > cell.surest->informative_16) cell.surest = &tensor;
  }

  double x(size_t column) const { return kLabels + cell_width_ * static_cast<double>(column); }

  static std::string column_name(const Column& column) {
    if (column.first < 0) return "no layer";
    return column.first == column.last ? fmt::format("{}", column.first)
                                       : fmt::format("{}–{}", column.first, column.last);
  }

  std::string column_labels() const {
    const auto every = static_cast<size_t>(std::ceil(30 / cell_width_));
    std::string out =
        fmt::format("<text class=\"role\" x=\"{}\" y=\"{}\" text-anchor=\"end\">layer</text>\n",
                    kLabels - 8, kTop - 8);
    for (size_t c = 0; c < columns_.size(); ++c) {
      const bool outside = columns_[c].first < 0;
      const size_t layers = columns_.size() - (columns_.back().first < 0 ? 1 : 0);
      if (outside ? cell_width_ < 22
                  : c % every != 0 || (c + every / 2 >= layers && c != 0 && every > 1))
        continue;
      out += fmt::format(
          "<text class=\"role\" x=\"{:.1f}\" y=\"{}\" text-anchor=\"middle\">{}</text>\n",
          x(c) + cell_width_ / 2, kTop - 8,
          outside ? "none" : fmt::format("{}", columns_[c].first));
    }
    return out;
  }

  std::string tooltip(Role role, const Column& column, const MapCell& cell) const {
    std::string text = fmt::format("{}, {}{}: ", name(role), column.first < 0 ? "" : "layer ",
                                   column_name(column));
    std::string separator;
    for (size_t s = 0; s < kStates.size(); ++s) {
      if (cell.in_state[s] == 0) continue;
      text += fmt::format("{}{} {}", separator, cell.in_state[s], kStates[s].id);
      separator = ", ";
    }
    const TensorFigures& surest = *cell.surest;
    if (std::isfinite(surest.alpha)) {
      text += fmt::format("; alpha {} {}", show_alpha(surest.alpha, surest.low, surest.high),
                          show_bounds(surest.low, surest.high));
      if (std::isfinite(surest.d16)) text += fmt::format(", D16 {}", show_share(surest.d16));
    }
    return text +
           fmt::format("; {}{}", cell.tensors > 1 ? "surest " : "", printable(surest.name, 160));
  }

  std::string draw_cell(Role role, size_t column, const MapCell& cell, double y) const {
    const double left = x(column), width = cell_width_ - (cell_width_ > 8 ? 2 : 0.3);
    const double height = kRowHeight - 2;
    std::string out = fmt::format(
        "<g><title>{}</title><rect class=\"s-{}\" x=\"{:.2f}\" y=\"{}\" width=\"{:.2f}\" "
        "height=\"{}\"/>",
        escape(tooltip(role, columns_[column], cell)), kStates[cell.state].id, left, y, width,
        height);
    const double alpha = cell.surest->alpha;
    if (std::isfinite(alpha)) {
      const double level =
          (std::clamp(alpha, kAlphaLow, kAlphaHigh) - kAlphaLow) / (kAlphaHigh - kAlphaLow);
      out += fmt::format(
          "<rect class=\"alpha\" x=\"{:.2f}\" y=\"{:.2f}\" width=\"{:.2f}\" height=\"2\"/>", left,
          y + (1 - level) * (height - 2), width);
    }
    if (cell.state <= 1) out += mark(cell.state, left, y, width, height);
    return out + "</g>\n";
  }

  // A stroke for "changed", a cross for "unexplained".
  static std::string mark(size_t state, double left, double y, double width, double height) {
    const double rise = std::min(14.0, height - 4), run = std::min(rise, width);
    const double x0 = left + (width - run) / 2, y0 = y + (height - rise) / 2;
    std::string d = fmt::format("M{:.2f} {:.2f}l{:.2f} {:.2f}", x0, y0 + rise, run, -rise);
    if (state == 1) d += fmt::format("M{:.2f} {:.2f}l{:.2f} {:.2f}", x0, y0, run, rise);
    return fmt::format("<path class=\"mark\" d=\"{}\"/>", d);
  }

  std::vector<Column> columns_;
  std::map<int, size_t> column_of_;
  std::map<Role, std::map<size_t, MapCell>> rows_;
  double cell_width_ = 0;
};

}  // namespace

std::string layer_map_svg(const std::vector<TensorFigures>& tensors) {
  return tensors.empty() ? "" : Map(tensors).draw();
}

std::string layer_map_legend() {
  std::string out = "<ul class=\"legend\">\n";
  for (const State& state : kStates) {
    out += fmt::format(
        "<li><svg viewBox=\"0 0 16 16\" width=\"16\" height=\"16\" aria-hidden=\"true\">"
        "<rect class=\"s-{}\" x=\"0.5\" y=\"0.5\" width=\"15\" height=\"15\"/>{}{}</svg>"
        "<b>{}</b> {}</li>\n",
        state.id,
        state.id == "changed" || state.id == "unexplained"
            ? "<path class=\"mark\" d=\"M2 14L14 2\"/>"
            : "",
        state.id == "unexplained" ? "<path class=\"mark\" d=\"M2 2L14 14\"/>" : "", state.id,
        state.meaning);
  }
  return out + "</ul>\n";
}

}  // namespace hieron
