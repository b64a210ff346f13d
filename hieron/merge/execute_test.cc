#include "hieron/merge/execute.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>
#include <sys/file.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <sstream>

#include "hieron/core/hash.h"
#include "hieron/io/faulty_file.h"
#include "hieron/merge/computed.h"
#include "hieron/merge/journal.h"
#include "hieron/merge/methods/leaf_sums.h"
#include "hieron/merge/scratch_checkpoint.h"

namespace hieron {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

constexpr const char* kLinear =
    "merge_method: linear\nmodels:\n- {model: a, parameters: {weight: 0.6}}\n- {model: b, "
    "parameters: {weight: 0.4}}\n";

// As long as it lives, the disk is full after so many writes.
class FullDisk {
 public:
  explicit FullDisk(int64_t writes) : left_(writes), scope_(calls()) {}

 private:
  Syscalls calls() {
    Syscalls calls;
    calls.pwrite = [this](int fd, const void* buffer, size_t bytes, int64_t offset) -> int64_t {
      if (--left_ >= 0) return ::pwrite(fd, buffer, bytes, offset);
      errno = ENOSPC;
      return -1;
    };
    return calls;
  }

  std::atomic<int64_t> left_;
  const ScopedSyscalls scope_;
};

void write_pair(const ScratchFolder& folder) {
  for (const auto& [name, phase] : std::map<std::string, double>{{"a", 1}, {"b", 2}}) {
    write_model(folder, name,
                {{"big", DType::kBF16, {300, 123}, wave(phase)},
                 {"empty", DType::kBF16, {0, 4}, wave(phase)},
                 {"odd", DType::kBF16, {7}, wave(phase + 1)},
                 {"wide", DType::kF32, {4099}, wave(phase + 2)}},
                R"({"architectures": ["X"], "vocab_size": 3})");
    folder.write(name + "/tokenizer.json", "{}");
  }
}

std::map<std::string, std::string> contents(const std::string& folder) {
  std::map<std::string, std::string> files;
  for (const auto& entry : fs::directory_iterator(folder)) {
    std::ifstream in(entry.path(), std::ios::binary);
    files[entry.path().filename().string()] = {std::istreambuf_iterator<char>(in), {}};
  }
  return files;
}

Result<MergeResult> merge(const ScratchFolder& folder, const std::string& yaml,
                          const std::string& out, const ExecuteOptions& execution = {},
                          const PlanOptions& options = {}) {
  auto plan = plan_of(folder, yaml, options);
  if (!plan) return std::unexpected(plan.error());
  return execute(**plan, folder.path(out), execution);
}

std::string sentence(const Result<MergeResult>& result) {
  return result ? "done" : result.error().sentence;
}

std::string tensor_data(const Checkpoint& checkpoint, const TensorInfo& tensor) {
  std::string bytes(tensor.bytes(), '\0');
  EXPECT_TRUE(read_elements(checkpoint, tensor, 0, std::as_writable_bytes(std::span(bytes))));
  return bytes;
}

TEST(Execute, WritesACompleteFolder) {
  const ScratchFolder folder;
  write_pair(folder);
  const auto result = merge(folder, kLinear, "out");
  ASSERT_TRUE(result) << result.error().sentence;
  const auto files = contents(folder.path("out"));
  for (const char* name : {"model.safetensors", "config.json", "tokenizer.json", "README.md",
                           "hieron.json", "mergekit_config.yml"}) {
    EXPECT_TRUE(files.contains(name)) << name;
  }
  EXPECT_EQ(files.size(), 6u);
  EXPECT_EQ(files.at("mergekit_config.yml"), kLinear);
  EXPECT_EQ(files.at("README.md").find(folder.path()), std::string::npos);
  EXPECT_EQ(files.at("hieron.json").find(folder.path()), std::string::npos);
  EXPECT_EQ(to_hex(sha256(files.at("model.safetensors"))), result->files[0].sha256);
  const auto check = check_manifest(folder.path("out"), {});
  ASSERT_TRUE(check);
  EXPECT_EQ(check->files.size(), 5u);
  EXPECT_TRUE(check->differences.empty());
}

TEST(Execute, EqualsTheMergeThatWasNeverWritten) {
  const ScratchFolder folder;
  write_pair(folder);
  ASSERT_TRUE(merge(folder, kLinear, "out"));
  const auto written = open_checkpoint(folder.path("out"));
  const auto computed = open_ref(folder.path("recipe.yml"));
  ASSERT_TRUE(written && computed);
  ASSERT_EQ((*written)->tensors.size(), (*computed)->tensors.size());
  for (const TensorInfo& tensor : (*computed)->tensors) {
    EXPECT_EQ(tensor_data(**computed, tensor),
              tensor_data(**written, *(*written)->find(tensor.name)))
        << tensor.name;
  }
}

// Merges of one pair by methods that need passes, rows, leaves, or nothing but bytes, with shards
// of different sizes.
const std::vector<std::string>& different_merges() {
  static const std::vector<std::string> all{
      kLinear,
      "merge_method: ties\nbase_model: a\nmodels:\n- {model: b, parameters: {weight: 1, density: "
      "0.4}}\n",
      "merge_method: della\nbase_model: a\nmodels:\n- {model: b, parameters: {weight: 1, density: "
      "0.5, epsilon: 0.2}}\ndtype: float32\n",
      "merge_method: nuslerp\nmodels:\n- {model: a, parameters: {weight: 0.3}}\n- {model: b, "
      "parameters: {weight: 0.7}}\nparameters: {nuslerp_flatten: false}\n",
      "merge_method: slerp\nbase_model: b\nmodels: [{model: a}, {model: b}]\nparameters: {t: "
      "0.25}\n",
      "merge_method: passthrough\nmodels: [{model: a}]\n"};
  return all;
}

TEST(Execute, MergesThatAreReadTogetherAreThoseThatAreReadAlone) {
  const ScratchFolder folder;
  write_pair(folder);
  PlanOptions options{.arithmetic = {}, .shard_bytes = 100'000};
  options.opened = std::make_shared<OpenedModels>();
  std::vector<std::shared_ptr<const Plan>> plans;
  std::vector<MergeJob> jobs;
  for (const std::string& yaml : different_merges()) {
    auto plan = plan_of(folder, yaml, options);
    ASSERT_TRUE(plan) << plan.error().sentence;
    plans.push_back(*plan);
    jobs.push_back({plans.back().get(), folder.path("together-" + std::to_string(jobs.size()))});
    EXPECT_TRUE(same_tensors(*plans.front(), *plans.back()));
  }
  EXPECT_NE(plans[0]->shards.size(), plans[2]->shards.size());
  ExecuteOptions execution;
  execution.walk.memory = 1 << 20;
  execution.walk.threads = 3;
  const auto results = execute_together(jobs, execution);
  ASSERT_TRUE(results) << results.error().sentence;
  uint64_t alone = 0;
  for (size_t i = 0; i < jobs.size(); ++i) {
    const std::string out = folder.path("alone-" + std::to_string(i));
    const auto result = execute(*plans[i], out, {});
    ASSERT_TRUE(result) << result.error().sentence;
    EXPECT_EQ(contents(jobs[i].out), contents(out)) << different_merges()[i];
    EXPECT_EQ((*results)[i].merges_per_read, jobs.size());
    alone += result->bytes_read;
  }
  EXPECT_LT((*results)[0].bytes_read, alone / 2);
}

TEST(Execute, AnInterruptedMergeIsContinuedBesideAFreshOne) {
  const ScratchFolder folder;
  write_pair(folder);
  PlanOptions options{.arithmetic = {}, .shard_bytes = 50'000};
  options.opened = std::make_shared<OpenedModels>();
  const auto first = plan_of(folder, different_merges()[0], options);
  const auto second = plan_of(folder, different_merges()[1], options);
  ASSERT_TRUE(first && second);
  ASSERT_TRUE(execute(**first, folder.path("a-reference"), {}));
  ASSERT_TRUE(execute(**second, folder.path("b-reference"), {}));
  {
    const FullDisk disk(2);
    ASSERT_FALSE(execute(**first, folder.path("a-out"), {}));
  }
  const std::vector<MergeJob> jobs{{first->get(), folder.path("a-out")},
                                   {second->get(), folder.path("b-out")}};
  const auto results = execute_together(jobs, {});
  ASSERT_TRUE(results) << results.error().sentence;
  EXPECT_GT((*results)[0].resumed_shards, 0u);
  EXPECT_EQ((*results)[1].resumed_shards, 0u);
  EXPECT_EQ(contents(folder.path("a-out")), contents(folder.path("a-reference")));
  EXPECT_EQ(contents(folder.path("b-out")), contents(folder.path("b-reference")));
}

TEST(Execute, AverageOfEqualModelsIsTheModel) {
  const ScratchFolder folder;
  write_pair(folder);
  ASSERT_TRUE(merge(folder,
                    "merge_method: linear\nmodels:\n- {model: a, parameters: {weight: 0.3}}\n"
                    "- {model: a, parameters: {weight: 0.7}}\n",
                    "out"));
  const auto written = open_checkpoint(folder.path("out"));
  const auto parent = open_checkpoint(folder.path("a"));
  ASSERT_TRUE(written && parent);
  for (const TensorInfo& tensor : (*parent)->tensors) {
    EXPECT_EQ(tensor_data(**parent, tensor), tensor_data(**written, *(*written)->find(tensor.name)))
        << tensor.name;
  }
}

// Threads, memory and shard size must not change a bit of any tensor.
RC_GTEST_PROP(Execute, WritesTheSameBytesHoweverTheWorkIsCut, ()) {
  static const ScratchFolder folder;
  static const auto reference = [] {
    write_pair(folder);
    EXPECT_TRUE(merge(folder, kLinear, "reference"));
    return *open_checkpoint(folder.path("reference"));
  }();
  ExecuteOptions execution;
  execution.overwrite = true;
  execution.walk.threads = static_cast<unsigned>(*rc::gen::inRange(1, 6));
  execution.walk.memory = static_cast<uint64_t>(*rc::gen::inRange(1, 4096)) << 10;
  PlanOptions options;
  options.shard_bytes = static_cast<uint64_t>(*rc::gen::inRange(1, 100000));
  const auto result = merge(folder, kLinear, "out", execution, options);
  RC_ASSERT(result.has_value());
  const auto written = open_checkpoint(folder.path("out"));
  RC_ASSERT(written.has_value());
  for (const TensorInfo& tensor : reference->tensors) {
    RC_ASSERT(tensor_data(*reference, tensor) ==
              tensor_data(**written, *(*written)->find(tensor.name)));
  }
}

TEST(Execute, RefusesAFolderThatIsNotEmpty) {
  const ScratchFolder folder;
  write_pair(folder);
  fs::create_directory(folder.path("out"));
  folder.write("out/notes.txt", "mine");
  const auto result = merge(folder, kLinear, "out");
  EXPECT_THAT(sentence(result), HasSubstr("not empty"));
  EXPECT_EQ(contents(folder.path("out")).size(), 1u);
}

TEST(Execute, OverwriteReplacesTheCheckpointAndNothingElse) {
  const ScratchFolder folder;
  write_pair(folder);
  ASSERT_TRUE(merge(folder, kLinear, "out", {}, {.arithmetic = {}, .shard_bytes = 1}));
  folder.write("out/notes.txt", "mine");
  ExecuteOptions again;
  again.overwrite = true;
  ASSERT_TRUE(merge(folder, kLinear, "out", again));
  const auto files = contents(folder.path("out"));
  EXPECT_EQ(files.at("notes.txt"), "mine");
  EXPECT_FALSE(files.contains("model.safetensors.index.json"));
  EXPECT_FALSE(files.contains("model-00001-of-00004.safetensors"));
  EXPECT_TRUE(files.contains("model.safetensors"));
}

TEST(Execute, NeverWritesIntoAnInput) {
  const ScratchFolder folder;
  write_pair(folder);
  ExecuteOptions execution;
  execution.overwrite = true;
  EXPECT_THAT(sentence(merge(folder, kLinear, "a", execution)),
              HasSubstr("is the folder of \"a\""));
  EXPECT_TRUE(open_checkpoint(folder.path("a")));
}

// Runs into a full disk after `writes` writes; then again with room.
void expect_full_disk_then_same_bytes(int64_t writes) {
  const ScratchFolder folder;
  write_pair(folder);
  const PlanOptions options{.arithmetic = {}, .shard_bytes = 20000};
  ASSERT_TRUE(merge(folder, kLinear, "reference", {}, options));
  {
    const FullDisk disk(writes);
    const auto result = merge(folder, kLinear, "out", {}, options);
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().code, ErrorCode::kSystem);
    EXPECT_FALSE(open_checkpoint(folder.path("out")))
        << "it looks whole after " << writes << " writes";
  }
  const auto result = merge(folder, kLinear, "out", {}, options);
  ASSERT_TRUE(result) << result.error().sentence;
  EXPECT_EQ(contents(folder.path("out")), contents(folder.path("reference")));
}

TEST(Execute, AFullDiskLeavesNothingThatLooksWholeAndARerunFinishes) {
  for (int64_t writes : {0, 1, 2, 3, 5}) expect_full_disk_then_same_bytes(writes);
}

TEST(Execute, AReadErrorNamesTheFile) {
  const ScratchFolder folder;
  write_pair(folder);
  const auto plan = plan_of(folder, kLinear);
  ASSERT_TRUE(plan);
  Syscalls calls;
  calls.pread = [](int, void*, size_t, int64_t) -> int64_t {
    errno = EIO;
    return -1;
  };
  const ScopedSyscalls scope(std::move(calls));
  const auto result = execute(**plan, folder.path("out"), {});
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, ErrorCode::kSystem);
  EXPECT_THAT(sentence(result), HasSubstr("model.safetensors"));
}

TEST(Execute, CancelledMergesAreContinuedToTheSameBytes) {
  const ScratchFolder folder;
  write_pair(folder);
  const PlanOptions options{.arithmetic = {}, .shard_bytes = 20000};
  ASSERT_TRUE(merge(folder, kLinear, "reference", {}, options));
  std::atomic<bool> cancel{true};
  ExecuteOptions execution;
  execution.walk.cancel = &cancel;
  const auto stopped = merge(folder, kLinear, "out", execution, options);
  ASSERT_FALSE(stopped);
  EXPECT_EQ(stopped.error().code, ErrorCode::kSystem);
  ASSERT_TRUE(merge(folder, kLinear, "out", {}, options));
  EXPECT_EQ(contents(folder.path("out")), contents(folder.path("reference")));
}

// Fails for want of room after so many writes.
Result<MergeResult> merge_on_a_full_disk(const ScratchFolder& folder, int64_t writes) {
  const FullDisk disk(writes);
  return merge(folder, kLinear, "out", {}, {.arithmetic = {}, .shard_bytes = 20000});
}

TEST(Execute, AnotherRecipeDoesNotContinueAnUnfinishedMerge) {
  const ScratchFolder folder;
  write_pair(folder);
  ASSERT_FALSE(merge_on_a_full_disk(folder, 2));
  EXPECT_THAT(sentence(merge(folder, std::string(kLinear) + "dtype: float16\n", "out")),
              HasSubstr("unfinished merge of another recipe"));
}

TEST(Execute, AMergeThatFinishedNoShardIsNotInTheWayOfAnother) {
  const ScratchFolder folder;
  write_pair(folder);
  ASSERT_FALSE(merge_on_a_full_disk(folder, 0));
  const std::string other = std::string(kLinear) + "dtype: float16\n";
  ASSERT_TRUE(merge(folder, other, "out"));
  ASSERT_TRUE(merge(folder, other, "reference"));
  EXPECT_EQ(contents(folder.path("out")), contents(folder.path("reference")));
}

TEST(Execute, BeginsAgainIfAnInputHasChanged) {
  const ScratchFolder folder;
  write_pair(folder);
  ASSERT_FALSE(merge_on_a_full_disk(folder, 2));
  const fs::path input = folder.path("a/model.safetensors");
  fs::last_write_time(input, fs::last_write_time(input) + std::chrono::seconds(1));
  const auto result = merge(folder, kLinear, "out", {}, {.arithmetic = {}, .shard_bytes = 20000});
  ASSERT_TRUE(result) << result.error().sentence;
  EXPECT_EQ(result->resumed_shards, 0u);
}

// What check_outputs() and then execute() say of a folder, and whether looking changed anything.
class Looking {
 public:
  Looking() { write_pair(folder); }

