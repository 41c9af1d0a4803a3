// How calls become launches, and the caching allocator of device memory: plain C++ beneath the CUDA
// backend, tried exhaustively over small cases.
#include <set>
#include <string>

#include "check.h"
#include "cuda/block_cache.h"
#include "cuda/layout.h"

namespace {

using namespace annx::cuda;

// Copies as a kernel would: element by element or pack by pack, by what the launch says.
void run_copy(const Launch& l, uint32_t pack) {
  const auto* in = reinterpret_cast<const uint16_t*>(l.in[0].data);
  auto* out = reinterpret_cast<uint16_t*>(l.out.data);
  for (uint32_t i = 0; i < l.count; ++i) {
    int64_t from = i, to = i;
    if (l.in[0].walk == kStrided) from = offset_of(l, l.in[0].strides, i);
    if (l.out.walk == kStrided) to = offset_of(l, l.out.strides, i);
    if (l.in[0].walk == kVector)
      CHECK(reinterpret_cast<uintptr_t>(in) % (pack * sizeof(uint16_t)) == 0);
    if (l.packed) CHECK(l.out.walk == kVector && l.in[0].walk != kStrided);
    out[to] = l.in[0].walk == kConstant ? static_cast<uint16_t>(l.in[0].constant) : in[from];
  }
}

struct Case {
  int dims;
  int64_t shape[4];
};

// The index of an element by its coordinates, the slow way.
int64_t naive_offset(const Case& c, const int64_t* strides, int64_t index) {
  int64_t at = 0;
  for (int d = c.dims - 1; d >= 0; --d) {
    at += (index % c.shape[d]) * strides[d];
    index /= c.shape[d];
  }
  return at;
}

void row_major(const Case& c, int64_t* strides) {
  int64_t step = 1;
  for (int d = c.dims - 1; d >= 0; --d) {
    strides[d] = step;
    step *= c.shape[d];
  }
}

void check_copy(const Case& c, const int64_t* in_strides, const int64_t* out_strides, int shift,
                int64_t limit) {
  alignas(64) static uint16_t in[16384], out[16384];
  for (int i = 0; i < 16384; ++i) in[i] = static_cast<uint16_t>(i * 7 + 1);
  std::memset(out, 0xee, sizeof(out));
  AnnxCudaElementwise call{};
  call.inputs = 1;
  call.dims = c.dims;
  int64_t count = 1;
  for (int d = 0; d < c.dims; ++d) {
    call.shape[d] = c.shape[d];
    call.in[0].strides[d] = in_strides[d];
    call.out_strides[d] = out_strides[d];
    count *= c.shape[d];
  }
  call.in[0].data = in + shift;
  call.out = out;
  const int size = sizeof(uint16_t), pack = 8;
  int64_t covered = 0;
  each_launch(
      call, &size, size, pack,
      [&](const Launch& l) {
        CHECK(l.count > 0 && l.count <= limit);
        covered += l.count;
        run_copy(l, pack);
      },
      limit);
  CHECK_EQ(covered, count);
  int64_t wrong = 0, written = 0;
  for (int64_t i = 0; i < count; ++i)
    wrong += out[naive_offset(c, out_strides, i)] != in[shift + naive_offset(c, in_strides, i)];
  for (uint16_t v : out) written += v != 0xeeee;
  CHECK_MSG(wrong == 0 && written <= count, "shape " << c.shape[0] << ' ' << c.shape[1] << ' '
                                                     << c.shape[2] << ' ' << c.shape[3] << " limit "
                                                     << limit << " shift " << shift);
}

}  // namespace

TEST(division_by_multiplication_is_exact) {
  std::set<uint32_t> sizes, numbers;
  for (uint32_t i = 1; i <= 700; ++i) sizes.insert(i);
  for (uint32_t bit = 9; bit <= 30; ++bit)
    for (int near = -2; near <= 2; ++near)
      sizes.insert((uint32_t{1} << bit) + static_cast<uint32_t>(near));
  sizes.insert((uint32_t{1} << 31) - 1);
  for (uint32_t i = 0; i < 2000; ++i) {
    numbers.insert(i);
    numbers.insert((uint32_t{1} << 31) - 1 - i);
    numbers.insert(i * 1073741u);
  }
  for (const uint32_t size : sizes) {
    if (size == 0 || size > (uint32_t{1} << 31)) continue;
    const Divider d = make_divider(size);
    for (const uint32_t n : numbers)
      CHECK_MSG(n >= (uint32_t{1} << 31) || divide(n, d) == n / size, n << " / " << size);
    // The largest multiples and their neighbours decide rounding.
    for (uint32_t k = 1; k < 50; ++k) {
      const uint32_t n = ((uint32_t{1} << 31) - 1) / size / k * size;
      CHECK_MSG(divide(n, d) == n / size, n << " / " << size);
      if (n > 0) CHECK_MSG(divide(n - 1, d) == (n - 1) / size, n - 1 << " / " << size);
    }
  }
}

