#include "hieron/io/remote_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "hieron/core/text.h"
#include "hieron/io/intervals.h"

namespace hieron {
namespace {

constexpr uint64_t kGap = 32u << 10;            // fetched along rather than asked for separately
constexpr uint64_t kMostOfARequest = 8u << 20;  // bytes
constexpr uint64_t kSmallFile = 256u << 10;     // fetched whole
constexpr int kMostRenewals = 4;                // of an address, for one range

// A stretch that is on its way.
struct Piece {
  Extent extent;
  uint64_t address = 0;  // the number of the address that it was asked of
  int renewals = 0;
};

class RemoteFile final : public File, public std::enable_shared_from_this<RemoteFile> {
 public:
  RemoteFile(RemoteSource source, RemoteReading reading)
      : source_(std::move(source)),
        reading_(std::move(reading)),
        base_(reading_.spool->reserve(source_.bytes)) {
    for (const Extent& extent : source_.here) here_.add(extent);
  }

  uint64_t size() const override { return source_.bytes; }
  const std::string& name() const override { return source_.name; }
  int64_t modified() const override { return 0; }  // its commit says which file it is
  Status read_at(uint64_t offset, std::span<std::byte> out) const override;
  void will_read(std::span<const Extent> extents) const override;
  uint64_t far_bytes(std::span<const Extent> extents) const override;
  Status may_fetch(uint64_t bytes) const override { return reading_.budget->allows(bytes); }

 private:
  using Lock = std::unique_lock<std::mutex>;

  std::vector<Extent> absent(std::span<const Extent> extents) const;
  void ask_for(const std::vector<Extent>& extents, Lock& lock) const;
  void send(std::vector<Piece> pieces, Lock& lock) const;
  void locate() const;
  void located(Result<RemoteAddress> address) const;
  void request(Piece piece, const RemoteAddress& address) const;
  Status check(const HttpHead& head, const Extent& extent) const;
  Status check_etag(const HttpHead& head) const;
  void arrived(Piece piece, Result<HttpResponse> answer) const;
  void renew(Piece piece, const HttpHead& head) const;
  void fail(Error error) const;

  const RemoteSource source_;
  const RemoteReading reading_;
  const uint64_t base_;  // of its stretch of the spool

