#include "hieron/report/spike.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "hieron/core/text.h"
#include "hieron/report/curve.h"
#include "hieron/report/figures.h"
#include "hieron/report/markup.h"

namespace hieron {
namespace {

constexpr double kWidth = 460, kHeight = 300;
constexpr double kLeft = 52, kRight = 448, kTop = 22, kBottom = 256;
constexpr double kLeast = 1e-4;  // the logarithmic panel's foot
constexpr size_t kPoints = 500;

class Panel {
 public:
  Panel(const DepthFigures& depth, DepthScale scale)
      : depth_(depth), scale_(scale), range_(alpha_range(depth)) {}

  std::string draw(const std::string& id) {
    open(id);
    vertical_axis();
    horizontal_axis();
    limit();
    for (const auto& [ref, curve] : depth_.control_curves) trace(visible(curve), "control");
    spike();
    label_peak();
    return out_ + "</svg>\n";
  }

 private:
  double x(double alpha) const {
    return kLeft + (alpha - range_.low) / (range_.high - range_.low) * (kRight - kLeft);
  }
  double y(double share) const {
    const double height =
        scale_ == DepthScale::kLinear
            ? std::clamp(share, 0.0, 1.0)
            : std::clamp(1 - std::log10(std::max(share, kLeast)) / std::log10(kLeast), 0.0, 1.0);
    return kBottom - height * (kBottom - kTop);
  }
  // Points inside the range, with the curve cut exactly at its borders.
  std::vector<CurvePoint> visible(const std::vector<CurvePoint>& curve) const {
    std::vector<CurvePoint> inside;
    for (const CurvePoint& point : curve) {
      if (point.alpha >= range_.low && point.alpha <= range_.high) inside.push_back(point);
    }
    return thin(std::move(inside), kPoints);
  }
  std::string path(const std::vector<CurvePoint>& points) const {
    std::string d;
    for (const CurvePoint& point : points) {
      d += fmt::format("{}{:.2f} {:.2f}", d.empty() ? "M" : "L", x(point.alpha), y(point.share));
    }
    return d;
  }

