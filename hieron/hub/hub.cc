#include "hieron/hub/hub.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <filesystem>
#include <mutex>
#include <system_error>
#include <utility>

#include "hieron/core/hash.h"
#include "hieron/core/text.h"
#include "hieron/hub/download.h"
#include "hieron/io/output_file.h"

namespace hieron {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kMostOfAnAnswer = 64u << 20;  // bytes of JSON
constexpr int kMostPages = 2000;                 // of a list of files
constexpr uint64_t kSmallWhenSampled = 1u << 20;
constexpr uint64_t kSmallFile = 64u << 20;
constexpr uint64_t kMostOfAnIndex = 256u << 20;

// What is fetched of every model that is opened.
bool is_small_file(const HubFile& file, Access access) {
  const std::string& path = file.path;
  if (path.find('/') != path.npos) return false;
  if (path.ends_with(".safetensors.index.json")) return file.bytes <= kMostOfAnIndex;
  const auto ends = [&](const char* ending) { return path.ends_with(ending); };
  const auto starts = [&](const char* start) { return path.starts_with(start); };
  const bool kind = ends(".json") || ends(".jinja") || ends(".md") || ends(".txt") ||
                    ends(".yml") || ends(".yaml") || ends(".model") || starts("LICENSE") ||
                    starts("LICENCE") || starts("NOTICE") || starts("USE_POLICY");
  return kind && file.bytes <= (access == Access::kSampled ? kSmallWhenSampled : kSmallFile);
}

// Is this what the hub has listed?
Status check_content(const HubModel& model, const HubFile& file, std::string_view bytes) {
  bool damaged = bytes.size() != file.bytes;
  if (is_sha256(file.etag)) damaged = damaged || to_hex(sha256(bytes)) != file.etag;
  if (is_commit(file.etag)) damaged = damaged || git_blob_id(bytes) != file.etag;
  if (!damaged) return {};
  return system_error(fmt::format("{}/{}: what was sent is not the file that the hub lists (its "
                                  "size or hash differs). Retry later.",
                                  model.reference.repo, printable(file.path)),
                      file.path);
}

std::string model_name(const HubModel& model) {
  return fmt::format("{}@{}", model.reference.repo, model.commit.substr(0, 12));
}

}  // namespace

const HubFile* HubModel::find(std::string_view path) const {
  const auto found = std::ranges::find(files, path, &HubFile::path);
  return found == files.end() ? nullptr : &*found;
}

Hub::Hub(HubSettings settings, HubOptions options)
    : settings_(std::move(settings)),
      options_(std::move(options)),
      budget_(std::make_shared<DownloadBudget>(
          options_.max_download.value_or(DownloadBudget::kDefault))) {}

Result<std::shared_ptr<Hub>> Hub::make(HubSettings settings, HubOptions options) {
  if (origin_of(settings.endpoint).empty()) {
    return usage_error(
        fmt::format("HF_ENDPOINT: \"{}\" is no address of a hub; it begins with "
                    "https:// or http://.",
                    shown_url(settings.endpoint)));
  }
  return std::shared_ptr<Hub>(new Hub(std::move(settings), std::move(options)));
}

Hub::~Hub() {
  std::error_code ignored;
  if (!own_folder_.empty()) fs::remove_all(own_folder_, ignored);
}

uint64_t Hub::requests() const { return client_ ? client_->requests() : 0; }
uint64_t Hub::bytes() const { return client_ ? client_->bytes() : 0; }

const std::shared_ptr<HttpClient>& Hub::client() const {
  if (!client_) {
    HttpOptions http = options_.http;
    http.certificates = settings_.certificates;
    http.stall_seconds = settings_.stall_seconds;
    client_ = std::make_shared<HttpClient>(std::move(http));
  }
  return client_;
}

RepoCache Hub::cache_of(const HubModel& model) const {
  return {settings_.cache, model.reference.repo};
}

// The token goes to the hub and to nobody else.
HttpRequest Hub::request(std::string url) const {
  HttpRequest request{.url = std::move(url)};
  if (origin_of(request.url) == origin_of(settings_.endpoint)) request.bearer = settings_.token;
  request.most_bytes = kMostOfAnAnswer;
  return request;
}

