// Elements as integers that sort as the elements do, with their positions below the key: no two are
// equal, so that any way of sorting them is stable and gives the same order.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstring>
#include <type_traits>

namespace annx {

// Keys of up to 32 bits above 32 bits of position; keys of 64 above 64.
using Item = uint64_t;
__extension__ typedef unsigned __int128 WideItem;

template <class T>
using ItemOf = std::conditional_t<sizeof(T) == 8, WideItem, Item>;

// Signed, ascending: NaN stands last and equals NaN, -0 equals 0. Descending order is that of ~key.
template <class T>
auto sort_key(T x) {
  if constexpr (std::is_floating_point_v<T>) {
    using I = std::conditional_t<sizeof(T) == 8, int64_t, int32_t>;
    constexpr I most = sizeof(T) == 8 ? static_cast<I>(INT64_MAX) : static_cast<I>(INT32_MAX);
    constexpr I infinity = sizeof(T) == 8 ? static_cast<I>(0x7ff0000000000000) : 0x7f800000;
    const I bits = std::bit_cast<I>(x + T(0));  // -0 + 0 is 0
    const I key = bits ^ (bits >> (8 * sizeof(I) - 1) & most);
    return (bits & most) > infinity ? most : key;  // in integers, which compilers make vectors of
  } else if constexpr (sizeof(T) == 8) {
    return static_cast<int64_t>(x);
  } else {
    return static_cast<int32_t>(x);
  }
}

template <class I>
I make_item(int32_t key, int64_t position) {
  const uint32_t high = static_cast<uint32_t>(key) ^ 0x80000000u;
  return static_cast<I>(high) << 32 | static_cast<uint32_t>(position);
}
template <class I>
I make_item(int64_t key, int64_t position) {
  const uint64_t high = static_cast<uint64_t>(key) ^ 0x8000000000000000u;
  return static_cast<I>(high) << 64 | static_cast<uint64_t>(position);
}

template <class I>
int64_t position_of(I item) {
  if constexpr (sizeof(I) == 8)
    return static_cast<int64_t>(item & 0xffffffffu);
  else
    return static_cast<int64_t>(static_cast<uint64_t>(item));
}

template <class I>
auto key_of(I item) {
  if constexpr (sizeof(I) == 8)
    return static_cast<int32_t>(static_cast<uint32_t>(item >> 32) ^ 0x80000000u);
  else
    return static_cast<int64_t>(static_cast<uint64_t>(item >> 64) ^ 0x8000000000000000u);
}

// Up to eight in order, by 19 comparisons without a branch.
template <class I>
inline void sort_block(I* p, int64_t n) {
  I v[8];
  for (int i = 0; i < 8; ++i) v[i] = i < n ? p[i] : static_cast<I>(-1);
  const auto order = [&v](int a, int b) {
    const I x = v[a], y = v[b];
    v[a] = x < y ? x : y;
    v[b] = x < y ? y : x;
  };
  order(0, 2), order(1, 3), order(4, 6), order(5, 7);
  order(0, 4), order(1, 5), order(2, 6), order(3, 7);
  order(0, 1), order(2, 3), order(4, 5), order(6, 7);
  order(2, 4), order(3, 5);
  order(1, 4), order(3, 6);
  order(1, 2), order(3, 4), order(5, 6);
  for (int i = 0; i < n; ++i) p[i] = v[i];
}

// Two runs of n in order, one behind the other, to out: from both ends at once, n steps each, so that
// neither needs to be watched for its end.
template <class I>
inline void merge_runs(const I* a, I* out, int64_t n) {
  const I *left = a, *right = a + n, *left_end = a + n - 1, *right_end = a + 2 * n - 1;
  I *low = out, *high = out + 2 * n - 1;
  for (int64_t i = 0; i < n; ++i) {
    const I x = *left, y = *right;
    const bool first = x < y;
    *low++ = first ? x : y;
    left += first;
    right += !first;
    const I u = *left_end, w = *right_end;
    const bool last = u < w;
    *high-- = last ? w : u;
    left_end -= !last;
    right_end -= last;
  }
}

// Rows of up to this many are merged.
template <class I>
inline constexpr int64_t kMerged = sizeof(I) == 8 ? 128 : 512;

// 2^m blocks of at most eight each.
inline int64_t block_size(int64_t n, int64_t& blocks) {
  blocks = static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>((n + 7) / 8)));
  return (n + blocks - 1) / blocks;
}

// What sort_items needs of either buffer.
template <class I>
int64_t items_room(int64_t n) {
  if (n > kMerged<I>) return n;
  int64_t blocks;
  const int64_t size = block_size(n, blocks);
  return size * blocks;
}

template <class I>
I* sort_by_merging(I* items, I* other, int64_t n) {
  int64_t blocks;
  const int64_t size = block_size(n, blocks), room = size * blocks;
  for (int64_t i = n; i < room; ++i) items[i] = static_cast<I>(-1);
  for (int64_t i = 0; i < room; i += size) sort_block(items + i, size);
  for (int64_t run = size; run < room; run *= 2) {
    for (int64_t i = 0; i < room; i += 2 * run) merge_runs(items + i, other + i, run);
    std::swap(items, other);
  }
  return items;
}

// From the lowest digit of the key to the highest, each a stable distribution; digits that all items
// share are passed over.
template <class I, int Bits>
I* sort_by_digits(I* items, I* other, int64_t n) {
  constexpr int half = sizeof(I) * 4, digits = (half + Bits - 1) / Bits, buckets = 1 << Bits;
  using Count = std::conditional_t<sizeof(I) == 8, uint32_t, int64_t>;
  Count counts[digits][buckets] = {};
  for (int64_t i = 0; i < n; ++i) {
    const auto key =
        static_cast<std::conditional_t<sizeof(I) == 8, uint32_t, uint64_t>>(items[i] >> half);
    for (int d = 0; d < digits; ++d) ++counts[d][key >> (d * Bits) & (buckets - 1)];
  }
  for (int d = 0; d < digits; ++d) {
    Count* count = counts[d];
    const int shift = half + d * Bits;
    const auto digit = [shift](I item) {
      return static_cast<uint32_t>(item >> shift) & (buckets - 1);
    };
    if (count[digit(items[0])] == static_cast<Count>(n)) continue;
    Count at = 0;
    for (int b = 0; b < buckets; ++b) {
      const Count here = count[b];
      count[b] = at;
      at += here;
    }
    for (int64_t i = 0; i < n; ++i) {
      const I item = items[i];
      other[count[digit(item)]++] = item;
    }
    std::swap(items, other);
  }
  return items;
}

// Sorts n items with the help of as many others; returns which of the two holds them. Either has
// items_room(n).
template <class I>
I* sort_items(I* items, I* other, int64_t n) {
  bool sorted = true;
  for (int64_t i = 1; i < n; ++i) sorted &= items[i - 1] < items[i];
  if (sorted) return items;
  if (n <= kMerged<I>) return sort_by_merging(items, other, n);
  // More buckets want fewer passes, and a cache for as many lines that are written to.
  const bool coarse = n < 4096 || n * static_cast<int64_t>(sizeof(I)) > int64_t{4} << 20;
  return coarse ? sort_by_digits<I, 8>(items, other, n) : sort_by_digits<I, 11>(items, other, n);
}

}  // namespace annx
