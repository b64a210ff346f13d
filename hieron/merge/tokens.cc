#include "hieron/merge/tokens.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <ranges>
#include <unordered_map>
#include <utility>

#include "hieron/core/text.h"

namespace hieron {
namespace {

using mergekit::Version;

constexpr uint32_t kNone = std::numeric_limits<uint32_t>::max();
constexpr size_t kShown = 3;  // tokens that a warning quotes

// A token of the output. The text lies in a tokenizer or in the wish.
struct OutToken {
  std::string_view text;
  uint32_t id;
};

// Where one row of one model comes from, before rows are joined into runs.
struct Source {
  RowFrom from = RowFrom::kZero;
  uint32_t model = 0;
  uint64_t row = 0;
};

std::string show_token(std::string_view text) { return fmt::format("\"{}\"", printable(text, 60)); }

std::string_view name(Version version) {
  return version == Version::k014 ? "mergekit 0.1.4" : "mergekit 0.1.5";
}

// Counts tokens and keeps the first few for the sentence.
class Tally {
 public:
  void add(std::string_view token) {
    if (count_++ < kShown) {
      shown_ += fmt::format("{}{}", count_ > 1 ? ", " : "", show_token(token));
    }
  }
  uint64_t count() const { return count_; }
  std::string_view are() const { return count_ == 1 ? "is" : "are"; }
  // "1 token ("a")", "5 tokens ("a", "b", "c", …)"
  std::string tokens() const {
    return fmt::format("{} {} ({}{})", with_commas(count_), count_ == 1 ? "token" : "tokens",
                       shown_, count_ > kShown ? ", …" : "");
  }

 private:
  uint64_t count_ = 0;
  std::string shown_;
};

class Planner {
 public:
  Planner(const TokenizerWish& wish, std::span<const TokenModel> models, size_t base,
          const TokenOptions& options)
      : wish_(wish), models_(models), base_(base), options_(options) {}

  Result<TokenPlan> plan() {
    HIERON_CHECK(take_tokenizers());
    HIERON_CHECK(take_donor());
    if (wish_.source == TokenizerWish::Source::kUnion) HIERON_CHECK(unite());
    HIERON_CHECK(add_ruled_tokens());
    HIERON_CHECK(check_replayable());
    HIERON_CHECK(count_rows());
    HIERON_CHECK(check_rules());
    HIERON_CHECK(assign_rows());
    join_runs();
    warn();
    return std::move(plan_);
  }

 private:
  std::unexpected<Error> refuse_wish(const std::string& sentence, int line) const {
    return refuse(sentence, {}, {},
                  line > 0 ? std::optional<uint64_t>(static_cast<uint64_t>(line)) : std::nullopt);
  }
  std::unexpected<Error> refuse_replay(const std::string& reason, int line = 0) const {
    return refuse_wish(fmt::format("{} {}; merge in exact arithmetic, which does it.",
                                   name(*options_.replay), reason),
                       line ? line : wish_.line);
  }
  std::string shown(size_t model) const { return printable(models_[model].name); }
  const Tokenizer& tokenizer(size_t model) const { return *tokenizers_[model]; }

  // ---- what the models have

  Status take_tokenizers() {
    plan_.replay = options_.replay;
    if (!models_[base_].tokenizer) {
      return refuse_wish(
          fmt::format("{} has no tokenizer.json or vocab.json, so its rows cannot be "
                      "matched with other models' tokens; add the file, or remove "
                      "the tokenizer from the recipe.",
                      shown(base_)),
          wish_.line);
    }
    for (size_t m = 0; m < models_.size(); ++m) {
      const TokenModel& model = models_[m];
      tokenizers_.push_back(model.tokenizer ? model.tokenizer.get()
                                            : models_[base_].tokenizer.get());
      limits_.push_back(usable_rows(m));
      plan_.rows_of.push_back(model.rows);
      plan_.merged.push_back(lends(m));
      if (model.tokenizer) {
        const std::vector<std::string>& found = model.tokenizer->warnings();
        plan_.warnings.insert(plan_.warnings.end(), found.begin(), found.end());
      } else {
        plan_.warnings.push_back(fmt::format("{} has no tokenizer; it is taken to be that of {}.",
                                             shown(m), shown(base_)));
      }
      if (model.rows > 0 && model.vocab_size && *model.vocab_size > model.rows) {
        plan_.warnings.push_back(
            fmt::format("{}: config.json counts {} tokens, but the embedding has {} rows.",
                        shown(m), with_commas(*model.vocab_size), with_commas(model.rows)));
      }
    }
    return {};
  }

