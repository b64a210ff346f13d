#include "hieron/io/http.h"

#include <curl/curl.h>
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <condition_variable>
#include <ctime>
#include <deque>
#include <future>
#include <map>
#include <mutex>
#include <random>
#include <thread>

#include "hieron/core/text.h"

namespace hieron {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kMostRedirects = 5;
constexpr uint64_t kErrorBody = 64u << 10;   // of an answer with an error status
constexpr size_t kHeaderBytes = 256u << 10;  // of all the headers of an answer
constexpr long kReceiveBuffer = 256l << 10;  // bytes that are handed on at a time, at most

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view kSpace = " \t\r\n";
  const size_t first = text.find_first_not_of(kSpace);
  if (first == text.npos) return {};
  return text.substr(first, text.find_last_not_of(kSpace) - first + 1);
}

std::optional<uint64_t> number(std::string_view text) {
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.empty() || error != std::errc() || end != text.data() + text.size()) return {};
  return value;
}

struct UrlDeleter {
  void operator()(CURLU* url) const { curl_url_cleanup(url); }
};
using Url = std::unique_ptr<CURLU, UrlDeleter>;

Url parse_url(const std::string& text) {
  Url url(curl_url());
  if (!url || curl_url_set(url.get(), CURLUPART_URL, text.c_str(), 0) != CURLUE_OK) return {};
  return url;
}

std::string part(const Url& url, CURLUPart which, unsigned flags = 0) {
  char* text = nullptr;
  if (curl_url_get(url.get(), which, &text, flags) != CURLUE_OK) return {};
  std::string copy(text);
  curl_free(text);
  return copy;
}

std::string host_of(const std::string& url) {
  const Url parsed = parse_url(url);
  return parsed ? part(parsed, CURLUPART_HOST) : std::string();
}

