// Checkpoints whose vocabulary tensors are gathered, row by row, from where a TokenPlan says.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <mutex>
#include <utility>

#include "hieron/core/text.h"
#include "hieron/kernels/decode.h"
#include "hieron/merge/json_text.h"
#include "hieron/merge/mergekit/rounding.h"
#include "hieron/merge/tokens.h"
#include "hieron/model/config.h"
#include "hieron/model/roles.h"

namespace hieron {
namespace {

constexpr size_t kChunk = 64 * 1024;  // elements converted at once

uint64_t width_of(DType dtype) { return static_cast<uint64_t>(info(dtype).bits) / 8; }

// torch.sum over the first axis of a matrix, as torch orders it on an x86 CPU in one thread: each
// column is a cascade of four levels (torch_sum.h); the columns behind the last 32 are four chains
// each, one for every fourth row.
class ColumnSums {
 public:
  ColumnSums(uint64_t rows, size_t columns)
      : rows_(rows), straight_(columns / kBlock * kBlock), columns_(columns) {
    plain_ = Cascade(rows, straight_);
    for (Cascade& chain : chains_) chain = Cascade(rows / kChains, columns - straight_);
  }

  void add(std::span<const float> row) {
    plain_.add(row.first(straight_));
    const uint64_t number = seen_++;
    const std::span<const float> rest = row.subspan(straight_);
    if (number < rows_ / kChains * kChains) {
      chains_[number % kChains].add(rest);
    } else {
      last_.insert(last_.end(), rest.begin(), rest.end());
    }
  }

  std::vector<float> sums() {
    std::vector<float> out = plain_.total();
    const std::vector<float> first = chains_[0].total();
    out.insert(out.end(), first.begin(), first.end());
    const size_t rest = columns_ - straight_;
    for (size_t i = 0; i < last_.size(); ++i) out[straight_ + i % rest] += last_[i];
    for (size_t k = 1; k < kChains; ++k) {
      const std::vector<float> chain = chains_[k].total();
      for (size_t i = 0; i < rest; ++i) out[straight_ + i] += chain[i];
    }
    return out;
  }

 private:
  static constexpr size_t kBlock = 32, kChains = 4, kLevels = 4;

  class Cascade {
   public:
    Cascade() = default;
    Cascade(uint64_t rows, size_t width)
        : power_(std::max<size_t>(4, ceil_log2(rows) / kLevels)), width_(width) {
      for (auto& level : levels_) level.assign(width, 0.0f);
    }

    void add(std::span<const float> row) {
      for (size_t i = 0; i < width_; ++i) levels_[0][i] += row[i];
      ++seen_;
      const uint64_t mask = (uint64_t{1} << power_) - 1;
      for (size_t j = 1; j < kLevels && (seen_ & (mask << ((j - 1) * power_))) == 0; ++j) {
        for (size_t i = 0; i < width_; ++i) levels_[j][i] += levels_[j - 1][i];
        levels_[j - 1].assign(width_, 0.0f);
      }
    }

    std::vector<float> total() const {
      std::vector<float> out = levels_[0];
      for (size_t j = 1; j < kLevels; ++j) {
        for (size_t i = 0; i < width_; ++i) out[i] += levels_[j][i];
      }
      return out;
    }

   private:
    static size_t ceil_log2(uint64_t n) {
      return n <= 2 ? 1 : static_cast<size_t>(std::bit_width(n - 1));
    }
    size_t power_ = 4, width_ = 0;
    uint64_t seen_ = 0;
    std::array<std::vector<float>, kLevels> levels_;
  };

  uint64_t rows_, seen_ = 0;
  size_t straight_, columns_;
  Cascade plain_;
  std::array<Cascade, kChains> chains_;
  std::vector<float> last_;  // of the rows that no chain takes
};

// One tensor in every model that rows may come from.
struct Lender {
  std::shared_ptr<const Checkpoint> checkpoint;  // keeps the tensor alive
  const TensorInfo* tensor = nullptr;
};

// What the aligned tensors of all models share.
struct Alignment {
  std::vector<std::vector<ModelRow>> means;
  std::vector<RowRun> unclaimed;
  uint64_t rows = 0;
  std::optional<mergekit::Version> replay;
  bool cast_first = false;  // each model's tensor is cast before anything else
};

class AlignedTensor final : public ComputedTensor {
 public:
  AlignedTensor(std::shared_ptr<const Alignment> alignment, std::vector<RowRun> runs,
                std::vector<Lender> lenders, DType dtype, uint64_t columns)
      : alignment_(std::move(alignment)),
        runs_(std::move(runs)),
        lenders_(std::move(lenders)),
        dtype_(dtype),
        columns_(columns) {}

