#include "hieron/hub/settings.h"

#include <gtest/gtest.h>

#include <map>

#include "hieron/io/scratch_folder.h"

namespace hieron {
namespace {

HubSettings with(std::map<std::string, std::string> variables) {
  variables.try_emplace("HOME", "/home/u");
  return hub_settings([&](const std::string& name) {
    const auto found = variables.find(name);
    return found == variables.end() ? std::string() : found->second;
  });
}

TEST(HubSettings, HaveHuggingFacesDefaults) {
  const HubSettings settings = with({});
  EXPECT_EQ(settings.endpoint, "https://huggingface.co");
  EXPECT_EQ(settings.cache, "/home/u/.cache/huggingface/hub");
  EXPECT_EQ(settings.token, "");
  EXPECT_FALSE(settings.offline);
}

TEST(HubSettings, FollowTheVariablesInTheirOrder) {
  EXPECT_EQ(with({{"XDG_CACHE_HOME", "/x"}}).cache, "/x/huggingface/hub");
  EXPECT_EQ(with({{"XDG_CACHE_HOME", "/x"}, {"HF_HOME", "~/hf"}}).cache, "/home/u/hf/hub");
  EXPECT_EQ(with({{"HF_HOME", "/hf"}, {"HF_HUB_CACHE", "/cache"}}).cache, "/cache");
  EXPECT_EQ(with({{"HF_ENDPOINT", "http://h:1//"}}).endpoint, "http://h:1");
  EXPECT_TRUE(with({{"HF_HUB_OFFLINE", "yes"}}).offline);
  EXPECT_TRUE(with({{"TRANSFORMERS_OFFLINE", "1"}}).offline);
  EXPECT_FALSE(with({{"HF_HUB_OFFLINE", "0"}}).offline);
  EXPECT_EQ(with({{"HF_HUB_DOWNLOAD_TIMEOUT", "3"}}).stall_seconds, 3);
  EXPECT_EQ(with({{"SSL_CERT_FILE", "/c.pem"}}).certificates, "/c.pem");
}

TEST(HubSettings, TakeTheTokenFromTheVariableElseFromTheFile) {
  const ScratchFolder folder;
  folder.write("token", "hf_file\n");
  folder.write("other", "  hf_other ");
  const std::string& home = folder.path();
  EXPECT_EQ(with({{"HF_HOME", home}}).token, "hf_file");
  EXPECT_EQ(with({{"HF_HOME", home}, {"HF_TOKEN", " hf_var\n"}}).token, "hf_var");
  EXPECT_EQ(with({{"HF_TOKEN_PATH", folder.path("other")}}).token, "hf_other");
  EXPECT_EQ(with({{"HF_HOME", home}, {"HF_HUB_DISABLE_IMPLICIT_TOKEN", "1"}}).token, "");
}

TEST(HubSettings, SendNoTokenThatCouldBreakAHeader) {
  EXPECT_EQ(with({{"HF_TOKEN", "a\r\nHost: evil"}}).token, "");
  EXPECT_EQ(with({{"HF_TOKEN", "two words"}}).token, "");
}

}  // namespace
}  // namespace hieron