  void expect_the_same(const std::string& yaml, bool overwrite, const char* words) {
    const auto plan = plan_of(folder, yaml, options);
    ASSERT_TRUE(plan);
    const auto before = tree();
    const MergeJob job{plan->get(), folder.path(out)};
    const ExecuteOptions execution{.overwrite = overwrite, .walk = {}};
    const Status looked = check_outputs(std::span(&job, 1), execution);
    EXPECT_EQ(tree(), before);
    const std::string said = looked ? "done" : looked.error().sentence;
    EXPECT_THAT(said, HasSubstr(words));
    const auto result = execute(**plan, job.out, execution);
    EXPECT_EQ(said, sentence(result));
    ASSERT_EQ(looked.has_value(), result.has_value());
    if (!looked) {
      EXPECT_EQ(looked.error().code, result.error().code);
    }
  }

  std::map<std::string, std::string> tree() const {
    std::map<std::string, std::string> files;
    for (const auto& entry : fs::recursive_directory_iterator(folder.path())) {
      const std::string name = fs::relative(entry.path(), folder.path()).string();
      files[name] = entry.is_regular_file() ? folder.read(name) : "";
    }
    return files;
  }

  ScratchFolder folder;
  std::string out = "out";
  PlanOptions options{.arithmetic = {}, .shard_bytes = 20000};
};

TEST(CheckOutputs, LetsANewFolderAndAnEmptyOnePass) {
  Looking look;
  look.out = "deep/er/out";
  look.expect_the_same(kLinear, false, "done");
  look.out = "empty";
  fs::create_directories(look.folder.path("empty"));
  look.expect_the_same(kLinear, false, "done");
}

TEST(CheckOutputs, RefusesAFolderWithOtherContentsUnlessOverwriting) {
  Looking look;
  fs::create_directories(look.folder.path("out"));
  look.folder.write("out/notes.txt", "mine");
  look.expect_the_same(kLinear, false, "is not empty");
  look.expect_the_same(kLinear, true, "done");
}

TEST(CheckOutputs, RefusesAFileInTheWay) {
  Looking look;
  look.folder.write("out", "a file");
  look.expect_the_same(kLinear, false, "cannot be created");
  look.out = "out/below";
  look.expect_the_same(kLinear, false, "cannot be created");
}

TEST(CheckOutputs, RefusesAnInputsFolder) {
  Looking look;
  look.out = "a";
  look.expect_the_same(kLinear, true, "is the folder of \"a\"");
}

TEST(CheckOutputs, TellsAnUnfinishedMergeOfAnotherRecipeFromItsOwn) {
  Looking look;
  ASSERT_FALSE(merge_on_a_full_disk(look.folder, 2));
  look.expect_the_same(std::string(kLinear) + "dtype: float16\n", false,
                       "unfinished merge of another recipe");
  look.expect_the_same(kLinear, false, "done");
}

TEST(CheckOutputs, RefusesAFolderInWhichAnotherProcessWorks) {
  Looking look;
  fs::create_directories(look.folder.path("out"));
  const int journal =
      ::open((look.folder.path("out/") + kJournalName).c_str(), O_RDWR | O_CREAT, 0644);
  ASSERT_EQ(::flock(journal, LOCK_EX), 0);
  look.expect_the_same(kLinear, false, "another hieron is writing");
  ::close(journal);
}

TEST(CheckOutputs, RefusesAFolderWithoutPermission) {
  if (::geteuid() == 0) GTEST_SKIP() << "nothing is forbidden to root";
  Looking look;
  fs::create_directories(look.folder.path("closed"));
  fs::permissions(look.folder.path("closed"), fs::perms::owner_read | fs::perms::owner_exec);
  for (const char* out : {"closed", "closed/out"}) {
    look.out = out;
    look.expect_the_same(kLinear, false, "ermission denied");
  }
  fs::permissions(look.folder.path("closed"), fs::perms::owner_all);
}

TEST(Execute, RefusesToWriteNumbersThatAreNotFinite) {
  const ScratchFolder folder;
  write_model(folder, "a", {{"w", DType::kF32, {8}, [](size_t i) { return i == 5 ? NAN : 1.0; }}});
  write_model(folder, "b", {{"w", DType::kF32, {8}, [](size_t) { return 2.0; }}});
  const auto result = merge(folder, kLinear, "out");
  ASSERT_FALSE(result);
  EXPECT_THAT(sentence(result), HasSubstr("\"w\", element 5"));
  EXPECT_EQ(result.error().code, ErrorCode::kRefused);
  EXPECT_TRUE(merge(folder, kLinear, "replayed", {}, {.arithmetic = "mergekit-0.1.5"}));
}

TEST(Manifest, FindsChangedMissingAndShortenedFiles) {
  const ScratchFolder folder;
  write_pair(folder);
  ASSERT_TRUE(merge(folder, kLinear, "out"));
  folder.write("out/config.json", "{\"a\": 1}");
  fs::remove(folder.path("out/tokenizer.json"));
  std::string weights = folder.read("out/model.safetensors");
  weights.back() ^= 1;
  folder.write("out/model.safetensors", weights);
  const auto check = check_manifest(folder.path("out"), {});
  ASSERT_TRUE(check);
  EXPECT_EQ(check->differences.size(), 3u);
}

TEST(Manifest, DoesNotLeadOutOfTheFolder) {
  const ScratchFolder folder;
  folder.write("hieron.json", R"({"schema": "hieron.manifest/1", "files":
      [{"path": "../secret", "bytes": 1, "sha256": "00"}]})");
  EXPECT_FALSE(check_manifest(folder.path(), {}));
}

