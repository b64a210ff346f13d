#include "hieron/merge/extract_adapter.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <map>
#include <mutex>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "hieron/core/parallel.h"
#include "hieron/core/text.h"
#include "hieron/format/safetensors.h"
#include "hieron/io/output_file.h"
#include "hieron/kernels/decode.h"
#include "hieron/merge/adapter_config.h"
#include "hieron/merge/experts.h"
#include "hieron/model/config.h"
#include "hieron/model/roles.h"

namespace hieron {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr size_t kChunk = 1 << 20;  // bytes compared or copied at a time
constexpr std::string_view kPrefix = "base_model.model.";

// What becomes of a tensor of the model.
enum class Fate : uint8_t { kSame, kFactors, kWhole, kLeftOut };

struct Candidate {
  const TensorInfo* model = nullptr;
  const TensorInfo* base = nullptr;  // null: the base does not have it
  std::string module, parameter;     // the name without its last part, and that
  Fate fate = Fate::kSame;
  std::string reason;  // kLeftOut
  LowRankFit fit;      // kFactors
};

bool is_weight_type(DType dtype) { return info(dtype).format && info(dtype).bits >= 16; }

// Does PEFT know the module as a linear layer?
bool is_linear(const Candidate& c, const RoleTable& roles) {
  if (c.parameter != "weight" || c.model->shape.size() != 2) return false;
  switch (roles.classify(c.model->name, c.model->shape).role) {
    case Role::kAttentionQ:
    case Role::kAttentionK:
    case Role::kAttentionV:
    case Role::kAttentionO:
    case Role::kMlpGate:
    case Role::kMlpUp:
    case Role::kMlpDown:
    case Role::kExpertGate:
    case Role::kExpertUp:
    case Role::kExpertDown:
    case Role::kHead:
      return true;
    default:
      return false;
  }
}

class Extractor {
 public:
  Extractor(const Checkpoint& model, const Checkpoint& base, const ExtractOptions& options)
      : model_(model), base_(base), options_(options) {
    std::string architecture;
    if (const auto config = parse_config(model.config_json, model.ref)) {
      architecture = config->architecture;
    }
    roles_ = &RoleTable::of(architecture);
  }

  Status find_candidates() {
    const TensorInfo* last = nullptr;
    for (const TensorInfo& tensor : model_.tensors) {
      const size_t dot = tensor.name.rfind('.');
      last = base_.find_after(last, tensor.name);
      Candidate c;
      c.model = &tensor;
      c.base = last;
      c.module = tensor.name.substr(0, dot == std::string::npos ? 0 : dot);
      c.parameter = tensor.name.substr(dot == std::string::npos ? 0 : dot + 1);
      candidates_.push_back(std::move(c));
      total_bytes_ += tensor.bytes();
    }
    const bool none = std::ranges::none_of(candidates_, [](const auto& c) { return c.base; });
    if (!none) return {};
    return refuse(fmt::format("{} and {} have no tensor in common; give a fine-tune and its base.",
                              model_.ref, base_.ref),
                  model_.ref);
  }

  // Decides every tensor's fate, and finds the factors.
  Status work() {
    HIERON_CHECK(for_all([&](Candidate& c) { return decide(c); }, 0));
    keep_modules_whole();
    return for_all(
        [&](Candidate& c) -> Status {
          if (c.fate != Fate::kFactors) return {};
          const TensorPair pair{&model_, c.model, &base_, c.base};
          HIERON_TRY(c.fit, fit_low_rank(pair, options_.wish, Prf(options_.seed, c.model->name)));
          if (c.fit.norm == 0) c.fate = Fate::kSame;  // 0 and -0
          if (!std::isfinite(c.fit.norm)) {
            return refuse(
                fmt::format("{}: tensor \"{}\" less that of {} is not finite; compare them "
                            "with `hieron diff`.",
                            model_.ref, printable(c.model->name), base_.ref),
                model_.ref, c.model->name);
          }
          return {};
        },
        total_bytes_);
  }

