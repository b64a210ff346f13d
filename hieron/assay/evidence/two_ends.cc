#include "hieron/assay/evidence/two_ends.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "hieron/assay/thresholds.h"
#include "hieron/core/parallel.h"
#include "hieron/kernels/decode.h"

namespace hieron {
namespace {

constexpr std::array<std::string_view, 4> kVaries{"global", "role", "layer", "tensor"};

// One alpha for all: the fit's own D16 is the only group.
GroupedFit one_group(const EndsFit& fit) {
  GroupedFit grouped;
  if (static_cast<double>(fit.d16.informative) < threshold::kInformative.value) return grouped;
  grouped.informative = fit.d16.informative;
  grouped.covered = fit.d16.covered;
  grouped.groups.emplace("", fit.d16);
  return grouped;
}

}  // namespace

SubjectOf model_subject(size_t model) {
  return [model](const SampleRow& row) { return Subject{row.dtypes[model], row.values[model]}; };
}

SubjectOf rows_permuted(size_t model) {
  return [model](const SampleRow& row) {
    Subject subject{row.dtypes[model], row.values[model]};
    const auto middle = subject.values.begin() + static_cast<long>(subject.values.size() / 2);
    std::rotate(subject.values.begin(), middle, subject.values.end());
    return subject;
  };
}

SubjectOf signs_flipped(size_t model) {
  return [model](const SampleRow& row) {
    Subject subject{row.dtypes[model], row.values[model]};
    for (double& v : subject.values) v = -v;
    return subject;
  };
}

SubjectOf synthetic_merge(size_t suspect, Ends ends, double alpha) {
  return [=](const SampleRow& row) {
    Subject subject{row.dtypes[suspect], {}};
    const auto& p = row.values[ends.first];
    const auto& q = row.values[ends.second];
    if (p.empty() || q.empty()) return subject;
    subject.values.resize(p.size());
    for (size_t i = 0; i < p.size(); ++i) subject.values[i] = alpha * p[i] + (1 - alpha) * q[i];
    std::vector<std::byte> stored(p.size() * static_cast<size_t>(info(subject.dtype).bits) / 8);
    encode(subject.dtype, std::span<const double>(subject.values), stored.data());
    decode(subject.dtype, stored.data(), std::span(subject.values));
    return subject;
  };
}

EndsFit fit_ends(const Sample& sample, const SubjectOf& subject_of, Ends ends, Depths depths,
                 unsigned threads) {
  std::vector<std::vector<AlphaInterval>> parts(sample.rows.size());
  std::vector<IntervalCounts> counts(sample.rows.size());
  parallel_for(sample.rows.size(), threads, [&](size_t i) {
    const SampleRow& row = sample.rows[i];
    if (!row.blend || row.values[ends.first].empty() || row.values[ends.second].empty()) return;
    const Subject subject = subject_of(row);
    if (subject.values.empty()) return;
    parts[i].reserve(subject.values.size());
    counts[i] = admissible(
        {subject.dtype, subject.values, row.values[ends.first], row.values[ends.second]}, parts[i]);
  });
  EndsFit fit;
  size_t total = 0;
  for (const auto& part : parts) total += part.size();
  fit.intervals.reserve(total);
  for (size_t i = 0; i < parts.size(); ++i) {
    if (counts[i].elements + counts[i].not_finite == 0) continue;
    const size_t begin = fit.intervals.size();
    fit.intervals.insert(fit.intervals.end(), parts[i].begin(), parts[i].end());
    fit.rows.push_back({i, counts[i], begin, fit.intervals.size()});
    fit.counts += counts[i];
  }
  const std::array<std::pair<Depth*, double>, 3> wanted{
      {{&fit.d16, 16}, {&fit.d4, 4}, {&fit.d64, 64}}};
  parallel_for(depths == Depths::kAll ? wanted.size() : 1, threads,
               [&](size_t i) { *wanted[i].first = depth(fit.intervals, wanted[i].second); });
  return fit;
}

std::string_view name(Varies varies) { return kVaries[static_cast<size_t>(varies)]; }

std::string group_key(const std::string& tensor, const TensorRole& role, Varies varies) {
  switch (varies) {
    case Varies::kGlobal:
      return {};
    case Varies::kRole:
      return std::string(name(role.role));
    case Varies::kLayer:
      return role.layer ? std::to_string(*role.layer) : std::string();
    case Varies::kTensor:
      return tensor;
  }
  return {};
}

GroupedFit fit_groups(const Alignment& alignment, const Sample& sample, const EndsFit& fit,
                      Varies varies) {
  if (varies == Varies::kGlobal) return one_group(fit);
  std::map<std::string, std::vector<AlphaInterval>> members;
  for (const RowIntervals& row : fit.rows) {
    const SampleRow& sampled = sample.rows[row.sample_row];
    auto& group = members[group_key(alignment.rows[sampled.row].name, sampled.role, varies)];
    const auto intervals = fit.of(row);
    group.insert(group.end(), intervals.begin(), intervals.end());
  }
  GroupedFit grouped;
  for (const auto& [key, intervals] : members) {
    const Depth d = depth(intervals, 16);
    if (static_cast<double>(d.informative) < threshold::kInformative.value) continue;
    grouped.informative += d.informative;
    grouped.covered += d.covered;
    grouped.groups.emplace(key, d);
  }
  return grouped;
}

}  // namespace hieron