  Status read(uint64_t first, std::span<std::byte> out) const override {
    if (out.empty()) return {};
    const uint64_t width = width_of(dtype_);
    uint64_t at = first;
    auto run = std::ranges::upper_bound(runs_, first / columns_, {}, &RowRun::first) - 1;
    while (!out.empty()) {
      const uint64_t end = (run->first + run->count) * columns_;
      const uint64_t count = std::min<uint64_t>(out.size() / width, end - at);
      HIERON_CHECK(read_run(*run, at - run->first * columns_, out.first(count * width)));
      out = out.subspan(count * width);
      at += count;
      ++run;
    }
    return {};
  }

 private:
  // Elements of one run, counted from its first.
  Status read_run(const RowRun& run, uint64_t first, std::span<std::byte> out) const {
    switch (run.from) {
      case RowFrom::kRow:
        return read_rows(run.model, run.row * columns_ + first, out);
      case RowFrom::kMean:
        return read_means(run, first, out);
      case RowFrom::kMeanOfAll:
        return read_mean_of_all(first, out);
      case RowFrom::kZero:
        std::memset(out.data(), 0, out.size());
    }
    return {};
  }

  Status read_rows(uint32_t model, uint64_t first, std::span<std::byte> out) const {
    const Lender& lender = lenders_[model];
    if (lender.tensor->dtype == dtype_) {
      return read_elements(*lender.checkpoint, *lender.tensor, first, out);
    }
    const uint64_t width = width_of(dtype_);
    std::vector<double> values(std::min<size_t>(kChunk, out.size() / width));
    while (!out.empty()) {
      const size_t count = std::min<size_t>(kChunk, out.size() / width);
      HIERON_CHECK(read_values(model, first, std::span(values).first(count)));
      encode(dtype_, std::span<const double>(values).first(count), out.data());
      first += count;
      out = out.subspan(count * width);
    }
    return {};
  }

  Status read_values(uint32_t model, uint64_t first, std::span<double> values) const {
    const Lender& lender = lenders_[model];
    std::vector<std::byte> stored(values.size() * width_of(lender.tensor->dtype));
    HIERON_CHECK(read_elements(*lender.checkpoint, *lender.tensor, first, stored));
    decode(lender.tensor->dtype, stored.data(), values);
    return {};
  }

  // Row by row; a stretch may begin and end within one.
  Status read_means(const RowRun& run, uint64_t first, std::span<std::byte> out) const {
    const uint64_t width = width_of(dtype_);
    while (!out.empty()) {
      const uint64_t row = first / columns_, column = first % columns_;
      const uint64_t count = std::min<uint64_t>(out.size() / width, columns_ - column);
      HIERON_CHECK(read_mean(alignment_->means[run.row + row], column, out.first(count * width)));
      first += count;
      out = out.subspan(count * width);
    }
    return {};
  }

  Status read_mean(const std::vector<ModelRow>& rows, uint64_t column,
                   std::span<std::byte> out) const {
    const size_t count = out.size() / width_of(dtype_);
    std::vector<double> sum(count), row(count);
    const auto n = static_cast<double>(rows.size());
    for (const ModelRow& from : rows) {
      HIERON_CHECK(read_values(from.model, from.row * columns_ + column, row));
      for (size_t i = 0; i < count; ++i) sum[i] = plus(sum[i], row[i]);
    }
    for (double& value : sum) value = divided(value, n);
    encode(dtype_, std::span<const double>(sum), out.data());
    return {};
  }

  // mergekit rounds to the tensor's dtype after each operation, which is one of f32.
  double plus(double sum, double value) const {
    if (!narrow()) return sum + value;
    const mergekit::Rounding round(dtype_);
    const auto row = static_cast<float>(value);
    return round(static_cast<float>(sum) + (alignment_->cast_first ? round(row) : row));
  }
  double divided(double sum, double n) const {
    if (!narrow()) return sum / n;
    return mergekit::Rounding(dtype_)(static_cast<float>(sum) / static_cast<float>(n));
  }
  bool narrow() const { return alignment_->replay && dtype_ != DType::kF64; }

