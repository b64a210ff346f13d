#include "hieron/format/safetensors.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <ctime>
#include <numeric>
#include <set>
#include <string>
#include <utility>

#include "hieron/core/text.h"
#include "hieron/io/scratch_folder.h"

namespace hieron {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using testing::Pair;

constexpr std::string_view kGood = R"({"a":{"dtype":"I32","shape":[2,2],"data_offsets":[0,16]}})";

Result<SafetensorsHeader> parse(std::string_view json, uint64_t data_bytes) {
  return parse_safetensors_header(json, 8 + json.size() + data_bytes, "m.safetensors");
}

// What the parser says of a header before `data_bytes` bytes of data; every refusal names the file.
std::string verdict(std::string_view json, uint64_t data_bytes) {
  const auto header = parse(json, data_bytes);
  if (header) return "accepted";
  EXPECT_EQ(header.error().code, ErrorCode::kRefused);
  EXPECT_EQ(header.error().file, "m.safetensors");
  EXPECT_THAT(header.error().sentence, testing::StartsWith("m.safetensors"));
  return header.error().sentence;
}

// One tensor "a" with this entry.
std::string verdict_on_entry(std::string_view entry, uint64_t data_bytes = 16) {
  return verdict(fmt::format(R"({{"a":{}}})", entry), data_bytes);
}

std::string verdict_on_file(std::string_view bytes) {
  const ScratchFolder folder;
  const auto file = open_file(folder.write("m.safetensors", bytes));
  const auto header = read_safetensors_header(**file);
  return header ? "accepted" : header.error().sentence;
}

std::string little_endian(uint64_t n) {
  std::string out(8, '\0');
  std::memcpy(out.data(), &n, 8);
  return out;
}

TEST(Safetensors, ReadsTensorsInTheOrderOfTheirBytes) {
  const std::string json = R"({"b":{"dtype":"F32","shape":[3],"data_offsets":[4,16]},)"
                           R"("__metadata__":{"format":"pt"},)"
                           R"("a":{"data_offsets":[0,4],"shape":[1,2],"dtype":"BF16"}})";
  const auto header = parse(json, 16);
  ASSERT_TRUE(header) << header.error().sentence;
  EXPECT_EQ(header->data_start, 8 + json.size());
  EXPECT_THAT(header->metadata, ElementsAre(Pair("format", "pt")));
  EXPECT_THAT(header->warnings, IsEmpty());
  ASSERT_EQ(header->tensors.size(), 2u);
  const StoredTensor& a = header->tensors[0];
  const StoredTensor& b = header->tensors[1];
  EXPECT_EQ(std::tie(a.name, a.dtype, a.shape, a.offset, a.bytes),
            std::tuple("a", DType::kBF16, Shape({1, 2}), header->data_start, 4u));
  EXPECT_EQ(std::tie(b.name, b.dtype, b.shape, b.offset, b.bytes),
            std::tuple("b", DType::kF32, Shape({3}), header->data_start + 4, 12u));
}

TEST(Safetensors, ReadsAFile) {
  EXPECT_EQ(verdict_on_file(little_endian(kGood.size()) + std::string(kGood) + noise(16)),
            "accepted");
}

TEST(Safetensors, TakesScalarsAndEmptyTensors) {
  EXPECT_EQ(verdict_on_entry(R"({"dtype":"F32","shape":[],"data_offsets":[0,4]})", 4), "accepted");
  EXPECT_EQ(verdict_on_entry(R"({"dtype":"F32","shape":[2,0],"data_offsets":[0,0]})", 0),
            "accepted");
  EXPECT_EQ(verdict("{}", 0), "accepted");
  EXPECT_EQ(verdict(R"({"__metadata__":{}})", 0), "accepted");
}

TEST(Safetensors, TakesEmptyTensorsBetweenOthers) {
  const auto header = parse(R"({"b":{"dtype":"U8","shape":[2],"data_offsets":[2,4]},)"
                            R"("z":{"dtype":"U8","shape":[0],"data_offsets":[2,2]},)"
                            R"("a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}})",
                            4);
  ASSERT_TRUE(header);
  EXPECT_EQ(header->tensors[1].name, "z");
}