// ---- the frame of two passes, with a method made for this test: each model's tensor scaled to
// norm one, averaged

class NormScaledWork final : public TensorWork {
 public:
  explicit NormScaledWork(const TensorTask& task)
      : out_(task.out), sums_(task.elements, kLeaf, task.inputs.size()) {}

  bool wants_pass() const override { return weights_.empty(); }
  void look(const Piece& piece, WorkScratch&) override {
    sums_.each_leaf(piece, [&](size_t first, size_t count, std::span<double> leaf) {
      std::vector<double> values(count);
      for (size_t k = 0; k < piece.operands.size(); ++k) {
        decode(piece.operands[k].dtype, piece.operands[k].data + first * sizeof(float),
               std::span<double>(values));
        for (double v : values) leaf[k] += v * v;
      }
    });
  }
  Status end_pass() override {
    for (double squares : sums_.total()) {
      weights_.push_back(1 / std::sqrt(squares) / static_cast<double>(sums_.size()));
    }
    return {};
  }
  void apply(const Piece& piece, std::byte* out, WorkScratch& scratch) const override {
    blend(Arithmetic::kExact, {weights_, false}, piece.operands, out_, out, piece.count,
          scratch.blend);
  }

 private:
  const DType out_;
  LeafSums sums_;
  std::vector<double> weights_;
};

