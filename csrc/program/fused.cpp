#include "program/fused.h"

#include <algorithm>
#include <vector>

#include "core/thread_pool.h"

namespace annx::program {

namespace {
constexpr int64_t kTile = 1024;
}

void run_fused(const FusedGroup& group, const OpCall& c) {
  const int64_t n = numel_of(group.shape);
  if (n == 0) return;
  const auto operands = static_cast<int>(group.operands.size());
  const int64_t tile = std::min(n, kTile);
  const size_t slot_bytes = static_cast<size_t>(tile) * 8;

  const auto body = [&](int64_t begin, int64_t end) {
    int gathered = 0;
    for (const FusedOperand& o : group.operands) gathered += !o.linear;
    const size_t bytes = slot_bytes * static_cast<size_t>(group.slots + gathered);
    const Ref<Storage> scratch = Storage::allocate(bytes + 64);
    auto* const buffer = static_cast<char*>(scratch->data());
    SmallVec<const char*, 16> in;
    for (int64_t at = begin; at < end; at += tile) {
      const int64_t count = std::min(tile, end - at);
      in.clear();
      char* place = buffer + slot_bytes * static_cast<size_t>(group.slots);
      for (int k = 0; k < operands; ++k) {
        const FusedOperand& o = group.operands[static_cast<size_t>(k)];
        const auto* data = static_cast<const char*>(c.in(k).raw());
        if (o.linear) {
          in.push_back(data + at * static_cast<int64_t>(o.size));
          continue;
        }
        if (!o.scalar || at == begin)
          gather_strided(place, data, o.size, group.shape, o.strides, at, count);
        in.push_back(place);
        place += slot_bytes;
      }
      for (const FusedNode& node : group.nodes) {
        const void* inputs[kMaxElementwiseInputs];
        for (int k = 0; k < node.in.size(); ++k) {
          const int id = node.in[k];
          if (id >= 0) {
            inputs[k] = in[id];
            continue;
          }
          const FusedNode& from = group.nodes[static_cast<size_t>(-1 - id)];
          inputs[k] =
              from.out >= 0
                  ? static_cast<const char*>(c.out(from.out).raw()) +
                        at * static_cast<int64_t>(group.output_sizes[static_cast<size_t>(from.out)])
                  : buffer + slot_bytes * static_cast<size_t>(from.slot);
        }
        void* const out =
            node.out >= 0
                ? static_cast<char*>(c.out(node.out).raw()) +
                      at * static_cast<int64_t>(group.output_sizes[static_cast<size_t>(node.out)])
                : buffer + slot_bytes * static_cast<size_t>(node.slot);
        node.plan.fn(inputs, out, count, node.plan.params);
      }
    }
  };
  const auto grain = static_cast<int64_t>(std::max(8192.0, 16384.0 / std::max(group.work, 0.125)));
  if (n <= grain) return body(0, n);
  parallel_for(n, grain, body);
}

}  // namespace annx::program