std::vector<Result<HttpResponse>> Hub::fetch_all(std::vector<HttpRequest> requests) const {
  struct Answers {
    std::mutex mutex;
    std::condition_variable changed;
    std::vector<Result<HttpResponse>> all;
    size_t left;
  };
  // Owned by the callbacks too: an interrupted session leaves before they come.
  const auto answers = std::make_shared<Answers>();
  answers->all.resize(requests.size(), system_error("Interrupted."));
  answers->left = requests.size();
  for (size_t i = 0; i < requests.size(); ++i) {
    client()->submit(std::move(requests[i]), [answers, i](Result<HttpResponse> answer) {
      const std::lock_guard lock(answers->mutex);
      answers->all[i] = std::move(answer);
      --answers->left;
      answers->changed.notify_all();
    });
  }
  std::unique_lock lock(answers->mutex);
  while (answers->left > 0 && !(options_.cancel && options_.cancel->load())) {
    answers->changed.wait_for(lock, std::chrono::milliseconds(100));
  }
  return std::exchange(answers->all, {});
}

Result<HttpResponse> Hub::fetch(HttpRequest request) const {
  std::vector<HttpRequest> requests;
  requests.push_back(std::move(request));
  return std::move(fetch_all(std::move(requests)).front());
}

Result<RevisionInfo> Hub::ask_revision(HubModel& model, bool with_sizes) const {
  std::string url =
      revision_url(settings_.endpoint, model.repo, model.reference.revision_or_main());
  if (with_sizes) url += "?blobs=true";
  HIERON_TRY(const HttpResponse answer, fetch(request(url)));
  if (answer.head.status != 200) {
    return hub_failure(answer.head, model.reference, {}, !settings_.token.empty());
  }
  return parse_revision_info(answer.body, shown_url(url));
}

Status Hub::list_files(HubModel& model) const {
  std::string url = tree_url(settings_.endpoint, model.repo, model.commit);
  for (int page = 0; !url.empty(); ++page) {
    HIERON_TRY(const HttpResponse answer, fetch(request(url)));
    const int status = answer.head.status;
    if (page == 0 && (status == 404 || status == 405 || status == 501)) {
      // A mirror may know only the older way.
      HIERON_TRY(RevisionInfo info, ask_revision(model, true));
      model.files = std::move(info.files);
      return {};
    }
    if (status != 200) {
      return hub_failure(answer.head, model.reference, {}, !settings_.token.empty());
    }
    HIERON_TRY(std::vector<HubFile> files, parse_tree_page(answer.body, shown_url(url)));
    std::ranges::move(files, std::back_inserter(model.files));
    const std::string next = next_page(answer.head.header("link"));
    if (page >= kMostPages || (!next.empty() && files.empty())) {
      return system_error(
          fmt::format("{}: the hub's list of files does not end. Check HF_ENDPOINT.",
                      model.reference.repo),
          model.reference.repo);
    }
    url = next.empty() ? "" : resolve_location(url, next);
  }
  std::ranges::stable_sort(model.files, {}, &HubFile::path);
  const auto again = std::ranges::unique(model.files, {}, &HubFile::path);
  model.files.erase(again.begin(), again.end());
  return {};
}

// Where the list does not tell how a file is called in the cache, its own address does.
Status Hub::learn_etags(HubModel& model) const {
  std::vector<HubFile*> unknown;
  std::vector<HttpRequest> requests;
  for (HubFile& file : model.files) {
    if (!file.etag.empty()) continue;
    unknown.push_back(&file);
    requests.push_back(
        request(resolve_url(settings_.endpoint, model.repo, model.commit, file.path)));
    requests.back().head_only = true;
    requests.back().follows_abroad = false;
  }
  const auto answers = fetch_all(std::move(requests));
  for (size_t i = 0; i < unknown.size(); ++i) {
    if (!answers[i]) return std::unexpected(answers[i].error());
    const HttpHead& head = answers[i]->head;
    if (head.status >= 400) {
      return hub_failure(head, model.reference, unknown[i]->path, !settings_.token.empty());
    }
    const std::string_view linked = head.header("x-linked-etag"),
                           size = head.header("x-linked-size");
    set_identity(*unknown[i], bare_etag(linked.empty() ? head.header("etag") : linked),
                 size.empty() ? head.header("content-length") : size);
  }
  return {};
}