TEST(Safetensors, TakesSpacesAfterTheHeader) {
  EXPECT_EQ(verdict(std::string(kGood) + std::string(4096, ' '), 16), "accepted");
}

TEST(Safetensors, TakesEveryDtype) {
  for (const DTypeInfo& row : dtypes()) {
    const uint64_t bytes = static_cast<uint64_t>(row.bits);  // of eight elements
    EXPECT_EQ(verdict_on_entry(fmt::format(R"({{"dtype":"{}","shape":[8],"data_offsets":[0,{}]}})",
                                           row.name, bytes),
                               bytes),
              "accepted")
        << row.name;
  }
}

TEST(Safetensors, RefusesAFileWithoutALength) {
  EXPECT_THAT(verdict_on_file(""), AllOf(HasSubstr("has 0 bytes"), HasSubstr("fetch it again")));
  EXPECT_THAT(verdict_on_file("1234567"), HasSubstr("has 7 bytes"));
}

TEST(Safetensors, RefusesALengthAboveTheLimit) {
  EXPECT_THAT(verdict_on_file(little_endian(100'000'001) + "{}"), HasSubstr("100,000,001 bytes"));
  EXPECT_THAT(verdict_on_file(little_endian(UINT64_MAX) + "{}"), HasSubstr("at most 100,000,000"));
}

TEST(Safetensors, RefusesALengthPastTheEndOfTheFile) {
  EXPECT_THAT(verdict_on_file(little_endian(3) + "{}"),
              AllOf(HasSubstr("header ends at byte 11"), HasSubstr("the file has 10")));
  EXPECT_EQ(verdict_on_file(little_endian(2) + "{}"), "accepted");
}

TEST(Safetensors, SaysWhatElseAFileIs) {
  EXPECT_THAT(verdict_on_file("version https://git-lfs.github.com/spec/v1\n"),
              HasSubstr("is a Git LFS pointer"));
  EXPECT_THAT(verdict_on_file("<!DOCTYPE html><html>"), HasSubstr("is a web page"));
  EXPECT_THAT(verdict_on_file("PK\x03\x04 archive"), HasSubstr("PyTorch"));
  EXPECT_THAT(verdict_on_file("\x80\x02}q\x01 a pickle"), HasSubstr("pickle"));
  EXPECT_THAT(verdict_on_file("GGUF\x03\x01\x01\x01 etc"), HasSubstr("GGUF"));
}

TEST(Safetensors, RefusesAHeaderThatDoesNotBeginWithABrace) {
  EXPECT_THAT(verdict("", 0), HasSubstr("does not begin with \"{\""));
  EXPECT_THAT(verdict(" {}", 0), HasSubstr("does not begin with \"{\""));
  EXPECT_THAT(verdict("[]", 0), HasSubstr("does not begin with \"{\""));
  EXPECT_THAT(verdict("\xEF\xBB\xBF{}", 0), HasSubstr("does not begin with \"{\""));
}

TEST(Safetensors, RefusesPaddingThatIsNotSpaces) {
  EXPECT_THAT(verdict("{}\n", 0), HasSubstr("0x0A"));
  EXPECT_THAT(verdict(std::string_view("{}\0", 3), 0), HasSubstr("0x00"));
  EXPECT_THAT(verdict("{} x ", 0), HasSubstr("only spaces"));
}

TEST(Safetensors, RefusesASecondValueAfterTheHeader) {
  EXPECT_THAT(verdict("{}{}", 0), HasSubstr("not valid JSON"));
  EXPECT_THAT(verdict("{} {}", 0), HasSubstr("not valid JSON"));
}