bool is_redirect(int status) {
  return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

bool worth_another_try(int status) {
  return status == 408 || status == 429 || (status >= 500 && status != 501 && status != 505);
}

bool worth_another_try(CURLcode code) {
  switch (code) {
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_CONNECT:
    case CURLE_OPERATION_TIMEDOUT:
    case CURLE_GOT_NOTHING:
    case CURLE_SEND_ERROR:
    case CURLE_RECV_ERROR:
    case CURLE_PARTIAL_FILE:
    case CURLE_HTTP2:
    case CURLE_HTTP2_STREAM:
      return true;
    default:
      return false;
  }
}

// Who cannot be reached at all will not be soon; nobody should wait long to hear it.
int most_tries(CURLcode code) {
  constexpr int kToConnect = 3, kAny = 1000;
  return code == CURLE_COULDNT_RESOLVE_HOST || code == CURLE_COULDNT_CONNECT ? kToConnect : kAny;
}

bool is_tls(CURLcode code) {
  switch (code) {
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_CIPHER:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_ISSUER_ERROR:
      return true;
    default:
      return false;
  }
}

std::unexpected<Error> transport_failure(CURLcode code, const char* detail,
                                         const std::string& url) {
  const std::string host = printable(host_of(url));
  const std::string why = printable(*detail ? detail : curl_easy_strerror(code), 200);
  if (is_tls(code)) {
    return system_error(
        fmt::format("{}: the connection is not safe ({}); nothing was sent. Check the address, the "
                    "clock and the certificates of this machine.",
                    host, why),
        shown_url(url));
  }
  if (code == CURLE_COULDNT_RESOLVE_HOST || code == CURLE_COULDNT_RESOLVE_PROXY ||
      code == CURLE_COULDNT_CONNECT) {
    return system_error(
        fmt::format("{} cannot be reached ({}). Check the connection, HF_ENDPOINT and the proxy, "
                    "or use what is in the local cache with --offline.",
                    host, why),
        shown_url(url));
  }
  return system_error(
      fmt::format("{}: the transfer failed ({}), again after several tries. Retry later.",
                  shown_url(url), why),
      shown_url(url));
}

// One request from the first try to its end.
struct Transfer {
  HttpRequest request;
  HttpClient::Done done;
  std::string url, origin;  // of this try
  bool with_token = true;   // is it still the host that the token is for?
  bool moved = false;
  int redirects = 0, tries = 0;
  Clock::time_point not_before = Clock::now();

  HttpHead head = {};
  std::string body = {};
  uint64_t received = 0;
  size_t header_bytes = 0;
  bool accepted = false;
  std::optional<Error> refused = {};
  CURL* easy = nullptr;  // while it is under way
  std::atomic<uint64_t>* total = nullptr;
  curl_slist* headers = nullptr;
  char detail[CURL_ERROR_SIZE] = "";

  Transfer(HttpRequest r, HttpClient::Done d)
      : request(std::move(r)), done(std::move(d)), url(request.url), origin(origin_of(url)) {}
  Transfer(const Transfer&) = delete;
  Transfer& operator=(const Transfer&) = delete;
  ~Transfer() { curl_slist_free_all(headers); }

  void begin_try() {
    head = {};
    head.url = url;
    body.clear();
    received = 0;
    header_bytes = 0;
    accepted = false;
    detail[0] = '\0';
  }

  void add_header(const std::string& line) { headers = curl_slist_append(headers, line.c_str()); }

  bool take_header(std::string_view line);
  bool take_body(std::span<const std::byte> bytes);
  Status check_head() const;
};

bool Transfer::take_header(std::string_view line) {
  header_bytes += line.size();
  if (header_bytes > kHeaderBytes) {
    refused = Error{ErrorCode::kSystem,
                    fmt::format("{}: the answer has too many headers.", shown_url(url))};
    return false;
  }
  if (line.starts_with("HTTP/")) {  // also after an interim answer
    head.headers.clear();
    return true;
  }
  const size_t colon = line.find(':');
  if (colon == line.npos) return true;
  std::string name(line.substr(0, colon));
  std::ranges::transform(name, name.begin(), lower);
  head.headers.emplace_back(std::move(name), trimmed(line.substr(colon + 1)));
  return true;
}

Status Transfer::check_head() const {
  const std::string_view encoding = head.header("content-encoding");
  if (!encoding.empty() && encoding != "identity") {
    return system_error(
        fmt::format("{}: the answer is encoded ({}) although that was declined, so its bytes are "
                    "not those of the file. Check for a proxy in between.",
                    shown_url(url), printable(encoding)),
        shown_url(url));
  }
  return request.accept ? request.accept(head) : Status{};
}

bool Transfer::take_body(std::span<const std::byte> bytes) {
  total->fetch_add(bytes.size(), std::memory_order_relaxed);
  if (head.status == 0) {
    long status = 0;
    curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
    head.status = static_cast<int>(status);
  }
  if (head.status / 100 != 2) {
    const size_t room = kErrorBody - std::min<size_t>(kErrorBody, body.size());
    body.append(reinterpret_cast<const char*>(bytes.data()), std::min(room, bytes.size()));
    received += bytes.size();
    return received <= 16 * kErrorBody;
  }
  if (!accepted) {
    if (Status checked = check_head(); !checked) {
      refused = std::move(checked.error());
      return false;
    }
    accepted = true;
  }
  if (bytes.size() > request.most_bytes - std::min(request.most_bytes, received)) {
    refused = Error{ErrorCode::kSystem,
                    fmt::format("{}: the answer has more than the {} bytes that it may have.",
                                shown_url(url), with_commas(request.most_bytes))};
    return false;
  }
  if (request.sink) {
    if (Status taken = request.sink(received, bytes); !taken) {
      refused = std::move(taken.error());
      return false;
    }
  } else {
    body.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  }
  received += bytes.size();
  return true;
}

}  // namespace

std::string_view HttpHead::header(std::string_view name) const {
  std::string_view value;
  for (const auto& [n, v] : headers) {
    if (n == name) value = v;
  }
  return value;
}

// The thread, the queue and the connections.
class HttpClient::Loop : public std::enable_shared_from_this<HttpClient::Loop> {
 public:
  explicit Loop(HttpOptions options) : options_(std::move(options)) {
    static const CURLcode initialised = curl_global_init(CURL_GLOBAL_DEFAULT);
    (void)initialised;
    multi_ = curl_multi_init();
    curl_multi_setopt(multi_, CURLMOPT_PIPELINING, long{CURLPIPE_MULTIPLEX});
    curl_multi_setopt(multi_, CURLMOPT_MAXCONNECTS, long{2 * options_.in_flight});
    curl_multi_setopt(multi_, CURLMOPT_MAX_CONCURRENT_STREAMS, long{options_.in_flight});
  }
  ~Loop() {
    for (CURL* easy : idle_) curl_easy_cleanup(easy);
    curl_multi_cleanup(multi_);
  }
  Loop(const Loop&) = delete;
  Loop& operator=(const Loop&) = delete;

