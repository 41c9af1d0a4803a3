// The gradient of the weights: a product whose long side is all pixels. It is cut into pieces fixed by
// the shape; within a piece pixels are met in ascending order, and the pieces are added in order.
#include <algorithm>
#include <cstring>
#include <vector>

#include "core/thread_pool.h"
#include "ops/conv/paths.h"
#include "ops/conv/slab.h"
#include "ops/conv/weights.h"
#include "ops/conv/workspace.h"

namespace annx::conv {
namespace {

template <class T>
class WeightGradient {
 public:
  WeightGradient(const Correlation& c, const T* g, const T* x, T* dw, T* db)
      : c_(c), slabs_(c), panels_(c.produce), g_(g), x_(x), dw_(dw), db_(db) {
    rows_ = c.reduce * c.taps();
    // Channels of one tap side by side: a tile's rows then share cache lines.
    for (int64_t t = 0; t < c.taps(); ++t) {
      const int64_t s = t % c.axis[2].taps, r = t / c.axis[2].taps % c.axis[1].taps;
      const int64_t offset = slabs_.offset(t / c.axis[2].taps / c.axis[1].taps, r, s);
      for (int64_t i = 0; i < c.reduce; ++i) taps_.push_back(offset + i);
    }
  }

  void run() {
    const int64_t width = std::max<int64_t>(1, c_.axis[2].dest), units = c_.units();
    const int64_t wanted =
        std::clamp<int64_t>(units * width / kPiecePixels, 1, std::min(kMaxPieces, units));
    const int64_t step = (units + wanted - 1) / wanted;
    const int64_t pieces = (units + step - 1) / step;
    // Few pieces: the panels are shared out too, which changes no sum.
    const int64_t all = c_.groups * panels_.count();
    const int64_t share = pieces >= 8 ? all : std::max<int64_t>(1, (all * pieces + 7) / 8);
    const int64_t shares = (all + share - 1) / share;
    size_ = all * rows_ * panels_.width();
    sums_ = c_.groups * panels_.padded();
    total_ = size_ + sums_;
    T* parts = static_cast<T*>(parts_.reserve(checked_bytes(pieces * total_, sizeof(T))));
    parallel_for(pieces * shares, 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const int64_t piece = i / shares, first = i % shares * share;
        task(piece * step, std::min(units, (piece + 1) * step), first, std::min(all, first + share),
             parts + piece * total_);
      }
    });
    add_pieces(pieces, total_, parts + total_, parts);
    parallel_for(all, 1, [&](int64_t begin, int64_t end) {
      for (int64_t p = begin; p < end; ++p) unpack(parts, p);
    });
  }

 private:
  int64_t width_of(int64_t q) const { return panels_.vectors_of(q) * kLanes<T>; }

  // Panel p, rows of (tap, channel), into dw, rows of output channels with columns (channel, tap).
  void unpack(const T* parts, int64_t p) {
    const int64_t group = p / panels_.count(), q = p % panels_.count();
    const int64_t first = group * c_.produce + q * panels_.width(), cols = panels_.cols_of(q);
    const T* panel = parts + p * rows_ * panels_.width();
    if (db_ != nullptr)
      std::copy_n(parts + size_ + group * panels_.padded() + q * panels_.width(), cols,
                  db_ + first);
    if (c_.taps() == 1) {
      gemm_kernels_of<T>().transpose(rows_, cols, panel, panels_.width(), dw_ + first * rows_,
                                     rows_);
      return;
    }
    T* turned =
        static_cast<T*>(workspace<T>().scratch.reserve(checked_bytes(cols * rows_, sizeof(T))));
    gemm_kernels_of<T>().transpose(rows_, cols, panel, panels_.width(), turned, rows_);
    for (int64_t j = 0; j < cols; ++j)
      gemm_kernels_of<T>().transpose(c_.taps(), c_.reduce, turned + j * rows_, c_.reduce,
                                     dw_ + (first + j) * rows_, c_.taps());
  }

  // Units begin … end-1 into panels first … last-1 of `out`.
  void task(int64_t begin, int64_t end, int64_t first, int64_t last, T* out) {
    const int64_t width = std::max<int64_t>(1, c_.axis[2].dest);
    const int64_t step = std::max<int64_t>(1, kTaskPixels / width);
    for (int64_t unit = begin; unit < end; unit += step)
      products(unit, std::min(end, unit + step), first, last, out, unit == begin);
  }

