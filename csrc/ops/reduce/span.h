// Runs a reduction kernel over (outer, n, inner) spans: splits long ones into pieces of a size that
// is a function of the shape alone, and merges the pieces in order.
//
// An Op has
//   rows(x, at, rows, n, out, last)            out[r] = the reduction of row r
//   cols(x, at, rows, width, stride, out, last)  out[j] = the reduction of column j
//   merge()                                    the Op that reduces partial results
// `at` is the index of the first result; `last` is false while a merge is still to come.
#pragma once

#include <algorithm>

#include "core/thread_pool.h"
#include "ops/reduce/axes.h"

namespace annx::reduce {

inline constexpr int64_t kGrain = 32768;  // elements worth a task of their own
inline constexpr int64_t kPiece = 65536;  // elements of a piece of a long reduction
inline constexpr int64_t kSpanColumns = 512;
inline constexpr int64_t kFewUnits = 16;  // fewer tasks than this: long columns are split too

template <class T>
Tensor scratch(int64_t count) {
  return Tensor::empty({count}, DTypeOf<T>::value);
}

template <class In, class Out, class Op>
void run_rows(const In* x, const Span& s, Out* out, const Op& op, bool last) {
  if (s.n <= 2 * kPiece) {
    const int64_t grain = std::max<int64_t>(1, kGrain / std::max<int64_t>(s.n, 1));
    return parallel_for(s.outer, grain, [&](int64_t begin, int64_t end) {
      op.rows(x + begin * s.n, begin, end - begin, s.n, out + begin, last);
    });
  }
  const int64_t pieces = (s.n + kPiece - 1) / kPiece;
  const Tensor buffer = scratch<Out>(s.outer * pieces);
  Out* partial = buffer.template data<Out>();
  parallel_for(s.outer * pieces, 1, [&](int64_t begin, int64_t end) {
    for (int64_t u = begin; u < end; ++u) {
      const int64_t row = u / pieces, at = u % pieces * kPiece;
      op.rows(x + row * s.n + at, row, 1, std::min(kPiece, s.n - at), partial + u, false);
    }
  });
  op.merge().rows(partial, 0, s.outer, pieces, out, last);
}

template <class In, class Out, class Op>
void run_columns(const In* x, const Span& s, Out* out, const Op& op, bool last) {
  const int64_t width = std::min(s.inner, kSpanColumns);
  const int64_t blocks = (s.inner + kSpanColumns - 1) / kSpanColumns;
  const int64_t units = s.outer * blocks;
  const int64_t piece = (std::max(kPiece / width, int64_t{1}) + 511) / 512 * 512;
  if (s.n <= piece || units >= kFewUnits) {
    const int64_t grain = std::max<int64_t>(1, kGrain / (s.n * width));
    return parallel_for(units, grain, [&](int64_t begin, int64_t end) {
      for (int64_t u = begin; u < end; ++u) {
        const int64_t o = u / blocks, c = u % blocks * kSpanColumns;
        op.cols(x + o * s.n * s.inner + c, o * s.inner + c, s.n, std::min(width, s.inner - c),
                s.inner, out + o * s.inner + c, last);
      }
    });
  }
  const int64_t pieces = (s.n + piece - 1) / piece;
  const Tensor buffer = scratch<Out>(s.outer * pieces * s.inner);
  Out* partial = buffer.template data<Out>();
  parallel_for(units * pieces, 1, [&](int64_t begin, int64_t end) {
    for (int64_t u = begin; u < end; ++u) {
      const int64_t c = u % blocks * kSpanColumns;
      const int64_t p = u / blocks % pieces, o = u / blocks / pieces;
      op.cols(x + (o * s.n + p * piece) * s.inner + c, o * s.inner + c,
              std::min(piece, s.n - p * piece), std::min(width, s.inner - c), s.inner,
              partial + (o * pieces + p) * s.inner + c, false);
    }
  });
  for (int64_t o = 0; o < s.outer; ++o)
    op.merge().cols(partial + o * pieces * s.inner, o * s.inner, pieces, s.inner, s.inner,
                    out + o * s.inner, last);
}

template <class In, class Out, class Op>
void run_span(const In* x, const Span& s, Out* out, const Op& op, bool last = true) {
  if (s.inner == 1 && s.n > 1)
    run_rows(x, s, out, op, last);
  else
    run_columns(x, s, out, op, last);
}

// Reduces row-major x of shape over axes. Neither x nor out may be empty.
template <class In, class Out, class Op>
void reduce_axes(const In* x, const Dims& shape, const Dims& axes, Out* out, const Op& op) {
  const SpanList list = split_axes(shape, axes);
  if (list.count == 1) return run_span(x, list.spans[0], out, op);
  Tensor partial = scratch<Out>(list.spans[0].outer * list.spans[0].inner);
  run_span(x, list.spans[0], partial.template data<Out>(), op, false);
  for (int i = 1; i < list.count; ++i) {
    const Span& s = list.spans[i];
    const bool last = i == list.count - 1;
    const Tensor next = last ? Tensor() : scratch<Out>(s.outer * s.inner);
    run_span(partial.template data<Out>(), s, last ? out : next.template data<Out>(), op.merge(),
             last);
    partial = next;
  }
}

}  // namespace annx::reduce