class NormScaled final : public Method {
 public:
  const MethodInfo& describe() const override {
    static const MethodInfo about{.name = "norm_scaled",
                                  .summary = "",
                                  .formula = "",
                                  .citation = "",
                                  .parameters = {},
                                  .min_models = 1,
                                  .max_models = 8};
    return about;
  }
  std::unique_ptr<TensorWork> start(const TensorTask& task) const override {
    return std::make_unique<NormScaledWork>(task);
  }
};

TEST(Execute, GathersWholeTensorStatisticsInAFixedTree) {
  const ScratchFolder folder;
  for (const auto& [name, phase] : std::map<std::string, double>{{"a", 1}, {"b", 2}}) {
    write_model(folder, name,
                {{"w", DType::kF32, {100003}, wave(phase)}, {"v", DType::kF32, {5}, wave(phase)}});
  }
  const auto plan = plan_of(folder, kLinear);
  ASSERT_TRUE(plan);
  Plan scaled = **plan;
  const NormScaled method;
  scaled.method = &method;
  std::map<std::string, std::string> first;
  for (const unsigned threads : {1u, 2u, 3u}) {
    ExecuteOptions execution;
    execution.overwrite = true;
    execution.walk.threads = threads;
    execution.walk.memory = (1u << 20) * threads * threads;
    const auto result = execute(scaled, folder.path("out"), execution);
    ASSERT_TRUE(result) << result.error().sentence;
    const auto files = contents(folder.path("out"));
    if (first.empty()) first = files;
    EXPECT_EQ(files.at("model.safetensors"), first.at("model.safetensors"));
  }
  const auto written = open_checkpoint(folder.path("out"));
  const auto computed = computed_checkpoint(std::make_shared<const Plan>(scaled));
  ASSERT_TRUE(written && computed);
  for (const TensorInfo& tensor : (*computed)->tensors) {
    EXPECT_EQ(tensor_data(**computed, tensor),
              tensor_data(**written, *(*written)->find(tensor.name)))
        << tensor.name;
  }
}