// Every shape of up to four sizes 1, 2, 3, 8: row-major, permuted, broadcast, sliced and reversed
// inputs; row-major and permuted outputs; whole and cut into small launches.
TEST(every_element_is_copied_once_from_where_it_lies) {
  const int64_t choice[] = {1, 2, 3, 8};
  for (int dims = 0; dims <= 4; ++dims) {
    int total = 1;
    for (int d = 0; d < dims; ++d) total *= 4;
    for (int pick = 0; pick < total; ++pick) {
      Case c{dims, {1, 1, 1, 1}};
      for (int d = 0, rest = pick; d < dims; ++d, rest /= 4) c.shape[d] = choice[rest % 4];
      int64_t plain[4] = {};
      row_major(c, plain);
      for (const int64_t limit : {kMaxLaunch, int64_t{50}, int64_t{3}}) {
        for (const int shift : {0, 1, 8}) check_copy(c, plain, plain, shift, limit);
        // Rotated: dimension d of the call is dimension d + 1 of memory.
        Case memory = c;
        for (int d = 0; d < dims; ++d) memory.shape[(d + 1) % dims] = c.shape[d];
        int64_t steps[4] = {}, rotated[4] = {};
        row_major(memory, steps);
        for (int d = 0; d < dims; ++d) rotated[d] = steps[(d + 1) % dims];
        check_copy(c, rotated, plain, 0, limit);
        check_copy(c, plain, rotated, 0, limit);
        check_copy(c, rotated, rotated, 0, limit);
        for (int d = 0; d < dims; ++d) {
          int64_t broadcast[4], sliced[4], reversed[4];
          for (int k = 0; k < 4; ++k) {
            broadcast[k] = k == d ? 0 : plain[k];
            sliced[k] = k <= d ? 2 * plain[k] : plain[k];
            reversed[k] = k == d ? -plain[k] : plain[k];
          }
          check_copy(c, broadcast, plain, 0, limit);
          check_copy(c, sliced, plain, 0, limit);
          check_copy(c, reversed, plain, 6000, limit);
        }
      }
    }
  }
}

TEST(neighbouring_dimensions_are_merged) {
  AnnxCudaElementwise call{};
  call.inputs = 1;
  call.dims = 3;
  alignas(16) static float memory[64];
  call.in[0].data = memory;
  call.out = memory;
  const int64_t shape[3] = {2, 4, 8}, strides[3] = {32, 8, 1};
  for (int d = 0; d < 3; ++d) {
    call.shape[d] = shape[d];
    call.in[0].strides[d] = call.out_strides[d] = strides[d];
  }
  const int size = sizeof(float);
  int launches = 0;
  each_launch(call, &size, size, 4, [&](const Launch& l) {
    ++launches;
    CHECK_EQ(l.dims, 1);
    CHECK_EQ(l.count, 64u);
    CHECK_EQ(l.packed, 1);
  });
  CHECK_EQ(launches, 1);
  call.shape[1] = 0;
  each_launch(call, &size, size, 4, [&](const Launch&) { ++launches; });
  CHECK_EQ(launches, 1);
}

// A call of 2^31 + 2 elements is cut into launches of 32-bit indices, none of it run.
TEST(large_calls_are_cut) {
  AnnxCudaElementwise call{};
  call.inputs = 1;
  call.dims = 1;
  call.shape[0] = (int64_t{1} << 31) + 2;
  call.in[0].strides[0] = call.out_strides[0] = 1;
  call.in[0].data = reinterpret_cast<const void*>(uintptr_t{1} << 20);
  call.out = reinterpret_cast<void*>(uintptr_t{1} << 40);
  const int size = sizeof(float);
  int64_t covered = 0;
  each_launch(call, &size, size, 4, [&](const Launch& l) {
    CHECK_EQ(l.packed, 1);
    CHECK_EQ(reinterpret_cast<uintptr_t>(l.out.data),
             (uintptr_t{1} << 40) + static_cast<uintptr_t>(covered) * sizeof(float));
    CHECK(l.count <= kMaxLaunch);
    covered += l.count;
  });
  CHECK_EQ(covered, call.shape[0]);
}

