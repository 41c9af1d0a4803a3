// Winograd F(m x m, 3x3): transform tiles of (m+2)^2 pixels, as many products over the channels, transform
// back.
#include <algorithm>
#include <optional>
#include <vector>

#include "core/thread_pool.h"
#include "ops/conv/paths.h"
#include "ops/conv/weights.h"
#include "ops/conv/winograd.h"
#include "ops/conv/workspace.h"

namespace annx::conv {
namespace {

// Transformed weights that no L2 holds: 4 MiB in float32.
constexpr int64_t kManyWeights = int64_t{1} << 20;
// A multiple of the rows of every target's tile of products.
constexpr int64_t kWholeRows = 24;

// So few tiles are read again for every panel sooner than the weights are written and read.
constexpr int64_t kFewTiles = 128;
constexpr int64_t kSomeWeights = int64_t{1} << 18;
// Channels whose transformed weights, of one panel, stay in L2.
constexpr int64_t kChannelsAtOnce = 256;

// Transposed, the taps are met in reverse.
std::vector<int64_t> taps_of(const Correlation& c) {
  std::vector<int64_t> taps;
  for (int64_t t = 0; t < 9; ++t) taps.push_back(c.transposed ? 8 - t : t);
  return taps;
}

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
    const int64_t weights = tiling_.planes() * c.reduce * c.produce;
    if (!ready && weights > kSomeWeights && source_.all_rows() * tiles_ <= kFewTiles)
      packed_.emplace(c, w, taps_of(c));
    else
      u_ = ready ? ready->u : winograd_weights(c, w, weights_);
    stages_ = packed_ || weights > kManyWeights;
    for (int64_t i = 0; i < c.reduce; ++i) offsets_.push_back(i);
  }

  void run() {
    const int64_t planes = tiling_.planes(), channels = c_.reduce + c_.produce;
    const int64_t rows = source_.all_rows();
    if (stages_) {
      const int64_t step = rows_of((int64_t{1} << 22) / planes / channels);
      for (int64_t r = 0; r < rows; r += step) together(r, std::min(rows, r + step));
      return;
    }
    // Transformed tiles and products of a task, a value per channel, tile and plane, stay in L2.
    const int64_t wanted = (int64_t{1} << 18) / planes / channels;
    parallel_for(rows, rows_of(std::clamp<int64_t>(wanted, 24, 96)),
                 [&](int64_t begin, int64_t end) {
                   const int64_t tiles = (end - begin) * tiles_;
                   T* const memory = reserve(workspace<T>().scratch, tiles, source_.strip_size());
                   const Part part = {begin, tiles, memory};
                   for (int64_t r = begin; r < end; ++r) transform(part, r, strip_behind(part));
                   products(part, 0, planes);
                   for (int64_t r = begin; r < end; ++r) finish(part, r);
                 });
  }

 private:
  // Rows of tiles from `first` on; memory of their planes.
  struct Part {
    int64_t first, tiles;
    T* memory;
  };

  int64_t v_plane(const Part& part) const { return part.tiles * c_.reduce + kPlaneGap<T>; }
  int64_t m_plane(const Part& part) const { return part.tiles * c_.produce + kPlaneGap<T>; }
  T* products_of(const Part& part) const { return part.memory + tiling_.planes() * v_plane(part); }
  T* strip_behind(const Part& part) const {
    return products_of(part) + tiling_.planes() * m_plane(part);
  }
  T* reserve(Scratch& memory, int64_t tiles, int64_t more) const {
    const int64_t planes = tiling_.planes() * (tiles * (c_.reduce + c_.produce) + 2 * kPlaneGap<T>);
    return static_cast<T*>(memory.reserve(checked_bytes(planes + more, sizeof(T))));
  }

  // Rows of tiles to take at once, about `wanted` tiles: if possible, ones that tiles of products divide.
  int64_t rows_of(int64_t wanted) const {
    const int64_t most = std::max<int64_t>(1, (wanted + tiles_ - 1) / tiles_);
    int64_t best = most;
    auto missing = [&](int64_t rows) {
      return (kWholeRows - rows * tiles_ % kWholeRows) % kWholeRows;
    };
    for (int64_t rows = most; 2 * rows > most; --rows)
      if (missing(rows) * best < missing(best) * rows) best = rows;
    return best;
  }

