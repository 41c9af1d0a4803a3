#include "ops/elementwise/driver.h"

#include <algorithm>
#include <cstring>

#include "core/fill.h"
#include "core/layout.h"
#include "core/thread_pool.h"

namespace annx {

namespace {

constexpr int64_t kTile = 1024;      // elements of a gathered tile: all operands stay in L1
constexpr int64_t kDirectRun = 256;  // inner runs this long are worth a kernel call of their own

thread_local ElementwisePlan* t_plan = nullptr;

struct Operand {
  const char* data;
  size_t size;
  Dims strides;  // in elements, broadcast to the iteration shape
  bool linear;   // walks memory in output order
};

// Whether t and out, of as many elements, walk memory alike.
bool same_layout(const Tensor& t, const Tensor& out) {
  if (out.is_contiguous()) return t.is_contiguous() && t.numel() == out.numel();
  return t.shape() == out.shape() && t.strides() == out.strides();
}

Dims reordered(const Dims& values, const Dims& order) {
  Dims out;
  for (int64_t i : order) out.push_back(values[static_cast<int>(i)]);
  return out;
}

// Merges neighbouring dimensions that every operand walks as one.
void coalesce(Dims& shape, Operand* operands, int count) {
  int out = 0;
  for (int i = 1; i < shape.size(); ++i) {
    bool merge = true;
    for (int k = 0; k < count && merge; ++k) {
      const Dims& s = operands[k].strides;
      merge = shape[i] == 1 || shape[out] == 1 || s[out] == s[i] * shape[i];
    }
    if (merge) {
      for (int k = 0; k < count; ++k)
        if (shape[i] != 1) operands[k].strides[out] = operands[k].strides[i];
      shape[out] *= shape[i];
    } else {
      ++out;
      shape[out] = shape[i];
      for (int k = 0; k < count; ++k) operands[k].strides[out] = operands[k].strides[i];
    }
  }
  shape.resize(std::min(shape.size(), out + 1));
  for (int k = 0; k < count; ++k) operands[k].strides.resize(shape.size());
}

template <size_t Size>
void gather_typed(char* dst, const char* src, const Dims& shape, const Dims& strides, int64_t begin,
                  int64_t count) {
  const int n = shape.size();
  if (n == 0) {
    for (int64_t i = 0; i < count; ++i) std::memcpy(dst + i * Size, src, Size);
    return;
  }
  int64_t index[kMaxDims];
  int64_t rest = begin, at = 0;
  for (int d = n - 1; d >= 0; --d) {
    index[d] = rest % shape[d];
    rest /= shape[d];
    at += index[d] * strides[d];
  }
  const int64_t inner = shape[n - 1], step = strides[n - 1];
  while (count > 0) {
    const int64_t run = std::min(count, inner - index[n - 1]);
    const char* p = src + at * static_cast<int64_t>(Size);
    if (step == 1) {
      std::memcpy(dst, p, static_cast<size_t>(run) * Size);
    } else if (step == 0) {
      fill_elements(dst, p, Size, run);
    } else if (step == -1) {
      for (int64_t i = 0; i < run; ++i)
        std::memcpy(dst + i * Size, p - i * static_cast<int64_t>(Size), Size);
    } else {
      const int64_t hop = step * static_cast<int64_t>(Size);
      int64_t i = 0;
      for (; i + 4 <= run; i += 4, p += 4 * hop) {
        std::memcpy(dst + i * Size, p, Size);
        std::memcpy(dst + (i + 1) * Size, p + hop, Size);
        std::memcpy(dst + (i + 2) * Size, p + 2 * hop, Size);
        std::memcpy(dst + (i + 3) * Size, p + 3 * hop, Size);
      }
      for (; i < run; ++i, p += hop) std::memcpy(dst + i * Size, p, Size);
    }
    dst += run * Size;
    count -= run;
    index[n - 1] += run;
    at += run * step;
    for (int d = n - 1; d > 0 && index[d] == shape[d]; --d) {
      at += strides[d - 1] - shape[d] * strides[d];
      index[d] = 0;
      ++index[d - 1];
    }
  }
}

}  // namespace

void gather_strided(void* dst, const void* src, size_t size, const Dims& shape, const Dims& strides,
                    int64_t begin, int64_t count) {
  char* d = static_cast<char*>(dst);
  const char* s = static_cast<const char*>(src);
  switch (size) {
    case 1:
      return gather_typed<1>(d, s, shape, strides, begin, count);
    case 2:
      return gather_typed<2>(d, s, shape, strides, begin, count);
    case 4:
      return gather_typed<4>(d, s, shape, strides, begin, count);
    default:
      return gather_typed<8>(d, s, shape, strides, begin, count);
  }
}

ElementwisePlan elementwise_plan(const OpCall& c) {
  ElementwisePlan plan;
  t_plan = &plan;
  try {
    c.op->kernel(c);
  } catch (...) {
    t_plan = nullptr;
    throw;
  }
  t_plan = nullptr;
  return plan;
}

Dims broadcast_strides(const Tensor& t, const Dims& shape) {
  Dims out(shape.size(), 0);
  const int lead = shape.size() - t.dim();
  for (int i = 0; i < t.dim(); ++i) out[lead + i] = t.shape()[i] == 1 ? 0 : t.strides()[i];
  return out;
}

namespace {

// Where the operands of an output lie, in the order of its memory.
struct Walk {
  Dims shape;
  Operand operands[kMaxElementwiseInputs];
  int count;
  int64_t inner;  // of the last dimension
  bool direct;    // rows are long enough for a kernel call of their own
  bool scalars;   // an operand that repeats is one element
  bool number;    // all but the first repeat within a row, and the kernel takes an element of each
  bool gathered;  // something has to be brought together first, in tiles
};

// A place in it, with the tiles of what is gathered there.
struct Cursor {
  const Walk& walk;
  int64_t at, row, column;
  int64_t filled[kMaxElementwiseInputs] = {};  // elements of a repeated scalar already in tiles
  alignas(64) char tiles[kMaxElementwiseInputs][kTile * 8];

