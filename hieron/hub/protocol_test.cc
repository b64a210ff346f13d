#include "hieron/hub/protocol.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace hieron {
namespace {

using ::testing::HasSubstr;

const std::string kCommit(40, 'c'), kSha(64, '5'), kGit(40, '1');

TEST(Addresses, QuoteWhatIsNotPlain) {
  EXPECT_EQ(resolve_url("https://h", "o/n", "refs/pr/1", "a b/c+d.json"),
            "https://h/o/n/resolve/refs%2Fpr%2F1/a%20b/c%2Bd.json");
  EXPECT_EQ(revision_url("https://h", "o/n", "v1.0"), "https://h/api/models/o/n/revision/v1.0");
}

TEST(TreePage, ListsFilesWithTheirIdentities) {
  const std::string json = R"([{"type":"directory","path":"d","size":0,"oid":"x"},
    {"type":"file","path":"config.json","size":7,"oid":")" +
                           kGit + R"("},
    {"type":"file","path":"m.safetensors","size":134,"oid":")" +
                           kGit + R"(","lfs":{"oid":")" + kSha +
                           R"(","size":5000000000,"pointerSize":134}}])";
  const auto files = parse_tree_page(json, "h").value();
  ASSERT_EQ(files.size(), 2u);
  EXPECT_EQ(files[0].etag, kGit);
  EXPECT_EQ(files[0].bytes, 7u);
  EXPECT_EQ(files[0].sha256, "");
  EXPECT_EQ(files[1].etag, kSha);
  EXPECT_EQ(files[1].sha256, kSha);
  EXPECT_EQ(files[1].bytes, 5'000'000'000u);
}

TEST(TreePage, RefusesPathsThatLeadOut) {
  for (const char* path :
       {"../x", "/etc/passwd", "a/../../x", "a//b", "", ".", "a/./b", "a\\b", "a/"}) {
    const std::string json = std::string(R"([{"type":"file","size":1,"oid":"a","path":")") +
                             (std::string(path) == "a\\b" ? "a\\\\b" : path) + "\"}]";
    EXPECT_FALSE(parse_tree_page(json, "h").has_value()) << path;
  }
}

TEST(TreePage, KeepsNoEtagThatIsNoPlainName) {
  const auto files =
      parse_tree_page(R"([{"type":"file","path":"x","size":1,"oid":"../../evil"}])", "h").value();
  EXPECT_EQ(files[0].etag, "");
}

TEST(TreePage, IsRefusedIfItIsSomethingElse) {
  for (const char* json : {"", "{}", "[1]", "<html>", "null"}) {
    EXPECT_FALSE(parse_tree_page(json, "h").has_value()) << json;
  }
}

TEST(RevisionInfo, TellsCommitNameAndFiles) {
  const auto info =
      parse_revision_info(R"({"id":"o/new","sha":")" + kCommit +
                              R"(","siblings":[{"rfilename":"a","size":3,"blobId":")" + kGit +
                              R"("}]})",
                          "h")
          .value();
  EXPECT_EQ(info.commit, kCommit);
  EXPECT_EQ(info.repo, "o/new");
  EXPECT_EQ(info.files[0].bytes, 3u);
  EXPECT_FALSE(parse_revision_info(R"({"sha":"main"})", "h").has_value());
}

TEST(NextPage, IsTheLinkWithThatRelation) {
  EXPECT_EQ(next_page(R"(<https://h/a?cursor=x>; rel="next")"), "https://h/a?cursor=x");
  EXPECT_EQ(next_page(R"(<https://h/1>; rel="first", <https://h/2>; rel="next")"), "https://h/2");
  EXPECT_EQ(next_page(R"(<https://h/1>; rel="prev")"), "");
  EXPECT_EQ(next_page(""), "");
}

std::string sentence(int status, std::vector<std::pair<std::string, std::string>> headers,
                     bool token) {
  const HttpHead head{.status = status, .url = "https://hub/x", .headers = std::move(headers)};
  return hub_failure(head, {"o/n", "v1"}, "f.json", token).error().sentence;
}

TEST(HubFailure, TellsTheCausesApart) {
  EXPECT_THAT(sentence(401, {{"x-error-code", "RepoNotFound"}}, false), HasSubstr("is not on"));
  EXPECT_THAT(sentence(404, {{"x-error-code", "RepoNotFound"}}, true), HasSubstr("whose token"));
  EXPECT_THAT(sentence(401, {}, false), HasSubstr("private"));
  EXPECT_THAT(
      sentence(401, {{"x-error-message", "Invalid credentials in Authorization header"}}, true),
      HasSubstr("does not accept the token"));
  EXPECT_THAT(sentence(403, {{"x-error-code", "GatedRepo"}}, false), HasSubstr("gated"));
  EXPECT_THAT(sentence(404, {{"x-error-code", "RevisionNotFound"}}, false), HasSubstr("\"v1\""));
  EXPECT_THAT(sentence(404, {{"x-error-code", "EntryNotFound"}}, false), HasSubstr("f.json"));
  EXPECT_THAT(sentence(429, {{"retry-after", "9"}}, false), HasSubstr("9 s"));
  EXPECT_THAT(sentence(502, {}, false), HasSubstr("502"));
}

}  // namespace
}  // namespace hieron