  Status read_mean_of_all(uint64_t first, std::span<std::byte> out) const {
    {
      const std::lock_guard lock(mutex_);
      if (mean_of_all_.empty()) HIERON_CHECK(work_out_mean());
    }
    const uint64_t width = width_of(dtype_);
    while (!out.empty()) {
      const uint64_t column = first % columns_;
      const uint64_t count = std::min<uint64_t>(out.size() / width, columns_ - column);
      std::memcpy(out.data(), mean_of_all_.data() + column * width, count * width);
      first += count;
      out = out.subspan(count * width);
    }
    return {};
  }

  Status work_out_mean() const {
    std::vector<std::byte> mean(columns_ * width_of(dtype_));
    uint64_t count = alignment_->rows;
    for (const RowRun& gap : alignment_->unclaimed) count -= gap.count;
    if (count > 0 && narrow()) {
      HIERON_CHECK(mean_as_torch(count, mean));
    } else if (count > 0) {
      std::vector<double> sums(columns_), row(columns_);
      HIERON_CHECK(each_row([&](const std::byte* stored) {
        decode(dtype_, stored, std::span<double>(row));
        for (size_t i = 0; i < row.size(); ++i) sums[i] += row[i];
      }));
      for (double& sum : sums) sum /= static_cast<double>(count);
      encode(dtype_, std::span<const double>(sums), mean.data());
    }
    mean_of_all_ = std::move(mean);
    return {};
  }

  Status mean_as_torch(uint64_t count, std::span<std::byte> mean) const {
    ColumnSums columns(count, columns_);
    std::vector<float> row(columns_);
    HIERON_CHECK(each_row([&](const std::byte* stored) {
      decode(dtype_, stored, std::span<float>(row));
      columns.add(row);
    }));
    std::vector<float> sums = columns.sums();
    for (float& sum : sums) sum /= static_cast<float>(count);
    encode(dtype_, std::span<const float>(sums), mean.data());
    return {};
  }

  // Calls visit(bytes of a row) for each row that has a token, in order.
  template <class Visit>
  Status each_row(const Visit& visit) const {
    const uint64_t row_bytes = columns_ * width_of(dtype_);
    const uint64_t at_once = std::max<uint64_t>(1, (1u << 20) / row_bytes);
    std::vector<std::byte> buffer(at_once * row_bytes);
    auto gap = alignment_->unclaimed.begin();
    for (uint64_t row = 0; row < alignment_->rows;) {
      const bool last = gap == alignment_->unclaimed.end();
      if (!last && row == gap->first) {
        row += gap++->count;
        continue;
      }
      const uint64_t stop = last ? alignment_->rows : gap->first;
      const uint64_t count = std::min(at_once, stop - row);
      HIERON_CHECK(read(row * columns_, std::span(buffer).first(count * row_bytes)));
      for (uint64_t i = 0; i < count; ++i) visit(buffer.data() + i * row_bytes);
      row += count;
    }
    return {};
  }

