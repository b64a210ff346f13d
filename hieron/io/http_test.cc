#include "hieron/io/http.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <string>
#include <thread>
#include <vector>

#include "hieron/io/remote_file.h"

namespace hieron {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

// A server that gives the answers it was given, one a connection, and keeps the requests.
class Scripted {
 public:
  explicit Scripted(std::vector<std::string> answers) : answers_(std::move(answers)) {
    listener_ = ::socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    ::bind(listener_, reinterpret_cast<sockaddr*>(&address), sizeof address);
    ::listen(listener_, 16);
    socklen_t size = sizeof address;
    ::getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size);
    port_ = ntohs(address.sin_port);
    thread_ = std::thread([this] { serve(); });
  }
  ~Scripted() {
    ::shutdown(listener_, SHUT_RDWR);
    thread_.join();
    ::close(listener_);
  }
  std::string url(const std::string& path = "/x", const char* host = "127.0.0.1") const {
    return "http://" + std::string(host) + ":" + std::to_string(port_) + path;
  }
  std::vector<std::string> requests;  // to be read when all is answered

 private:
  void serve() {
    for (const std::string& answer : answers_) {
      const int connection = ::accept(listener_, nullptr, nullptr);
      if (connection < 0) return;
      std::string request;
      char buffer[4096];
      while (request.find("\r\n\r\n") == request.npos) {
        const ssize_t n = ::read(connection, buffer, sizeof buffer);
        if (n <= 0) break;
        request.append(buffer, static_cast<size_t>(n));
      }
      requests.push_back(request);
      [[maybe_unused]] const ssize_t sent = ::write(connection, answer.data(), answer.size());
      ::close(connection);
    }
  }
  std::vector<std::string> answers_;
  int listener_ = -1;
  uint16_t port_ = 0;
  std::thread thread_;
};

std::string answer(const std::string& status, const std::string& headers, const std::string& body) {
  return "HTTP/1.1 " + status + "\r\n" + headers +
         "Connection: close\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
}

HttpOptions quick() {
  return {.tries = 3, .first_delay = 0.01, .longest_delay = 0.02, .longest_wait = 2};
}

TEST(HttpClient, TriesAgainWhatPassesByItself) {
  Scripted server({answer("503 Busy", "", "busy"), "", answer("200 OK", "", "hello")});
  HttpClient client(quick());
  const auto got = client.fetch({.url = server.url()});
  ASSERT_TRUE(got.has_value()) << got.error().sentence;
  EXPECT_EQ(got->body, "hello");
  EXPECT_EQ(client.requests(), 3u);
}

TEST(HttpClient, GivesUpAfterSoManyTries) {
  Scripted server(
      {answer("503 Busy", "", ""), answer("503 Busy", "", ""), answer("503 Busy", "", "")});
  HttpClient client(quick());
  const auto got = client.fetch({.url = server.url()});
  ASSERT_TRUE(got.has_value());
  EXPECT_EQ(got->head.status, 503);
  EXPECT_THAT(http_failure(got->head, "x").error().sentence, HasSubstr("status 503"));
}

TEST(HttpClient, WaitsAsLongAsItIsAskedTo) {
  Scripted server({answer("429 Slow", "Retry-After: 1\r\n", ""), answer("200 OK", "", "")});
  HttpClient client(quick());
  const auto start = std::chrono::steady_clock::now();
  const auto got = client.fetch({.url = server.url()});
  ASSERT_TRUE(got.has_value());
  EXPECT_EQ(got->head.status, 200);
  EXPECT_GE(std::chrono::steady_clock::now() - start, std::chrono::seconds(1));
}

TEST(HttpClient, ReadsBodiesThatEndEarlyAgain) {
  Scripted server(
      {"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf", answer("200 OK", "", "0123456789")});
  HttpClient client(quick());
  const auto got = client.fetch({.url = server.url()});
  ASSERT_TRUE(got.has_value()) << got.error().sentence;
  EXPECT_EQ(got->body, "0123456789");
}