  // Ids from here on have no row. mergekit looks at the config alone.
  uint64_t usable_rows(size_t m) const {
    const TokenModel& model = models_[m];
    if (options_.replay) return model.vocab_size.value_or(tokenizer(m).tokens().size());
    if (model.rows == 0) return model.vocab_size.value_or(tokenizer(m).id_end());
    return std::min(model.rows, model.vocab_size.value_or(model.rows));
  }

  // mergekit strips the base's tokenizer, also where it stands in for a missing one; and with
  // source: base, the tokens that the recipe adds are added to that one, as if the base had them.
  std::optional<uint32_t> id_in(size_t m, std::string_view text) const {
    const bool stripped = options_.replay && (m == base_ || !models_[m].tokenizer);
    if (stripped && wish_.source == TokenizerWish::Source::kBase) {
      const auto known = ids_.find(text);
      return known == ids_.end() ? std::nullopt : std::optional(known->second);
    }
    const auto id = tokenizer(m).id(text);
    return id && stripped && *id >= limits_[base_] ? std::nullopt : id;
  }

  // The row of a token in a model that has it and has a row for it.
  uint32_t row_in(size_t m, std::string_view text) const {
    if (models_[m].rows == 0) return kNone;
    const auto id = id_in(m, text);
    return id && *id < std::min(limits_[m], models_[m].rows) ? *id : kNone;
  }

  // Do models without a token take rows of this one unasked?
  bool lends(size_t m) const {
    return models_[m].merged && models_[m].lends && models_[m].rows > 0;
  }

  // Has every model that is merged a row for it?
  bool all_have(std::string_view text) const {
    return std::ranges::all_of(std::views::iota(size_t{0}, models_.size()),
                               [&](size_t m) { return !lends(m) || row_in(m, text) != kNone; });
  }

  // ---- the output's vocabulary

  Status take_donor() {
    plan_.donor = wish_.source == TokenizerWish::Source::kModel ? wish_.model : base_;
    if (!models_[plan_.donor].tokenizer) {
      return refuse_wish(fmt::format("{} has no tokenizer.json or vocab.json to give the result; "
                                     "name a model that has one.",
                                     shown(plan_.donor)),
                         wish_.line);
    }
    plan_.tokenizer = models_[plan_.donor].tokenizer;
    cut_ = !options_.replay || wish_.source != TokenizerWish::Source::kModel;
    HIERON_CHECK(check_strippable());
    Tally gone;
    for (const Token& token : plan_.tokenizer->tokens()) {
      if (cut_ && token.id >= limits_[plan_.donor]) {
        gone.add(token.text);
        plan_.dropped.emplace_back(token.text);
      } else {
        out_.push_back({token.text, token.id});
        ids_.emplace(token.text, token.id);
      }
    }
    if (out_.empty()) {
      return refuse_wish(
          fmt::format("{}: none of its {} tokens has a row; its config.json or its "
                      "tokenizer is another model's.",
                      shown(plan_.donor), with_commas(plan_.tokenizer->tokens().size())),
          wish_.line);
    }
    if (gone.count() == 0) return {};
    plan_.warnings.push_back(fmt::format(
        "{}: {} of its tokenizer {} removed: the ids are beyond its {} rows.", shown(plan_.donor),
        gone.tokens(), gone.are(), with_commas(limits_[plan_.donor])));
    return {};
  }

  // mergekit removes what is beyond vocab_size from the base's tokenizer, whoever's is written.
  Status check_strippable() const {
    const Tokenizer& stripped = tokenizer(base_);
    if (!options_.replay || stripped.kind() == "BPE" || stripped.id_end() <= limits_[base_]) {
      return {};
    }
    return refuse_replay(
        fmt::format("cannot remove tokens beyond vocab_size from a {} tokenizer ({})",
                    stripped.kind(), shown(base_)));
  }