TEST(Safetensors, RefusesBrokenJson) {
  for (const std::string_view json :
       {"{", "{}}", R"({"a"})", R"({"a":})", R"({"a":{}},})", R"({,})", R"({"a":{}"b":{}})",
        R"({'a':{}})", R"({"a":nul})", R"({"__metadata__":{"a":"b",}})",
        "{\"__metadata__\":{\"a\":\"\n\"}}", R"({"__metadata__":{"a":"\x"}})",
        R"({"__metadata__":{"a":"\ud800"}})", R"(/**/{})", R"({}//})"}) {
    EXPECT_NE(verdict(json, 0), "accepted") << json;
  }
}

TEST(Safetensors, RefusesInvalidUtf8) {
  EXPECT_THAT(verdict("{\"__metadata__\":{\"a\":\"\xFF\"}}", 0), HasSubstr("not valid UTF-8"));
  EXPECT_THAT(verdict("{\"\xC0\x80\":{}}", 0), HasSubstr("not valid UTF-8"));      // overlong
  EXPECT_THAT(verdict("{\"\xED\xA0\x80\":{}}", 0), HasSubstr("not valid UTF-8"));  // surrogate
}

TEST(Safetensors, RefusesDeepJsonWithoutRecursion) {
  const std::string deep =
      R"({"a":)" + std::string(1'000'000, '[') + std::string(1'000'000, ']') + "}";
  EXPECT_THAT(verdict(deep, 0), HasSubstr("nested more than 16 levels"));
}

TEST(Safetensors, RefusesATensorNamedTwice) {
  const std::string entry = R"("a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]})";
  EXPECT_THAT(verdict("{" + entry + "," + entry + "}", 2), HasSubstr("names \"a\" twice"));
  EXPECT_THAT(
      verdict("{" + entry + R"(,"\u0061":{"dtype":"U8","shape":[2],"data_offsets":[2,4]}})", 4),
      HasSubstr("names \"a\" twice"));
}

TEST(Safetensors, RefusesAnyKeyTwice) {
  EXPECT_THAT(
      verdict_on_entry(R"({"dtype":"I32","dtype":"I32","shape":[4],"data_offsets":[0,16]})"),
      HasSubstr("two values for \"dtype\""));
  EXPECT_THAT(verdict_on_entry(R"({"dtype":"I32","shape":[4],"shape":[4],"data_offsets":[0,16]})"),
              HasSubstr("two values for \"shape\""));
  EXPECT_THAT(
      verdict_on_entry(
          R"({"dtype":"I32","shape":[4],"data_offsets":[0,16],"data_\u006fffsets":[0,16]})"),
      HasSubstr("two values for \"data_offsets\""));
  EXPECT_THAT(verdict(R"({"__metadata__":{"x":"1","x":"2"}})", 0), HasSubstr("\"x\" twice"));
  EXPECT_THAT(verdict(R"({"__metadata__":{},"__metadata__":{}})", 0),
              HasSubstr("\"__metadata__\" twice"));
}

TEST(Safetensors, RefusesUnknownKeys) {
  EXPECT_THAT(
      verdict_on_entry(R"({"dtype":"I32","shape":[4],"data_offsets":[0,16],"strides":[1]})"),
      HasSubstr("tensor \"a\" has an unknown key \"strides\""));
}

TEST(Safetensors, RefusesMissingKeys) {
  EXPECT_THAT(verdict_on_entry(R"({"shape":[4],"data_offsets":[0,16]})"), HasSubstr("no dtype"));
  EXPECT_THAT(verdict_on_entry(R"({"dtype":"I32","data_offsets":[0,16]})"), HasSubstr("no shape"));
  EXPECT_THAT(verdict_on_entry(R"({"dtype":"I32","shape":[4]})"), HasSubstr("no data_offsets"));
}

TEST(Safetensors, RefusesWrongTypes) {
  for (const std::string_view entry : {"1", "null", "\"x\"", "[]"}) {
    EXPECT_THAT(verdict_on_entry(entry), HasSubstr("not described by a JSON object")) << entry;
  }
  EXPECT_THAT(verdict_on_entry(R"({"dtype":4,"shape":[4],"data_offsets":[0,16]})"),
              HasSubstr("dtype that is not a string"));
  EXPECT_THAT(verdict_on_entry(R"({"dtype":"I32","shape":4,"data_offsets":[0,16]})"),
              HasSubstr("shape that is not a list"));
}

