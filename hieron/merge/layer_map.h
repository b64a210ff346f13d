// Where the tensors of one model stand: in which row of numbered layers, and how deep.
//
// A model has one row of layers ("model.layers") or several: an encoder's and a decoder's, those of
// towers beside the text model. Numbers that only count modules of one kind ("merger.mlp.0") are no
// row where there is a real one.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "hieron/merge/layers.h"
#include "hieron/model/roles.h"
#include "hieron/walk/checkpoint.h"

namespace hieron {

inline constexpr uint32_t kNoPart = UINT32_MAX;

class LayerMap {
 public:
  // `parts`: the part of each tensor, in the checkpoint's order, or kNoPart; empty: all are part 0.
  // The checkpoint must outlive this.
  LayerMap(const Checkpoint& checkpoint, const RoleTable& roles, std::span<const uint32_t> parts);

  struct Row {
    std::string prefix;  // "model.visual.blocks"
    uint64_t layers;     // the largest number plus one
    uint32_t part;
    std::string_view tower;  // beside the text model: "vision", "audio", "mtp"; else empty
    bool named;              // after a word for layers
    bool thick;              // two layers or more, of three tensors or more
  };

  // The rows that "the layers of this part" may mean: one, unless it is ambiguous; none without
  // layers. Those of towers are meant only in a part that has no others.
  std::vector<const Row*> rows(uint32_t part) const;
  // Those of towers where there are others.
  std::vector<const Row*> rows_aside(uint32_t part) const;

  // What config.json says of a part with one row; else ignored.
  void state_layers(uint32_t part, uint64_t layers);
  uint64_t layers(uint32_t part) const;  // of its only row; 0 if it has none or several

  // The layer of a tensor, if it stands in the only row of its part.
  std::optional<LayerName> layer(const TensorInfo& tensor) const;
  // A tensor that the first layer of that row has and no other, though it has all that the second
  // has.
  const TensorInfo* only_in_first(uint32_t part) const;
  // From 0, at the first layer of its row and outside of rows, to 1.
  double depth(const TensorInfo& tensor) const;

 private:
  struct Place {
    uint32_t row = UINT32_MAX;
    uint32_t begin = 0, end = 0;  // of the number
    uint64_t layer = 0;
  };
  const Place& place(const TensorInfo& tensor) const;
  bool is_only_row(uint32_t row) const;
  void choose_rows();

  const Checkpoint& checkpoint_;
  std::vector<Row> rows_;
  std::vector<Place> places_;                  // by tensor
  std::vector<std::vector<uint32_t>> chosen_;  // by part: rows()
};

}  // namespace hieron