  // The id that the tokenizers library would give, once the dropped tokens are gone.
  uint64_t next_id() const {
    if (plan_.dropped.empty()) return plan_.tokenizer->next_id();
    uint64_t trained = 0, behind_added = 0;
    for (const OutToken& token : out_) {
      const AddedToken* added = plan_.tokenizer->added_token(token.text);
      if (added) behind_added = std::max(behind_added, uint64_t{token.id} + 1);
      if (!added || added->in_vocabulary) ++trained;
    }
    return std::max(trained, behind_added);
  }

  // Does a token of the donor that stays have this id?
  bool taken(uint64_t id) const {
    if (cut_ && id >= limits_[plan_.donor]) return false;
    return plan_.tokenizer->text(static_cast<uint32_t>(id)).has_value();
  }

  // A token that the donor lacks, or has without these settings.
  Status append(AddedToken token, std::string_view text) {
    if (const auto known = ids_.find(text); known != ids_.end()) {
      token.id = known->second;
    } else {
      if (next_id_ == 0) next_id_ = next_id();
      if (next_id_ >= kMaxTokenIds || taken(next_id_)) {
        return refuse_wish(
            fmt::format("{}: the token {} cannot be appended: its id would be {}, which {}.",
                        shown(plan_.donor), show_token(text), next_id_,
                        next_id_ >= kMaxTokenIds ? "is beyond every vocabulary"
                                                 : "is taken, because the ids have gaps"),
            wish_.line);
      }
      token.id = static_cast<uint32_t>(next_id_++);
      out_.push_back({text, token.id});
      ids_.emplace(text, token.id);
    }
    plan_.added.push_back(std::move(token));
    return {};
  }

  // Tokens of the other models: first those of their vocabularies, then the added ones.
  Status unite() {
    std::unordered_map<std::string_view, const AddedToken*> added;
    std::vector<const AddedToken*> in_order;
    Tally differ;
    HIERON_CHECK(name_again());
    for (const size_t m : base_first()) {
      for (const AddedToken& token : tokenizer(m).added()) {
        if (token.id >= limits_[m]) continue;
        const auto [known, fresh] = added.emplace(token.content, &token);
        if (fresh) in_order.push_back(&token);
        if (!fresh && !known->second->same_settings(token)) differ.add(token.content);
      }
    }
    for (const size_t m : base_first()) {
      for (const Token& token : tokenizer(m).tokens()) {
        if (m == base_ || token.id >= limits_[m]) continue;
        if (ids_.contains(token.text) || added.contains(token.text)) continue;
        HIERON_CHECK(append({.content = std::string(token.text)}, token.text));
        turned_.add(token.text);
      }
    }
    for (const AddedToken* token : in_order) {
      const AddedToken* own = tokenizer(base_).added_token(token->content);
      if (own && own->id < limits_[base_]) continue;
      HIERON_CHECK(append(*token, token->content));
    }
    if (differ.count() > 0) {
      plan_.warnings.push_back(fmt::format(
          "{} {} added with different settings by several models; the first model's hold.",
          differ.tokens(), differ.are()));
    }
    return {};
  }

  // mergekit saves and opens the stripped base, which adds the special tokens that it names.
  Status name_again() {
    if (!options_.replay) return {};
    for (const std::string& text : plan_.dropped) {
      const AddedToken* token = plan_.tokenizer->added_token(text);
      if (token && token->named) HIERON_CHECK(append(*token, token->content));
    }
    return {};
  }

  std::vector<size_t> base_first() const {
    std::vector<size_t> order{base_};
    for (size_t m = 0; m < models_.size(); ++m) {
      if (m != base_ && models_[m].merged) order.push_back(m);
    }
    return order;
  }

  Status add_ruled_tokens() {
    for (const TokenRule& rule : wish_.rules) {
      if (rule.token.empty()) return refuse_wish("a token cannot be empty.", rule.line);
      rules_.emplace(rule.token, &rule);
      if (!ids_.contains(rule.token)) {
        HIERON_CHECK(append({.content = rule.token}, rule.token));
      }
    }
    std::ranges::sort(plan_.added, {}, &AddedToken::id);
    std::ranges::stable_sort(out_, {}, &OutToken::id);
    plan_.tokens = out_.size();
    return {};
  }