TEST(Safetensors, RefusesUnknownDtypesAndNamesTheKnown) {
  for (const std::string_view name : {"F42", "bf16", "", "BF16 "}) {
    EXPECT_THAT(verdict_on_entry(
                    fmt::format(R"({{"dtype":"{}","shape":[4],"data_offsets":[0,16]}})", name)),
                AllOf(HasSubstr(fmt::format("unknown dtype \"{}\"", name)), HasSubstr(" BF16 ")));
  }
}

TEST(Safetensors, RefusesExtentsThatAreNotNonNegativeIntegers) {
  for (const std::string_view extent : {"-1", "-0", "4.0", "4e0", "\"4\"", "null", "true", "[4]"}) {
    EXPECT_NE(verdict_on_entry(
                  fmt::format(R"({{"dtype":"I32","shape":[{}],"data_offsets":[0,16]}})", extent)),
              "accepted")
        << extent;
  }
  EXPECT_NE(verdict_on_entry(R"({"dtype":"I32","shape":[-0],"data_offsets":[0,0]})", 0),
            "accepted");
  EXPECT_NE(verdict_on_entry(R"({"dtype":"I32","shape":[04],"data_offsets":[0,16]})"), "accepted");
  EXPECT_THAT(
      verdict_on_entry(R"({"dtype":"I32","shape":[18446744073709551616],"data_offsets":[0,16]})"),
      HasSubstr("above 64 bits"));
}

TEST(Safetensors, TakesAMinusInsideNames) {
  EXPECT_EQ(verdict(R"({"a:-0,\"-1":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}})", 2),
            "accepted");
}

TEST(Safetensors, RefusesOffsetsThatAreNotTwoNonNegativeIntegers) {
  for (const std::string_view offsets :
       {"[0]", "[0,16,16]", "[]", "[0,16.0]", "[-16,0]", "[0,\"16\"]", "{}", "16"}) {
    EXPECT_NE(verdict_on_entry(
                  fmt::format(R"({{"dtype":"I32","shape":[4],"data_offsets":{}}})", offsets)),
              "accepted")
        << offsets;
  }
}

TEST(Safetensors, RefusesSizesThatOverflow) {
  EXPECT_THAT(
      verdict_on_entry(R"({"dtype":"I32","shape":[2,18446744073709551614],"data_offsets":[0,16]})"),
      HasSubstr("overflows 64 bits"));
  EXPECT_THAT(
      verdict_on_entry(R"({"dtype":"I32","shape":[4611686018427387908],"data_offsets":[0,16]})"),
      HasSubstr("overflows 64 bits"));  // times four bytes it would wrap to 16
  EXPECT_THAT(verdict_on_entry(R"({"dtype":"U8","shape":[9223372036854775808,2,0],)"
                               R"("data_offsets":[0,0]})",
                               0),
              HasSubstr("overflows 64 bits"));
}

TEST(Safetensors, RefusesTensorsThatEndInsideAByte) {
  EXPECT_THAT(verdict_on_entry(R"({"dtype":"F4","shape":[3],"data_offsets":[0,2]})", 2),
              HasSubstr("no whole number of bytes"));
  EXPECT_EQ(verdict_on_entry(R"({"dtype":"F4","shape":[4],"data_offsets":[0,2]})", 2), "accepted");
  EXPECT_EQ(verdict_on_entry(R"({"dtype":"F6_E2M3","shape":[4],"data_offsets":[0,3]})", 3),
            "accepted");
}

TEST(Safetensors, RefusesAShapeWithMoreAxesThanAnyProgramTakes) {
  std::string ones = "1";
  for (int i = 0; i < 64; ++i) ones += ",1";
  EXPECT_THAT(verdict_on_entry(
                  fmt::format(R"({{"dtype":"U8","shape":[{}],"data_offsets":[0,1]}})", ones), 1),
              HasSubstr("has 65 axes"));
}