  // With many weights, each is read for all tiles at once.
  void together(int64_t begin, int64_t end) {
    const int64_t tiles = (end - begin) * tiles_;
    const Part part = {begin, tiles, reserve(planes_, tiles, 0)};
    parallel_for(end - begin, 1, [&](int64_t first, int64_t last) {
      const size_t strip = checked_bytes(source_.strip_size(), sizeof(T));
      T* const memory = static_cast<T*>(workspace<T>().scratch.reserve(strip));
      for (int64_t r = begin + first; r < begin + last; ++r) transform(part, r, memory);
    });
    if (packed_)
      parallel_for(panels_.count(), 1, [&](int64_t first, int64_t last) {
        for (int64_t q = first; q < last; ++q) products_of_panel(part, q);
      });
    else
      parallel_for(tiling_.planes(), 1,
                   [&](int64_t first, int64_t last) { products(part, first, last); });
    parallel_for(end - begin, 1, [&](int64_t first, int64_t last) {
      for (int64_t r = begin + first; r < begin + last; ++r) finish(part, r);
    });
  }

  // Planes of one panel lie behind one another.
  const T* panel(int64_t x, int64_t q) const {
    return u_ + (q * tiling_.planes() + x) * weight_plane(c_, panels_);
  }

  void transform(const Part& part, int64_t r, T* strip) const {
    T* const v = part.memory + (r - part.first) * tiles_ * c_.reduce;
    source_.transform(r, strip, v, v_plane(part), c_.reduce, kLanes<T>);
  }

  // All tiles of a part by all source channels; pointers to them stay in the workspace.
  ConvBlock<T> block_of(const Part& part) const {
    const int64_t in = c_.reduce, out = c_.produce;
    T* const m = products_of(part);
    auto& a = workspace<T>().a;
    auto& c = workspace<T>().c;
    a.clear();
    c.clear();
    for (int64_t t = 0; t < part.tiles; ++t) {
      a.push_back(part.memory + t * in);
      c.push_back(m + t * out);
    }
    ConvBlock<T> block = {};
    block.rows = part.tiles;
    block.a = a.data();
    block.c = c.data();
    block.from_zero = true;
    block.k = in;
    block.offsets = offsets_.data();
    return block;
  }

  // Weights of one panel, transformed a few channels at a time and used at once, in all planes.
  void products_of_panel(const Part& part, int64_t q) const {
    const int64_t width = panels_.vectors_of(q) * kLanes<T>, planes = tiling_.planes();
    const int64_t plane = kChannelsAtOnce * width + kPlaneGap<T>;
    T* const u =
        static_cast<T*>(workspace<T>().scratch.reserve(checked_bytes(planes * plane, sizeof(T))));
    ConvBlock<T> block = block_of(part);
    block.vectors = panels_.vectors_of(q);
    block.b_rs = width;
    block.cols = panels_.cols_of(q);
    for (int64_t i = 0; i < c_.reduce; i += kChannelsAtOnce) {
      block.k = std::min(kChannelsAtOnce, c_.reduce - i);
      block.offsets = offsets_.data() + i;
      block.from_zero = i == 0;
      const T* taps = packed_->panel(0, q) + 9 * i * width;
      tiling_.kernels<T>().weight(block.k, width, taps, u, plane);
      for (int64_t x = 0; x < planes; ++x) {
        block.a_shift = x * v_plane(part);
        block.b = u + x * plane;
        block.c_shift = x * m_plane(part) + q * panels_.width();
        kernels<T>().block(block);
      }
    }
  }

  // In planes first … last-1.
  void products(const Part& part, int64_t first, int64_t last) const {
    ConvBlock<T> block = block_of(part);
    for (int64_t x = first; x < last; ++x) {
      block.a_shift = x * v_plane(part);
      for (int64_t q = 0; q < panels_.count(); ++q) {
        block.vectors = panels_.vectors_of(q);
        block.b_rs = block.vectors * kLanes<T>;
        block.b = panel(x, q);
        block.cols = panels_.cols_of(q);
        block.c_shift = x * m_plane(part) + q * panels_.width();
        kernels<T>().block(block);
      }
    }
  }

  void finish(const Part& part, int64_t r) const {
    const T* m = products_of(part) + (r - part.first) * tiles_ * c_.produce;
    const int64_t channels = c_.produce, width = c_.axis[2].dest;
    const int64_t rows = source_.dest_rows(r);
    T* y = y_ + source_.dest_pixel(r) * channels;
    tiling_.kernels<T>().output(
        {tiles_, channels, m, m_plane(part), y, width * channels, rows, width});
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
  int64_t tiles_;        // of a row
  bool stages_ = false;  // one after the other, for all tiles
  const T* u_ = nullptr;
  Scratch weights_;
  std::optional<PackedWeights<T>> packed_;  // in place of u_
  Scratch planes_;
  std::vector<int64_t> offsets_;
};

}  // namespace

template <class T>
const T* winograd_weights(const Correlation& c, const T* w, Scratch& memory) {
  const PackedWeights<T> packed(c, w, taps_of(c));
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