  const std::shared_ptr<const Alignment> alignment_;
  const std::vector<RowRun> runs_;
  const std::vector<Lender> lenders_;  // by model
  const DType dtype_;
  const uint64_t columns_;
  mutable std::mutex mutex_;
  mutable std::vector<std::byte> mean_of_all_;  // one row; never changes once it is there
};

// ---- which tensors

const RoleTable& roles_of(const Checkpoint& checkpoint) {
  const auto config = parse_config(checkpoint.config_json, checkpoint.ref);
  return RoleTable::of(config ? config->architecture : std::string());
}

struct Candidate {
  const TensorInfo* tensor;
  Role role;
};

// Embeddings of something else, which may have as many rows as there are tokens.
bool not_of_tokens(std::string_view name) {
  constexpr std::array<std::string_view, 8> kMarks{"position", "pos_emb",   "wpe",    "token_type",
                                                   "patch",    "class_emb", "vision", "relative"};
  return std::ranges::any_of(kMarks,
                             [&](std::string_view mark) { return name.find(mark) != name.npos; });
}

// Embeddings and heads of any kind: tokens', other modalities', labels'.
std::vector<Candidate> candidates(const Checkpoint& checkpoint) {
  const RoleTable& roles = roles_of(checkpoint);
  std::vector<Candidate> found;
  for (const TensorInfo& tensor : checkpoint.tensors) {
    if (tensor.shape.empty() || tensor.shape.size() > 2) continue;
    const Role role = roles.classify(tensor.name, tensor.shape).role;
    const bool embedding = role == Role::kEmbedding && tensor.shape.size() == 2;
    if (role == Role::kHead || (embedding && !not_of_tokens(tensor.name))) {
      found.push_back({&tensor, role});
    }
  }
  return found;
}

// How many rows the tokens have: as config.json says if an embedding has as many; else as many as a
// head; else those of the largest embedding.
uint64_t rows_among(const std::vector<Candidate>& found, std::optional<uint64_t> vocab_size) {
  uint64_t like_head = 0, most = 0;
  for (const Candidate& embedding : found) {
    if (embedding.role != Role::kEmbedding) continue;
    const uint64_t rows = embedding.tensor->shape[0];
    if (rows == vocab_size) return rows;
    most = std::max(most, rows);
    const bool head = std::ranges::any_of(found, [&](const Candidate& other) {
      return other.role == Role::kHead && other.tensor->shape[0] == rows;
    });
    if (head) like_head = std::max(like_head, rows);
  }
  return like_head > 0 ? like_head : most;
}

std::vector<Candidate> vocabulary_candidates(const Checkpoint& checkpoint) {
  std::vector<Candidate> found = candidates(checkpoint);
  const auto config = parse_config(checkpoint.config_json, checkpoint.ref);
  const uint64_t rows = rows_among(found, config ? config->vocab_size : std::nullopt);
  std::erase_if(found, [&](const Candidate& c) { return c.tensor->shape[0] != rows; });
  if (rows == 0) found.clear();
  return found;
}

// ---- lining them up

std::optional<DType> widest(std::optional<DType> a, DType b) {
  if (!a || *a == b) return b;
  const int bits_a = info(*a).bits, bits_b = info(b).bits;
  if (bits_a == bits_b) return DType::kF32;  // BF16 and F16
  return bits_a > bits_b ? *a : b;
}

bool gathers(DType dtype) {
  return dtype == DType::kBF16 || dtype == DType::kF16 || dtype == DType::kF32 ||
         dtype == DType::kF64;
}

class Aligner {
 public:
  Aligner(std::span<const std::shared_ptr<const Checkpoint>> checkpoints, const TokenPlan& plan,
          std::optional<DType> working, const TokenPlan* heads)
      : checkpoints_(checkpoints),
        working_(working),
        embeddings_(of(plan)),
        heads_(heads ? of(*heads) : embeddings_) {
    for (const auto& checkpoint : checkpoints) {
      vocabulary_.push_back(checkpoint ? vocabulary_candidates(*checkpoint)
                                       : std::vector<Candidate>());
    }
  }

  Result<std::shared_ptr<const Checkpoint>> align(size_t m) const {
    const auto& original = checkpoints_[m];
    if (!original || vocabulary_[m].empty()) return original;
    auto aligned = std::make_shared<Checkpoint>(*original);
    bool changed = false;
    for (const Candidate& own : vocabulary_[m]) {
      const auto number = static_cast<size_t>(own.tensor - original->tensors.data());
      HIERON_TRY(const bool new_tensor, align_tensor(m, own, aligned->tensors[number]));
      changed = changed || new_tensor;
    }
    if (!changed) return original;
    return aligned;
  }

 private:
  struct Planned {
    const TokenPlan* plan;
    std::shared_ptr<const Alignment> alignment;
  };
  Planned of(const TokenPlan& plan) const {
    return {&plan, std::make_shared<const Alignment>(Alignment{
                       plan.means, plan.unclaimed, plan.rows, plan.replay, working_.has_value()})};
  }
  const Planned& planned(const Candidate& tensor) const {
    return tensor.role == Role::kHead ? heads_ : embeddings_;
  }

  Result<bool> align_tensor(size_t m, const Candidate& own, TensorInfo& out) const {
    const auto& [plan, alignment] = planned(own);
    if (plan->unchanged(m) && !plan->replay) return false;
    HIERON_TRY(std::vector<Lender> lenders, lenders_of(m, own));
    const std::optional<DType> dtype = working_ ? working_ : common_dtype(lenders, plan->replay);
    if (!dtype || !gathers(*dtype)) {
      return refuse_lender(m, m, own, why_unfit(own.tensor, own));
    }
    if (plan->unchanged(m) && *dtype == own.tensor->dtype) return false;
    out.dtype = *dtype;
    out.shape[0] = plan->rows;
    const auto elements = element_count(out.shape);
    if (!elements) {
      return refuse(fmt::format("{}: {} rows are too many for tensor \"{}\".", checkpoints_[m]->ref,
                                with_commas(plan->rows), printable(own.tensor->name)),
                    checkpoints_[m]->ref, own.tensor->name);
    }
    out.elements = *elements;
    out.stored = {};
    out.computed = std::make_shared<const AlignedTensor>(
        alignment, plan->models[m], std::move(lenders), *dtype, row_length(own.tensor->shape));
    return true;
  }