TEST(Safetensors, RefusesOffsetsThatDoNotFitTheShape) {
  EXPECT_THAT(verdict_on_entry(R"({"dtype":"I32","shape":[2,2],"data_offsets":[0,4]})", 4),
              AllOf(HasSubstr("tensor \"a\""), HasSubstr("shape [2, 2]"),
                    HasSubstr("needs 16 bytes"), HasSubstr("0 to 4")));
  EXPECT_THAT(verdict_on_entry(R"({"dtype":"I32","shape":[4],"data_offsets":[16,0]})"),
              HasSubstr("16 to 0"));
}

std::string two(std::string_view a, std::string_view b) {
  return fmt::format(R"({{"a":{{"dtype":"I32","shape":[4],"data_offsets":[{}]}},)"
                     R"("b":{{"dtype":"I32","shape":[4],"data_offsets":[{}]}}}})",
                     a, b);
}

TEST(Safetensors, RefusesHoles) {
  EXPECT_THAT(verdict(two("0,16", "17,33"), 33),
              AllOf(HasSubstr("tensor \"b\" begins at byte 17"), HasSubstr("ends at byte 16")));
  EXPECT_THAT(verdict(two("4,20", "20,36"), 36), HasSubstr("tensor \"a\" begins at byte 4"));
  EXPECT_THAT(verdict(R"({"a":{"dtype":"I32","shape":[0],"data_offsets":[8,8]}})", 8),
              HasSubstr("tensor \"a\" begins at byte 8"));
}

TEST(Safetensors, RefusesOverlaps) {
  EXPECT_THAT(verdict(two("0,16", "15,31"), 31),
              AllOf(HasSubstr("tensor \"b\" begins at byte 15"), HasSubstr("inside tensor \"a\"")));
  EXPECT_THAT(verdict(two("0,16", "0,16"), 16), HasSubstr("inside tensor \"a\""));
}

TEST(Safetensors, RefusesBytesAfterTheLastTensor) {
  EXPECT_THAT(verdict(kGood, 17), HasSubstr("has 1 bytes after its last tensor"));
  EXPECT_THAT(verdict("{}", 5), HasSubstr("has 5 bytes after its last tensor"));
}

TEST(Safetensors, SaysWhereADownloadStopped) {
  const std::string json = two("0,16", "16,32");
  const auto header = parse(json, 9);
  ASSERT_FALSE(header);
  EXPECT_EQ(header.error().sentence,
            fmt::format("m.safetensors: tensor \"a\" ends at byte {}, but the file has {}. The "
                        "download is probably incomplete; fetch it again.",
                        8 + json.size() + 16, 8 + json.size() + 9));
  EXPECT_EQ(header.error().tensor, "a");
  EXPECT_EQ(header.error().also, 1);
}

TEST(Safetensors, RefusesOffsetsBeyondAnyFile) {
  EXPECT_THAT(verdict_on_entry(R"({"dtype":"U8","shape":[18446744073709551608],)"
                               R"("data_offsets":[0,18446744073709551608]})"),
              Not(HasSubstr("accepted")));
  EXPECT_THAT(verdict_on_entry(R"({"dtype":"U8","shape":[2305843009213693951],)"
                               R"("data_offsets":[0,2305843009213693951]})"),
              HasSubstr("but the file has"));
}

TEST(Safetensors, RefusesMetadataThatIsNotText) {
  EXPECT_THAT(verdict(R"({"__metadata__":{"n":1}})", 0), HasSubstr("not a string, at \"n\""));
  EXPECT_THAT(verdict(R"({"__metadata__":{"n":{"m":"x"}}})", 0), HasSubstr("not a string"));
  EXPECT_THAT(verdict(R"({"__metadata__":null})", 0), HasSubstr("not a JSON object"));
  EXPECT_THAT(verdict(R"({"__metadata__":"pt"})", 0), HasSubstr("not a JSON object"));
}

TEST(Safetensors, RefusesEmptyNamesAndNul) {
  EXPECT_THAT(verdict(R"({"":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}})", 2),
              HasSubstr("name is empty"));
  EXPECT_THAT(verdict(R"({"a\u0000b":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}})", 2),
              HasSubstr("NUL"));
}