  void start() {
    thread_ = std::thread([self = shared_from_this()] { self->run(); });
  }

  // Nothing may be submitted any more.
  void stop() {
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    curl_multi_wakeup(multi_);
    // The last owner may be an answer that is being handed over.
    if (thread_.get_id() == std::this_thread::get_id()) {
      thread_.detach();
    } else {
      thread_.join();
    }
  }

  void submit(HttpRequest request, Done done) {
    auto transfer = std::make_unique<Transfer>(std::move(request), std::move(done));
    bool first = false;
    {
      const std::lock_guard lock(mutex_);
      first = arrived_.empty();
      arrived_.push_back(std::move(transfer));
    }
    if (first) curl_multi_wakeup(multi_);
  }

  uint64_t requests() const { return requests_.load(std::memory_order_relaxed); }
  uint64_t bytes() const { return bytes_.load(std::memory_order_relaxed); }

 private:
  using Owned = std::unique_ptr<Transfer>;

  void run() {
    while (take_arrived()) {
      start_some();
      int running = 0;
      curl_multi_perform(multi_, &running);
      finish_some();
      // What finished may have asked for more.
      if (has_arrived() || can_start()) continue;
      curl_multi_poll(multi_, nullptr, 0, patience(), nullptr);
    }
    abandon();
  }

  bool has_arrived() {
    const std::lock_guard lock(mutex_);
    return stopping_ || !arrived_.empty();
  }

  bool take_arrived() {
    const std::lock_guard lock(mutex_);
    for (Owned& transfer : arrived_) {
      if (transfer->request.urgent) {
        waiting_.push_front(std::move(transfer));
      } else {
        waiting_.push_back(std::move(transfer));
      }
    }
    arrived_.clear();
    return !stopping_;
  }

  // When the transfer may start: its own delay, or that which its host has asked for.
  Clock::time_point due(const Transfer& transfer) const {
    const auto paused = paused_.find(transfer.origin);
    return paused == paused_.end() ? transfer.not_before
                                   : std::max(transfer.not_before, paused->second);
  }

  bool can_start() const {
    if (active_.size() >= options_.in_flight) return false;
    const auto now = Clock::now();
    return std::ranges::any_of(waiting_, [&](const Owned& t) { return due(*t) <= now; });
  }

  int patience() const {
    constexpr int kLongest = 1000;
    if (active_.size() >= options_.in_flight) return kLongest;
    auto soonest = Clock::now() + std::chrono::milliseconds(kLongest);
    for (const Owned& transfer : waiting_) soonest = std::min(soonest, due(*transfer));
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(soonest - Clock::now());
    return std::clamp<int>(static_cast<int>(left.count()), 0, kLongest);
  }

  void start_some() {
    const auto now = Clock::now();
    std::erase_if(paused_, [&](const auto& paused) { return paused.second <= now; });
    for (auto it = waiting_.begin(); it != waiting_.end() && active_.size() < options_.in_flight;) {
      if (due(**it) > now) {
        ++it;
        continue;
      }
      Owned transfer = std::move(*it);
      it = waiting_.erase(it);
      begin(std::move(transfer));
    }
  }

  CURL* take_easy() {
    if (idle_.empty()) return curl_easy_init();
    CURL* easy = idle_.back();
    idle_.pop_back();
    curl_easy_reset(easy);
    return easy;
  }