  mutable std::mutex mutex_;  // guards what follows
  mutable std::condition_variable changed_;
  mutable Intervals here_, coming_, refused_;
  mutable std::vector<Piece> homeless_;  // wait for an address
  mutable std::optional<RemoteAddress> address_;
  mutable uint64_t address_number_ = 0;
  mutable bool locating_ = false;
  mutable std::map<std::string, std::string> etags_;  // by origin
  mutable std::optional<Error> error_;
};

// Those of the extents' bytes that are neither here nor on their way. Under the lock.
std::vector<Extent> RemoteFile::absent(std::span<const Extent> extents) const {
  std::vector<Extent> far;
  for (const Extent& extent : extents) {
    if (extent.offset >= source_.bytes) continue;
    const Extent inside{extent.offset, std::min(extent.bytes, source_.bytes - extent.offset)};
    for (const Extent& part : here_.missing(inside)) {
      for (const Extent& missing : coming_.missing(part)) far.push_back(missing);
    }
  }
  std::ranges::sort(far, {}, &Extent::offset);
  return far;
}

uint64_t RemoteFile::far_bytes(std::span<const Extent> extents) const {
  const Lock lock(mutex_);
  Intervals counted;
  uint64_t bytes = 0;
  for (const Extent& extent : absent(extents)) {
    for (const Extent& fresh : counted.missing(extent)) bytes += fresh.bytes;
    counted.add(extent);
  }
  return bytes;
}

void RemoteFile::will_read(std::span<const Extent> extents) const {
  Lock lock(mutex_);
  if (!error_) ask_for(absent(extents), lock);
}

void RemoteFile::ask_for(const std::vector<Extent>& extents, Lock& lock) const {
  if (extents.empty()) return;
  Intervals known = here_;
  known.add(coming_);
  const std::vector<Extent> whole{{0, source_.bytes}};
  const std::vector<Extent> wanted =
      source_.bytes <= kSmallFile && known.missing(whole.front()) == whole
          ? whole
          : coalesce(extents, kGap, kMostOfARequest, known);
  uint64_t bytes = 0;
  for (const Extent& extent : wanted) {
    for (const Extent& fresh : refused_.missing(extent)) bytes += fresh.bytes;
  }
  if (bytes == 0 || !reading_.budget->take(bytes)) {
    for (const Extent& extent : wanted) refused_.add(extent);  // counted once
    changed_.notify_all();
    return;
  }
  std::vector<Piece> pieces;
  for (const Extent& extent : wanted) {
    coming_.add(extent);
    pieces.push_back({extent});
  }
  send(std::move(pieces), lock);
}

// To the address if there is one; else they wait for it.
void RemoteFile::send(std::vector<Piece> pieces, Lock& lock) const {
  if (!address_) {
    homeless_.insert(homeless_.end(), pieces.begin(), pieces.end());
    if (std::exchange(locating_, true)) return;
    lock.unlock();
    locate();
    lock.lock();
    return;
  }
  const RemoteAddress address = *address_;
  for (Piece& piece : pieces) piece.address = address_number_;
  lock.unlock();
  for (const Piece& piece : pieces) request(piece, address);
  lock.lock();
}

void RemoteFile::locate() const {
  source_.locate([weak = weak_from_this()](Result<RemoteAddress> address) {
    if (const auto self = weak.lock()) self->located(std::move(address));
  });
}

void RemoteFile::located(Result<RemoteAddress> address) const {
  if (!address) return fail(std::move(address.error()));
  Lock lock(mutex_);
  locating_ = false;
  address_ = *std::move(address);
  ++address_number_;
  send(std::exchange(homeless_, {}), lock);
}

void RemoteFile::request(Piece piece, const RemoteAddress& address) const {
  HttpRequest request{.url = address.url, .bearer = address.bearer};
  request.range = piece.extent;
  request.most_bytes = piece.extent.bytes;
  const auto weak = weak_from_this();
  request.accept = [weak, extent = piece.extent](const HttpHead& head) -> Status {
    const auto self = weak.lock();
    return self ? self->check(head, extent) : Status{};
  };
  request.sink = [spool = reading_.spool, at = base_ + piece.extent.offset](
                     uint64_t from, std::span<const std::byte> bytes) {
    return spool->write(at + from, bytes);
  };
  reading_.client->submit(std::move(request), [weak, piece](Result<HttpResponse> answer) {
    if (const auto self = weak.lock()) self->arrived(piece, std::move(answer));
  });
}

// Is this exactly what was asked for?
Status RemoteFile::check(const HttpHead& head, const Extent& extent) const {
  const std::string host = shown_origin(head.url);
  if (head.status == 200) {
    if (extent.offset != 0 || extent.bytes != source_.bytes) {
      return system_error(
          fmt::format("{}: {} sends the whole file where a part of it was asked for (status 200), "
                      "so it cannot be read in parts. Download the model, and give its folder.",
                      source_.name, host),
          source_.name);
    }
    const std::string_view length = head.header("content-length");
    if (!length.empty() && length != std::to_string(source_.bytes)) {
      return system_error(
          fmt::format("{}: the hub lists {} bytes, but {} has {}. The file is being "
                      "changed, or damaged; retry later.",
                      source_.name, with_commas(source_.bytes), host, printable(length)),
          source_.name);
    }
    return check_etag(head);
  }
  if (head.status != 206) return http_failure(head, source_.name);
  const std::string_view text = head.header("content-range");
  const auto range = parse_content_range(text);
  const uint64_t last = extent.offset + extent.bytes - 1;
  if (!range || range->first != extent.offset || range->last != last) {
    return system_error(
        fmt::format(
            "{}: bytes {} to {} were asked for, but {} sends others (Content-Range \"{}\"). "
            "Check for a proxy in between, or download the model.",
            source_.name, with_commas(extent.offset), with_commas(last), host, printable(text)),
        source_.name);
  }
  if (range->size && *range->size != source_.bytes) {
    return system_error(
        fmt::format("{}: the hub lists {} bytes, but {} has {}. The file is being "
                    "changed, or damaged; retry later.",
                    source_.name, with_commas(source_.bytes), host, with_commas(*range->size)),
        source_.name);
  }
  const std::string_view length = head.header("content-length");
  if (!length.empty() && length != std::to_string(extent.bytes)) {
    return system_error(
        fmt::format("{}: {} bytes were asked for, but {} announces {}. Check for a "
                    "proxy in between, or download the model.",
                    source_.name, with_commas(extent.bytes), host, printable(length)),
        source_.name);
  }
  return check_etag(head);
}

Status RemoteFile::check_etag(const HttpHead& head) const {
  const std::string etag = bare_etag(head.header("etag"));
  if (etag.empty()) return {};
  const Lock lock(mutex_);
  const auto [known, fresh] = etags_.try_emplace(origin_of(head.url), etag);
  if (fresh || known->second == etag) return {};
  return system_error(
      fmt::format("{}: the file was changed on the server while it was read (its ETag is another "
                  "one now), so its parts do not belong together. Start again.",
                  source_.name),
      source_.name);
}

void RemoteFile::arrived(Piece piece, Result<HttpResponse> answer) const {
  if (!answer) {
    Error error = std::move(answer.error());
    if (error.file != source_.name) {
      error.sentence = fmt::format("{}: {}", source_.name, error.sentence);
    }
    return fail(std::move(error));
  }
  const HttpHead& head = answer->head;
  if (head.status == 200 || head.status == 206) {
    const Lock lock(mutex_);
    here_.add(piece.extent);
    coming_.remove(piece.extent);
    if (source_.arrived) source_.arrived(piece.extent);
    changed_.notify_all();
    return;
  }
  if (head.status == 401 || head.status == 403 || head.status == 404 || head.status == 410) {
    return renew(piece, head);
  }
  if (head.status == 416) {
    return fail(Error{ErrorCode::kSystem,
                      fmt::format("{}: the hub lists {} bytes, but {} has no bytes {} to {} "
                                  "(status 416). The file is being changed, or damaged; retry "
                                  "later.",
                                  source_.name, with_commas(source_.bytes), shown_origin(head.url),
                                  with_commas(piece.extent.offset),
                                  with_commas(piece.extent.offset + piece.extent.bytes - 1)),
                      source_.name});
  }
  fail(http_failure(head, source_.name).error());
}

// The address has probably expired.
void RemoteFile::renew(Piece piece, const HttpHead& head) const {
  if (++piece.renewals > kMostRenewals) {
    return fail(Error{ErrorCode::kSystem,
                      fmt::format("{}: {} does not let it be read (status {}), although the hub "
                                  "gave its address {} times. Retry later.",
                                  source_.name, shown_origin(head.url), head.status, kMostRenewals),
                      source_.name});
  }
  Lock lock(mutex_);
  if (error_) return;
  if (piece.address == address_number_) address_.reset();
  send({piece}, lock);
}

void RemoteFile::fail(Error error) const {
  const Lock lock(mutex_);
  if (!error_) error_ = std::move(error);
  changed_.notify_all();
}

Status RemoteFile::read_at(uint64_t offset, std::span<std::byte> out) const {
  if (offset > source_.bytes || out.size() > source_.bytes - offset) {
    return refuse(fmt::format("{}: bytes {} to {} were asked for, but the file has {}. The file is "
                              "probably incomplete.",
                              source_.name, with_commas(offset), with_commas(offset + out.size()),
                              with_commas(source_.bytes)),
                  source_.name, {}, offset);
  }
  const Extent extent{offset, out.size()};
  {
    Lock lock(mutex_);
    if (!error_) ask_for(absent({&extent, 1}), lock);
    while (!here_.covers(extent)) {
      if (error_) return std::unexpected(*error_);
      if (reading_.budget->exceeded()) return std::unexpected(reading_.budget->refusal());
      if (reading_.cancel && reading_.cancel->load(std::memory_order_relaxed)) {
        return system_error("Interrupted.");
      }
      changed_.wait_for(lock, std::chrono::milliseconds(200));
    }
  }
  return reading_.spool->read(base_ + offset, out);
}

}  // namespace

bool DownloadBudget::take(uint64_t bytes) {
  const std::lock_guard lock(mutex_);
  if (refused_ > 0 || bytes > limit_ - taken_) {
    refused_ += bytes;
    return false;
  }
  taken_ += bytes;
  return true;
}

bool DownloadBudget::exceeded() const {
  const std::lock_guard lock(mutex_);
  return refused_ > 0;
}

uint64_t DownloadBudget::taken() const {
  const std::lock_guard lock(mutex_);
  return taken_;
}

Status DownloadBudget::allows(uint64_t bytes) const {
  {
    const std::lock_guard lock(mutex_);
    if (bytes <= limit_ - taken_) return {};
  }
  return std::unexpected(refusal(bytes));
}

Error DownloadBudget::refusal(uint64_t more) const {
  const std::lock_guard lock(mutex_);
  const uint64_t needed = taken_ + refused_ + more;
  return {ErrorCode::kSystem,
          fmt::format("This needs {} from the hub, and {} are allowed; allow more with "
                      "--max-download {}MB.",
                      show_bytes(needed), show_bytes(limit_), (needed + 999'999) / 1'000'000)};
}

std::shared_ptr<const File> open_remote_file(RemoteSource source, RemoteReading reading) {
  return std::make_shared<const RemoteFile>(std::move(source), std::move(reading));
}

}  // namespace hieron