TEST(Safetensors, WarnsOfNamesThatDeceiveTheEye) {
  const auto header = parse(R"({"a\u202eb":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},)"
                            R"("c\u001b[2J":{"dtype":"U8","shape":[2],"data_offsets":[2,4]},)"
                            R"("plain":{"dtype":"U8","shape":[2],"data_offsets":[4,6]}})",
                            6);
  ASSERT_TRUE(header);
  ASSERT_EQ(header->warnings.size(), 1u);
  EXPECT_THAT(header->warnings[0],
              AllOf(HasSubstr("2 tensor names hold"), Not(HasSubstr("\u202e"))));
}

TEST(Safetensors, PrintsHostileNamesSafely) {
  EXPECT_THAT(verdict(R"({"\u001b]0;x\u0007":1})", 0),
              AllOf(Not(HasSubstr("\x1b")), Not(HasSubstr("\a"))));
}

// The vectors of the official writer's own tests.
TEST(SafetensorsWriter, WritesWhatTheOfficialWriterWrites) {
  std::vector<StoredTensor> tensors{{"attn.0", DType::kF32, {1, 2, 3}, 0, 0}};
  EXPECT_EQ(
      write_safetensors_header(tensors, {}, 8),
      little_endian(64) + R"({"attn.0":{"dtype":"F32","shape":[1,2,3],"data_offsets":[0,24]}})");
  tensors[0].name = "attn0";
  EXPECT_EQ(
      write_safetensors_header(tensors, {}, 8),
      little_endian(64) + R"({"attn0":{"dtype":"F32","shape":[1,2,3],"data_offsets":[0,24]}} )");
}

TEST(SafetensorsWriter, FillsInOffsetsAndSizes) {
  std::vector<StoredTensor> tensors{{"x", DType::kF32, {3}, 7, 7}, {"y", DType::kBF16, {}, 7, 7}};
  const std::string header = write_safetensors_header(tensors, {{"format", "pt"}}, 4096);
  EXPECT_EQ(header.size(), 4096u);
  EXPECT_EQ(tensors[0].offset, 4096u);
  EXPECT_EQ(tensors[0].bytes, 12u);
  EXPECT_EQ(tensors[1].offset, 4108u);
  EXPECT_EQ(tensors[1].bytes, 2u);
}

TEST(SafetensorsWriter, WritesAnEmptyFile) {
  std::vector<StoredTensor> none;
  EXPECT_EQ(write_safetensors_header(none, {}, 8), little_endian(8) + "{}      ");
}

// Names and texts from the corners of Unicode and JSON.
rc::Gen<std::string> text() {
  const auto piece =
      rc::gen::element<std::string>("a", "model.layers.", "0", "\"", "\\", "\n", "\x1f", "é", "名",
                                    "🦙", " ", "{", "/", "\x7f", "-0");
  return rc::gen::map(rc::gen::container<std::vector<std::string>>(piece), [](const auto& pieces) {
    return std::accumulate(pieces.begin(), pieces.end(), std::string());
  });
}

std::vector<StoredTensor> any_tensors() {
  const auto names = *rc::gen::container<std::set<std::string>>(text());
  std::vector<StoredTensor> tensors;
  for (const std::string& name : names) {
    if (name.empty()) continue;
    Shape shape = *rc::gen::container<Shape>(rc::gen::inRange<uint64_t>(0, 5));
    if (shape.size() > 8) shape.resize(8);
    const DType dtype = dtypes()[*rc::gen::inRange<size_t>(0, dtypes().size())].dtype;
    if (info(dtype).bits < 8) shape.push_back(8);
    tensors.push_back({name, dtype, shape, 0, 0});
  }
  return tensors;
}

uint64_t total_bytes(const std::vector<StoredTensor>& tensors) {
  uint64_t total = 0;
  for (const StoredTensor& t : tensors) total += t.bytes;
  return total;
}

