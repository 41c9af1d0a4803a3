// Winograd F(m x m, 3x3): transform tiles of (m+2)^2 pixels, as many products over the channels, transform
// back.
#include <algorithm>
#include <vector>

#include "core/thread_pool.h"
#include "ops/conv/paths.h"
#include "ops/conv/weights.h"
#include "ops/conv/winograd.h"
#include "ops/conv/workspace.h"

namespace annx::conv {
namespace {

// Elements of a plane of a panel of transformed weights.
template <class T>
int64_t weight_plane(const Correlation& c, const Panels<T>& panels) {
  return c.reduce * panels.width() + kPlaneGap<T>;
}

template <class T>
class WinogradProduct {
 public:
  WinogradProduct(const Correlation& c, const T* x, const T* w, const T* bias,
                  Activation activation, T* y, const ReadyWeights<T>* ready)
      : c_(c),
        tiling_{c.winograd_tile()},
        source_(c, tiling_, x),
        bias_(bias),
        activation_(activation),
        y_(y),
        panels_(c.produce),
        tiles_(source_.tiles()) {
    u_ = ready ? ready->u : winograd_weights(c, w, weights_);
    for (int64_t i = 0; i < c.reduce; ++i) offsets_.push_back(i);
  }

  void run() {
    // Transformed tiles and products of a task, a value per channel, tile and plane, stay in L2.
    const int64_t values = (int64_t{1} << 18) / tiling_.planes();
    const int64_t wanted = std::clamp<int64_t>(values / (c_.reduce + c_.produce), 24, 96);
    const int64_t grain = std::max<int64_t>(1, (wanted + tiles_ - 1) / tiles_);
    parallel_for(source_.all_rows(), grain, [&](int64_t begin, int64_t end) { task(begin, end); });
  }

 private:
  // Planes of one panel lie behind one another.
  const T* panel(int64_t x, int64_t q) const {
    return u_ + (q * tiling_.planes() + x) * weight_plane(c_, panels_);
  }

  // Rows of tiles begin … end-1.
  void task(int64_t begin, int64_t end) {
    const int64_t in = c_.reduce, out = c_.produce, planes = tiling_.planes();
    const int64_t tiles = (end - begin) * tiles_;
    const int64_t v_plane = tiles * in + kPlaneGap<T>;
    const int64_t m_plane = tiles * panels_.padded() + kPlaneGap<T>;
    Workspace<T>& memory = workspace<T>();
    auto& a = memory.a;
    auto& c = memory.c;
    T* v = static_cast<T*>(memory.scratch.reserve(
        checked_bytes(planes * (v_plane + m_plane) + source_.strip_size(), sizeof(T))));
    T *m = v + planes * v_plane, *strip = m + planes * m_plane;
    for (int64_t r = begin; r < end; ++r)
      source_.transform(r, strip, v + (r - begin) * tiles_ * in, v_plane, in, kLanes<T>);
    a.clear();
    c.clear();
    for (int64_t t = 0; t < tiles; ++t) {
      a.push_back(v + t * in);
      c.push_back(m + t * out);
    }
    ConvBlock<T> block = {};
    block.rows = tiles;
    block.a = a.data();
    block.c = c.data();
    block.from_zero = true;
    block.k = in;
    block.offsets = offsets_.data();
    for (int64_t x = 0; x < planes; ++x) {
      block.a_shift = x * v_plane;
      for (int64_t q = 0; q < panels_.count(); ++q) {
        block.vectors = panels_.vectors_of(q);
        block.b_rs = block.vectors * kLanes<T>;
        block.b = panel(x, q);
        block.cols = panels_.cols_of(q);
        block.c_shift = x * m_plane + q * panels_.width();
        kernels<T>().block(block);
      }
    }
    for (int64_t r = begin; r < end; ++r) finish(r, m + (r - begin) * tiles_ * out, m_plane);
  }

  void finish(int64_t r, const T* m, int64_t m_plane) {
    const int64_t channels = c_.produce, width = c_.axis[2].dest;
    const int64_t rows = source_.dest_rows(r);
    T* y = y_ + source_.dest_pixel(r) * channels;
    tiling_.kernels<T>().output({tiles_, channels, m, m_plane, y, width * channels, rows, width});
    if (bias_ == nullptr && activation_ == Activation::none) return;
    gemm_kernels_of<T>().epilogue({rows * width, channels, y, channels, T(1), bias_, activation_});
  }

  const Correlation& c_;
  Tiling tiling_;
  WinogradSource<T> source_;
  const T* bias_;
  Activation activation_;
  T* y_;
  Panels<T> panels_;
  int64_t tiles_;  // of a row
  const T* u_ = nullptr;
  Scratch weights_;
  std::vector<int64_t> offsets_;
};

}  // namespace

template <class T>
const T* winograd_weights(const Correlation& c, const T* w, Scratch& memory) {
  std::vector<int64_t> taps;
  // Transposed, the taps are met in reverse.
  for (int64_t t = 0; t < 9; ++t) taps.push_back(c.transposed ? 8 - t : t);
  const PackedWeights<T> packed(c, w, taps);
  const Panels<T>& panels = packed.panels();
  const Tiling tiling{c.winograd_tile()};
  const int64_t planes = tiling.planes(), plane = weight_plane(c, panels);
  T* const u =
      static_cast<T*>(memory.reserve(checked_bytes(planes * plane * panels.count(), sizeof(T))));
  parallel_for(panels.count(), 1, [&](int64_t begin, int64_t end) {
    for (int64_t q = begin; q < end; ++q)
      tiling.kernels<T>().weight(c.reduce, panels.vectors_of(q) * kLanes<T>, packed.panel(0, q),
                                 u + q * planes * plane, plane);
  });
  return u;
}

template <class T>
void winograd(const Correlation& c, const T* x, const T* w, const T* bias, Activation activation,
              T* y, const ReadyWeights<T>* ready) {
  WinogradProduct<T>(c, x, w, bias, activation, y, ready).run();
}

template void winograd(const Correlation&, const float*, const float*, const float*, Activation,
                       float*, const ReadyWeights<float>*);
template void winograd(const Correlation&, const double*, const double*, const double*, Activation,
                       double*, const ReadyWeights<double>*);
template const float* winograd_weights(const Correlation&, const float*, Scratch&);
template const double* winograd_weights(const Correlation&, const double*, Scratch&);

}  // namespace annx::conv