  // 0.1.4 takes the dtype of the model that a set has first; here it is the first that is merged.
  static std::optional<DType> common_dtype(std::span<const Lender> lenders,
                                           std::optional<mergekit::Version> replay) {
    std::optional<DType> dtype;
    for (const Lender& lender : lenders) {
      if (!lender.tensor) continue;
      dtype = widest(dtype, lender.tensor->dtype);
      if (replay == mergekit::Version::k014) break;
    }
    return dtype;
  }

  // The tensor in each model; those that no row of model m comes from may lack it.
  Result<std::vector<Lender>> lenders_of(size_t m, const Candidate& own) const {
    std::vector<Lender> lenders(checkpoints_.size());
    for (size_t j = 0; j < checkpoints_.size(); ++j) {
      if (!checkpoints_[j] || !counts(m, j, own)) continue;
      const TensorInfo* tensor = j == m ? own.tensor : counterpart(j, own);
      const std::string unfit = why_unfit(tensor, own);
      if (!unfit.empty()) {
        if (lends(m, j, own)) return refuse_lender(m, j, own, unfit);
        continue;
      }
      lenders[j] = {checkpoints_[j], tensor};
    }
    return lenders;
  }

  // Is the dtype that model j stores one that m's matrix may get? In mergekit all have one dtype.
  bool counts(size_t m, size_t j, const Candidate& own) const {
    const TokenPlan& plan = *planned(own).plan;
    return j == m || (plan.replay && plan.merged[j]) || lends(m, j, own);
  }

  // Empty if rows of `tensor` can be those of `own`.
  static std::string why_unfit(const TensorInfo* tensor, const Candidate& own) {
    if (!tensor) return "has no such tensor";
    if (row_length(tensor->shape) != row_length(own.tensor->shape)) {
      return fmt::format("has rows of {} elements there, not of {}", row_length(tensor->shape),
                         row_length(own.tensor->shape));
    }
    if (gathers(tensor->dtype)) return {};
    return fmt::format("stores it as {}, whose rows cannot be mixed", info(tensor->dtype).name);
  }

  // The same name, else the same role; a model without a head uses its embedding as one.
  const TensorInfo* counterpart(size_t j, const Candidate& own) const {
    const std::vector<Candidate>& there = vocabulary_[j];
    const size_t rank = own.tensor->shape.size();
    const auto fits = [&](const auto& test) -> const TensorInfo* {
      const auto found = std::ranges::find_if(
          there, [&](const Candidate& c) { return c.tensor->shape.size() == rank && test(c); });
      return found == there.end() ? nullptr : found->tensor;
    };
    if (const auto* same =
            fits([&](const Candidate& c) { return c.tensor->name == own.tensor->name; })) {
      return same;
    }
    if (const auto* like = fits([&](const Candidate& c) { return c.role == own.role; })) {
      return like;
    }
    if (own.role != Role::kHead || rank != 2) return nullptr;
    return fits([](const Candidate& c) { return c.role == Role::kEmbedding; });
  }

  bool lends(size_t m, size_t j, const Candidate& own) const {
    const TokenPlan& plan = *planned(own).plan;
    for (const RowRun& run : plan.models[m]) {
      if (run.from == RowFrom::kRow && run.model == j) return true;
      if (run.from != RowFrom::kMean) continue;
      for (uint64_t i = 0; i < run.count; ++i) {
        for (const ModelRow& row : plan.means[run.row + i]) {
          if (row.model == j) return true;
        }
      }
    }
    return false;
  }

  std::unexpected<Error> refuse_lender(size_t m, size_t j, const Candidate& own,
                                       const std::string& clause) const {
    return refuse(
        fmt::format("{}: tensor \"{}\" needs rows for its new tokens, but {} {}; only models with "
                    "equal embeddings can share a vocabulary.",
                    checkpoints_[m]->ref, printable(own.tensor->name), checkpoints_[j]->ref,
                    clause),
        checkpoints_[m]->ref, own.tensor->name);
  }

