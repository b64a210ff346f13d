#include "hieron/pack/public_names.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <vector>

namespace hieron {
namespace {

namespace fs = std::filesystem;

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value ? value : "";
}

// "models/base/model.safetensors" is called base, "models/odd.safetensors" odd.
std::string last_component(const std::string& ref) {
  fs::path path = fs::path(ref).lexically_normal();
  if (!path.has_filename()) path = path.parent_path();
  std::string name = path.filename().string();
  const bool generic = name.starts_with("model.") || name.starts_with("model-");
  if (generic && path.has_parent_path()) return path.parent_path().filename().string();
  constexpr std::string_view kSuffix = ".safetensors";
  if (name.ends_with(kSuffix)) name.resize(name.size() - kSuffix.size());
  return name;
}

// A folder's name that is the user's own.
bool is_personal(const std::string& name) {
  return name == fs::path(environment("HOME")).filename() || name == environment("USER") ||
         name == environment("LOGNAME");
}

// What many machines have identifies none.
bool is_common(const std::string& folder) {
  return std::ranges::count(folder, '/') < 2 || folder.size() < 5;
}

}  // namespace

std::string public_name(const Checkpoint& checkpoint, const std::set<std::string>& taken) {
  const bool on_hub =
      !checkpoint.commit.empty() ||
      std::ranges::any_of(checkpoint.files, [](const auto& f) { return !f.origin.url.empty(); });
  std::string name = checkpoint.ref;
  if (!on_hub || name.starts_with('/') || name.starts_with('.') || name.starts_with('~')) {
    name = last_component(checkpoint.ref);
  }
  if (name.empty() || name == "." || name == ".." || is_personal(name)) name = "model";
  if (!taken.contains(name)) return name;
  for (int number = 2;; ++number) {
    const std::string numbered = fmt::format("{}-{}", name, number);
    if (!taken.contains(numbered)) return numbered;
  }
}

std::string public_url(std::string_view url) {
  url = url.substr(0, url.find_first_of("?#"));
  const size_t host = url.find("://");
  if (host == url.npos) return {};
  const std::string_view rest = url.substr(host + 3);
  const size_t user = rest.substr(0, rest.find('/')).rfind('@');
  return std::string(url.substr(0, host + 3)) +
         std::string(user == rest.npos ? rest : rest.substr(user + 1));
}

std::string without_this_machine(std::string text, std::span<const std::string> models) {
  std::error_code ignored;
  std::vector<std::string> folders{environment("HOME"), fs::current_path(ignored).string()};
  for (const std::string& model : models) {
    for (const fs::path& folder :
         {fs::canonical(model, ignored), fs::absolute(model, ignored).lexically_normal()}) {
      const std::string above = folder.parent_path().string();
      folders.push_back(is_common(above) ? folder.string() : above);
    }
  }
  std::erase_if(folders, is_common);
  std::ranges::sort(folders, std::greater(), &std::string::size);  // one may begin another
  for (std::string& name : folders) {
    if (name.ends_with('/')) name.pop_back();
    for (size_t at = 0; (at = text.find(name, at)) != text.npos;) {
      const bool more = text.compare(at + name.size(), 1, "/") == 0;
      text.erase(at, name.size() + (more ? 1 : 0));
    }
  }
  return text;
}

}  // namespace hieron
