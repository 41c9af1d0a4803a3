// Depthwise convolution and its transposition, straight from the source: taps beyond its border are
// left out, so only pixels near it need a list of their own.
#include <algorithm>
#include <vector>

#include "core/thread_pool.h"
#include "ops/conv/paths.h"
#include "ops/conv/slab.h"
#include "ops/conv/weights.h"

namespace annx::conv {
namespace {

// The taps of a row or of a pixel: how far from the pixel, and where their weights are.
struct TapList {
  std::vector<int64_t> offsets, weights, columns;  // columns: the tap's index along the row

  void clear() {
    offsets.clear();
    weights.clear();
    columns.clear();
  }
  void add(int64_t offset, int64_t weight, int64_t column) {
    offsets.push_back(offset);
    weights.push_back(weight);
    columns.push_back(column);
  }
};

template <class T>
class Depthwise {
 public:
  Depthwise(const Correlation& c, const T* x, const T* w, const T* bias, Activation activation,
            T* y)
      : c_(c), x_(x), bias_(bias), activation_(activation), y_(y) {
    const int64_t taps = c.taps();
    w_.resize(static_cast<size_t>(c.groups * taps));
    gemm_table<T>().transpose(c.groups, taps, w, taps, w_.data(), c.groups);
  }

  void run() {
    const int64_t work = std::max<int64_t>(1, c_.axis[2].dest * c_.groups * c_.taps());
    const int64_t grain = std::max<int64_t>(1, (1 << 17) / work);
    parallel_for(c_.units(), grain, [&](int64_t begin, int64_t end) {
      TapList row_taps, pixel_taps;
      for (int64_t unit = begin; unit < end; ++unit) row(unit, row_taps, pixel_taps);
    });
  }

 private:
  void row(int64_t unit, TapList& taps, TapList& some) const {
    const Axis &ad = c_.axis[0], &ah = c_.axis[1], &aw = c_.axis[2];
    const int64_t channels = c_.groups;
    const Run run = Run::at_unit(c_, unit, unit + 1);
    const int64_t d = run.plane, h = run.first;
    T* y = y_ + run.at * channels;
    const T* image = x_ + run.image * c_.source_size() * channels;
    for (int64_t phase = 0; phase < aw.phases(); ++phase) {
      taps.clear();
      for (int64_t q = 0; q < ad.taps; ++q) {
        const int64_t plane = ad.base(d) + ad.shift(q);
        if (ad.tap_phase(q) != ad.phase_of(d) || plane < 0 || plane >= ad.source) continue;
        for (int64_t r = 0; r < ah.taps; ++r) {
          const int64_t line = ah.base(h) + ah.shift(r);
          if (ah.tap_phase(r) != ah.phase_of(h) || line < 0 || line >= ah.source) continue;
          for (int64_t s = 0; s < aw.taps; ++s) {
            if (aw.tap_phase(s) != phase) continue;
            taps.add(((plane * ah.source + line) * aw.source + aw.shift(s)) * channels,
                     ((q * ah.taps + r) * aw.taps + s) * channels, s);
          }
        }
      }
      // Pixels before `left` and from `right` on miss some taps.
      const int64_t first = aw.first(phase), step = aw.dest_step();
      int64_t left = first, right = first;
      while (left < aw.dest && aw.base(left) + aw.least_shift() < 0) left += step;
      for (right = left; right < aw.dest && aw.base(right) + aw.most_shift() < aw.source;)
        right += step;
      for (int64_t w = first; w < aw.dest; w += step) {
        if (w == left && right > left) {
          pixels(image, taps, left, (right - left) / step, y);
          w = right - step;
          continue;
        }
        some.clear();
        for (size_t t = 0; t < taps.offsets.size(); ++t) {
          const int64_t column = aw.base(w) + aw.shift(taps.columns[t]);
          if (column >= 0 && column < aw.source)
            some.add(taps.offsets[t], taps.weights[t], taps.columns[t]);
        }
        pixels(image, some, w, 1, y);
      }
    }
    if (activation_ != Activation::none)
      gemm_table<T>().epilogue(aw.dest, channels, y, channels, nullptr, activation_);
  }

  void pixels(const T* image, const TapList& taps, int64_t first, int64_t count, T* y) const {
    const Axis& aw = c_.axis[2];
    DepthwiseRow<T> row = {};
    row.pixels = count;
    row.channels = c_.groups;
    row.taps = static_cast<int64_t>(taps.offsets.size());
    row.x = image + aw.base(first) * c_.groups;
    row.x_step = aw.base_step() * c_.groups;
    row.offsets = taps.offsets.data();
    row.w = w_.data();
    row.w_offsets = taps.weights.data();
    row.bias = bias_;
    row.y = y + first * c_.groups;
    row.y_step = aw.dest_step() * c_.groups;
    kernels<T>().depthwise(row);
  }

  const Correlation& c_;
  const T* x_;
  const T* bias_;
  Activation activation_;
  T* y_;
  std::vector<T> w_;  // [tap][channel]
};

}  // namespace

template <class T>
void depthwise(const Correlation& c, const T* x, const T* w, const T* bias, Activation activation,
               T* y) {
  Depthwise<T>(c, x, w, bias, activation, y).run();
}

template void depthwise(const Correlation&, const float*, const float*, const float*, Activation,
                        float*);
template void depthwise(const Correlation&, const double*, const double*, const double*, Activation,
                        double*);

}  // namespace annx::conv