  Result<Extraction> report() const {
    Extraction out;
    double square = 0, missed = 0;
    std::set<std::string> saved;
    for (const Candidate& c : candidates_) {
      if (c.fate == Fate::kSame) ++out.unchanged;
      if (c.fate == Fate::kLeftOut) out.left_out.push_back({c.model->name, c.reason});
      if (c.fate == Fate::kWhole && saved.insert(c.module).second) out.saved.push_back(c.module);
      if (c.fate != Fate::kFactors) continue;
      out.matrices.push_back({c.module, c.fit.rank, c.fit.norm, c.fit.relative_error});
      square += c.fit.norm * c.fit.norm;
      missed += std::pow(c.fit.norm * c.fit.relative_error, 2);
    }
    out.relative_error = square > 0 ? std::sqrt(missed / square) : 0;
    if (out.matrices.empty() && !out.saved.empty()) return refuse_without_matrices();
    if (out.matrices.empty()) {
      return refuse(
          fmt::format("{} and {} do not differ in anything that an adapter can hold; there "
                      "is nothing to extract.",
                      model_.ref, base_.ref),
          model_.ref);
    }
    return out;
  }

  // PEFT opens no adapter that targets no module.
  std::unexpected<Error> refuse_without_matrices() const {
    const bool none_known = std::ranges::none_of(
        candidates_, [&](const Candidate& c) { return is_linear(c, *roles_); });
    return refuse(
        none_known
            ? fmt::format(
                  "{}: none of its tensors is known as a matrix of attention, MLP or output "
                  "layer, which a LoRA adapter changes; it is no language model whose names "
                  "are known here.",
                  model_.ref)
            : fmt::format("{}: only embeddings, norms or biases differ from {}, and a LoRA adapter "
                          "needs a matrix to change; use the model itself.",
                          model_.ref, base_.ref),
        model_.ref);
  }

  Result<uint64_t> write_weights(const std::string& path) const {
    std::vector<StoredTensor> tensors;
    for (const Candidate& c : candidates_) list(c, tensors);
    const std::string header = write_safetensors_header(tensors, {{"format", "pt"}}, 8);
    uint64_t size = header.size();
    for (const StoredTensor& tensor : tensors) size += tensor.bytes;
    HIERON_TRY(const std::unique_ptr<OutputFile> file, create_file(path, size));
    HIERON_CHECK(file->write_at(0, std::as_bytes(std::span(header))));
    auto next = tensors.begin();
    for (const Candidate& c : candidates_) HIERON_CHECK(write(c, next, *file));
    HIERON_CHECK(file->commit());
    return size;
  }

  std::string config(const Extraction& extraction) const {
    uint64_t rank = 1;
    for (const ExtractedMatrix& matrix : extraction.matrices) rank = std::max(rank, matrix.rank);
    Json targets = Json::array(), saved = Json::array();
    Json ranks = Json::object();
    for (const ExtractedMatrix& matrix : extraction.matrices) {
      targets.push_back(peft_name(matrix.module));
      if (matrix.rank != rank) ranks[peft_name(matrix.module)] = matrix.rank;
    }
    for (const std::string& module : extraction.saved) saved.push_back(peft_name(module));
    const Json out{{"peft_type", "LORA"},
                   {"task_type", "CAUSAL_LM"},
                   {"base_model_name_or_path", fs::path(base_.ref).filename().string()},
                   {"inference_mode", true},
                   {"r", rank},
                   {"lora_alpha", rank},
                   {"lora_dropout", 0.0},
                   {"bias", "none"},
                   {"fan_in_fan_out", transposed_},
                   {"init_lora_weights", true},
                   {"use_rslora", false},
                   {"use_dora", false},
                   {"rank_pattern", ranks},
                   {"alpha_pattern", ranks},
                   {"target_modules", std::move(targets)},
                   {"modules_to_save", saved.empty() ? Json() : std::move(saved)}};
    return out.dump(2) + "\n";
  }

 private:
  // Calls work(candidate) for all, on several threads; `bytes` is what the progress counts to, or
  // 0.
  template <class Work>
  Status for_all(const Work& work, uint64_t bytes) {
    std::mutex mutex;
    Status failed;
    uint64_t done = 0;
    std::atomic<bool> stop = false;
    parallel_for(candidates_.size(), options_.threads, [&](size_t i) {
      if (stop) return;
      const bool cancelled = options_.cancel && *options_.cancel;
      Status status =
          cancelled ? system_error("interrupted; nothing was written.") : work(candidates_[i]);
      const std::lock_guard lock(mutex);
      if (!status) {
        if (failed) failed = std::move(status);
        stop = true;
      }
      done += candidates_[i].model->bytes();
      if (bytes && options_.progress) options_.progress({.bytes_done = done, .bytes_total = bytes});
    });
    return failed;
  }

