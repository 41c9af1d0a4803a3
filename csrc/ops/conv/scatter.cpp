// Transposed convolution into few channels: a product of source pixels by (tap, channel) columns, each
// row of which is then added to the pixels that its taps reach. Source pixels are met in ascending
// order, so the sums depend on the shape alone.
#include <algorithm>
#include <vector>

#include "core/thread_pool.h"
#include "ops/conv/paths.h"
#include "ops/conv/weights.h"
#include "ops/conv/workspace.h"

namespace annx::conv {
namespace {

template <class T>
class ScatterProduct {
 public:
  ScatterProduct(const Correlation& c, const T* x, const T* w, const T* bias, Activation activation,
                 T* y)
      : c_(c),
        x_(x),
        bias_(bias),
        activation_(activation),
        y_(y),
        columns_(c.taps() * c.produce),
        panels_(columns_) {
    pack(w);
    for (int64_t i = 0; i < c.reduce; ++i) offsets_.push_back(i);
    const Axis& aw = c.axis[2];
    // Of the destination, its border included; a vector more, which the last addition may touch.
    row_ = std::max((aw.source - 1) * aw.stride + aw.taps, aw.dest + aw.padding) * c.produce +
           kLanes<T>;
  }

  void run() {
    const Axis& ah = c_.axis[1];
    // Rows per task: many against the source rows that two tasks both need.
    const int64_t halo = (ah.taps - 1) * ah.dilation;
    step_ = std::min<int64_t>(ah.dest, std::max<int64_t>(4 * halo, 32));
    const int64_t pieces = (ah.dest + step_ - 1) / step_;
    parallel_for(c_.batch * c_.axis[0].dest * pieces, 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) task(i / pieces, i % pieces * step_);
    });
  }

 private:
  // Panels of columns (tap, channel); rows are source channels.
  void pack(const T* w) {
    const int64_t taps = c_.taps();
    std::vector<T> rows(static_cast<size_t>(c_.reduce * columns_));
    for (int64_t k = 0; k < c_.reduce; ++k)
      gemm_kernels_of<T>().transpose(c_.produce, taps, w + k * columns_, taps,
                                     rows.data() + k * columns_, c_.produce);
    weights_.resize(static_cast<size_t>(c_.reduce * panels_.padded()));
    for (int64_t q = 0; q < panels_.count(); ++q) {
      const int64_t width = panels_.vectors_of(q) * kLanes<T>;
      gemm_kernels_of<T>().pack_b(c_.reduce, panels_.cols_of(q), rows.data() + q * panels_.width(),
                                  columns_, 1, width, c_.reduce * width,
                                  weights_.data() + c_.reduce * q * panels_.width());
    }
  }

  // Rows first … of one plane of the destination.
  void task(int64_t plane, int64_t first) {
    Scratch& scratch = workspace<T>().scratch;
    const Axis &ah = c_.axis[1], &aw = c_.axis[2];
    const int64_t end = std::min(ah.dest, first + step_), width = aw.source;
    const int64_t lines = std::max<int64_t>(1, kTaskPixels / 2 / width);
    const int64_t room = (end - first) * row_;
    T* sums = static_cast<T*>(scratch.reserve(
        checked_bytes(room + lines * width * panels_.padded() + kLanes<T>, sizeof(T))));
    T* products = sums + room;
    std::fill_n(sums, room, T(0));
    // Source rows with a tap in this part.
    const int64_t reach = (ah.taps - 1) * ah.dilation;
    const int64_t low = std::max<int64_t>(0, first + ah.padding - reach);
    const int64_t from = (low + ah.stride - 1) / ah.stride;
    const int64_t to = std::min(ah.source, (end - 1 + ah.padding) / ah.stride + 1);
    for (int64_t line = from; line < to; line += lines) {
      const int64_t count = std::min(lines, to - line);
      multiply(plane, line, count, products);
      for (int64_t i = 0; i < count; ++i)
        add(line + i, first, end, products + i * width * panels_.padded(), sums);
    }
    const int64_t channels = c_.produce;
    T* y = y_ + (plane * ah.dest + first) * aw.dest * channels;
    for (int64_t h = first; h < end; ++h)
      std::copy_n(sums + (h - first) * row_ + aw.padding * channels, aw.dest * channels,
                  y + (h - first) * aw.dest * channels);
    if (bias_ != nullptr || activation_ != Activation::none)
      gemm_kernels_of<T>().epilogue(
          {(end - first) * aw.dest, channels, y, channels, T(1), bias_, activation_});
  }

  void multiply(int64_t plane, int64_t line, int64_t count, T* products) {
    auto& a = workspace<T>().a;
    auto& c = workspace<T>().c;
    const Axis &ah = c_.axis[1], &aw = c_.axis[2];
    const int64_t pixels = count * aw.source;
    const T* x = x_ + (plane * ah.source + line) * aw.source * c_.reduce;
    a.resize(static_cast<size_t>(pixels));
    c.resize(static_cast<size_t>(pixels));
    for (int64_t p = 0; p < pixels; ++p) {
      a[static_cast<size_t>(p)] = x + p * c_.reduce;
      c[static_cast<size_t>(p)] = products + p * panels_.padded();
    }
    ConvBlock<T> block = {};
    block.rows = pixels;
    block.k = c_.reduce;
    block.a = a.data();
    block.c = c.data();
    block.offsets = offsets_.data();
    block.from_zero = true;
    for (int64_t q = 0; q < panels_.count(); ++q) {
      block.vectors = panels_.vectors_of(q);
      block.b_rs = block.vectors * kLanes<T>;
      block.b = weights_.data() + c_.reduce * q * panels_.width();
      block.cols = block.b_rs;  // whole vectors: nothing reads what is over
      block.c_shift = q * panels_.width();
      kernels<T>().block(block);
    }
  }

  // The taps of one source row that fall on rows first … end-1.
  void add(int64_t line, int64_t first, int64_t end, const T* products, T* sums) const {
    const Axis &ah = c_.axis[1], &aw = c_.axis[2];
    const int64_t length = aw.taps * c_.produce;
    int64_t r = 0, stop = ah.taps;
    const int64_t top = line * ah.stride - ah.padding;
    while (r < stop && top + r * ah.dilation < first) ++r;
    while (stop > r && top + (stop - 1) * ah.dilation >= end) --stop;
    if (r == stop) return;
    kernels<T>().scatter(aw.source, stop - r, length, products + r * length, panels_.padded(),
                         sums + (top + r * ah.dilation - first) * row_, aw.stride * c_.produce,
                         ah.dilation * row_);
  }

  const Correlation& c_;
  const T* x_;
  const T* bias_;
  Activation activation_;
  T* y_;
  int64_t columns_;
  Panels<T> panels_;
  std::vector<T> weights_;
  std::vector<int64_t> offsets_;
  int64_t row_ = 0, step_ = 1;
};

}  // namespace

template <class T>
void scatter(const Correlation& c, const T* x, const T* w, const T* bias, Activation activation,
             T* y) {
  ScatterProduct<T>(c, x, w, bias, activation, y).run();
}

template void scatter(const Correlation&, const float*, const float*, const float*, Activation,
                      float*);
template void scatter(const Correlation&, const double*, const double*, const double*, Activation,
                      double*);

}  // namespace annx::conv