  void products(int64_t begin, int64_t end, int64_t first, int64_t last, T* out, bool from_zero) {
    Workspace<T>& memory = workspace<T>();
    std::vector<int64_t>& pixels = memory.offsets;
    auto& a = memory.a;
    auto& c = memory.c;
    const Axis &ah = c_.axis[1], &aw = c_.axis[2];
    const int64_t count = (end - begin) * aw.dest;
    const int64_t padded = panels_.count() * panels_.width();
    int64_t slab_size = 0;
    for (int64_t unit = begin; unit < end;) {
      const Run run = Run::at_unit(c_, unit, end);
      slab_size += slabs_.size(run.first, run.last);
      unit += run.rows();
    }
    T* slab = static_cast<T*>(
        memory.scratch.reserve(checked_bytes(slab_size + count * padded, sizeof(T))));
    T* packed = slab + slab_size;
    const T* origin = nullptr;
    pixels.clear();
    for (int64_t unit = begin; unit < end;) {
      const Run run = Run::at_unit(c_, unit, end);
      const T* x = slabs_.fill(x_, run.image, run.plane, run.first, run.last, slab);
      if (origin == nullptr) origin = x;
      for (int64_t h = run.first; h <= run.last; ++h) {
        const int64_t row = x - origin + (ah.base(h) - ah.base(run.first)) * slabs_.row();
        for (int64_t w = 0; w < aw.dest; ++w)
          pixels.push_back(row + (aw.base(w) - aw.base(0)) * slabs_.column());
      }
      slab += slabs_.size(run.first, run.last);
      unit += run.rows();
    }
    a.resize(static_cast<size_t>(rows_));
    c.resize(static_cast<size_t>(rows_));
    for (int64_t i = 0; i < rows_; ++i) {
      a[static_cast<size_t>(i)] = origin + taps_[static_cast<size_t>(i)];
      c[static_cast<size_t>(i)] = out + i * panels_.width();
    }
    ConvBlock<T> block = {};
    block.rows = rows_;
    block.k = count;
    block.a = a.data();
    block.c = c.data();
    block.offsets = pixels.data();
    block.b_rs = panels_.width();
    block.from_zero = from_zero;
    for (int64_t p = first; p < last; ++p) {
      const int64_t group = p / panels_.count(), q = p % panels_.count();
      // All panels of a group are packed at once: rows of g are then read from end to end.
      if (p == first || q == 0) {
        const int64_t some = std::min(panels_.count() - q, last - p);
        const int64_t from = q * panels_.width();
        const T* g = g_ + begin * aw.dest * c_.dest_channels() + group * c_.produce + from;
        gemm_kernels_of<T>().pack_b(count, std::min(c_.produce - from, some * panels_.width()), g,
                                    c_.dest_channels(), 1, panels_.width(), count * panels_.width(),
                                    packed + from * count);
      }
      block.vectors = panels_.vectors_of(q);
      block.cols = width_of(q);
      block.b = packed + q * panels_.width() * count;
      block.a_shift = group * c_.reduce;
      block.c_shift = p * rows_ * panels_.width();
      kernels<T>().block(block);
      if (db_ != nullptr)
        kernels<T>().column_sums(block.b, count, block.b_rs, block.vectors,
                                 out + size_ + group * panels_.padded() + q * panels_.width(),
                                 from_zero);
    }
  }

  const Correlation& c_;
  Slabs<T> slabs_;
  Panels<T> panels_;
  const T *g_, *x_;
  T *dw_, *db_;
  int64_t rows_;  // of the product: channels and taps
  std::vector<int64_t> taps_;
  int64_t size_ = 0, sums_ = 0, total_ = 0;
  Scratch parts_;
};

// Sums over pixels of every channel, added to `out` unless from_zero.
template <class T>
void channel_sums(int64_t pixels, int64_t channels, const T* g, T* out, bool from_zero) {
  const auto whole = static_cast<int>(channels / kLanes<T>);
  kernels<T>().column_sums(g, pixels, channels, whole, out, from_zero);
  for (int64_t i = whole * kLanes<T>; i < channels; ++i) {
    T sum = from_zero ? T(0) : out[i];
    for (int64_t p = 0; p < pixels; ++p) sum += g[p * channels + i];
    out[i] = sum;
  }
}