  Status decide(Candidate& c) const {
    if (c.base && c.base->dtype == c.model->dtype && c.base->shape == c.model->shape) {
      HIERON_TRY(const bool same, equal(c));
      if (same) return {};
    }
    const bool values =
        is_weight_type(c.model->dtype) && (!c.base || is_weight_type(c.base->dtype));
    const bool alike = c.base && c.base->shape == c.model->shape;
    c.fate = Fate::kLeftOut;
    if (!values) {
      c.reason = fmt::format("{} is no type of plain weights", info(c.model->dtype).name);
    } else if (c.parameter != "weight" && c.parameter != "bias") {
      c.reason = "not the weight or bias of a module";
    } else if (alike) {
      c.fate = is_linear(c, *roles_) ? Fate::kFactors : Fate::kWhole;
    } else if (grown_vocabulary(c)) {
      c.fate = Fate::kWhole;
    } else {
      c.reason = c.base ? fmt::format("{} here and {} in the base", to_string(c.model->shape),
                                      to_string(c.base->shape))
                        : "the base does not have it";
    }
    return {};
  }

  bool grown_vocabulary(const Candidate& c) const {
    const Role role = roles_->classify(c.model->name, c.model->shape).role;
    if (role == Role::kHead && !c.base) return true;
    return c.base && (role == Role::kEmbedding || role == Role::kHead) &&
           c.model->shape.size() == 2 && c.base->shape.size() == 2 &&
           c.model->shape[1] == c.base->shape[1];
  }

  Result<bool> equal(const Candidate& c) const {
    const uint64_t width = static_cast<uint64_t>(info(c.model->dtype).bits);
    const uint64_t step = kChunk * 8 / width;
    std::vector<std::byte> a, b;
    for (uint64_t first = 0; first < c.model->elements; first += step) {
      const uint64_t count = std::min(step, c.model->elements - first);
      a.resize(count * width / 8);
      b.resize(a.size());
      HIERON_CHECK(read_elements(model_, *c.model, first, a));
      HIERON_CHECK(read_elements(base_, *c.base, first, b));
      if (a != b) return false;
    }
    return true;
  }

  // A module is a pair of factors or whole, not both; whole means all of its tensors.
  void keep_modules_whole() {
    std::set<std::string_view> whole;
    for (const Candidate& c : candidates_) {
      if (c.fate == Fate::kWhole) whole.insert(c.module);
    }
    for (Candidate& c : candidates_) {
      if (whole.contains(c.module) && c.fate != Fate::kLeftOut) c.fate = Fate::kWhole;
    }
  }

  // GPT-2's checkpoints leave out the part of the name that its modules have.
  std::string peft_name(const std::string& module) const {
    const bool short_name = transposed_ && module.starts_with("h.");
    return (short_name ? "transformer." : "") + module;
  }

  void list(const Candidate& c, std::vector<StoredTensor>& out) const {
    const std::string stem = std::string(kPrefix) + peft_name(c.module);
    if (c.fate == Fate::kWhole) {
      out.push_back({stem + "." + c.parameter, c.model->dtype, c.model->shape, 0, 0});
    }
    if (c.fate != Fate::kFactors || c.fit.rank == 0) return;
    const uint64_t rows = c.model->shape[0], columns = c.model->shape[1];
    const DType dtype = options_.wish.dtype;
    const uint64_t in = turned(c) ? rows : columns, outputs = turned(c) ? columns : rows;
    out.push_back({stem + ".lora_A.weight", dtype, {c.fit.rank, in}, 0, 0});
    out.push_back({stem + ".lora_B.weight", dtype, {outputs, c.fit.rank}, 0, 0});
  }

  // Conv1D keeps [in, out]; the output layer of the same models does not.
  bool turned(const Candidate& c) const { return transposed_ && !c.module.ends_with("lm_head"); }