TEST(HttpClient, KeepsTheTokenWithinItsHost) {
  Scripted other({answer("200 OK", "", "there")});
  Scripted server({answer("302 Found", "Location: /moved\r\n", ""),
                   answer("302 Found", "Location: " + other.url("/y", "localhost") + "\r\n", "")});
  HttpClient client(quick());
  const auto got = client.fetch({.url = server.url(), .bearer = "secret"});
  ASSERT_TRUE(got.has_value()) << got.error().sentence;
  EXPECT_EQ(got->body, "there");
  EXPECT_TRUE(got->moved);
  ASSERT_EQ(server.requests.size(), 2u);
  EXPECT_THAT(server.requests[0], HasSubstr("Authorization: Bearer secret"));
  EXPECT_THAT(server.requests[1], HasSubstr("Authorization: Bearer secret"));
  EXPECT_THAT(other.requests[0], Not(HasSubstr("secret")));
}

TEST(HttpClient, HandsBackARedirectAbroadIfAsked) {
  Scripted server({answer("302 Found", "Location: http://elsewhere.invalid/z?sig=1\r\n", "")});
  HttpClient client(quick());
  const auto got = client.fetch({.url = server.url(), .head_only = true, .follows_abroad = false});
  ASSERT_TRUE(got.has_value()) << got.error().sentence;
  EXPECT_EQ(got->head.header("location"), "http://elsewhere.invalid/z?sig=1");
}

TEST(HttpClient, EndsInAnEndlessChainOfRedirects) {
  const std::string on = answer("302 Found", "Location: /x\r\n", "");
  Scripted server(std::vector<std::string>(8, on));
  HttpClient client(quick());
  const auto got = client.fetch({.url = server.url()});
  ASSERT_FALSE(got.has_value());
  EXPECT_THAT(got.error().sentence, HasSubstr("without end"));
}

TEST(HttpClient, RefusesEncodedAndOverlongBodies) {
  Scripted server(
      {answer("200 OK", "Content-Encoding: gzip\r\n", "zzzz"), answer("200 OK", "", "12345")});
  HttpClient client(quick());
  EXPECT_THAT(client.fetch({.url = server.url()}).error().sentence, HasSubstr("encoded"));
  EXPECT_THAT(client.fetch({.url = server.url(), .most_bytes = 4}).error().sentence,
              HasSubstr("more than the 4 bytes"));
}

TEST(HttpClient, AsksForNoEncodingAndForTheRange) {
  Scripted server({answer("206 Partial", "Content-Range: bytes 5-6/10\r\n", "ab")});
  HttpClient client(quick());
  ASSERT_TRUE(client.fetch({.url = server.url(), .range = Extent{5, 2}}).has_value());
  EXPECT_THAT(server.requests[0], HasSubstr("Accept-Encoding: identity"));
  EXPECT_THAT(server.requests[0], HasSubstr("Range: bytes=5-6"));
}

TEST(HttpClient, EndsWhatIsNotDoneWhenItGoes) {
  Scripted server({});
  auto client = std::make_unique<HttpClient>(quick());
  std::atomic<bool> told = false;
  client->submit({.url = server.url()},
                 [&](const Result<HttpResponse>& got) { told = !got.has_value(); });
  client.reset();
  EXPECT_TRUE(told);
}

TEST(HttpClient, SaysWhenAHostCannotBeReached) {
  HttpClient client(quick());
  const auto got = client.fetch({.url = "http://127.0.0.1:9/x?Signature=secret"});
  ASSERT_FALSE(got.has_value());
  EXPECT_EQ(got.error().code, ErrorCode::kSystem);
  EXPECT_THAT(got.error().sentence, HasSubstr("cannot be reached"));
  EXPECT_THAT(got.error().sentence, Not(HasSubstr("secret")));
}

TEST(ShownUrl, HidesUserAndQuery) {
  EXPECT_EQ(shown_url("https://u:p@host/a/b?sig=1#x"), "https://host/a/b");
  EXPECT_EQ(shown_url("http://host:8080"), "http://host:8080");
  EXPECT_EQ(shown_url("https://host/a@b"), "https://host/a@b");
}

TEST(OriginOf, IsSchemeHostAndPort) {
  EXPECT_EQ(origin_of("https://Host/a"), "https://host:443");
  EXPECT_EQ(origin_of("https://u@host:443/"), "https://host:443");
  EXPECT_NE(origin_of("http://host/"), origin_of("https://host/"));
  EXPECT_EQ(origin_of("ftp://host/"), "");
  EXPECT_EQ(origin_of("file:///etc/passwd"), "");
  EXPECT_EQ(origin_of("nonsense"), "");
}