  // mergekit looks up each output token's id in each model, and knows none beyond vocab_size.
  Status check_replayable() {
    if (!options_.replay) return {};
    for (size_t m = 0; m < models_.size(); ++m) {
      if (!lends(m)) continue;
      for (const OutToken& token : out_) {
        const auto id = id_in(m, token.text);
        if (!id || *id < std::min(limits_[m], models_[m].rows)) continue;
        const std::string why =
            *id < limits_[m]
                ? fmt::format("the embedding has {} rows (IndexError)", models_[m].rows)
                : fmt::format("vocab_size is {} (KeyError)", limits_[m]);
        return refuse_replay(fmt::format("fails because the token {} of {} has the id {}, but {}",
                                         show_token(token.text), shown(m), *id, why));
      }
    }
    return {};
  }

  Status count_rows() {
    const uint64_t end = uint64_t{out_.back().id} + 1;
    // A donor that only lends its tokenizer has no padding to keep.
    frame_ = models_[plan_.donor].rows > 0 ? plan_.donor : base_;
    const uint64_t has = models_[frame_].rows;
    uint64_t rows = end;
    if (options_.replay) {
      if (end != out_.size()) {
        return refuse_replay(
            fmt::format("fails because the {} tokens have ids up to {} "
                        "(IndexError)",
                        with_commas(out_.size()), with_commas(end - 1)));
      }
      if (has > end) {
        plan_.warnings.push_back(
            fmt::format("{} cuts the vocabulary from {} rows to its {} tokens.",
                        name(*options_.replay), with_commas(has), with_commas(end)));
      }
    } else if (has > end) {
      keep_or_cut(has, end, rows);
    }
    const uint64_t multiple = wish_.pad_to_multiple_of.value_or(1);
    const uint64_t over = multiple > 1 ? rows % multiple : 0;
    if (over != 0 && __builtin_add_overflow(rows, multiple - over, &rows)) {
      return refuse_wish("pad_to_multiple_of is too large.", wish_.line);
    }
    plan_.rows = rows;
    return {};
  }

  void keep_or_cut(uint64_t has, uint64_t end, uint64_t& rows) {
    if (options_.keep_padding) {
      rows = has;
      plan_.warnings.push_back(fmt::format(
          "{}: the embedding has {} rows for ids up to {}; the {} rows without a token are kept "
          "(mergekit would drop them).",
          shown(frame_), with_commas(has), with_commas(end - 1), with_commas(has - end)));
      return;
    }
    plan_.warnings.push_back(
        fmt::format("{}: the embedding is cut from {} rows to {}, the last "
                    "that has a token.",
                    shown(frame_), with_commas(has), with_commas(end)));
  }

  // ---- the recipe's rules

  Status check_rules() {
    for (const TokenRule& rule : wish_.rules) {
      const bool from_model =
          rule.from == TokenRule::From::kModel || rule.from == TokenRule::From::kModelToken;
      if (from_model && !lenient(rule)) {
        HIERON_TRY(const uint64_t row, row_of_rule(rule));
        ruled_rows_[&rule] = row;
      }
      if (options_.replay) HIERON_CHECK(check_replayed_rule(rule));
    }
    return {};
  }

  // mergekit 0.1.5 does not look at a rule that no model needs.
  bool lenient(const TokenRule& rule) const {
    return options_.replay == Version::k015 && !rule.force && all_have(rule.token);
  }

