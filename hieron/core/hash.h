// SHA-256 (OpenSSL), incremental. Not thread-safe; movable.
#pragma once

#include <array>
#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace hieron {

using Digest = std::array<unsigned char, 32>;

std::string to_hex(std::span<const unsigned char> bytes);

class Sha256 {
 public:
  Sha256();
  Sha256(Sha256&&) noexcept;
  Sha256& operator=(Sha256&&) noexcept;
  ~Sha256();
  void update(std::span<const std::byte> bytes);
  void update(std::string_view bytes);
  Digest finish();  // once

 private:
  struct State;
  std::unique_ptr<State> state_;
};

Digest sha256(std::string_view bytes);

// The name that git gives to a file of this content: SHA-1, 40 hex digits. To recognise damage, not
// deceit.
std::string git_blob_id(std::string_view bytes);

}  // namespace hieron