  Cursor(const Walk& w, int64_t begin)
      : walk(w), at(begin), row(begin / w.inner), column(begin % w.inner) {}

  // Elements of at most `most` that one kernel call can take from here.
  int64_t run(int64_t most) const {
    const int64_t tile = walk.gathered ? std::min(most, kTile) : most;
    return walk.direct ? std::min(tile, walk.inner - column) : tile;
  }

  void find(const void** in, int64_t run) {
    const Dims& shape = walk.shape;
    for (int k = 0; k < walk.count; ++k) {
      const Operand& o = walk.operands[k];
      const auto size = static_cast<int64_t>(o.size);
      const int64_t step = shape.empty() ? 0 : o.strides.back();
      if (o.linear) {
        in[k] = o.data + at * size;
      } else if (walk.direct && (step == 1 || step == 0)) {
        int64_t rest = row, offset = column * step;
        for (int d = shape.size() - 2; d > 0; --d) {
          offset += (rest % shape[d]) * o.strides[d];
          rest /= shape[d];
        }
        if (shape.size() > 1) offset += rest * o.strides[0];
        in[k] = o.data + offset * size;
        if (step == 0 && !(walk.number && k > 0)) {
          if (!walk.scalars || filled[k] < run) fill_elements(tiles[k], in[k], o.size, run);
          filled[k] = run;
          in[k] = tiles[k];
        }
      } else {
        const bool scalar = walk.scalars && step == 0;
        if (!scalar || filled[k] < run) {
          gather_strided(tiles[k], o.data, o.size, shape, o.strides, at, run);
          filled[k] = run;
        }
        in[k] = tiles[k];
      }
    }
  }