  Status write(const Candidate& c, std::vector<StoredTensor>::iterator& next,
               OutputFile& file) const {
    if (c.fate == Fate::kWhole) return copy(c, (next++)->offset, file);
    if (c.fate != Fate::kFactors || c.fit.rank == 0) return {};
    const uint64_t rows = c.model->shape[0], columns = c.model->shape[1];
    const std::vector<float>&left = c.fit.left, &right = c.fit.right;
    const auto a = turned(c) ? transposed(left, rows, c.fit.rank) : right;
    const auto b = turned(c) ? transposed(right, c.fit.rank, columns) : left;
    HIERON_CHECK(write_values(a, (next++)->offset, file));
    return write_values(b, (next++)->offset, file);
  }

  static std::vector<float> transposed(const std::vector<float>& in, size_t rows, size_t columns) {
    std::vector<float> out(in.size());
    for (size_t i = 0; i < in.size(); ++i) out[i % columns * rows + i / columns] = in[i];
    return out;
  }

  Status write_values(const std::vector<float>& values, uint64_t offset, OutputFile& file) const {
    std::vector<std::byte> raw(values.size() * static_cast<size_t>(info(options_.wish.dtype).bits) /
                               8);
    encode(options_.wish.dtype, std::span(values), raw.data());
    return file.write_at(offset, raw);
  }

  Status copy(const Candidate& c, uint64_t offset, OutputFile& file) const {
    const uint64_t width = static_cast<uint64_t>(info(c.model->dtype).bits) / 8;
    const uint64_t step = kChunk / width;
    std::vector<std::byte> raw;
    for (uint64_t first = 0; first < c.model->elements; first += step) {
      raw.resize(std::min(step, c.model->elements - first) * width);
      HIERON_CHECK(read_elements(model_, *c.model, first, raw));
      HIERON_CHECK(file.write_at(offset + first * width, raw));
    }
    return {};
  }

  const Checkpoint& model_;
  const Checkpoint& base_;
  const ExtractOptions& options_;
  const RoleTable* roles_;
  const bool transposed_ = stores_conv1d(base_.config_json);
  std::vector<Candidate> candidates_;
  uint64_t total_bytes_ = 0;
};

Status check_folder(const std::string& folder, bool overwrite) {
  std::error_code failed;
  if (fs::exists(folder, failed) && !overwrite && !fs::is_empty(folder, failed)) {
    return refuse(fmt::format("{}: the folder is not empty; give another, or --overwrite.", folder),
                  folder);
  }
  for (const char* weights : {"model.safetensors", "model.safetensors.index.json"}) {
    if (!fs::exists(fs::path(folder) / weights, failed)) continue;
    return refuse(
        fmt::format("{}: the folder holds a model; give the adapter a folder of its own.", folder),
        folder);
  }
  fs::create_directories(folder, failed);
  if (failed) {
    return system_error(fmt::format("{}: cannot make the folder ({}).", folder, failed.message()),
                        folder);
  }
  return {};
}

// Experts one by one, whatever the checkpoint has; as it is, where that cannot be.
std::shared_ptr<const Checkpoint> apart(const std::shared_ptr<const Checkpoint>& checkpoint) {
  if (expert_layout(*checkpoint) != ExpertLayout::kFused) return checkpoint;
  auto separate = with_experts(checkpoint, ExpertLayout::kSeparate);
  return separate ? *std::move(separate) : checkpoint;
}

}  // namespace

Result<Extraction> extract_adapter(const std::shared_ptr<const Checkpoint>& model,
                                   const std::shared_ptr<const Checkpoint>& base,
                                   const std::string& folder, const ExtractOptions& options) {
  const auto model_seen = apart(model), base_seen = apart(base);
  Extractor extractor(*model_seen, *base_seen, options);
  HIERON_CHECK(extractor.find_candidates());
  HIERON_CHECK(check_folder(folder, options.overwrite));
  HIERON_CHECK(extractor.work());
  HIERON_TRY(Extraction extraction, extractor.report());
  HIERON_TRY(extraction.bytes,
             extractor.write_weights((fs::path(folder) / "adapter_model.safetensors").string()));
  HIERON_CHECK(write_text((fs::path(folder) / "adapter_config.json").string(),
                          extractor.config(extraction)));
  return extraction;
}

}  // namespace hieron
