#include "hieron/core/hash.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

namespace hieron {
namespace {

// FIPS 180-2 appendix B, and NIST CAVP SHA256ShortMsg (empty message).
TEST(Sha256, GivesThePublishedDigests) {
  EXPECT_EQ(to_hex(sha256("")), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(to_hex(sha256("abc")),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(to_hex(sha256("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq")),
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  EXPECT_EQ(to_hex(sha256(std::string(1000000, 'a'))),
            "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

RC_GTEST_PROP(Sha256, DoesNotDependOnHowTheMessageIsCut, (const std::string& a, std::string b)) {
  Sha256 hash;
  hash.update(a);
  hash.update(std::string_view());
  Sha256 moved = std::move(hash);
  moved.update(std::as_bytes(std::span(b)));
  RC_ASSERT(moved.finish() == sha256(a + b));
}

TEST(GitBlobId, IsWhatGitHashObjectPrints) {
  EXPECT_EQ(git_blob_id(""), "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391");
  EXPECT_EQ(git_blob_id("hello\n"), "ce013625030ba8dba906f756967f9e9ca394464a");
}

TEST(ToHex, WritesTwoLowerCaseDigitsAByte) {
  const unsigned char bytes[]{0x00, 0x0F, 0xA5, 0xFF};
  EXPECT_EQ(to_hex(bytes), "000fa5ff");
}

}  // namespace
}  // namespace hieron
