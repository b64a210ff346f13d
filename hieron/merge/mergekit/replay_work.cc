#include "hieron/merge/mergekit/replay_work.h"

#include <cstring>
#include <utility>
#include <vector>

namespace hieron::mergekit {
namespace {

size_t width(DType dtype) { return static_cast<size_t>(info(dtype).bits) / 8; }

class ReplayWork final : public TensorWork {
 public:
  ReplayWork(Version version, std::string_view method, TensorTask task, DType working,
             uint64_t first_word)
      : version_(version),
        method_(method),
        task_(std::move(task)),
        working_(working),
        first_word_(first_word),
        gathering_(!element_wise(version, method)) {
    if (!gathering_) return;
    for (size_t k = 0; k < task_.inputs.size(); ++k) {
      gathered_.emplace_back(task_.elements * width(working));
    }
  }

  bool wants_pass() const override { return gathering_; }
  uint64_t held() const override { return bytes_held(version_, method_, task_, working_); }

  void look(const Piece& piece, WorkScratch&) override {
    const size_t w = width(working_);
    for (size_t k = 0; k < gathered_.size(); ++k) {
      std::memcpy(gathered_[k].data() + piece.first * w, piece.operands[k].data, piece.count * w);
    }
  }

  Status end_pass() override {
    gathering_ = false;
    std::vector<Operand> operands;
    for (const auto& bytes : gathered_) operands.push_back({working_, bytes.data()});
    result_.resize(task_.elements * width(task_.out));
    const Status done = run(operands, 0, task_.elements, result_);
    gathered_.clear();
    return done;
  }

  void apply(const Piece& piece, std::byte* out, WorkScratch&) const override {
    const size_t w = width(task_.out);
    if (!result_.empty()) {
      std::memcpy(out, result_.data() + piece.first * w, piece.count * w);
      return;
    }
    // An element-wise replay was tried by the plan; here it cannot fail any more.
    [[maybe_unused]] const Status done =
        run(piece.operands, piece.first, piece.count, {out, piece.count * w});
  }

 private:
  Status run(std::span<const Operand> operands, uint64_t first, uint64_t elements,
             std::span<std::byte> out) const {
    ReplayTask replayed{.version = version_,
                        .method = method_,
                        .tensor = task_.name,
                        .parameters = task_.parameters.get(),
                        .operands = operands,
                        .base = task_.base,
                        .working = working_,
                        .shape = task_.shape,
                        .elements = elements,
                        .seed = task_.seed,
                        .first_word = first_word_ + first,
                        .before = first};
    if (elements != task_.elements) replayed.shape = {elements};
    return replay(replayed, out);
  }

  const Version version_;
  const std::string_view method_;
  const TensorTask task_;
  const DType working_;
  const uint64_t first_word_;
  bool gathering_;
  std::vector<std::vector<std::byte>> gathered_;
  std::vector<std::byte> result_;
};

}  // namespace

uint64_t bytes_held(Version version, std::string_view method, const TensorTask& task,
                    DType working) {
  if (element_wise(version, method)) return 0;
  return task.elements * (task.inputs.size() * width(working) + width(task.out));
}

std::unique_ptr<TensorWork> replay_work(Version version, std::string_view method, TensorTask task,
                                        DType working, uint64_t first_word) {
  return std::make_unique<ReplayWork>(version, method, std::move(task), working, first_word);
}

}  // namespace hieron::mergekit
