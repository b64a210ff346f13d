// The picture that carries the page: depth against alpha, the suspect's spike beside the controls'
// floor, as SVG.
#pragma once

#include <string>

#include "hieron/assay/result.h"

namespace hieron {

// One panel. Linear shows the gap as it is; logarithmic (four decades) shows the floor that linear
// flattens.
enum class DepthScale { kLinear, kLogarithmic };

// Well-formed, self-contained but for the page's colours (classes in html_style.h); `id` keeps two
// panels' titles apart. The curve must not be empty.
std::string spike_svg(const DepthFigures& depth, DepthScale scale, const std::string& id);

}  // namespace hieron
