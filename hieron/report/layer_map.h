// Which layers and roles the verdict rests on: a map of state and alpha over layer × role, as SVG.
//
// A row a role, a column a layer (or a group of neighbouring layers when there are more than 256),
// one more column for tensors outside any layer. The fill says the worst state of the cell's
// tensors, with a mark for those who cannot tell the colours; the tick's height says alpha, so that
// one alpha for all layers is one straight line.
#pragma once

#include <string>
#include <vector>

#include "hieron/assay/result.h"

namespace hieron {

// Empty if there are no tensors.
std::string layer_map_svg(const std::vector<TensorFigures>& tensors);

// The legend: every state in the order of weight, with its mark and what it means. HTML.
std::string layer_map_legend();

}  // namespace hieron