template <class T>
void bias_gradient(const Correlation& c, const T* g, T* db) {
  const int64_t channels = c.dest_channels(), pixels = c.batch * c.dest_size();
  const int64_t pieces = std::clamp<int64_t>(pixels / kPiecePixels, 1, kMaxPieces);
  const int64_t length = (pixels + pieces - 1) / pieces;
  Scratch memory;
  T* parts = static_cast<T*>(memory.reserve(checked_bytes(pieces * channels, sizeof(T))));
  parallel_for(pieces, 1, [&](int64_t begin, int64_t end) {
    for (int64_t piece = begin; piece < end; ++piece) {
      const int64_t first = std::min(pixels, piece * length);
      channel_sums(std::min(pixels - first, length), channels, g + first * channels,
                   parts + piece * channels, true);
    }
  });
  add_pieces(pieces, channels, parts + channels, parts);
  std::copy_n(parts, channels, db);
}

// One tap of every pixel: products of the pixels as they lie. A product reads its operands in strips,
// a line here and there, and would wait for each: steps of pixels are fetched into L2 ahead of it.
template <class T>
class PointwiseWeight {
 public:
  PointwiseWeight(const Correlation& c, const T* g, const T* x, T* dw, T* db)
      : c_(c), g_(g), x_(x), dw_(dw), db_(db), out_(c.dest_channels()), in_(c.source_channels()) {}

  void run() {
    const int64_t pixels = c_.batch * c_.dest_size(), size = out_ * c_.reduce;
    const int64_t wanted = std::clamp<int64_t>(pixels / kPiecePixels, 1, kMaxPieces);
    const int64_t length = (pixels + wanted - 1) / wanted;
    const int64_t pieces = (pixels + length - 1) / length;
    step_ = std::clamp<int64_t>(kStepBytes / ((in_ + out_) * static_cast<int64_t>(sizeof(T))), 64,
                                kPiecePixels);
    Scratch memory;
    T* parts = static_cast<T*>(
        memory.reserve(checked_bytes((pieces - 1) * size + pieces * out_, sizeof(T))));
    T* sums = parts + (pieces - 1) * size;
    parallel_for(pieces, 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i)
        piece(i * length, std::min(pixels, (i + 1) * length), i == 0 ? dw_ : parts + (i - 1) * size,
              sums + i * out_);
    });
    add_pieces(pieces, size, parts, dw_);
    if (db_ == nullptr) return;
    add_pieces(pieces, out_, sums + out_, sums);
    std::copy_n(sums, out_, db_);
  }

 private:
  static constexpr int64_t kStepBytes = 320 << 10;

  static void fetch(const T* from, int64_t size) {
    for (int64_t i = 0; i < size; i += kLanes<T>) __builtin_prefetch(from + i, 0, 2);
  }

  void piece(int64_t begin, int64_t end, T* dw, T* sums) const {
    GemmArgs<T> args;
    args.m = c_.produce, args.n = c_.reduce;
    args.a_rs = 1, args.a_cs = out_;
    args.b_rs = in_, args.b_cs = 1;
    args.c_rs = c_.reduce;
    for (int64_t p = begin; p < end; p += step_) {
      const T *g = g_ + p * out_, *x = x_ + p * in_;
      args.k = std::min(step_, end - p);
      args.accumulate = p > begin;
      fetch(g, args.k * out_);
      fetch(x, args.k * in_);
      for (int64_t group = 0; group < c_.groups; ++group) {
        args.a = g + group * c_.produce;
        args.b = x + group * c_.reduce;
        args.c = dw + group * c_.produce * c_.reduce;
        gemm(args);
      }
      if (db_ != nullptr) channel_sums(args.k, out_, g, sums, p == begin);
    }
  }

  const Correlation& c_;
  const T *g_, *x_;
  T *dw_, *db_;
  int64_t out_, in_, step_ = 1;
};

}  // namespace

template <class T>
void convolve_weight(const ConvShape& s, const T* g, const T* x, T* dw, T* db) {
  const Correlation c(s, false);
  if (c.units() * c.axis[2].dest == 0) {
    std::fill_n(dw, s.out_channels * (s.in_channels / s.groups) * s.taps(), T(0));
    if (db != nullptr) std::fill_n(db, s.out_channels, T(0));
    return;
  }
  if (s.depthwise()) {
    depthwise_weight(c, g, x, dw);
    if (db != nullptr) bias_gradient(c, g, db);
    return;
  }
  if (s.pointwise()) return PointwiseWeight<T>(c, g, x, dw, db).run();
  if (c.winograd_weight()) return winograd_weight(c, g, x, dw, db);
  WeightGradient<T>(c, g, x, dw, db).run();
}

template void convolve_weight(const ConvShape&, const float*, const float*, float*, float*);
template void convolve_weight(const ConvShape&, const double*, const double*, double*, double*);

}  // namespace annx::conv
