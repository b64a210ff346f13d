// The files of tests/data/hostile, made by tests/make_hostile.py: what each must be called, and
// why.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "hieron/core/text.h"
#include "hieron/format/safetensors.h"
#include "hieron/format/shard_index.h"

namespace hieron {
namespace {

struct Case {
  std::string file, verdict, words;
};

void PrintTo(const Case& c, std::ostream* out) { *out << c.file; }

std::vector<Case> cases() {
  std::ifstream table(HIERON_TEST_DATA "/hostile/expected.tsv");
  std::vector<Case> rows;
  Case row;
  while (std::getline(table, row.file, '\t') && std::getline(table, row.verdict, '\t') &&
         std::getline(table, row.words)) {
    rows.push_back(row);
  }
  return rows;
}

std::optional<Error> refusal_of(const std::string& path) {
  if (path.ends_with(".index.json")) {
    std::ifstream in(path, std::ios::binary);
    const std::string json{std::istreambuf_iterator<char>(in), {}};
    const auto index = parse_shard_index(json, path);
    return index ? std::nullopt : std::optional(index.error());
  }
  const auto file = open_file(path);
  if (!file) return file.error();
  const auto header = read_safetensors_header(**file);
  return header ? std::nullopt : std::optional(header.error());
}

class Hostile : public testing::TestWithParam<Case> {};

TEST_P(Hostile, IsCalledWhatItIs) {
  const std::string path = std::string(HIERON_TEST_DATA "/hostile/") + GetParam().file;
  const std::optional<Error> error = refusal_of(path);
  ASSERT_EQ(error.has_value(), GetParam().verdict == "refused");
  if (!error) return;
  EXPECT_EQ(error->code, ErrorCode::kRefused);
  EXPECT_EQ(error->file, path);
  EXPECT_THAT(error->sentence, testing::HasSubstr(GetParam().words));
  EXPECT_FALSE(has_control_or_bidi(error->sentence));
}

INSTANTIATE_TEST_SUITE_P(Corpus, Hostile, testing::ValuesIn(cases()));

}  // namespace
}  // namespace hieron