  Result<uint64_t> row_of_rule(const TokenRule& rule) const {
    const TokenModel& model = models_[rule.model];
    if (model.rows == 0) {
      return refuse_wish(
          fmt::format("the token {} cannot take a row of {}, which has no embedding, or one of "
                      "another width.",
                      show_token(rule.token), shown(rule.model)),
          rule.line);
    }
    if (rule.id) {
      if (*rule.id < model.rows) return *rule.id;
      return refuse_wish(
          fmt::format("the token {} cannot take row {} of {}, which has {} rows.",
                      show_token(rule.token), *rule.id, shown(rule.model), with_commas(model.rows)),
          rule.line);
    }
    const std::string& text = rule.from == TokenRule::From::kModel ? rule.token : rule.other;
    // The config is no limit for a row that is asked for.
    const bool strict = options_.replay && rule.from == TokenRule::From::kModel;
    const uint64_t limit = strict ? std::min(limits_[rule.model], model.rows) : model.rows;
    const auto id = id_in(rule.model, text);
    if (id && *id < limit) return *id;
    return refuse_wish(
        id ? fmt::format("the token {} has no row in {}: its id {} is beyond the {} rows.",
                         show_token(text), shown(rule.model), *id, with_commas(limit))
           : fmt::format("the token {} is not in the tokenizer of {}; take another model, or "
                         "kind: model_token with a token that it has.",
                         show_token(text), shown(rule.model)),
        rule.line);
  }

  Status check_replayed_rule(const TokenRule& rule) const {
    const bool old = *options_.replay == Version::k014;
    if (old && rule.from == TokenRule::From::kZero) {
      return refuse_replay("cannot set a token to zero (UnboundLocalError)", rule.line);
    }
    if (lenient(rule)) return {};
    if (rule.from == TokenRule::From::kDefault) {
      return refuse_replay(fmt::format("needs a source for the token {} (NotImplementedError)",
                                       show_token(rule.token)),
                           rule.line);
    }
    if (rule.from == TokenRule::From::kZero || lends(rule.model)) return {};
    return refuse_replay(fmt::format("cannot take the row of {} from {}, which is not merged there",
                                     show_token(rule.token), shown(rule.model)),
                         rule.line);
  }

  // ---- where rows come from

  Status assign_rows() {
    sources_.assign(models_.size(), {});
    const uint64_t tokens_end = uint64_t{out_.back().id} + 1;
    for (auto& rows : sources_) rows.assign(tokens_end, {});
    std::vector<uint32_t> own(models_.size());
    only_in_.resize(models_.size());
    std::vector<bool> claimed(tokens_end);
    for (const OutToken& token : out_) {
      claimed[token.id] = true;
      for (size_t m = 0; m < models_.size(); ++m) own[m] = row_in(m, token.text);
      const auto rule = rules_.find(token.text);
      const bool force = rule != rules_.end() && rule->second->force;
      if (rule != rules_.end() && !force && all_have(token.text)) idle_.add(token.text);
      HIERON_TRY(const Source shared, shared_source(token.text, own, force));
      for (size_t m = 0; m < models_.size(); ++m) {
        sources_[m][token.id] = own[m] != kNone && !force
                                    ? Source{RowFrom::kRow, static_cast<uint32_t>(m), own[m]}
                                    : shared;
      }
    }
    for (uint64_t row = 0; row < tokens_end; ++row) {
      if (claimed[row]) continue;
      note_unclaimed(row);
      for (size_t m = 0; m < models_.size(); ++m) sources_[m][row] = unclaimed_source(m, row);
    }
    return {};
  }

  // What a model takes that has no row of its own for this token.
  Result<Source> shared_source(std::string_view text, const std::vector<uint32_t>& own,
                               bool force) {
    const auto rule = rules_.find(text);
    const bool idle = rule != rules_.end() && lenient(*rule->second);
    if (rule != rules_.end() && !idle && rule->second->from != TokenRule::From::kDefault) {
      if (rule->second->from == TokenRule::From::kZero) return Source{};
      return Source{RowFrom::kRow, static_cast<uint32_t>(rule->second->model),
                    ruled_rows_.at(rule->second)};
    }
    std::vector<ModelRow> holders;
    size_t merged = 0;
    for (size_t m = 0; m < models_.size(); ++m) {
      if (!lends(m)) continue;
      ++merged;
      if (own[m] != kNone) holders.push_back({static_cast<uint32_t>(m), own[m]});
    }
    if (holders.size() == 1 && merged > 1) only_in_[holders[0].model].add(text);
    if (holders.size() == 1) return Source{RowFrom::kRow, holders[0].model, holders[0].row};
    if (holders.empty()) return lent_source(text, own);
    if (const auto base = options_.preferred; base && own[*base] != kNone && lends(*base)) {
      return Source{RowFrom::kRow, static_cast<uint32_t>(*base), own[*base]};
    }
    if (holders.size() == merged && !force) return Source{};  // nobody asks
    averaged_.add(text);
    plan_.means.push_back(std::move(holders));
    return Source{RowFrom::kMean, 0, plan_.means.size() - 1};
  }