  void begin(Owned owned) {
    Transfer& transfer = *owned;
    const HttpRequest& request = transfer.request;
    transfer.begin_try();
    CURL* easy = take_easy();
    transfer.easy = easy;
    transfer.total = &bytes_;
    curl_slist_free_all(transfer.headers);
    transfer.headers = nullptr;
    transfer.add_header("Accept-Encoding: identity");
    if (transfer.with_token && !request.bearer.empty()) {
      transfer.add_header("Authorization: Bearer " + request.bearer);
    }
    curl_easy_setopt(easy, CURLOPT_URL, transfer.url.c_str());
    curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, long{CURL_HTTP_VERSION_2TLS});
    curl_easy_setopt(easy, CURLOPT_PIPEWAIT, 1L);
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(easy, CURLOPT_USERAGENT, "hieron/" HIERON_VERSION);
    curl_easy_setopt(easy, CURLOPT_HTTPHEADER, transfer.headers);
    curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, kReceiveBuffer);
    curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS,
                     static_cast<long>(options_.connect_seconds * 1000));
    curl_easy_setopt(easy, CURLOPT_LOW_SPEED_LIMIT, 1L);
    curl_easy_setopt(easy, CURLOPT_LOW_SPEED_TIME,
                     std::max(1L, static_cast<long>(options_.stall_seconds)));
    curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, transfer.detail);
    curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, &Loop::on_header);
    curl_easy_setopt(easy, CURLOPT_HEADERDATA, &transfer);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, &Loop::on_body);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, &transfer);
    if (request.head_only) curl_easy_setopt(easy, CURLOPT_NOBODY, 1L);
    if (!options_.certificates.empty()) {
      curl_easy_setopt(easy, CURLOPT_CAINFO, options_.certificates.c_str());
    }
    std::string range;
    if (request.range && request.range->bytes > 0) {
      range = fmt::format("{}-{}", request.range->offset,
                          request.range->offset + request.range->bytes - 1);
      curl_easy_setopt(easy, CURLOPT_RANGE, range.c_str());
    }
    requests_.fetch_add(1, std::memory_order_relaxed);
    active_[easy] = std::move(owned);
    curl_multi_add_handle(multi_, easy);
  }

  static size_t on_header(char* data, size_t size, size_t count, void* user) {
    const size_t bytes = size * count;
    return static_cast<Transfer*>(user)->take_header({data, bytes}) ? bytes : 0;
  }

  static size_t on_body(char* data, size_t size, size_t count, void* user) {
    const size_t bytes = size * count;
    const std::span<const std::byte> span(reinterpret_cast<const std::byte*>(data), bytes);
    return static_cast<Transfer*>(user)->take_body(span) ? bytes : 0;
  }

  void finish_some() {
    int left = 0;
    while (const CURLMsg* message = curl_multi_info_read(multi_, &left)) {
      if (message->msg != CURLMSG_DONE) continue;
      CURL* easy = message->easy_handle;
      const CURLcode code = message->data.result;
      long status = 0;
      curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
      Owned transfer = detach(easy);
      transfer->head.status = static_cast<int>(status);
      finish(std::move(transfer), code);
    }
  }

  Owned detach(CURL* easy) {
    curl_multi_remove_handle(multi_, easy);
    const auto found = active_.find(easy);
    Owned transfer = std::move(found->second);
    active_.erase(found);
    idle_.push_back(easy);
    return transfer;
  }

  void finish(Owned transfer, CURLcode code) {
    if (transfer->refused) return hand_over(*transfer, std::unexpected(*transfer->refused));
    const HttpHead& head = transfer->head;
    if (code == CURLE_OK && cut_short(*transfer)) code = CURLE_PARTIAL_FILE;
    // A body that is not wanted was long: the status says enough.
    if (code == CURLE_WRITE_ERROR && head.status / 100 != 2) code = CURLE_OK;
    if (code != CURLE_OK) {
      if (worth_another_try(code) && transfer->tries + 1 < most_tries(code) &&
          try_again(transfer, {})) {
        return;
      }
      return hand_over(*transfer, transport_failure(code, transfer->detail, transfer->url));
    }
    if (worth_another_try(head.status) &&
        try_again(transfer, asked_wait(head, std::time(nullptr)))) {
      return;
    }
    if (is_redirect(head.status) && !head.header("location").empty()) {
      return redirect(std::move(transfer));
    }
    if (head.status / 100 == 2 && !transfer->accepted) {  // a body of no bytes
      if (Status checked = transfer->check_head(); !checked) {
        return hand_over(*transfer, std::unexpected(std::move(checked.error())));
      }
    }
    hand_over(*transfer,
              HttpResponse{std::move(transfer->head), std::move(transfer->body), transfer->moved});
  }

  // Fewer bytes than were asked for, in an answer that says that it has them.
  static bool cut_short(const Transfer& transfer) {
    const auto& range = transfer.request.range;
    return range && transfer.head.status / 100 == 2 && transfer.received < range->bytes;
  }

  static void hand_over(Transfer& transfer, Result<HttpResponse> result) {
    transfer.done(std::move(result));
  }

  bool try_again(Owned& transfer, std::optional<double> asked) {
    if (++transfer->tries >= options_.tries) return false;
    if (asked && *asked > options_.longest_wait) return false;
    const double doubled =
        options_.first_delay * static_cast<double>(1u << std::min(transfer->tries - 1, 16));
    const double jitter = std::uniform_real_distribution<double>(0.5, 1.0)(random_);
    double delay = std::min(doubled, options_.longest_delay) * jitter;
    if (asked) delay += *asked;
    const auto until = Clock::now() + std::chrono::duration_cast<Clock::duration>(
                                          std::chrono::duration<double>(delay));
    transfer->not_before = until;
    if (asked || transfer->head.status == 429) {  // the whole host is to be left in peace
      auto& paused = paused_[transfer->origin];
      paused = std::max(paused, until);
    }
    waiting_.push_back(std::move(transfer));
    return true;
  }

  void redirect(Owned transfer) {
    const std::string target =
        resolve_location(transfer->url, std::string(transfer->head.header("location")));
    const std::string from = transfer->origin, to = origin_of(target);
    const bool abroad = to != from;
    if (abroad && !transfer->request.follows_abroad) {
      return hand_over(*transfer, HttpResponse{std::move(transfer->head), {}, transfer->moved});
    }
    if (to.empty() || (from.starts_with("https:") && !to.starts_with("https:"))) {
      return hand_over(
          *transfer,
          system_error(fmt::format("{}: the server sends on to an address that is not safe to "
                                   "follow. Check HF_ENDPOINT.",
                                   shown_url(transfer->url)),
                       shown_url(transfer->url)));
    }
    if (++transfer->redirects > kMostRedirects) {
      return hand_over(*transfer, system_error(fmt::format("{}: the server sends from one address "
                                                           "to the next without end. Retry later.",
                                                           shown_url(transfer->request.url)),
                                               shown_url(transfer->url)));
    }
    if (abroad) transfer->with_token = false;  // for good, even if it leads back
    transfer->moved = transfer->moved || !abroad;
    transfer->url = target;
    transfer->origin = to;
    waiting_.push_front(std::move(transfer));
  }

  void abandon() {
    while (!active_.empty()) waiting_.push_back(detach(active_.begin()->first));
    while (!waiting_.empty()) {
      const Owned transfer = std::move(waiting_.front());
      waiting_.pop_front();
      hand_over(*transfer, system_error("The download was given up."));
    }
  }

  const HttpOptions options_;
  CURLM* multi_;
  std::thread thread_;
  std::mutex mutex_;  // guards the next two
  std::vector<Owned> arrived_;
  bool stopping_ = false;
  std::atomic<uint64_t> requests_{0}, bytes_{0};

  // The thread's own.
  std::deque<Owned> waiting_;
  std::map<CURL*, Owned> active_;
  std::vector<CURL*> idle_;
  std::map<std::string, Clock::time_point> paused_;  // by origin
  std::minstd_rand random_{std::random_device()()};
};