RC_GTEST_PROP(SafetensorsWriter, IsReadBackAsWritten, ()) {
  std::vector<StoredTensor> tensors = any_tensors();
  const auto metadata = *rc::gen::container<std::map<std::string, std::string>>(text(), text());
  const auto alignment = *rc::gen::element<uint64_t>(8, 64, 4096);
  const std::string bytes = write_safetensors_header(tensors, metadata, alignment);
  const auto read = parse_safetensors_header(std::string_view(bytes).substr(8),
                                             bytes.size() + total_bytes(tensors), "m");
  RC_ASSERT(read.has_value());
  RC_ASSERT(read->data_start == bytes.size());
  RC_ASSERT(read->data_start % alignment == 0u);
  RC_ASSERT(read->metadata == metadata);
  RC_ASSERT(read->tensors.size() == tensors.size());
  const auto by_name = [](const StoredTensor& a, const StoredTensor& b) { return a.name < b.name; };
  std::vector<StoredTensor> got = read->tensors;
  std::ranges::sort(got, by_name);
  std::ranges::sort(tensors, by_name);
  for (size_t i = 0; i < got.size(); ++i) {
    RC_ASSERT(std::tie(got[i].name, got[i].dtype, got[i].shape, got[i].offset, got[i].bytes) ==
              std::tie(tensors[i].name, tensors[i].dtype, tensors[i].shape, tensors[i].offset,
                       tensors[i].bytes));
  }
}

// What every accepted file must satisfy, whatever its bytes.
void check_tiling(const SafetensorsHeader& header, uint64_t file_size) {
  uint64_t at = header.data_start;
  for (const StoredTensor& t : header.tensors) {
    RC_ASSERT(t.offset == at);
    const auto elements = element_count(t.shape);
    RC_ASSERT(elements.has_value());
    RC_ASSERT(*elements * static_cast<uint64_t>(info(t.dtype).bits) == t.bytes * 8);
    at += t.bytes;
  }
  RC_ASSERT(at == file_size);
}

RC_GTEST_PROP(Safetensors, NeverAcceptsAMutationThatDoesNotTile, ()) {
  std::vector<StoredTensor> tensors = any_tensors();
  std::string bytes = write_safetensors_header(tensors, {{"format", "pt"}}, 8).substr(8);
  uint64_t size = 8 + bytes.size() + total_bytes(tensors);
  const auto mutations = *rc::gen::inRange(1, 4);
  for (int i = 0; i < mutations; ++i) {
    const auto at = *rc::gen::inRange<size_t>(0, bytes.size());
    bytes[at] = *rc::gen::oneOf(rc::gen::arbitrary<char>(),
                                rc::gen::elementOf(std::string("0123456789[]{},:\"- ")));
  }
  size += *rc::gen::element<uint64_t>(0, 0, 0, 1, 8);
  const auto header = parse_safetensors_header(bytes, size, "m");
  if (header) check_tiling(*header, size);
}

// Processor seconds to parse a header of so many tensors.
double seconds_for(int count) {
  std::vector<StoredTensor> tensors;
  for (int i = 0; i < count; ++i) {
    tensors.push_back(
        {fmt::format("model.layers.{}.mlp.experts.{}.down_proj.weight", i / 100, i % 100),
         DType::kBF16,
         {7168, 2048},
         0,
         0});
  }
  const std::string bytes = write_safetensors_header(tensors, {}, 8);
  const uint64_t size = bytes.size() + total_bytes(tensors);
  const std::clock_t start = std::clock();
  const auto header = parse_safetensors_header(std::string_view(bytes).substr(8), size, "m");
  const std::clock_t end = std::clock();
  EXPECT_TRUE(header && header->tensors.size() == tensors.size());
  return static_cast<double>(end - start) / CLOCKS_PER_SEC;
}

TEST(Safetensors, ReadsManyTensorsInLinearTime) {
  const double few = std::max(seconds_for(14'000), 0.001);
  EXPECT_LT(seconds_for(140'000) / few, 40);  // ten times the tensors; quadratic work takes 100
}

}  // namespace
}  // namespace hieron