namespace {

// A device of so many bytes; remembers what is out.
struct Pool {
  size_t left;
  std::set<void*> out;
};
struct PoolSource {
  Pool* pool;
  bool take(size_t bytes, void** out) const {
    if (bytes > pool->left) return false;
    pool->left -= bytes;
    // Like device memory: aligned, and never read here.
    char* block = new char[bytes + sizeof(size_t) + 512];
    std::memcpy(block, &bytes, sizeof(bytes));
    *out = block + 512;
    pool->out.insert(*out);
    return true;
  }
  void give(void* block) const {
    CHECK_EQ(pool->out.erase(block), 1u);
    size_t bytes = 0;
    std::memcpy(&bytes, static_cast<char*>(block) - 512, sizeof(bytes));
    pool->left += bytes;
    delete[] (static_cast<char*>(block) - 512);
  }
};
using Cache = BlockCache<PoolSource>;

}  // namespace

TEST(sizes_are_rounded_by_at_most_an_eighth) {
  CHECK_EQ(Cache::rounded(0), 512u);
  for (size_t bytes = 1; bytes < (size_t{1} << 22); bytes += 97) {
    const size_t size = Cache::rounded(bytes);
    CHECK(size >= bytes && size % 512 == 0);
    if (bytes > 8192) CHECK(size - bytes <= bytes / 8);
    CHECK_EQ(Cache::rounded(size), size);
  }
}

TEST(blocks_are_used_again_and_counted) {
  Pool pool{size_t{64} << 20, {}};
  Cache cache(PoolSource{&pool});
  void *a = nullptr, *b = nullptr, *c = nullptr;
  CHECK(cache.allocate(size_t{1} << 20, &a));
  CHECK(cache.allocate(100, &b));
  CHECK(a != b);
  CHECK_EQ(cache.stats().current, (int64_t{1} << 20) + 100);
  CHECK(cache.deallocate(a));
  CHECK(!cache.deallocate(a));
  CHECK(cache.allocate((size_t{1} << 20) - 5, &c));
  CHECK(c == a);
  CHECK_EQ(cache.stats().peak, (int64_t{1} << 20) + 100);
  CHECK(cache.deallocate(b));
  CHECK(cache.deallocate(c));
  CHECK_EQ(cache.stats().current, 0);
  const int64_t held = cache.stats().reserved;
  cache.empty();
  CHECK_EQ(cache.stats().reserved, held - (int64_t{1} << 20));
  CHECK_EQ(pool.out.size(), 1u);  // the slab of small blocks stays
  for (void* block : std::set<void*>(pool.out)) PoolSource{&pool}.give(block);
}

TEST(a_full_device_gives_back_its_cache_before_it_refuses) {
  Pool pool{size_t{10} << 20, {}};
  Cache cache(PoolSource{&pool});
  void *a = nullptr, *b = nullptr;
  CHECK(cache.allocate(size_t{6} << 20, &a));
  CHECK(!cache.allocate(size_t{6} << 20, &b));
  CHECK(cache.deallocate(a));
  CHECK(cache.allocate(size_t{8} << 20, &b));  // only after the 6 MiB have gone back
  CHECK(!cache.allocate(size_t{3} << 20, &a));
  CHECK(cache.deallocate(b));
  cache.empty();
  CHECK(pool.out.empty());
}

TEST(small_blocks_share_slabs_and_never_overlap) {
  Pool pool{size_t{256} << 20, {}};
  Cache cache(PoolSource{&pool});
  std::set<std::pair<char*, size_t>> live;
  for (size_t i = 0; i < 3000; ++i) {
    const size_t bytes = i * 37 % 60000;
    void* p = nullptr;
    CHECK(cache.allocate(bytes, &p));
    live.insert({static_cast<char*>(p), Cache::rounded(bytes)});
    if (i % 3 == 0) {
      CHECK(cache.deallocate(live.begin()->first));
      live.erase(live.begin());
    }
  }
  char* end = nullptr;
  for (const auto& [p, size] : live) {
    CHECK(p >= end);
    end = p + size;
  }
  for (void* block : std::set<void*>(pool.out)) PoolSource{&pool}.give(block);
}

ANNX_TEST_MAIN()