HttpClient::HttpClient(HttpOptions options) : loop_(std::make_shared<Loop>(std::move(options))) {
  loop_->start();
}

HttpClient::~HttpClient() { loop_->stop(); }

void HttpClient::submit(HttpRequest request, Done done) {
  loop_->submit(std::move(request), std::move(done));
}

Result<HttpResponse> HttpClient::fetch(HttpRequest request) {
  std::promise<Result<HttpResponse>> promise;
  submit(std::move(request),
         [&](Result<HttpResponse> answer) { promise.set_value(std::move(answer)); });
  return promise.get_future().get();
}

uint64_t HttpClient::requests() const { return loop_->requests(); }
uint64_t HttpClient::bytes() const { return loop_->bytes(); }

std::string shown_url(std::string_view url) {
  std::string shown(url.substr(0, url.find_first_of("?#")));
  const size_t host = shown.find("://");
  if (host != shown.npos) {
    const size_t path = std::min(shown.find('/', host + 3), shown.size());
    const size_t user = shown.rfind('@', path);
    if (user != shown.npos && user > host) shown.erase(host + 3, user - host - 2);
  }
  return printable(shown, 300);
}

std::string origin_of(std::string_view url) {
  const Url parsed = parse_url(std::string(url));
  if (!parsed) return {};
  const std::string scheme = part(parsed, CURLUPART_SCHEME);
  if (scheme != "http" && scheme != "https") return {};
  std::string host = part(parsed, CURLUPART_HOST);
  std::ranges::transform(host, host.begin(), lower);
  return fmt::format("{}://{}:{}", scheme, host, part(parsed, CURLUPART_PORT, CURLU_DEFAULT_PORT));
}

