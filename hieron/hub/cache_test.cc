#include "hieron/hub/cache.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "hieron/io/scratch_folder.h"

namespace hieron {
namespace {

namespace fs = std::filesystem;

const std::string kCommit(40, 'c'), kOther(40, 'd');

HubFile file(const std::string& path, const std::string& etag) {
  return {.path = path, .bytes = 2, .etag = etag, .sha256 = {}};
}

TEST(RepoCache, LiesAsHuggingFaceHubLaysIt) {
  const ScratchFolder folder;
  const RepoCache cache(folder.path(), "org/name");
  ASSERT_TRUE(cache.writable(kCommit));
  ASSERT_TRUE(cache.set_ref("main", kCommit));
  ASSERT_TRUE(cache.store(kCommit, file("config.json", "abc"), "{}"));
  ASSERT_TRUE(cache.store(kCommit, file("sub/x.json", "def"), "[]"));
  const std::string repo = "models--org--name";
  EXPECT_EQ(folder.read(repo + "/refs/main"), kCommit);
  EXPECT_EQ(folder.read(repo + "/blobs/abc"), "{}");
  EXPECT_EQ(fs::read_symlink(folder.path(repo + "/snapshots/" + kCommit + "/config.json")),
            "../../blobs/abc");
  EXPECT_EQ(fs::read_symlink(folder.path(repo + "/snapshots/" + kCommit + "/sub/x.json")),
            "../../../blobs/def");
  EXPECT_EQ(folder.read("CACHEDIR.TAG").substr(0, 10), "Signature:");
}

TEST(RepoCache, FindsWhatIsThere) {
  const ScratchFolder folder;
  const RepoCache cache(folder.path(), "org/name");
  EXPECT_EQ(cache.commit_of("main"), std::nullopt);
  EXPECT_EQ(cache.commit_of(kCommit), kCommit);
  ASSERT_TRUE(cache.writable(kCommit));
  ASSERT_TRUE(cache.set_ref("pr/1", kCommit));
  EXPECT_EQ(cache.commit_of("pr/1"), kCommit);
  const std::string sha(64, '7');
  ASSERT_TRUE(cache.store(kCommit, file("w.safetensors", sha), "ab"));
  EXPECT_TRUE(cache.holds(kCommit, "w.safetensors"));
  EXPECT_FALSE(cache.holds(kOther, "w.safetensors"));
  const auto files = cache.files(kCommit);
  ASSERT_EQ(files.size(), 1u);
  EXPECT_EQ(files[0].sha256, sha);
  EXPECT_EQ(files[0].bytes, 2u);
}

TEST(RepoCache, KnowsNoFileWhoseBlobIsGone) {
  const ScratchFolder folder;
  const RepoCache cache(folder.path(), "org/name");
  ASSERT_TRUE(cache.writable(kCommit));
  ASSERT_TRUE(cache.store(kCommit, file("x", "abc"), "ab"));
  fs::remove(cache.blob("abc"));
  EXPECT_FALSE(cache.holds(kCommit, "x"));
  EXPECT_TRUE(cache.files(kCommit).empty());
}

TEST(RepoCache, MovesALinkToAnotherBlob) {
  const ScratchFolder folder;
  const RepoCache cache(folder.path(), "org/name");
  ASSERT_TRUE(cache.writable(kCommit));
  ASSERT_TRUE(cache.store(kCommit, file("x", "one"), "1"));
  ASSERT_TRUE(cache.store(kCommit, file("x", "two"), "2"));
  EXPECT_EQ(folder.read("models--org--name/snapshots/" + kCommit + "/x"), "2");
}

TEST(RepoCache, SaysIfItCannotBeWritten) {
  const ScratchFolder folder;
  folder.write("file", "");
  const RepoCache cache(folder.path("file/hub"), "org/name");
  EXPECT_FALSE(cache.writable(kCommit));
  EXPECT_FALSE(cache.store(kCommit, file("x", "abc"), "ab").has_value());
}

TEST(RepoCache, TrustsNoRefThatIsNoCommit) {
  const ScratchFolder folder;
  const RepoCache cache(folder.path(), "org/name");
  ASSERT_TRUE(cache.writable(kCommit));
  fs::create_directories(cache.folder() + "/refs");
  folder.write("models--org--name/refs/main", "../../../etc");
  EXPECT_EQ(cache.commit_of("main"), std::nullopt);
}

}  // namespace
}  // namespace hieron
