// hieron extract MODEL --base BASE -o DIR: a LoRA adapter out of a fine-tune and its base.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>

#include "hieron/cli/command.h"
#include "hieron/cli/hub_session.h"
#include "hieron/cli/progress.h"
#include "hieron/core/text.h"
#include "hieron/merge/extract_adapter.h"
#include "hieron/walk/checkpoint.h"

namespace hieron {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kExample =
    "  hieron extract fine-tune --base base -o adapter             rank 32\n"
    "  hieron extract fine-tune --base base -o adapter --rank 64 --dtype BF16\n"
    "  hieron extract fine-tune --base base -o adapter --tolerance 0.2\n\n"
    "--tolerance takes for each matrix the smallest rank whose adapter misses no more than that\n"
    "share of the change (Frobenius norm), up to --rank if both are given.";

constexpr uint64_t kStandardRank = 32;

struct Asked {
  std::string model, base, folder;
  std::optional<uint64_t> rank;
  std::optional<double> tolerance;
  std::string dtype = "F32";
  bool overwrite = false;
};

Result<LowRankWish> wish_of(const Asked& asked) {
  LowRankWish wish{.rank = asked.rank, .tolerance = asked.tolerance};
  if (!wish.rank && !wish.tolerance) wish.rank = kStandardRank;
  if (wish.rank == 0) return usage_error("--rank must be at least 1.");
  if (wish.tolerance && !(*wish.tolerance > 0 && *wish.tolerance < 1)) {
    return usage_error("--tolerance must lie between 0 and 1, e.g. 0.2.");
  }
  const auto dtype = parse_dtype(asked.dtype);
  if (dtype != DType::kF32 && dtype != DType::kBF16 && dtype != DType::kF16) {
    return usage_error(
        fmt::format("--dtype {} is none of F32, BF16, F16.", printable(asked.dtype)));
  }
  wish.dtype = *dtype;
  return wish;
}

std::string text_of(const Asked& asked, const Extraction& made) {
  constexpr size_t kShown = 12;
  std::vector<const ExtractedMatrix*> worst;
  for (const ExtractedMatrix& matrix : made.matrices) worst.push_back(&matrix);
  std::ranges::stable_sort(worst, std::ranges::greater(), &ExtractedMatrix::relative_error);
  std::string text = fmt::format("{:<56} {:>6} {:>12} {:>12}\n", "missed most of the change",
                                 "rank", "|change|", "missed");
  for (const ExtractedMatrix* matrix : std::span(worst).first(std::min(kShown, worst.size()))) {
    text += fmt::format("{:<56} {:>6} {:>12.4g} {:>10.2f} %\n", printable(matrix->module, 56),
                        matrix->rank, matrix->norm, 100 * matrix->relative_error);
  }
  if (worst.size() > kShown) {
    text += fmt::format("… and {} more (--json)\n", worst.size() - kShown);
  }
  for (const NotExtracted& left : made.left_out) {
    text += fmt::format("warning: {} changed, but an adapter has no place for it: {}\n",
                        printable(left.tensor), left.reason);
  }
  text += fmt::format(
      "{}: {} matrices, {} modules whole, {} tensors unchanged, {}; {:.2f} % of the change of all "
      "matrices is missed\n",
      asked.folder, with_commas(made.matrices.size()), with_commas(made.saved.size()),
      with_commas(made.unchanged), show_bytes(made.bytes), 100 * made.relative_error);
  return text;
}

Json json_of(const Asked& asked, const Extraction& made, const Seed& seed) {
  Json matrices = Json::array(), left_out = Json::array();
  for (const ExtractedMatrix& m : made.matrices) {
    matrices.push_back({{"module", m.module},
                        {"rank", m.rank},
                        {"norm", m.norm},
                        {"relative_error", m.relative_error}});
  }
  for (const NotExtracted& left : made.left_out) {
    left_out.push_back({{"tensor", left.tensor}, {"reason", left.reason}});
  }
  return {{"schema", "hieron.extract/1"},
          {"tool", {{"name", "hieron"}, {"version", HIERON_VERSION}}},
          {"model", asked.model},
          {"base", asked.base},
          {"out", asked.folder},
          {"seed", seed.hex()},
          {"matrices", std::move(matrices)},
          {"modules_to_save", made.saved},
          {"left_out", std::move(left_out)},
          {"unchanged", made.unchanged},
          {"bytes", made.bytes},
          {"relative_error", made.relative_error}};
}

Outcome extract(const Asked& asked, const Context& context) {
  HIERON_TRY(const LowRankWish wish, wish_of(asked));
  HIERON_TRY(const ModelSource source, model_source(context, Access::kWhole));
  HIERON_TRY(const auto model, open_checkpoint(asked.model, source));
  HIERON_TRY(const auto base, open_checkpoint(asked.base, source));
  ProgressBar bar(context.options, "extracting");
  const WalkOptions walk = walk_options(context, bar);
  const ExtractOptions options{.wish = wish,
                               .seed = context.options.seed.value_or(Seed{}),
                               .threads = walk.threads,
                               .overwrite = asked.overwrite,
                               .cancel = walk.cancel,
                               .progress = walk.progress};
  HIERON_TRY(const Extraction made, extract_adapter(model, base, asked.folder, options));
  const Json json = json_of(asked, made, options.seed);
  HIERON_CHECK(deliver(context.options, text_of(asked, made),
                       json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n"));
  return 0;
}

}  // namespace

void add_extract(CLI::App& app, Context& context) {
  auto asked = std::make_shared<Asked>();
  CLI::App* command = add_command(app, context, "extract",
                                  "a LoRA adapter out of a fine-tune and its base", kExample);
  command->add_option("MODEL", asked->model, "the fine-tune")->required();
  command->add_option("--base", asked->base, "what it was tuned from")->required();
  command->add_option("-o,--out", asked->folder, "folder for the adapter")
      ->required()
      ->type_name("DIR");
  command->add_option("--rank", asked->rank, "Of every matrix, at most (default: 32)")
      ->check(CLI::Range(1, 1 << 20));
  command->add_option("--tolerance", asked->tolerance, "Share of the change that may be missed");
  command->add_option("--dtype", asked->dtype, "Of the factors: F32 (default), BF16 or F16");
  command->add_flag("--overwrite", asked->overwrite, "Replace an adapter in DIR");
  on_run(
      *command, context, [asked, &context] { return extract(*asked, context); },
      [asked] { return std::vector{asked->folder}; });
}

}  // namespace hieron
