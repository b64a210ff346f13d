#include "hieron/merge/mergekit/torch_sort.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <utility>

namespace hieron::mergekit {
namespace {

using Entry = SortEntry;

constexpr ptrdiff_t kShort = 16;  // stretches that are left to the insertion sort

// Orders as |value| does, NaN last.
uint32_t ascending_key(float value) {
  return std::isnan(value) ? 0xFFFFFFFF : std::bit_cast<uint32_t>(value) & 0x7FFFFFFF;
}

bool less(const Entry& a, const Entry& b) { return a.key < b.key; }

// Twice the depth of a balanced recursion.
int depth_limit(ptrdiff_t n) { return 2 * (std::bit_width(static_cast<uint64_t>(n)) - 1); }

void sift_up(Entry* heap, ptrdiff_t hole, ptrdiff_t top, Entry value) {
  while (hole > top) {
    const ptrdiff_t parent = (hole - 1) / 2;
    if (!less(heap[parent], value)) break;
    heap[hole] = heap[parent];
    hole = parent;
  }
  heap[hole] = value;
}

// Lets the hole sink to the bottom along the larger children, then `value` rise from there.
void sink(Entry* heap, ptrdiff_t hole, ptrdiff_t n, Entry value) {
  const ptrdiff_t top = hole;
  while (2 * hole + 2 < n) {
    ptrdiff_t child = 2 * hole + 2;
    if (less(heap[child], heap[child - 1])) --child;
    heap[hole] = heap[child];
    hole = child;
  }
  if (2 * hole + 2 == n) {  // the last parent has a left child only
    heap[hole] = heap[n - 1];
    hole = n - 1;
  }
  sift_up(heap, hole, top, value);
}

// The smallest middle − first entries into [first, middle), as a heap.
void heap_select(Entry* first, Entry* middle, Entry* last) {
  const ptrdiff_t n = middle - first;
  for (ptrdiff_t parent = (n - 2) / 2; n >= 2 && parent >= 0; --parent) {
    sink(first, parent, n, first[parent]);
  }
  for (Entry* i = middle; i < last; ++i) {
    if (less(*i, *first)) sink(first, 0, n, std::exchange(*i, *first));
  }
}

void heap_sort(Entry* first, Entry* last) {
  heap_select(first, last, last);
  while (last - first > 1) {
    --last;
    sink(first, 0, last - first, std::exchange(*last, *first));
  }
}

void median_to(Entry* result, Entry* a, Entry* b, Entry* c) {
  if (less(*a, *b)) {
    std::swap(*result, less(*b, *c) ? *b : less(*a, *c) ? *c : *a);
  } else {
    std::swap(*result, less(*a, *c) ? *a : less(*b, *c) ? *c : *b);
  }
}

// Splits around a median of three, which moves to *first: no entry before the result is larger than
// an entry from it on.
Entry* partition(Entry* first, Entry* last) {
  Entry* const pivot = first;
  median_to(pivot, first + 1, first + (last - first) / 2, last - 1);
  Entry* left = first + 1;
  Entry* right = last;
  while (true) {
    while (less(*left, *pivot)) ++left;
    --right;
    while (less(*pivot, *right)) --right;
    if (left >= right) return left;
    std::swap(*left, *right);
    ++left;
  }
}

void insertion_sort(Entry* first, Entry* last) {
  for (Entry* i = first; i < last; ++i) {
    const Entry value = *i;
    Entry* hole = i;
    for (; hole > first && less(value, hole[-1]); --hole) *hole = hole[-1];
    *hole = value;
  }
}

// Sorts the stretches for which wanted(first, last). The others hold the right entries, in some
// order: no entry of one stretch is larger than one of the next, so the insertion sort, which never
// passes an equal, stays within a stretch.
template <class Wanted>
void sort(Entry* first, Entry* last, int depth, const Wanted& wanted) {
  while (wanted(first, last)) {
    if (last - first <= kShort) return insertion_sort(first, last);
    if (depth == 0) return heap_sort(first, last);
    --depth;
    Entry* const cut = partition(first, last);
    sort(cut, last, depth, wanted);
    last = cut;
  }
}

void select(Entry* first, Entry* nth, Entry* last) {
  for (int depth = depth_limit(last - first); last - first > 3; --depth) {
    if (depth == 0) {
      heap_select(first, nth + 1, last);
      std::swap(*first, *nth);
      return;
    }
    Entry* const cut = partition(first, last);
    (cut <= nth ? first : last) = cut;
  }
  insertion_sort(first, last);
}

std::vector<Entry> entries(std::span<const float> values, bool descending) {
  std::vector<Entry> sorted(values.size());
  for (size_t i = 0; i < values.size(); ++i) {
    const uint32_t key = ascending_key(values[i]);
    sorted[i] = {descending ? ~key : key, static_cast<uint32_t>(i)};
  }
  return sorted;
}

std::vector<uint8_t> marked(size_t n, std::span<const Entry> chosen) {
  std::vector<uint8_t> mask(n, 0);
  for (const Entry& entry : chosen) mask[entry.index] = 1;
  return mask;
}

}  // namespace

std::vector<uint8_t> sorted_between(std::span<const float> values, bool descending, size_t first,
                                    size_t last) {
  const size_t n = values.size();
  last = std::min(last, n);
  if (first >= last) return std::vector<uint8_t>(n, 0);
  std::vector<Entry> sorted = entries(values, descending);
  Entry* const all = sorted.data();
  const auto holds_an_end = [=](const Entry* a, const Entry* b) {
    const auto inside = [=](size_t end) { return a < all + end && all + end < b; };
    return b - a > 1 && (inside(first) || inside(last));
  };
  sort(all, all + n, depth_limit(static_cast<ptrdiff_t>(n)), holds_an_end);
  return marked(n, std::span(sorted).subspan(first, last - first));
}

void sorted_indices(const float* values, size_t n, size_t stride, std::span<uint32_t> out,
                    std::vector<SortEntry>& scratch) {
  scratch.resize(n);
  for (size_t i = 0; i < n; ++i) {
    scratch[i] = {ascending_key(values[i * stride]), static_cast<uint32_t>(i)};
  }
  Entry* const all = scratch.data();
  const auto every = [](const Entry* a, const Entry* b) { return b - a > 1; };
  if (n > 1) sort(all, all + n, depth_limit(static_cast<ptrdiff_t>(n)), every);
  for (size_t i = 0; i < n; ++i) out[i] = scratch[i].index;
}

std::vector<uint32_t> sorted_indices(std::span<const float> values) {
  std::vector<uint32_t> indices(values.size());
  std::vector<SortEntry> scratch;
  sorted_indices(values.data(), values.size(), 1, indices, scratch);
  return indices;
}

std::vector<uint8_t> top_k(std::span<const float> values, size_t k) {
  const size_t n = values.size();
  if (k == 0) return std::vector<uint8_t>(n, 0);
  std::vector<Entry> queue = entries(values, /*descending=*/true);
  Entry* const all = queue.data();
  if (k * 64 <= n) {
    heap_select(all, all + k, all + n);
  } else {
    select(all, all + (k - 1), all + n);
  }
  return marked(n, std::span(queue).first(k));
}

}  // namespace hieron::mergekit
