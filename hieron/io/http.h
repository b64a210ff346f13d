// Requests over HTTP: many at once, on one thread of their own.
//
// What every request gets: no redirect to another host carries its token; no content encoding; a
// limit on the body; another try, later, after what passes by itself (a connection that breaks, a
// body that ends early, status 429 and 5xx). HTTP/2 where the server speaks it. Messages never hold
// a token, nor the query of an address (which may be a signature).
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "hieron/core/error.h"
#include "hieron/io/file.h"

namespace hieron {

// Status line and headers of an answer.
struct HttpHead {
  int status = 0;
  std::string url;                                           // that answered, after redirects
  std::vector<std::pair<std::string, std::string>> headers;  // names in lower case

  std::string_view header(std::string_view name) const;  // the last of that name; or empty
};

struct HttpResponse {
  HttpHead head;
  std::string body;    // if the request has no sink; of an error, its beginning
  bool moved = false;  // redirected within the same host
};

struct HttpRequest {
  std::string url;
  std::string bearer = {};  // a token, for the host of `url` only
  bool head_only = false;
  bool urgent = false;                // before those that wait
  bool follows_abroad = true;         // else a redirect to another host is the answer
  std::optional<Extent> range = {};   // the bytes asked for
  uint64_t most_bytes = 16ull << 20;  // of the body
  // Of an answer with status 2xx, before its first byte: may refuse it. On the client's thread.
  std::function<Status(const HttpHead&)> accept = {};
  // Bytes of a body with status 2xx; after another try they begin again at 0. On the client's
  // thread.
  std::function<Status(uint64_t at, std::span<const std::byte>)> sink = {};
};

struct HttpOptions {
  unsigned in_flight = 32;
  int tries = 5;                  // of a request
  double first_delay = 0.5;       // seconds before the second try; doubled each time, with jitter
  double longest_delay = 8;       // seconds
  double longest_wait = 300;      // seconds, if the server says how long to wait
  double connect_seconds = 10;    // for a connection
  double stall_seconds = 10;      // without a byte
  std::string certificates = {};  // a file of authorities to trust; empty: the system's
};

class HttpClient {
 public:
  using Done = std::function<void(Result<HttpResponse>)>;

  explicit HttpClient(HttpOptions options = {});
  ~HttpClient();  // requests that are not done end with an error
  HttpClient(const HttpClient&) = delete;
  HttpClient& operator=(const HttpClient&) = delete;

  // Any thread. `done` is called once, on the client's thread, and must not wait for another
  // request. An answer with an error status is an answer.
  void submit(HttpRequest request, Done done);
  Result<HttpResponse> fetch(HttpRequest request);

  uint64_t requests() const;  // sent so far, every try and redirect
  uint64_t bytes() const;     // of bodies received so far

 private:
  class Loop;
  std::shared_ptr<Loop> loop_;
};

// "https://host/path", without user and query: what may be shown.
std::string shown_url(std::string_view url);
// Scheme, host and port: whom a token may be sent to. Empty if it is no http address.
std::string origin_of(std::string_view url);
// What a Location of an answer from `url` means; empty if it makes no sense.
std::string resolve_location(const std::string& url, const std::string& location);

// Seconds that a 429 or 503 asks to wait: Retry-After (seconds or a date), or the RateLimit header.
std::optional<double> asked_wait(const HttpHead& head, int64_t now);

// The bytes that a 206 holds, and the size of the whole if it says so.
struct ContentRange {
  uint64_t first, last;
  std::optional<uint64_t> size;
  friend bool operator==(const ContentRange&, const ContentRange&) = default;
};
std::optional<ContentRange> parse_content_range(std::string_view text);

// An ETag without W/ and quotes.
std::string bare_etag(std::string_view text);

// An answer with an error status as a sentence. `what` completes "… cannot be had".
std::unexpected<Error> http_failure(const HttpHead& head, std::string_view what);

}  // namespace hieron