Result<HubModel> Hub::open(const HubReference& reference, Access access) {
  if (settings_.offline) {
    if (auto model = cached(reference)) return *std::move(model);
    return system_error(
        fmt::format("{} (revision {}) is not in the cache {}, and the network is not asked "
                    "(--offline or HF_HUB_OFFLINE). Fetch it once while online.",
                    reference.repo, printable(reference.revision_or_main()),
                    printable(settings_.cache, 300)),
        reference.repo);
  }
  HubModel model{.reference = reference,
                 .repo = reference.repo,
                 .commit = {},
                 .folder = {},
                 .files = {},
                 .warnings = {}};
  HIERON_TRY(const RevisionInfo info, ask_revision(model, false));
  model.commit = info.commit;
  if (is_commit(reference.revision) && info.commit != reference.revision) {
    return system_error(fmt::format("{}: the hub has another commit ({}) under that name. Check "
                                    "HF_ENDPOINT.",
                                    reference.repo, info.commit),
                        reference.repo);
  }
  const auto renamed = parse_hub_reference("hf://" + info.repo);
  if (renamed && renamed->repo != reference.repo) {
    model.repo = renamed->repo;
    model.warnings.push_back(
        fmt::format("{} is called {} on the hub by now.", reference.repo, model.repo));
  }
  HIERON_CHECK(list_files(model));
  HIERON_CHECK(learn_etags(model));
  HIERON_CHECK(fetch_small(model, access));
  return model;
}

std::optional<HubModel> Hub::cached(const HubReference& reference) const {
  const RepoCache cache(settings_.cache, reference.repo);
  const auto commit = cache.commit_of(reference.revision_or_main());
  if (!commit) return {};
  HubModel model{.reference = reference,
                 .repo = reference.repo,
                 .commit = *commit,
                 .folder = cache.snapshot(*commit),
                 .files = cache.files(*commit),
                 .warnings = {}};
  if (model.files.empty()) return {};
  return model;
}

// A folder of this session, for what a read-only cache does not take.
Result<std::string> Hub::own_folder(const HubModel& model) {
  if (own_folder_.empty()) {
    const char* temporary = std::getenv("TMPDIR");
    std::string path =
        (fs::path(temporary && *temporary ? temporary : "/tmp") / "hieron-hub-XXXXXX").string();
    if (!::mkdtemp(path.data())) {
      return system_error(fmt::format("{}: no temporary folder can be made. Set TMPDIR to a folder "
                                      "that can be written.",
                                      path),
                          path);
    }
    own_folder_ = path;
  }
  const fs::path folder =
      fs::path(own_folder_) / fs::path(cache_of(model).folder()).filename() / model.commit;
  std::error_code failed;
  fs::create_directories(folder, failed);
  if (failed) {
    return system_error(fmt::format("{}: cannot be made ({}). Set TMPDIR to another folder.",
                                    folder.string(), failed.message()),
                        folder.string());
  }
  return folder.string();
}

Status Hub::fetch_small(HubModel& model, Access access) {
  const RepoCache cache = cache_of(model);
  std::vector<const HubFile*> missing, all;
  for (const HubFile& file : model.files) {
    if (!is_small_file(file, access)) continue;
    all.push_back(&file);
    if (!cache.holds(model.commit, file.path)) missing.push_back(&file);
  }
  model.folder = cache.snapshot(model.commit);
  const bool writable = cache.writable(model.commit);
  if (writable) {
    HIERON_CHECK(cache.set_ref(model.reference.revision_or_main(), model.commit));
    std::erase_if(missing, [&](const HubFile* file) {
      std::error_code ignored;
      return fs::exists(cache.blob(file->etag), ignored) && cache.link(model.commit, *file);
    });
  } else if (!missing.empty()) {
    HIERON_TRY(model.folder, own_folder(model));
    for (const HubFile* file : all) {
      std::error_code ignored;
      const fs::path here = fs::path(cache.snapshot(model.commit)) / file->path;
      if (fs::exists(here, ignored)) {
        fs::create_symlink(fs::absolute(here), fs::path(model.folder) / file->path, ignored);
      }
    }
  }
  uint64_t bytes = 0;
  std::vector<HttpRequest> requests;
  for (const HubFile* file : missing) {
    bytes += file->bytes;
    requests.push_back(
        request(resolve_url(settings_.endpoint, model.repo, model.commit, file->path)));
    requests.back().most_bytes = file->bytes;
  }
  if (!budget_->take(bytes)) return std::unexpected(budget_->refusal());
  auto answers = fetch_all(std::move(requests));
  for (size_t i = 0; i < missing.size(); ++i) {
    if (!answers[i]) return std::unexpected(std::move(answers[i].error()));
    if (answers[i]->head.status != 200) {
      return hub_failure(answers[i]->head, model.reference, missing[i]->path,
                         !settings_.token.empty());
    }
    HIERON_CHECK(check_content(model, *missing[i], answers[i]->body));
    if (writable) {
      HIERON_CHECK(cache.store(model.commit, *missing[i], answers[i]->body));
    } else {
      HIERON_CHECK(
          write_text((fs::path(model.folder) / missing[i]->path).string(), answers[i]->body));
    }
  }
  return {};
}

