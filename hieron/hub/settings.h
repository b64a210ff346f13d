// Which hub is asked, as whom, and where its files are kept: the environment variables of
// huggingface_hub.
#pragma once

#include <functional>
#include <string>

namespace hieron {

struct HubSettings {
  std::string endpoint = "https://huggingface.co";  // HF_ENDPOINT
  std::string token = {};                           // HF_TOKEN, or the token file
  std::string cache = {};                           // HF_HUB_CACHE, or hub/ in HF_HOME
  bool offline = false;                             // HF_HUB_OFFLINE
  double stall_seconds = 10;                        // HF_HUB_DOWNLOAD_TIMEOUT
  std::string certificates = {};  // REQUESTS_CA_BUNDLE, CURL_CA_BUNDLE or SSL_CERT_FILE
};

// The value of a variable, or empty.
using Environment = std::function<std::string(const std::string&)>;
std::string process_environment(const std::string& name);

HubSettings hub_settings(const Environment& environment = process_environment);

}  // namespace hieron
