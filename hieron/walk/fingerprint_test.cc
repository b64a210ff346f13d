#include "hieron/walk/fingerprint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>

#include "hieron/format/safetensors.h"
#include "hieron/io/scratch_folder.h"
#include "hieron/walk/selection.h"

namespace hieron {
namespace {

using testing::HasSubstr;

// Two layers, one of them with four experts, and what stands around them. Big enough that a
// fingerprint holds a part.
constexpr uint64_t kH = 256, kI = 128, kExperts = 4, kVocabulary = 512;

struct Stretch {
  std::string name;  // canonical: what its bits are made of
  uint64_t elements;
};
struct Written {
  std::string name;
  Shape shape;
  std::vector<Stretch> stretches;
};

// The bits of a logical tensor: everybody who has the tensor has these.
std::vector<uint16_t> bits_of(const std::string& canonical, uint64_t elements) {
  std::vector<uint32_t> words((elements + 1) / 2);
  Prf(Seed{}, canonical).fill(0, words);
  std::vector<uint16_t> bits(elements);
  std::memcpy(bits.data(), words.data(), 2 * elements);
  return bits;
}

struct Layout {
  std::string prefix = "model.";
  bool fused = false;
  bool reversed = false;  // another order in the file
  bool numbered = false;  // Mixtral's names
};

std::vector<Written> tensors_of(const Layout& layout) {
  std::vector<Written> all;
  const auto add = [&](const std::string& canonical, Shape shape, const std::string& as = "") {
    const uint64_t elements = *element_count(shape);
    all.push_back(
        {layout.prefix + (as.empty() ? canonical : as), std::move(shape), {{canonical, elements}}});
  };
  add("embed_tokens.weight", {kVocabulary, kH});
  add("norm.weight", {kH});
  for (const std::string layer : {"layers.0.", "layers.1."}) {
    add(layer + "input_layernorm.weight", {kH});
    for (const char* part : {"q", "k", "v", "o"}) {
      add(layer + "self_attn." + part + "_proj.weight", {kH, kH});
    }
  }
  for (const char* part : {"gate", "up"}) {
    add(std::string("layers.0.mlp.") + part + "_proj.weight", {kI, kH});
  }
  add("layers.0.mlp.down_proj.weight", {kH, kI});
  const std::string block = layout.numbered ? "layers.1.block_sparse_moe." : "layers.1.mlp.";
  add("layers.1.mlp.gate.weight", {kExperts, kH}, block + "gate.weight");
  Written rows{layout.prefix + "layers.1.mlp.experts.gate_up_proj", {kExperts, 2 * kI, kH}, {}};
  Written down{layout.prefix + "layers.1.mlp.experts.down_proj", {kExperts, kH, kI}, {}};
  const std::map<std::string, std::string> numbers{{"gate", "w1"}, {"up", "w3"}, {"down", "w2"}};
  for (uint64_t e = 0; e < kExperts; ++e) {
    for (const std::string part : {"gate", "up", "down"}) {
      const std::string expert = "experts." + std::to_string(e) + ".";
      const std::string canonical = "layers.1.mlp." + expert + part + "_proj.weight";
      if (layout.fused) {
        (part == "down" ? down : rows).stretches.push_back({canonical, kI * kH});
      } else {
        const std::string leaf = layout.numbered ? numbers.at(part) : part + "_proj";
        add(canonical, part == "down" ? Shape{kH, kI} : Shape{kI, kH},
            block + expert + leaf + ".weight");
      }
    }
  }
  if (layout.fused) {
    all.push_back(std::move(rows));
    all.push_back(std::move(down));
  }
  if (layout.reversed) std::ranges::reverse(all);
  return all;
}

std::shared_ptr<const Checkpoint> model(const ScratchFolder& folder, const std::string& name,
                                        const Layout& layout = {}) {
  const std::vector<Written> tensors = tensors_of(layout);
  std::vector<StoredTensor> stored;
  for (const Written& t : tensors) stored.push_back({t.name, DType::kBF16, t.shape, 0, 0});
  std::string file = write_safetensors_header(stored, {}, 8);
  for (const Written& tensor : tensors) {
    for (const Stretch& stretch : tensor.stretches) {
      const std::vector<uint16_t> bits = bits_of(stretch.name, stretch.elements);
      file.append(reinterpret_cast<const char*>(bits.data()), 2 * bits.size());
    }
  }
  const auto opened = open_checkpoint(folder.write(name + ".safetensors", file));
  EXPECT_TRUE(opened) << opened.error().sentence;
  return *opened;
}

std::string file_of(const std::shared_ptr<const Checkpoint>& checkpoint, uint64_t elements = 0) {
  const auto fingerprint = fingerprint_of(checkpoint, elements);
  EXPECT_TRUE(fingerprint) << fingerprint.error().sentence;
  const auto file = fingerprint_file(**fingerprint, {.name = "model", .commit = {}, .files = {}});
  EXPECT_TRUE(file) << file.error().sentence;
  return *file;
}

Result<std::shared_ptr<const Checkpoint>> opened(const ScratchFolder& folder,
                                                 const std::string& file) {
  return open_checkpoint(folder.write("fingerprint.safetensors", file));
}

std::vector<hieron::Run> runs_of(const TensorInfo& tensor) {
  return tensor.known ? *tensor.known : std::vector<hieron::Run>{{0, tensor.elements}};
}

bool contains(const std::vector<hieron::Run>& all, const std::vector<hieron::Run>& some) {
  return std::ranges::all_of(some, [&](const hieron::Run& run) {
    return std::ranges::any_of(all, [&](const hieron::Run& in) {
      return in.first <= run.first && run.first + run.count <= in.first + in.count;
    });
  });
}

TEST(FingerprintRuns, AreWholeSlotsAndContainThoseOfFewer) {
  const Shape shape{100, 1000};
  std::vector<hieron::Run> before;
  for (uint64_t count = 1; count <= fingerprint_slots(100'000); ++count) {
    const std::vector<hieron::Run> runs =
        fingerprint_runs("layers.0.mlp.up_proj.weight", shape, count);
    uint64_t elements = 0;
    for (const hieron::Run& run : runs) {
      EXPECT_EQ(run.first % kSlot, 0U);
      EXPECT_GE(run.count, kSlot);
      elements += run.count;
    }
    EXPECT_GE(elements, count * kSlot);
    EXPECT_TRUE(contains(runs, before)) << count;
    before = runs;
  }
  EXPECT_EQ(before, (std::vector<hieron::Run>{{0, 100'000}}));
}

TEST(FingerprintRuns, DependOnNameAndShape) {
  const auto runs = fingerprint_runs("a", {1000, 1000}, 8);
  EXPECT_EQ(runs, fingerprint_runs("a", {1000, 1000}, 8));
  EXPECT_NE(runs, fingerprint_runs("b", {1000, 1000}, 8));
  EXPECT_NE(runs, fingerprint_runs("a", {500, 2000}, 8));
}

TEST(FingerprintRuns, StayWhereTheyWerePublished) {
  // Files that exist depend on this.
  EXPECT_EQ(fingerprint_seed().hex(),
            "954d63a4d0848761879dc5dc9dcca7199d0490ff93ea87b019c515be185f675c");
}

TEST(Fingerprint, HoldsEnoughOfEveryGroupOfRoles) {
  const ScratchFolder folder;
  const auto fingerprint = fingerprint_of(model(folder, "model"));
  ASSERT_TRUE(fingerprint) << fingerprint.error().sentence;
  std::map<std::string_view, uint64_t> held, there;
  for (const TensorInfo& tensor : (*fingerprint)->tensors) {
    const auto role = RoleTable::of("").classify(tensor.name, tensor.shape).role;
    held[fingerprint_group(role)] += known_elements(tensor);
  }
  for (const LogicalTensor& tensor : logical_tensors(*model(folder, "again"))) {
    there[fingerprint_group(RoleTable::of("").classify(tensor.name, tensor.shape).role)] +=
        tensor.elements;
  }
  ASSERT_EQ(held.size(), 6U);  // embedding, norm, router, attention, mlp, experts
  for (const auto& [group, elements] : there) {
    EXPECT_GE(held[group], std::min(elements, kGroupElements)) << group;
  }
}

TEST(Fingerprint, IsTheSameForEveryLayout) {
  const ScratchFolder folder;
  const std::string plain = file_of(model(folder, "plain"));
  EXPECT_EQ(plain, file_of(model(folder, "prefix", {.prefix = "language_model.model."})));
  EXPECT_EQ(plain, file_of(model(folder, "fused", {.fused = true})));
  EXPECT_EQ(plain, file_of(model(folder, "reversed", {.prefix = "", .reversed = true})));
  EXPECT_EQ(plain, file_of(model(folder, "mixtral", {.numbered = true})));
}

TEST(Fingerprint, HoldsTheBitsOfItsPositions) {
  const ScratchFolder folder;
  const auto read = opened(folder, file_of(model(folder, "fused", {.fused = true})));
  ASSERT_TRUE(read) << read.error().sentence;
  for (const TensorInfo& tensor : (*read)->tensors) {
    const std::vector<uint16_t> all = bits_of(tensor.name, tensor.elements);
    for (const hieron::Run& run : runs_of(tensor)) {
      std::vector<uint16_t> bits(run.count);
      ASSERT_TRUE(
          read_elements(**read, tensor, run.first, std::as_writable_bytes(std::span(bits))));
      EXPECT_TRUE(std::equal(bits.begin(), bits.end(), all.begin() + static_cast<long>(run.first)))
          << tensor.name << " at " << run.first;
    }
  }
}

TEST(Fingerprint, KnowsTheShapesAndOnlyItsRuns) {
  const ScratchFolder folder;
  const auto read = opened(folder, file_of(model(folder, "model")));
  ASSERT_TRUE(read) << read.error().sentence;
  const TensorInfo* embedding = (*read)->find("embed_tokens.weight");
  ASSERT_NE(embedding, nullptr);
  EXPECT_EQ(embedding->shape, (Shape{kVocabulary, kH}));
  ASSERT_NE(embedding->known, nullptr);
  const hieron::Run run = embedding->known->front();
  std::vector<std::byte> bytes(2);
  EXPECT_TRUE(read_elements(**read, *embedding, run.first + run.count - 1, bytes));
  const auto outside = read_elements(**read, *embedding, run.first + run.count, bytes);
  ASSERT_FALSE(outside);
  EXPECT_THAT(outside.error().sentence, HasSubstr("embed_tokens.weight"));
  EXPECT_FALSE(require_model(**read));
}

TEST(Fingerprint, OfFewerElementsIsAPartOfTheLarger) {
  const ScratchFolder folder;
  const auto whole = model(folder, "model");
  const auto large = opened(folder, file_of(whole, 200'000));
  const auto small = fingerprint_of(whole, 90'000);
  ASSERT_TRUE(large && small);
  const auto narrowed = fingerprint_of(*large, 90'000);
  ASSERT_TRUE(narrowed);
  ASSERT_EQ((*narrowed)->tensors.size(), (*small)->tensors.size());
  for (const TensorInfo& tensor : (*small)->tensors) {
    const TensorInfo* other = (*narrowed)->find(tensor.name);
    ASSERT_NE(other, nullptr) << tensor.name;
    EXPECT_TRUE(contains(runs_of(*other), runs_of(tensor))) << tensor.name;
  }
}

TEST(Fingerprint, PackedIsWhatIsKnownBackToBack) {
  const ScratchFolder folder;
  const auto fingerprint = fingerprint_of(model(folder, "model"));
  ASSERT_TRUE(fingerprint);
  const auto small = packed(*fingerprint);
  ASSERT_TRUE(small);
  const TensorInfo& tensor = *(*small)->find("embed_tokens.weight");
  std::vector<uint16_t> bits(tensor.elements);
  ASSERT_TRUE(read_elements(**small, tensor, 0, std::as_writable_bytes(std::span(bits))));
  const std::vector<uint16_t> all = bits_of("embed_tokens.weight", kVocabulary * kH);
  size_t at = 0;
  for (const hieron::Run& run : runs_of(*(*fingerprint)->find("embed_tokens.weight"))) {
    for (uint64_t i = 0; i < run.count; ++i) {
      ASSERT_EQ(bits[at++], all[run.first + i]);
    }
  }
  EXPECT_EQ(at, bits.size());
}

// The file with its list of tensors changed by `change`.
std::string with_list(const std::string& file,
                      const std::function<void(nlohmann::ordered_json&)>& change) {
  uint64_t length = 0;
  std::memcpy(&length, file.data(), 8);
  auto header = nlohmann::ordered_json::parse(file.substr(8, length));
  auto list =
      nlohmann::ordered_json::parse(header["__metadata__"]["hieron.tensors"].get<std::string>());
  change(list);
  header["__metadata__"]["hieron.tensors"] = list.dump();
  std::string text = header.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');
  length = text.size();
  std::string out(8, '\0');
  std::memcpy(out.data(), &length, 8);
  uint64_t before = 0;
  std::memcpy(&before, file.data(), 8);
  return out + text + file.substr(8 + before);
}

TEST(FingerprintFile, RefusesPositionsThatWereChosen) {
  const ScratchFolder folder;
  const std::string file = file_of(model(folder, "model"));
  ASSERT_TRUE(opened(folder, with_list(file, [](auto&) {})));
  const auto moved = opened(folder, with_list(file, [](auto& list) {
                              auto& first = list["embed_tokens.weight"]["runs"][0][0];
                              first = first.template get<uint64_t>() + kSlot;
                            }));
  ASSERT_FALSE(moved);
  EXPECT_THAT(moved.error().sentence, HasSubstr("embed_tokens.weight"));
  EXPECT_THAT(moved.error().sentence, HasSubstr("other elements of it than the published"));
}

TEST(FingerprintFile, RefusesAListThatDoesNotFit) {
  const ScratchFolder folder;
  const std::string file = file_of(model(folder, "model"));
  const auto refused = [&](const std::function<void(nlohmann::ordered_json&)>& change) {
    return !opened(folder, with_list(file, change));
  };
  EXPECT_TRUE(refused([](auto& list) { list.erase("embed_tokens.weight"); }));
  EXPECT_TRUE(refused([](auto& list) { list["embed_tokens.weight"].erase("shape"); }));
  EXPECT_TRUE(refused([](auto& list) { list["embed_tokens.weight"]["shape"] = {1, 2}; }));
  EXPECT_TRUE(refused([](auto& list) { list["embed_tokens.weight"]["shape"] = {-1, 2}; }));
  EXPECT_TRUE(refused([](auto& list) { list["embed_tokens.weight"]["runs"] = 3; }));
  EXPECT_TRUE(refused(
      [](auto& list) { list["embed_tokens.weight"]["runs"] = {{0, ~uint64_t{0}}, {2, 5}}; }));
  EXPECT_TRUE(refused([](auto& list) { list["embed_tokens.weight"]["rank"] = "first"; }));
  EXPECT_TRUE(refused([](auto& list) { list = 7; }));
}

// Any byte of the header may be wrong: the file is refused, or what it says can be read.
TEST(FingerprintFile, ADamagedHeaderIsRefusedOrReadWithinItsBounds) {
  const ScratchFolder folder;
  const std::string file = file_of(model(folder, "model"), 1);
  uint64_t length = 0;
  std::memcpy(&length, file.data(), 8);
  const Prf prf(Seed{}, "damage");
  for (uint64_t i = 0; i < 400; ++i) {
    std::string damaged = file;
    const char with[] = "0123456789[]{}\",:-e";
    damaged[8 + prf.below(2 * i, length)] = with[prf.below(2 * i + 1, sizeof(with) - 1)];
    const auto read = opened(folder, damaged);
    if (!read || !is_fingerprint(**read)) continue;
    for (const TensorInfo& tensor : (*read)->tensors) {
      for (const hieron::Run& run : runs_of(tensor)) {
        std::vector<std::byte> bytes(run.count * static_cast<uint64_t>(info(tensor.dtype).bits) /
                                     8);
        EXPECT_TRUE(read_elements(**read, tensor, run.first, bytes)) << damaged.substr(8, 200);
      }
    }
  }
}

TEST(FingerprintFile, SelectionReadsWhatAllModelsOfARowKnow) {
  const ScratchFolder folder;
  const auto whole = model(folder, "model");
  const auto large = fingerprint_of(whole, 200'000), small = fingerprint_of(whole, 90'000);
  ASSERT_TRUE(large && small);
  const Alignment both = align(std::array{large->get(), small->get()}, 1);
  for (const Row& row : both.rows) {
    if (!row.views[1]) continue;
    EXPECT_EQ(Selection::everything().runs(row), runs_of(*row.views[1]->tensor)) << row.name;
  }
}

}  // namespace
}  // namespace hieron