  void advance(int64_t run) {
    at += run;
    if (!walk.direct) return;
    column += run;
    if (column == walk.inner) {
      column = 0;
      ++row;
    }
  }
};

// n elements of float32 at two places past the caches: from where the outputs are aligned.
void stream_two(StreamFn stream, ElementwiseFn fn, const void* const (*in)[kMaxElementwiseInputs],
                int count, float* const* out, int64_t n, const double* params) {
  const void* both[2 * kMaxElementwiseInputs];
  void* to[2];
  int64_t head[2];
  for (int r = 0; r < 2; ++r)
    head[r] = static_cast<int64_t>(-reinterpret_cast<uintptr_t>(out[r]) % 64 / sizeof(float));
  const int64_t body = std::max<int64_t>(0, n - std::max(head[0], head[1])) / 16 * 16;
  for (int r = 0; r < 2; ++r) {
    if (body == 0) head[r] = 0;
    const void* from[kMaxElementwiseInputs];
    const auto skip = [&](int64_t elements) {
      for (int k = 0; k < count; ++k) from[k] = static_cast<const float*>(in[r][k]) + elements;
    };
    skip(0);
    if (head[r] > 0) fn(from, out[r], head[r], params);
    skip(head[r]);
    for (int k = 0; k < count; ++k) both[r * count + k] = from[k];
    to[r] = out[r] + head[r];
    const int64_t done = head[r] + body;
    skip(done);
    if (done < n) fn(from, out[r] + done, n - done, params);
  }
  if (body > 0) stream(both, to, body, 0, params);
}

}  // namespace

void run_elementwise(ElementwiseFn fn, const Tensor* inputs, int count, const Tensor& out,
                     const double* params, double work, StreamFn stream, ElementwiseFn number) {
  if (t_plan) {
    t_plan->fn = fn;
    t_plan->work = work;
    if (params) std::copy_n(params, 4, t_plan->params);
    return;
  }
  const int64_t n = out.numel();
  if (n == 0) return;
  const bool streams = stream && out.nbytes() >= kStreamBytes;
  const size_t out_size = itemsize(out.dtype());
  char* const out_data = static_cast<char*>(out.raw());
  auto* const floats = reinterpret_cast<float*>(out_data);
  auto grain = static_cast<int64_t>(std::max(8192.0, 32768.0 / std::max(work, 0.125) / 2));
  if (streams) grain = kStreamGrain;

  bool all_linear = true;
  for (int k = 0; k < count; ++k) all_linear = all_linear && same_layout(inputs[k], out);
  if (all_linear) {
    auto body = [&](int64_t begin, int64_t end) {
      const void* in[2][kMaxElementwiseInputs];
      const auto find = [&](int64_t at, const void** from) {
        for (int k = 0; k < count; ++k)
          from[k] = static_cast<const char*>(inputs[k].raw()) +
                    at * static_cast<int64_t>(itemsize(inputs[k].dtype()));
      };
      if (streams) {
        const int64_t half = (end - begin) / 32 * 16;
        find(begin, in[0]);
        find(begin + half, in[1]);
        float* const to[2] = {floats + begin, floats + begin + half};
        stream_two(stream, fn, in, count, to, half, params);
        end_stream();
        begin += 2 * half;
        if (begin == end) return;
      }
      find(begin, in[0]);
      fn(in[0], out_data + begin * static_cast<int64_t>(out_size), end - begin, params);
    };
    if (n <= grain) return body(0, n);
    return parallel_for(n, grain, body);
  }

  Walk walk;
  Operand* const operands = walk.operands;
  Tensor turned[kMaxElementwiseInputs];
  Dims& shape = walk.shape;
  shape = out.shape();
  for (int k = 0; k < count; ++k) {
    const Tensor* t = &inputs[k];
    if (!same_layout(*t, out) && gathers_slowly(*t, out)) {
      turned[k] = Tensor::empty_strided(shape, out.strides(), t->dtype(), t->device());
      copy_elements(*t, turned[k]);
      t = &turned[k];
    }
    operands[k] = {static_cast<const char*>(t->raw()), itemsize(t->dtype()),
                   broadcast_strides(*t, shape), false};
  }
  if (!out.is_contiguous()) {
    const Dims order = memory_order(out.strides());
    for (int k = 0; k < count; ++k) operands[k].strides = reordered(operands[k].strides, order);
    shape = reordered(shape, order);
  }
  coalesce(shape, operands, count);
  for (int k = 0; k < count; ++k)
    operands[k].linear = is_contiguous_layout(shape, operands[k].strides);
  const int64_t inner = shape.empty() ? 1 : shape.back();
  walk.count = count;
  walk.inner = inner;
  walk.direct = inner >= kDirectRun;
  walk.scalars = shape.size() <= 1;
  walk.number = number && !streams && walk.direct;
  for (int k = 1; k < count; ++k) walk.number = walk.number && operands[k].strides.back() == 0;
  if (walk.number) fn = number;
  // Runs are as long as the row where nothing has to be gathered.
  walk.gathered = !walk.direct;
  for (int k = 0; k < (walk.number ? 1 : count); ++k)
    walk.gathered = walk.gathered || !(operands[k].linear || operands[k].strides.back() == 1);

  auto body = [&](int64_t begin, int64_t end) {
    Cursor cursor(walk, begin);
    const void* in[kMaxElementwiseInputs];
    while (cursor.at < end) {
      const int64_t run = cursor.run(end - cursor.at);
      cursor.find(in, run);
      fn(in, out_data + cursor.at * static_cast<int64_t>(out_size), run, params);
      cursor.advance(run);
    }
  };
  if (!streams) return n <= grain ? body(0, n) : parallel_for(n, grain, body);

  // Two places whole rows apart, so that both are in the same column all along.
  const int64_t unit = walk.direct && inner <= grain / 2 ? inner : 16;
  grain = grain / (2 * unit) * (2 * unit);
  // A row added to every row is met again inside of the kernel: a call for each costs a tenth.
  const bool row = unit == inner && inner % 16 == 0 && shape.size() == 2 && count == 2 &&
                   operands[0].linear && operands[1].strides[0] == 0 &&
                   operands[1].strides[1] == 1 && reinterpret_cast<uintptr_t>(floats) % 64 == 0;
  parallel_for(n, grain, [&](int64_t begin, int64_t end) {
    const int64_t half = (end - begin) / (2 * unit) * unit;
    if (row) {
      const auto* a = reinterpret_cast<const float*>(operands[0].data);
      const void* const in[] = {a + begin, operands[1].data, a + begin + half, operands[1].data};
      void* const to[] = {floats + begin, floats + begin + half};
      stream(in, to, half, inner, params);
      end_stream();
      return body(begin + 2 * half, end);
    }
    Cursor first(walk, begin), second(walk, begin + half);
    const void* in[2][kMaxElementwiseInputs];
    while (first.at < begin + half) {
      const int64_t most = begin + half - first.at;
      const int64_t run = std::min(first.run(most), second.run(most));
      first.find(in[0], run);
      second.find(in[1], run);
      float* const to[2] = {floats + first.at, floats + second.at};
      stream_two(stream, fn, in, count, to, run, params);
      first.advance(run);
      second.advance(run);
    }
    end_stream();
    body(begin + 2 * half, end);
  });
}

}  // namespace annx