  void open(const std::string& id) {
    const bool linear = scale_ == DepthScale::kLinear;
    double highest = 0;
    for (const NamedDepth& control : depth_.controls) highest = std::max(highest, control.d16);
    out_ = fmt::format(
        "<svg class=\"spike\" viewBox=\"0 0 {} {}\" role=\"img\" aria-labelledby=\"{}-t {}-d\" "
        "xmlns=\"http://www.w3.org/2000/svg\">\n"
        "<title id=\"{}-t\">Depth against alpha, {} scale</title>\n"
        "<desc id=\"{}-d\">The suspect peaks at alpha {} with depth {}; {}.</desc>\n",
        kWidth, kHeight, id, id, id, linear ? "linear" : "logarithmic", id,
        show_alpha(depth_.alpha, depth_.low, depth_.high), show_share(depth_.d16),
        depth_.controls.empty() ? "no control was given"
                                : fmt::format("the highest of {} controls reaches {}",
                                              depth_.controls.size(), show_share(highest)));
  }
  void text(double at_x, double at_y, std::string_view anchor, std::string_view content,
            std::string_view style = "tick") {
    out_ +=
        fmt::format("<text class=\"{}\" x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"{}\">{}</text>\n",
                    style, at_x, at_y, anchor, escape(content));
  }
  void rule(double x1, double y1, double x2, double y2, std::string_view style) {
    out_ += fmt::format(
        "<line class=\"{}\" x1=\"{:.1f}\" y1=\"{:.1f}\" x2=\"{:.1f}\" y2=\"{:.1f}\"/>\n", style, x1,
        y1, x2, y2);
  }
  void vertical_axis() {
    const bool linear = scale_ == DepthScale::kLinear;
    const std::vector<double> marks = linear ? std::vector<double>{0, .25, .5, .75, 1}
                                             : std::vector<double>{1e-4, 1e-3, 1e-2, .1, 1};
    for (double mark : marks) {
      rule(kLeft, y(mark), kRight, y(mark), "grid");
      const std::string label = linear || mark > 0.05 ? fmt::format("{}", mark)
                                                      : fmt::format("{:.{}f}", mark,
                                                                    mark < 5e-4   ? 4
                                                                    : mark < 5e-3 ? 3
                                                                                  : 2);
      text(kLeft - 6, y(mark) + 4, "end", label);
    }
    text(kLeft - 46, kTop - 9, "start", linear ? "depth" : "depth, logarithmic", "name");
  }
  void horizontal_axis() {
    rule(kLeft, kBottom, kRight, kBottom, "axis");
    const double span = range_.high - range_.low;
    const double step = span > 6 ? 2 : span > 3 ? 1 : span > 2 ? 0.5 : 0.25;
    for (double mark = std::ceil(range_.low / step) * step; mark <= range_.high; mark += step) {
      rule(x(mark), kBottom, x(mark), kBottom + 4, "axis");
      text(x(mark), kBottom + 17, "middle", fmt::format("{}", mark == 0 ? 0.0 : mark));
    }
    text(x(0), kBottom + 33, "middle", "all " + short_name(depth_.ends[1]), "end-name");
    text(x(1), kBottom + 33, "middle", "all " + short_name(depth_.ends[0]), "end-name");
    text((x(0) + x(1)) / 2, kBottom + 33, "middle", "alpha", "name");
  }
  // A ref's last component tells it from the others in the space there is.
  static std::string short_name(std::string_view ref) {
    while (ref.ends_with('/')) ref.remove_suffix(1);
    return printable(ref.substr(ref.find_last_of('/') + 1), 20);
  }
  void limit() {
    const double height = y(threshold::kControlDepth.value);
    rule(kLeft, height, kRight, height, "limit");
    // Beside the spike, on the side where the label of the peak is not.
    const bool peak_left = depth_.alpha < (range_.low + range_.high) / 2;
    text(peak_left ? kLeft + 4 : kRight - 2, height - 5, peak_left ? "start" : "end",
         fmt::format("no control may reach {}", threshold::kControlDepth.value), "note");
  }
  void trace(const std::vector<CurvePoint>& points, std::string_view style) {
    if (points.empty()) return;
    out_ += fmt::format("<path class=\"{}\" d=\"{}\"/>\n", style, path(points));
  }
  void spike() {
    const auto points = visible(with_peak(depth_));
    if (points.empty()) return;
    // An area has a meaning only where the foot is nothing.
    if (scale_ == DepthScale::kLinear) {
      out_ += fmt::format("<path class=\"fill\" d=\"{}L{:.2f} {}L{:.2f} {}Z\"/>\n", path(points),
                          x(points.back().alpha), kBottom, x(points.front().alpha), kBottom);
    }
    trace(points, "suspect");
  }
  void label_peak() {
    if (!std::isfinite(depth_.alpha) || !std::isfinite(depth_.d16)) return;
    const bool left = depth_.alpha > (range_.low + range_.high) / 2;
    const double at = std::clamp(x(depth_.alpha), kLeft, kRight) + (left ? -12 : 12);
    const std::string_view anchor = left ? "end" : "start";
    // Beside a peak that touches the top, above any other.
    const double peak = y(depth_.d16);
    const double top = peak < kTop + 60 ? std::max(peak + 6, kTop + 16) : peak - 30;
    text(at, top, anchor, show_alpha(depth_.alpha, depth_.low, depth_.high), "peak");
    text(at, top + 16, anchor, "D16 " + show_share(depth_.d16), "note");
    out_ += fmt::format("<circle class=\"dot\" cx=\"{:.2f}\" cy=\"{:.2f}\" r=\"3\"/>\n",
                        x(depth_.alpha), y(depth_.d16));
  }

  const DepthFigures& depth_;
  DepthScale scale_;
  AlphaRange range_;
  std::string out_;
};

}  // namespace

std::string spike_svg(const DepthFigures& depth, DepthScale scale, const std::string& id) {
  return Panel(depth, scale).draw(id);
}

}  // namespace hieron