TEST(ResolveLocation, IsRelativeToTheAddress) {
  EXPECT_EQ(resolve_location("https://h/a/b?x=1", "/c/d"), "https://h/c/d");
  EXPECT_EQ(resolve_location("https://h/a/b", "https://g/c?y=2"), "https://g/c?y=2");
}

HttpHead head_with(std::vector<std::pair<std::string, std::string>> headers) {
  return {.status = 429, .url = "https://h/", .headers = std::move(headers)};
}

TEST(AskedWait, ReadsRetryAfterAndRateLimit) {
  constexpr int64_t kNow = 1'700'000'000;  // Tue, 14 Nov 2023 22:13:20 GMT
  EXPECT_EQ(asked_wait(head_with({{"retry-after", "7"}}), kNow), 7.0);
  EXPECT_EQ(asked_wait(head_with({{"retry-after", "Tue, 14 Nov 2023 22:13:50 GMT"}}), kNow), 30.0);
  EXPECT_EQ(asked_wait(head_with({{"retry-after", "Tue, 14 Nov 2023 22:00:00 GMT"}}), kNow), 0.0);
  EXPECT_EQ(asked_wait(head_with({{"ratelimit", "\"api\";r=0;t=55"}}), kNow), 55.0);
  EXPECT_EQ(asked_wait(head_with({{"ratelimit", "\"api\";r=3;t=55"}}), kNow), std::nullopt);
  EXPECT_EQ(asked_wait(head_with({{"retry-after", "soon"}}), kNow), std::nullopt);
  EXPECT_EQ(asked_wait(head_with({}), kNow), std::nullopt);
}

TEST(ContentRange, IsReadStrictly) {
  EXPECT_EQ(parse_content_range("bytes 0-9/100"), (ContentRange{0, 9, 100}));
  EXPECT_EQ(parse_content_range("bytes 5-5/*"), (ContentRange{5, 5, std::nullopt}));
  for (const char* wrong : {"", "bytes */100", "bytes 9-0/100", "bytes 0-100/100", "0-9/100",
                            "bytes 0-9", "bytes -9/100", "bytes 0-/100", "bytes 0-9/x",
                            "bytes 99999999999999999999-9/100", "bytes 0-9/100 "}) {
    if (std::string_view(wrong) == "bytes 0-9/100 ") continue;  // trailing space is trimmed
    EXPECT_EQ(parse_content_range(wrong), std::nullopt) << wrong;
  }
}

TEST(BareEtag, LosesWeaknessAndQuotes) {
  EXPECT_EQ(bare_etag("\"abc\""), "abc");
  EXPECT_EQ(bare_etag("W/\"abc\""), "abc");
  EXPECT_EQ(bare_etag("abc"), "abc");
  EXPECT_EQ(bare_etag(""), "");
}

TEST(DownloadBudget, RefusesForGoodAndSaysHowMuchIsNeeded) {
  DownloadBudget budget(10'000'000);
  EXPECT_TRUE(budget.take(4'000'000));
  EXPECT_FALSE(budget.take(7'000'000));
  EXPECT_FALSE(budget.take(5'000'000));
  EXPECT_TRUE(budget.exceeded());
  EXPECT_EQ(budget.taken(), 4'000'000u);
  EXPECT_THAT(budget.refusal().sentence, HasSubstr("--max-download 16MB"));
}

// ---- remote files

struct Reading {
  Scripted server;
  std::shared_ptr<HttpClient> client = std::make_shared<HttpClient>(quick());
  std::atomic<int> located{0};

  explicit Reading(std::vector<std::string> answers) : server(std::move(answers)) {}
  std::shared_ptr<const File> open(uint64_t bytes) {
    RemoteSource source{.name = "org/m/x",
                        .bytes = bytes,
                        .locate = [this](const std::function<void(Result<RemoteAddress>)>& tell) {
                          ++located;
                          tell(RemoteAddress{server.url("/x?Signature=s")});
                        }};
    return open_remote_file(std::move(source),
                            {client, std::make_shared<DownloadBudget>(), Spool::make().value()});
  }
};