// ---- what mergekit wrote, tensor by tensor

void expect_golden(const std::string& id, const std::string& version) {
  const std::string data = HIERON_TEST_DATA;
  std::ifstream recipe_file(data + "/golden/recipes/" + id + ".yml");
  std::ifstream golden_file(data + "/golden/" + version + "/" + id + ".json");
  if (!recipe_file || !golden_file) GTEST_SKIP() << id << " is not in the test data";
  std::stringstream yaml;
  yaml << recipe_file.rdbuf();
  const auto golden = nlohmann::json::parse(golden_file);
  const std::string name = "mergekit-" + version;
  auto recipe = parse_recipe(yaml.str(), data + "/recipe.yml", name);
  ASSERT_TRUE(recipe) << recipe.error().sentence;
  const auto plan = make_plan(*std::move(recipe), {.arithmetic = name});
  ASSERT_TRUE(plan) << plan.error().sentence;
  const auto checkpoint = computed_checkpoint(*plan);
  ASSERT_TRUE(checkpoint) << checkpoint.error().sentence;
  EXPECT_EQ((*checkpoint)->tensors.size(), golden["tensors"].size());
  for (const auto& [tensor, expected] : golden["tensors"].items()) {
    const TensorInfo* found = (*checkpoint)->find(tensor);
    ASSERT_TRUE(found) << tensor;
    EXPECT_EQ(info(found->dtype).name, expected["dtype"].get<std::string>()) << tensor;
    EXPECT_EQ(to_hex(sha256(tensor_data(**checkpoint, *found))),
              expected["sha256"].get<std::string>())
        << tensor;
  }
}

class Golden : public testing::TestWithParam<std::tuple<const char*, const char*>> {};

TEST_P(Golden, IsReproducedBitForBit) {
  expect_golden(std::get<0>(GetParam()), std::get<1>(GetParam()));
}

INSTANTIATE_TEST_SUITE_P(Flat, Golden,
                         testing::Combine(testing::Values("flat-linear-bf16", "flat-linear-f32",
                                                          "flat-linear-f32-to-bf16",
                                                          "flat-linear-mixed-dtypes",
                                                          "flat-linear-mixed-dtypes-bf16-first"),
                                          testing::Values("0.1.4", "0.1.5")));

}  // namespace
}  // namespace hieron