  // None of the merged models has the token: another one with rows may.
  Result<Source> lent_source(std::string_view text, const std::vector<uint32_t>& own) {
    if (!options_.replay) {
      for (size_t m = 0; m < models_.size(); ++m) {
        if (own[m] == kNone) continue;
        return Source{RowFrom::kRow, static_cast<uint32_t>(m), own[m]};
      }
    }
    if (options_.replay == Version::k014) {
      return refuse_replay(fmt::format("fails because no model has the token {} (ValidationError)",
                                       show_token(text)));
    }
    nowhere_.add(text);
    return Source{};
  }

  void note_unclaimed(uint64_t row) {
    if (!plan_.unclaimed.empty() &&
        plan_.unclaimed.back().first + plan_.unclaimed.back().count == row) {
      ++plan_.unclaimed.back().count;
    } else {
      plan_.unclaimed.push_back({row, 1, RowFrom::kRow});
    }
  }

  // A row that no output token has: padding, or a gap. The model's own one if it is nobody's there
  // either, else that of the model whose padding is kept.
  Source unclaimed_source(size_t m, uint64_t row) const {
    const uint64_t has = models_[m].rows;
    const bool free =
        row >= tokenizer(m).id_end() || !tokenizer(m).text(static_cast<uint32_t>(row)).has_value();
    if (row < has && (free || m == frame_)) {
      return {RowFrom::kRow, static_cast<uint32_t>(m), row};
    }
    if (row < models_[frame_].rows) return {RowFrom::kRow, static_cast<uint32_t>(frame_), row};
    return {RowFrom::kMeanOfAll, 0, 0};
  }

  // ---- runs

  static void extend(std::vector<RowRun>& runs, uint64_t first, uint64_t count,
                     const Source& source) {
    if (!runs.empty()) {
      RowRun& last = runs.back();
      const bool consecutive = source.from == RowFrom::kZero ||
                               source.from == RowFrom::kMeanOfAll ||
                               (last.model == source.model && last.row + last.count == source.row);
      if (last.from == source.from && consecutive) {
        last.count += count;
        return;
      }
    }
    runs.push_back({first, count, source.from, source.model, source.row});
  }

  void join_runs() {
    for (size_t m = 0; m < models_.size(); ++m) {
      std::vector<RowRun>& runs = plan_.models.emplace_back();
      for (uint64_t row = 0; row < sources_[m].size(); ++row)
        extend(runs, row, 1, sources_[m][row]);
      extend_beyond_tokens(m, runs);
    }
    const uint64_t end = sources_.empty() ? 0 : sources_[0].size();
    if (plan_.rows > end) plan_.unclaimed.push_back({end, plan_.rows - end, RowFrom::kRow});
  }

  // Behind the last token: stretches within which nothing changes.
  void extend_beyond_tokens(size_t m, std::vector<RowRun>& runs) const {
    uint64_t row = sources_[m].size();
    const auto fill = [&](uint64_t stop, const Source& source) {
      if (row < stop) extend(runs, row, stop - row, source);
      row = std::max(row, stop);
    };
    const bool keep = options_.keep_padding && !options_.replay;
    const uint64_t kept = keep ? std::min(models_[frame_].rows, plan_.rows) : row;
    while (row < std::min(tokenizer(m).id_end(), kept)) fill(row + 1, unclaimed_source(m, row));
    fill(std::min(models_[m].rows, kept), {RowFrom::kRow, static_cast<uint32_t>(m), row});
    fill(kept, {RowFrom::kRow, static_cast<uint32_t>(frame_), row});
    fill(plan_.rows, {RowFrom::kMeanOfAll, 0, 0});
  }

  // ---- what the user should know