// Asks the hub where a file is served: at a signed address of another host, which gets no token, or
// right there.
RemoteSource Hub::source_of(const HubModel& model, const HubFile& file) const {
  HttpRequest head = request(resolve_url(settings_.endpoint, model.repo, model.commit, file.path));
  head.head_only = true;
  head.urgent = true;
  head.follows_abroad = false;
  const std::string name = fmt::format("{}/{}", model_name(model), file.path);
  const auto judge = [name, file, commit = model.commit, reference = model.reference,
                      token = settings_.token](const HttpHead& answer) -> Result<RemoteAddress> {
    if (answer.status >= 400) {
      return hub_failure(answer, reference, file.path, !token.empty());
    }
    const std::string etag =
        bare_etag(answer.header("x-linked-etag").empty() ? answer.header("etag")
                                                         : answer.header("x-linked-etag"));
    const std::string_view of_commit = answer.header("x-repo-commit");
    if ((!of_commit.empty() && of_commit != commit) ||
        (etag.size() == file.etag.size() && etag != file.etag)) {  // of one kind
      return system_error(fmt::format("{}: the hub now gives another file under this name than it "
                                      "listed (commit or ETag differ). Start again.",
                                      name),
                          name);
    }
    if (answer.status < 300) return RemoteAddress{answer.url, token};
    const std::string target = resolve_location(answer.url, std::string(answer.header("location")));
    const std::string from = origin_of(answer.url), to = origin_of(target);
    if (to.empty() || (from.starts_with("https:") && !to.starts_with("https:"))) {
      return system_error(fmt::format("{}: the hub sends on to an address that is not safe to "
                                      "follow. Check HF_ENDPOINT.",
                                      name),
                          name);
    }
    return RemoteAddress{target, {}};
  };
  // The files hold the client; a request of it must not.
  return {.name = name,
          .bytes = file.bytes,
          .locate = [client = std::weak_ptr(client()), head,
                     judge](std::function<void(Result<RemoteAddress>)> tell) {
            const auto alive = client.lock();
            if (!alive) return tell(system_error("The download was given up."));
            alive->submit(head, [judge, tell = std::move(tell)](Result<HttpResponse> answer) {
              if (!answer) return tell(std::unexpected(std::move(answer.error())));
              tell(judge(answer->head));
            });
          }};
}

std::unexpected<Error> Hub::no_such_file(const HubModel& model, const std::string& path) const {
  return system_error(
      fmt::format("{} has no file \"{}\" in revision {}{}.", model.reference.repo, printable(path),
                  printable(model.reference.revision_or_main()),
                  offline() ? " as far as the cache knows; fetch it once while online"
                            : "; take another revision"),
      model.reference.repo);
}

Result<Hub::Opened> Hub::open_file(const HubModel& model, const std::string& path) {
  const HubFile* file = model.find(path);
  if (!file) return no_such_file(model, path);
  Opened opened{.file = {},
                .url = resolve_url(settings_.endpoint, model.repo, model.commit, path),
                .etag = file->etag,
                .sha256 = file->sha256};
  const RepoCache cache = cache_of(model);
  if (cache.holds(model.commit, path)) {
    HIERON_TRY(opened.file,
               hieron::open_file((fs::path(cache.snapshot(model.commit)) / path).string()));
    return opened;
  }
  if (!spool_) {
    HIERON_TRY(spool_, Spool::make());
  }
  opened.file =
      open_remote_file(source_of(model, *file), {client(), budget_, spool_, options_.cancel});
  return opened;
}

Status Hub::download(const HubModel& model, const std::vector<std::string>& paths) {
  const RepoCache cache = cache_of(model);
  std::vector<FileToFetch> files;
  for (const std::string& path : paths) {
    const HubFile* file = model.find(path);
    if (!file) return no_such_file(model, path);
    if (cache.holds(model.commit, path)) continue;
    files.push_back({*file, source_of(model, *file)});
  }
  if (files.empty()) return {};
  return fetch_files(cache, settings_.cache, model.commit, std::move(files), *budget_, client(),
                     options_.cancel, [&](uint64_t done, uint64_t total) {
                       if (options_.progress) options_.progress(model_name(model), done, total);
                     });
}

}  // namespace hieron