  const std::span<const std::shared_ptr<const Checkpoint>> checkpoints_;
  const std::optional<DType> working_;
  const Planned embeddings_, heads_;
  std::vector<std::vector<Candidate>> vocabulary_;  // by model
};

}  // namespace

std::vector<const TensorInfo*> vocabulary_tensors(const Checkpoint& checkpoint) {
  std::vector<const TensorInfo*> found;
  for (const Candidate& c : vocabulary_candidates(checkpoint)) found.push_back(c.tensor);
  return found;
}

uint64_t vocabulary_rows(const Checkpoint& checkpoint) {
  const auto found = vocabulary_candidates(checkpoint);
  return found.empty() ? 0 : found.front().tensor->shape[0];
}

const TensorInfo* output_head(const Checkpoint& checkpoint) {
  for (const Candidate& c : vocabulary_candidates(checkpoint)) {
    if (c.role == Role::kHead && c.tensor->shape.size() == 2) return c.tensor;
  }
  return nullptr;
}

bool is_tied(const Checkpoint& checkpoint) {
  const auto config = parse_config(checkpoint.config_json, checkpoint.ref);
  return config && config->tied.value_or(false);
}

std::string untied_config(const std::string& config) {
  if (!json_text::check_object(config, {})) return config;
  json_text::Edits edits(config);
  const auto untie = [&](const auto& self, std::string_view object) -> void {
    for (const json_text::Member& member : json_text::members(object)) {
      if (member.value.starts_with('{')) self(self, member.value);
      if (member.key == "\"tie_word_embeddings\"") edits.replace(member.value, "false");
    }
  };
  untie(untie, config);
  return std::move(edits).apply();
}

Result<std::shared_ptr<const Checkpoint>> with_own_head(
    const std::shared_ptr<const Checkpoint>& checkpoint, const std::string& name) {
  const std::vector<const TensorInfo*> embeddings = vocabulary_tensors(*checkpoint);
  if (embeddings.empty() || output_head(*checkpoint) || !is_tied(*checkpoint)) return checkpoint;
  auto untied = std::make_shared<Checkpoint>(*checkpoint);
  TensorInfo head = *embeddings.front();
  head.name = name;
  untied->tensors.push_back(std::move(head));
  HIERON_CHECK(untied->index());
  return untied;
}

std::vector<const TensorInfo*> other_embeddings(const Checkpoint& checkpoint) {
  const uint64_t rows = vocabulary_rows(checkpoint);
  std::vector<const TensorInfo*> found;
  for (const Candidate& c : candidates(checkpoint)) {
    if (c.role == Role::kEmbedding && c.tensor->shape[0] != rows) found.push_back(c.tensor);
  }
  return found;
}

Result<std::vector<std::shared_ptr<const Checkpoint>>> reindexed(
    std::span<const std::shared_ptr<const Checkpoint>> checkpoints, const TokenPlan& plan,
    std::optional<DType> working, const TokenPlan* heads) {
  const Aligner aligner(checkpoints, plan, working, heads);
  std::vector<std::shared_ptr<const Checkpoint>> aligned;
  for (size_t m = 0; m < checkpoints.size(); ++m) {
    HIERON_TRY(std::shared_ptr<const Checkpoint> checkpoint, aligner.align(m));
    aligned.push_back(std::move(checkpoint));
  }
  return aligned;
}

Result<std::shared_ptr<const Checkpoint>> truncated(
    const std::shared_ptr<const Checkpoint>& checkpoint, uint64_t rows) {
  const auto tensors = vocabulary_tensors(*checkpoint);
  if (tensors.empty() || tensors.front()->shape[0] == rows) return checkpoint;
  auto cut = std::make_shared<Checkpoint>(*checkpoint);
  for (const TensorInfo* tensor : tensors) {
    if (rows > tensor->shape[0]) {
      return refuse(
          fmt::format("{}: tensor \"{}\" cannot be cut to {} rows: it has {}.", checkpoint->ref,
                      printable(tensor->name), with_commas(rows), with_commas(tensor->shape[0])),
          checkpoint->ref, tensor->name);
    }
    // What remains is the beginning of the tensor, wherever it lies.
    TensorInfo& shorter = cut->tensors[static_cast<size_t>(tensor - checkpoint->tensors.data())];
    shorter.shape[0] = rows;
    shorter.elements = rows * row_length(tensor->shape);
  }
  return cut;
}

}  // namespace hieron
