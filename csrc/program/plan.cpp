// Lays all temporaries into one arena: the largest first, each at the lowest place that is free
// during its life (greedy by size, Pisarchyk and Lee, 2020).
#include <algorithm>
#include <numeric>

#include "program/program.h"

namespace annx::program {

namespace {
constexpr size_t kAlignment = 64;
size_t rounded(size_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }
}  // namespace

void plan_arena(Program& p) {
  const Lifetimes life(p);
  std::vector<int> order;
  std::vector<size_t> live(p.instructions.size() + 1, 0);
  for (size_t b = 0; b < p.buffers.size(); ++b) {
    const Buffer& buffer = p.buffers[b];
    if (buffer.kind != Buffer::Kind::temporary || life.first[b] < 0) continue;
    order.push_back(static_cast<int>(b));
    for (int at = life.first[b]; at <= life.last[b]; ++at)
      live[static_cast<size_t>(at)] += rounded(buffer.bytes);
  }
  p.live_bytes = *std::max_element(live.begin(), live.end());
  std::sort(order.begin(), order.end(), [&](int a, int b) {
    const size_t x = p.buffers[static_cast<size_t>(a)].bytes;
    const size_t y = p.buffers[static_cast<size_t>(b)].bytes;
    return x != y ? x > y : a < b;
  });
  std::vector<int> placed;  // by offset
  p.arena_bytes = 0;
  for (int id : order) {
    const auto b = static_cast<size_t>(id);
    Buffer& buffer = p.buffers[b];
    const size_t size = rounded(buffer.bytes);
    size_t at = 0;
    for (int other : placed) {
      const auto o = static_cast<size_t>(other);
      if (life.last[o] < life.first[b] || life.first[o] > life.last[b]) continue;
      if (p.buffers[o].offset >= at + size) break;
      at = std::max(at, p.buffers[o].offset + rounded(p.buffers[o].bytes));
    }
    buffer.offset = at;
    p.arena_bytes = std::max(p.arena_bytes, at + size);
    placed.insert(std::upper_bound(placed.begin(), placed.end(), id,
                                   [&](int x, int y) {
                                     return p.buffers[static_cast<size_t>(x)].offset <
                                            p.buffers[static_cast<size_t>(y)].offset;
                                   }),
                  id);
  }
}

}  // namespace annx::program
