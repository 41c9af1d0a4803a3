// Depthwise convolution and its transposition: lanes run over channels. The source is copied row by row
// with its border (slab.h): read in place, its rows come too late.
#include <algorithm>
#include <vector>

#include "core/thread_pool.h"
#include "ops/conv/paths.h"
#include "ops/conv/slab.h"
#include "ops/conv/weights.h"
#include "ops/conv/workspace.h"

namespace annx::conv {
namespace {

template <class T>
class Depthwise {
 public:
  Depthwise(const Correlation& c, const T* x, const T* w, const T* bias, Activation activation,
            T* y)
      : c_(c), slabs_(c), x_(x), bias_(bias), activation_(activation), y_(y) {
    w_.resize(static_cast<size_t>(c.groups * c.taps()));
    gemm_kernels_of<T>().transpose(c.groups, c.taps(), w, c.taps(), w_.data(), c.groups);
    for (int64_t d = 0; d < c.axis[0].phases(); ++d)
      for (int64_t h = 0; h < c.axis[1].phases(); ++h)
        for (int64_t s = 0; s < c.axis[2].phases(); ++s) add_phase(d, h, s);
  }

  void run() {
    const int64_t width = std::max<int64_t>(1, c_.axis[2].dest);
    const int64_t wanted = kTaskPixels * static_cast<int64_t>(phases_.size());
    const int64_t grain = std::max<int64_t>(1, (wanted + width - 1) / width);
    parallel_for(c_.units(), grain, [&](int64_t begin, int64_t end) {
      for (int64_t unit = begin; unit < end;) {
        const Run run = Run::at_unit(c_, unit, end);
        rows(run);
        unit += run.rows();
      }
    });
  }

 private:
  // The taps of the destination pixels that leave the same remainders by the strides.
  struct Phase {
    int64_t at[3];
    std::vector<int64_t> offsets, weights;
  };

  void add_phase(int64_t d, int64_t h, int64_t w) {
    const Axis *a = c_.axis, &ah = a[1], &aw = a[2];
    Phase phase{{d, h, w}, {}, {}};
    for (int64_t t = 0; t < c_.taps(); ++t) {
      const int64_t s = t % aw.taps, r = t / aw.taps % ah.taps, q = t / aw.taps / ah.taps;
      if (a[0].tap_phase(q) != d || ah.tap_phase(r) != h || aw.tap_phase(s) != w) continue;
      phase.offsets.push_back(slabs_.offset(q, r, s));
      phase.weights.push_back(t * c_.groups);
    }
    phases_.push_back(std::move(phase));
  }

  void rows(const Run& run) const {
    const Axis &ad = c_.axis[0], &ah = c_.axis[1], &aw = c_.axis[2];
    const int64_t channels = c_.groups;
    T* slab = static_cast<T*>(
        workspace<T>().scratch.reserve(checked_bytes(slabs_.size(run.first, run.last), sizeof(T))));
    const T* x = slabs_.fill(x_, run.image, run.plane, run.first, run.last, slab);
    T* y = y_ + run.at * channels;
    DepthwiseRow<T> row = {};
    row.channels = channels;
    row.w = w_.data();
    row.bias = bias_;
    row.x_step = aw.base_step() * slabs_.column();
    row.y_step = aw.dest_step() * channels;
    for (int64_t h = run.first; h <= run.last; ++h) {
      for (const Phase& phase : phases_) {
        const int64_t first = aw.first(phase.at[2]);
        if (phase.at[0] != ad.phase_of(run.plane) || phase.at[1] != ah.phase_of(h) ||
            first >= aw.dest)
          continue;
        row.pixels = (aw.dest - first + aw.dest_step() - 1) / aw.dest_step();
        row.taps = static_cast<int64_t>(phase.offsets.size());
        row.offsets = phase.offsets.data();
        row.w_offsets = phase.weights.data();
        row.x = x + (ah.base(h) - ah.base(run.first)) * slabs_.row() +
                (aw.base(first) - aw.base(0)) * slabs_.column();
        row.y = y + ((h - run.first) * aw.dest + first) * channels;
        kernels<T>().depthwise(row);
      }
    }
    if (activation_ != Activation::none)
      gemm_kernels_of<T>().epilogue(
          {run.rows() * aw.dest, channels, y, channels, T(1), nullptr, activation_});
  }

  const Correlation& c_;
  Slabs<T> slabs_;
  const T* x_;
  const T* bias_;
  Activation activation_;
  T* y_;
  std::vector<T> w_;  // [tap][channel]
  std::vector<Phase> phases_;
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