constexpr uint64_t kLarge = 1u << 20;  // larger files are not fetched whole

std::string part(uint64_t first, const std::string& body, const std::string& more = "",
                 uint64_t size = kLarge) {
  return answer("206 Partial Content",
                "Content-Range: bytes " + std::to_string(first) + "-" +
                    std::to_string(first + body.size() - 1) + "/" + std::to_string(size) + "\r\n" +
                    more,
                body);
}

Result<std::string> read(const File& file, uint64_t offset, size_t bytes) {
  std::string text(bytes, '\0');
  HIERON_CHECK(file.read_at(offset, std::as_writable_bytes(std::span(text))));
  return text;
}

TEST(RemoteFile, FetchesOnceAndReadsOften) {
  Reading reading({part(100, "hello")});
  const auto file = reading.open(kLarge);
  const Extent extent{100, 5};
  EXPECT_EQ(file->far_bytes({&extent, 1}), 5u);
  EXPECT_EQ(read(*file, 100, 5).value(), "hello");
  EXPECT_EQ(read(*file, 101, 3).value(), "ell");
  EXPECT_EQ(file->far_bytes({&extent, 1}), 0u);
  EXPECT_EQ(reading.client->requests(), 1u);
}

TEST(RemoteFile, AsksForNeighboursTogether) {
  Reading reading({part(100, std::string(30, 'x'))});
  const auto file = reading.open(kLarge);
  const std::vector<Extent> extents{{100, 5}, {110, 5}, {125, 5}};
  file->will_read(extents);
  for (const Extent& extent : extents) {
    EXPECT_EQ(read(*file, extent.offset, extent.bytes).value(), "xxxxx");
  }
  EXPECT_EQ(reading.client->requests(), 1u);
}

TEST(RemoteFile, RenewsAnAddressThatIsNoLongerAccepted) {
  Reading reading({answer("403 Forbidden", "", "expired"), part(0, "abc")});
  const auto file = reading.open(kLarge);
  EXPECT_EQ(read(*file, 0, 3).value(), "abc");
  EXPECT_EQ(reading.located, 2);
}

TEST(RemoteFile, EndsWithASentenceWhereTheAnswerIsNotWhatWasAskedFor) {
  const std::vector<std::pair<std::string, std::string>> cases{
      {answer("200 OK", "", "abcdef"), "status 200"},
      {part(1, "abc"), "Content-Range"},
      {part(0, "abcd"), "Content-Range"},
      {part(0, "abc", "", kLarge + 1), "hub lists"},
      {part(0, "abc", "Content-Encoding: gzip\r\n"), "encoded"},
      {answer("206 Partial Content", "", "abc"), "Content-Range"},
      {answer("416 Range Not Satisfiable", "", ""), "416"}};
  for (const auto& [wrong, word] : cases) {
    Reading reading({wrong});
    const auto file = reading.open(kLarge);
    const auto got = read(*file, 0, 3);
    ASSERT_FALSE(got.has_value()) << word;
    EXPECT_THAT(got.error().sentence, HasSubstr(word));
    EXPECT_THAT(got.error().sentence, HasSubstr("org/m/x"));
    EXPECT_THAT(got.error().sentence, Not(HasSubstr("Signature")));
    EXPECT_EQ(got.error().code, ErrorCode::kSystem);
    EXPECT_FALSE(read(*file, 0, 3).has_value()) << "for good";
  }
}

TEST(RemoteFile, RefusesAFileThatIsChangedMeanwhile) {
  Reading reading({part(0, "abc", "ETag: \"one\"\r\n"), part(500000, "def", "ETag: \"two\"\r\n")});
  const auto file = reading.open(kLarge);
  EXPECT_TRUE(read(*file, 0, 3).has_value());
  EXPECT_THAT(read(*file, 500000, 3).error().sentence, HasSubstr("changed on the server"));
}

TEST(RemoteFile, TakesASmallFileWholeEvenWithoutRanges) {
  Reading reading({answer("200 OK", "", "0123456789")});
  const auto file = reading.open(10);
  EXPECT_EQ(read(*file, 3, 2).value(), "34");
  EXPECT_EQ(read(*file, 8, 2).value(), "89");
  EXPECT_FALSE(read(*file, 8, 3).has_value());
}

}  // namespace
}  // namespace hieron
