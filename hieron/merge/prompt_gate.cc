#include "hieron/merge/prompt_gate.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <mutex>
#include <span>
#include <utility>

#include "hieron/core/text.h"
#include "hieron/kernels/decode.h"
#include "hieron/merge/mergekit/torch_sum.h"

namespace hieron {
namespace {

using Row = std::vector<double>;

// Σ x², then √: the terms in order.
double length(const Row& row) {
  double squares = 0;
  for (const double x : row) squares += x * x;
  return std::sqrt(squares);
}

class PromptGate final : public ComputedTensor {
 public:
  PromptGate(std::shared_ptr<const Checkpoint> base, const TensorInfo& embedding,
             std::vector<GatePrompts> experts, DType dtype, bool replayed)
      : base_(std::move(base)),
        embedding_(embedding),
        experts_(std::move(experts)),
        dtype_(dtype),
        replayed_(replayed) {}

  Status read(uint64_t first, std::span<std::byte> out) const override {
    const std::scoped_lock lock(mutex_);
    if (rows_.empty()) HIERON_CHECK(compute());
    std::ranges::copy(std::span(rows_).subspan(first * bytes_of(dtype_), out.size()), out.begin());
    return {};
  }

 private:
  static size_t bytes_of(DType dtype) { return static_cast<size_t>(info(dtype).bits) / 8; }
  size_t width() const { return embedding_.shape[1]; }

  Status compute() const {
    std::vector<std::byte> rows;
    for (const GatePrompts& expert : experts_) {
      HIERON_TRY(const Row row, replayed_ ? replayed_row(expert) : exact_row(expert));
      const size_t at = rows.size();
      rows.resize(at + row.size() * bytes_of(dtype_));
      encode(dtype_, std::span(row), rows.data() + at);
    }
    rows_ = std::move(rows);
    return {};
  }

  // A token's row of the embedding; `Number` holds it exactly, or rounds it as torch's float().
  template <class Number>
  Result<std::vector<Number>> embedded(uint32_t token) const {
    std::vector<std::byte> raw(width() * bytes_of(embedding_.dtype));
    HIERON_CHECK(read_elements(*base_, embedding_, token * width(), raw));
    std::vector<Number> row(width());
    decode(embedding_.dtype, raw.data(), std::span(row));
    return row;
  }

  // ---- exact

  std::unexpected<Error> no_length(const GatePrompts& expert, std::string_view what) const {
    return refuse(fmt::format("{}: {}, so no router can be made of them; write other prompts.",
                              expert.where, what),
                  {}, embedding_.name);
  }

  // Tokens are counted and taken by id, so that their order does not matter.
  Result<Row> exact_direction(const GatePrompts& expert, const PromptTokens& prompts) const {
    std::map<uint32_t, uint64_t> counts;
    for (const auto& tokens : prompts) {
      for (const uint32_t token : tokens) ++counts[token];
    }
    Row sum(width());
    for (const auto& [token, count] : counts) {
      HIERON_TRY(const Row row, embedded<double>(token));
      for (size_t i = 0; i < sum.size(); ++i) sum[i] += static_cast<double>(count) * row[i];
    }
    const double norm = length(sum);
    if (!(norm > 0 && std::isfinite(norm))) {
      return no_length(expert, "the embeddings of its prompts add up to nothing");
    }
    for (double& x : sum) x /= norm;
    return sum;
  }

  Result<Row> exact_row(const GatePrompts& expert) const {
    HIERON_TRY(Row row, exact_direction(expert, expert.positive));
    if (expert.negative.empty()) return row;
    HIERON_TRY(const Row away, exact_direction(expert, expert.negative));
    for (size_t i = 0; i < row.size(); ++i) row[i] -= away[i];
    const double norm = length(row);
    if (norm == 0) {
      return no_length(expert, "its positive and its negative prompts have the same embedding");
    }
    for (double& x : row) x /= norm;
    return row;
  }

  // ---- as mergekit does it

  static void divide_by_norm(std::vector<float>& row) {
    const float norm = std::max(mergekit::norm(row, DType::kF32), 1e-8f);
    for (float& x : row) x /= norm;
  }

  // Prompts are padded on the left to one length, and every padded place counts as a term of 0.
  // Over the places of a prompt, then over the prompts.
  Result<std::vector<float>> replayed_direction(const PromptTokens& prompts) const {
    std::map<uint32_t, std::vector<float>> known;
    size_t longest = 0;
    for (const auto& tokens : prompts) {
      longest = std::max(longest, tokens.size());
      for (const uint32_t token : tokens) {
        if (known.contains(token)) continue;
        HIERON_TRY(known[token], embedded<float>(token));
      }
    }
    const mergekit::ModelSum add(width(), DType::kF32);
    std::vector<float> direction(width()), terms(longest), sums(prompts.size());
    for (size_t i = 0; i < width(); ++i) {
      for (size_t p = 0; p < prompts.size(); ++p) {
        std::ranges::fill(terms, 0.0f);
        const size_t padding = longest - prompts[p].size();
        for (size_t t = 0; t < prompts[p].size(); ++t) {
          terms[padding + t] = known.at(prompts[p][t])[i];
        }
        sums[p] = add(terms, i);
      }
      direction[i] = add(sums, i);
    }
    divide_by_norm(direction);
    return direction;
  }

  Result<Row> replayed_row(const GatePrompts& expert) const {
    HIERON_TRY(std::vector<float> row, replayed_direction(expert.positive));
    if (!expert.negative.empty()) {
      HIERON_TRY(const std::vector<float> away, replayed_direction(expert.negative));
      for (size_t i = 0; i < row.size(); ++i) row[i] -= away[i];
    }
    divide_by_norm(row);  // again, where there are no negative prompts
    return Row(row.begin(), row.end());
  }

  const std::shared_ptr<const Checkpoint> base_;
  const TensorInfo embedding_;
  const std::vector<GatePrompts> experts_;
  const DType dtype_;
  const bool replayed_;
  mutable std::mutex mutex_;
  mutable std::vector<std::byte> rows_;  // empty until they are asked for
};

}  // namespace

Result<PromptTokens> tokens_of_prompts(const Encoder& encoder,
                                       const std::vector<std::string>& prompts, uint64_t rows,
                                       const std::string& where) {
  PromptTokens all;
  uint64_t count = 0;
  for (const std::string& prompt : prompts) {
    HIERON_TRY(std::vector<uint32_t> tokens,
               encoder.encode(encoder.bos().value_or(std::string()) + prompt));
    for (const uint32_t token : tokens) {
      if (token < rows) continue;
      return refuse(fmt::format("{}: the prompt \"{}\" has a token of the id {}, and the base's "
                                "embedding has {} rows; check the base's tokenizer files.",
                                where, printable(prompt), token, with_commas(rows)),
                    encoder.tokenizer().file());
    }
    count += tokens.size();
    all.push_back(std::move(tokens));
  }
  if (count == 0 && !prompts.empty()) {
    return refuse(fmt::format("{}: its prompts have no tokens; write some text.", where));
  }
  return all;
}

std::shared_ptr<const ComputedTensor> prompt_gate(std::shared_ptr<const Checkpoint> base,
                                                  const TensorInfo& embedding,
                                                  std::vector<GatePrompts> experts, DType dtype,
                                                  std::optional<mergekit::Version> replay) {
  return std::make_shared<const PromptGate>(std::move(base), embedding, std::move(experts), dtype,
                                            replay.has_value());
}

}  // namespace hieron
