#include "hieron/hub/settings.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cstdlib>
#include <filesystem>
#include <string_view>

#include "hieron/io/file.h"

namespace hieron {
namespace {

constexpr uint64_t kMostOfAToken = 4096;  // bytes

bool is_true(std::string text) {
  std::ranges::transform(text, text.begin(), [](unsigned char c) { return std::toupper(c); });
  return text == "1" || text == "ON" || text == "YES" || text == "TRUE";
}

std::string first_of(const Environment& environment, std::initializer_list<const char*> names) {
  for (const char* name : names) {
    std::string value = environment(name);
    if (!value.empty()) return value;
  }
  return {};
}

// "~" at the start is the user's folder.
std::string expanded(const Environment& environment, std::string path) {
  if (path == "~" || path.starts_with("~/")) path.replace(0, 1, environment("HOME"));
  return path;
}

std::string in(const std::string& folder, const char* name) {
  return (std::filesystem::path(folder) / name).string();
}

// A token is one word; what holds anything else is none, and is not sent.
std::string as_token(std::string text) {
  const auto space = [](unsigned char c) { return std::isspace(c) != 0; };
  std::erase_if(text, [](char c) { return c == '\r' || c == '\n'; });
  while (!text.empty() && space(static_cast<unsigned char>(text.back()))) text.pop_back();
  while (!text.empty() && space(static_cast<unsigned char>(text.front()))) text.erase(0, 1);
  const bool one_word = std::ranges::all_of(text, [](char c) { return c > ' ' && c < 0x7f; });
  return one_word ? text : std::string();
}

std::string token(const Environment& environment, const std::string& home) {
  std::string given = as_token(first_of(environment, {"HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"}));
  if (!given.empty()) return given;
  if (is_true(environment("HF_HUB_DISABLE_IMPLICIT_TOKEN"))) return {};
  std::string path = environment("HF_TOKEN_PATH");
  path = path.empty() ? in(home, "token") : expanded(environment, path);
  const auto text = read_text(path, kMostOfAToken);
  return text ? as_token(*text) : std::string();
}

}  // namespace

std::string process_environment(const std::string& name) {
  const char* value = std::getenv(name.c_str());
  return value ? value : "";
}

HubSettings hub_settings(const Environment& environment) {
  HubSettings settings;
  const std::string endpoint = environment("HF_ENDPOINT");
  if (!endpoint.empty()) settings.endpoint = endpoint;
  while (settings.endpoint.ends_with('/')) settings.endpoint.pop_back();

  std::string caches = environment("XDG_CACHE_HOME");
  if (caches.empty()) caches = in(environment("HOME"), ".cache");
  std::string home = environment("HF_HOME");
  home = expanded(environment, home.empty() ? in(caches, "huggingface") : home);
  settings.token = token(environment, home);

  const std::string cache = first_of(environment, {"HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"});
  settings.cache = cache.empty() ? in(home, "hub") : expanded(environment, cache);
  settings.offline = is_true(first_of(environment, {"HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"}));
  settings.certificates =
      first_of(environment, {"REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"});

  const std::string timeout = environment("HF_HUB_DOWNLOAD_TIMEOUT");
  unsigned seconds = 0;
  std::from_chars(timeout.data(), timeout.data() + timeout.size(), seconds);
  if (seconds > 0) settings.stall_seconds = seconds;
  return settings;
}

}  // namespace hieron