std::string resolve_location(const std::string& url, const std::string& location) {
  const Url parsed = parse_url(url);
  if (!parsed) return {};
  // Set on top of an address, a relative one is resolved against it.
  if (curl_url_set(parsed.get(), CURLUPART_URL, location.c_str(), 0) != CURLUE_OK) return {};
  return part(parsed, CURLUPART_URL);
}

std::optional<double> asked_wait(const HttpHead& head, int64_t now) {
  const std::string_view after = head.header("retry-after");
  if (const auto seconds = number(after)) {
    return static_cast<double>(std::min<uint64_t>(*seconds, 1u << 30));
  }
  if (!after.empty()) {
    const std::time_t date = curl_getdate(std::string(after).c_str(), nullptr);
    if (date >= 0) return static_cast<double>(std::max<int64_t>(0, int64_t{date} - now));
  }
  // RateLimit: "api";r=0;t=55  (requests left, seconds until there are more)
  std::string_view limit = head.header("ratelimit");
  std::optional<uint64_t> left, seconds;
  while (!limit.empty()) {
    const size_t end = std::min(limit.find(';'), limit.size());
    const std::string_view field = trimmed(limit.substr(0, end));
    if (field.starts_with("r=")) left = number(field.substr(2));
    if (field.starts_with("t=")) seconds = number(field.substr(2));
    limit.remove_prefix(std::min(limit.size(), end + 1));
  }
  if (left != 0u || !seconds) return {};
  return static_cast<double>(std::min<uint64_t>(*seconds, 1u << 30));
}

std::optional<ContentRange> parse_content_range(std::string_view text) {
  text = trimmed(text);
  constexpr std::string_view kUnit = "bytes ";
  if (!text.starts_with(kUnit)) return {};
  text.remove_prefix(kUnit.size());
  const size_t dash = text.find('-'), slash = text.find('/');
  if (dash == text.npos || slash == text.npos || dash > slash) return {};
  const auto first = number(text.substr(0, dash));
  const auto last = number(text.substr(dash + 1, slash - dash - 1));
  const std::string_view whole = text.substr(slash + 1);
  const auto size = number(whole);
  if (!first || !last || *last < *first || (!size && whole != "*")) return {};
  if (size && *last >= *size) return {};
  return ContentRange{*first, *last, size};
}

std::string bare_etag(std::string_view text) {
  text = trimmed(text);
  if (text.starts_with("W/")) text.remove_prefix(2);
  if (text.size() >= 2 && text.front() == '"' && text.back() == '"') {
    text = text.substr(1, text.size() - 2);
  }
  return std::string(text);
}

std::unexpected<Error> http_failure(const HttpHead& head, std::string_view what) {
  const std::string host = printable(host_of(head.url));
  if (head.status == 429) {
    const auto wait = asked_wait(head, std::time(nullptr));
    return system_error(
        fmt::format("{} cannot be had: {} allows no more requests for now (status 429). Retry in "
                    "{}{}.",
                    what, host, wait ? fmt::format("{:.0f} s", *wait) : "some minutes",
                    wait ? "" : ", or set HF_TOKEN, which allows more"),
        shown_url(head.url));
  }
  if (head.status >= 500) {
    return system_error(
        fmt::format("{} cannot be had: {} is in trouble (status {}, again after several tries). "
                    "Retry later.",
                    what, host, head.status),
        shown_url(head.url));
  }
  return system_error(fmt::format("{} cannot be had: {} answers with status {}. Check the name and "
                                  "HF_ENDPOINT, or retry later.",
                                  what, host, head.status),
                      shown_url(head.url));
}

}  // namespace hieron
