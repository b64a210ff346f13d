#include "hieron/merge/json_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "hieron/core/text.h"

namespace hieron::json_text {
namespace {

constexpr std::string_view kSpace = " \t\r\n";

size_t skip_space(std::string_view text, size_t at) {
  return std::min(text.find_first_not_of(kSpace, at), text.size());
}

size_t end_of_string(std::string_view text, size_t at) {
  for (++at; at < text.size() && text[at] != '"'; ++at) {
    if (text[at] == '\\') ++at;
  }
  return std::min(at + 1, text.size());
}

size_t end_of_value(std::string_view text, size_t at) {
  if (text[at] == '"') return end_of_string(text, at);
  if (text[at] != '{' && text[at] != '[') {
    return std::min(text.find_first_of(",]} \t\r\n", at), text.size());
  }
  size_t depth = 0;
  while (at < text.size()) {
    const char c = text[at];
    if (c == '"') {
      at = end_of_string(text, at);
      continue;
    }
    ++at;
    if (c == '{' || c == '[') ++depth;
    if ((c == '}' || c == ']') && --depth == 0) break;
  }
  return at;
}

// Past the value at `at` and the comma behind it.
size_t next_value(std::string_view text, size_t at) {
  at = skip_space(text, at);
  if (at < text.size() && text[at] == ',') at = skip_space(text, at + 1);
  return at;
}

bool closes(char c) { return c == '}' || c == ']'; }

// The white space before the first part of a container: a line break and an indent, or nothing.
std::string_view lead_of(std::string_view container) {
  return container.substr(1, skip_space(container, 1) - 1);
}

// Before the closing bracket.
std::string_view tail_of(std::string_view container) {
  const size_t last = container.find_last_not_of(kSpace, container.size() - 2);
  return container.substr(last + 1, container.size() - last - 2);
}

}  // namespace

Status check_object(std::string_view text, const std::string& file) {
  const size_t start = text.find_first_not_of(kSpace);
  if (start != text.npos && text[start] == '{' && nlohmann::json::accept(text)) return {};
  return refuse(fmt::format("{}: not a JSON object; fetch the file again.", printable(file)), file);
}

std::vector<Member> members(std::string_view object) {
  std::vector<Member> found;
  size_t at = skip_space(object, object.find('{') + 1);
  while (at < object.size() && !closes(object[at])) {
    const size_t key_end = end_of_string(object, at);
    const size_t value = skip_space(object, object.find(':', key_end) + 1);
    const size_t end = end_of_value(object, value);
    found.push_back({object.substr(at, key_end - at), object.substr(value, end - value)});
    at = next_value(object, end);
  }
  return found;
}

std::vector<std::string_view> elements(std::string_view array) {
  std::vector<std::string_view> found;
  size_t at = skip_space(array, array.find('[') + 1);
  while (at < array.size() && !closes(array[at])) {
    const size_t end = end_of_value(array, at);
    found.push_back(array.substr(at, end - at));
    at = next_value(array, end);
  }
  return found;
}

std::optional<std::string_view> find(std::string_view object, std::string_view key) {
  for (const Member& member : members(object)) {
    if (member.key.substr(1, member.key.size() - 2) == key) return member.value;
  }
  return std::nullopt;
}

std::string quoted(std::string_view text) {
  return nlohmann::json(text).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

std::string unquoted(std::string_view value) {
  const std::string_view inside = value.substr(1, value.size() - 2);
  if (inside.find('\\') == inside.npos) return std::string(inside);
  const auto parsed = nlohmann::json::parse(value, nullptr, false);
  return parsed.is_string() ? parsed.get<std::string>() : std::string(inside);
}

void Edits::replace(std::string_view part, std::string with) {
  const auto at = static_cast<size_t>(part.data() - text_.data());
  edits_.push_back({at, part.size(), std::move(with)});
}

void Edits::set(std::string_view object, std::string_view key, std::string value) {
  if (const auto old = find(object, key)) return replace(*old, std::move(value));
  const auto present = members(object);
  const std::string member = fmt::format("{}: {}", quoted(key), value);
  const std::string_view inside = object.substr(object.find('{'));
  if (present.empty()) return replace(inside, fmt::format("{{\n  {}\n}}", member));
  const std::string_view last = present.back().value;
  replace({last.data() + last.size(), 0}, fmt::format(",{}{}", lead_of(inside), member));
}

std::string Edits::apply() && {
  std::ranges::stable_sort(edits_, {}, &Edit::at);
  std::string out;
  size_t at = 0;
  for (const Edit& edit : edits_) {
    out.append(text_, at, edit.at - at);
    out += edit.with;
    at = edit.at + edit.bytes;
  }
  out.append(text_, at);
  return out;
}

std::string container(std::string_view like, const std::vector<std::string>& parts) {
  const char open = like.front(), close = like.back();
  if (parts.empty()) return {open, close};
  const std::string lead(lead_of(like)), tail(like.size() > 2 ? tail_of(like) : "");
  std::string out(1, open);
  for (const std::string& part : parts) {
    if (out.size() > 1) out += lead.empty() ? ", " : ",";
    out += lead;
    out += part;
  }
  return out + tail + close;
}

}  // namespace hieron::json_text