  void warn() {
    for (size_t m = 0; m < models_.size(); ++m) {
      if (only_in_[m].count() > 0) {
        plan_.warnings.push_back(fmt::format("{} {} in {} only; the other models take its rows.",
                                             only_in_[m].tokens(), only_in_[m].are(), shown(m)));
      }
      warn_of_ids(m);
      warn_of_lost(m);
    }
    const std::pair<const Tally*, std::string_view> sentences[] = {
        {&turned_,
         "{} of other models' vocabularies {} added behind the base's: text that spells one "
         "becomes "
         "that token, whatever the base's merges would make of it."},
        {&averaged_,
         "{} {} in several models, but neither in all nor in the base_model; the mean of those "
         "rows "
         "stands in."},
        {&nowhere_, "{} {} in no model that is merged; the row is set to zero."},
        {&idle_,
         "{} {} in every model, so the recipe's source for it has no effect (force: true takes it "
         "all the same)."}};
    for (const auto& [tally, sentence] : sentences) {
      if (tally->count() == 0) continue;
      plan_.warnings.push_back(fmt::format(fmt::runtime(sentence), tally->tokens(), tally->are()));
    }
  }

  void warn_of_ids(size_t m) {
    if (m == plan_.donor || !models_[m].merged) return;
    Tally beyond_rows;
    for (const Token& token : tokenizer(m).tokens()) {
      if (token.id >= limits_[m]) beyond_rows.add(token.text);
    }
    if (beyond_rows.count() == 0) return;
    plan_.warnings.push_back(
        fmt::format("{}: {} of its tokenizer {} not counted: the ids are beyond its {} rows.",
                    shown(m), beyond_rows.tokens(), beyond_rows.are(), with_commas(limits_[m])));
  }

  void warn_of_lost(size_t m) {
    if (!models_[m].merged || tokenizers_[m] == plan_.tokenizer.get()) return;
    Tally lost;
    for (const Token& token : tokenizer(m).tokens()) {
      if (token.id < limits_[m] && !ids_.contains(token.text)) lost.add(token.text);
    }
    if (lost.count() == 0) return;
    plan_.warnings.push_back(
        fmt::format("{} of {} {} not in the output's vocabulary; the rows are left out.",
                    lost.tokens(), shown(m), lost.are()));
  }

  const TokenizerWish& wish_;
  const std::span<const TokenModel> models_;
  const size_t base_;
  const TokenOptions options_;

  std::vector<const Tokenizer*> tokenizers_;  // by model; the base's where there is none
  std::vector<uint64_t> limits_;              // by model: ids from here on have no row
  std::vector<OutToken> out_;                 // by id, once complete
  std::unordered_map<std::string_view, uint32_t> ids_;
  uint64_t next_id_ = 0;
  size_t frame_ = 0;  // the model whose rows beyond its tokens are kept
  bool cut_ = true;   // tokens of the donor without a row are dropped
  std::unordered_map<std::string_view, const TokenRule*> rules_;
  std::unordered_map<const TokenRule*, uint64_t> ruled_rows_;
  std::vector<std::vector<Source>> sources_;  // by model, then row
  std::vector<Tally> only_in_;                // by model
  Tally turned_, averaged_, nowhere_, idle_;
  TokenPlan plan_;
};

}  // namespace

std::optional<uint64_t> TokenPlan::id(std::string_view token) const {
  const auto appended = std::ranges::find(added, token, &AddedToken::content);
  if (appended != added.end()) return appended->id;
  if (std::ranges::find(dropped, token) != dropped.end()) return std::nullopt;
  const auto own = tokenizer->id(token);
  return own ? std::optional<uint64_t>(*own) : std::nullopt;
}

bool TokenPlan::unchanged(size_t model) const {
  const std::vector<RowRun>& runs = models[model];
  return rows_of[model] == rows && runs.size() == 1 && runs[0].from == RowFrom::kRow &&
         runs[0].model == model && runs[0].row == 0;
}

Result<TokenPlan> plan_tokens(const TokenizerWish& wish, std::span<const TokenModel> models,
                              size_t base, const TokenOptions& options) {
  return Planner(wish, models, base, options).plan();
}

}  // namespace hieron
