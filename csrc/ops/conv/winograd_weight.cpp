// The gradient of 3x3 taps by Winograd's F(2x2, 3x3), transposed: the sums' gradients of 2x2 pixels meet
// the 16 values of their 4x4 source pixels, products are added up over tiles, then folded to 9 taps.
//
//   dw = G^T (sum over tiles of (A g A^T) * (B^T d B)) G
//
// Tiles are cut into pieces fixed by the shape, which are added in order.
#include <vector>

#include "core/thread_pool.h"
#include "ops/conv/paths.h"
#include "ops/conv/winograd.h"
#include "ops/conv/workspace.h"

namespace annx::conv {
namespace {

// Tiles per piece at least: adding up the pieces then costs little beside the products.
constexpr int64_t kPieceTiles = 256;
// Tasks worth having: with fewer pieces the panels are shared out too, which changes no sum.
constexpr int64_t kTasks = 4;

constexpr Tiling kTiling = {2};
constexpr int64_t kPlanes = 16;

template <class T>
class WinogradWeight {
 public:
  WinogradWeight(const Correlation& c, const T* g, const T* x, T* dw, T* db)
      : c_(c), source_(c, kTiling, x), panels_(c.produce), g_(g), dw_(dw), db_(db), in_(c.reduce) {
    // Tiles of a step: their planes, and the sums if they are few, stay in L2.
    const int64_t channels = c.reduce + c.produce;
    const int64_t wanted =
        c.reduce * c.produce > 8192 ? 96 : std::clamp<int64_t>(8192 / channels, 48, 128);
    step_ = (wanted + source_.tiles() - 1) / source_.tiles();
    panel_ = in_ * panels_.width();
    size_ = kPlanes * panels_.count() * panel_;
    total_ = size_ + panels_.count() * panels_.width();
  }

  void run() {
    const int64_t rows = source_.all_rows();
    const int64_t wanted =
        std::clamp<int64_t>(rows * source_.tiles() / kPieceTiles, 1, std::min(kMaxPieces, rows));
    const int64_t length = (rows + wanted - 1) / wanted;
    const int64_t pieces = (rows + length - 1) / length;
    const int64_t all = panels_.count();
    const int64_t share =
        pieces >= kTasks ? all : std::max<int64_t>(1, (all * pieces + kTasks - 1) / kTasks);
    const int64_t shares = (all + share - 1) / share;
    T* parts = static_cast<T*>(parts_.reserve(checked_bytes(pieces * total_, sizeof(T))));
    parallel_for(pieces * shares, 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const int64_t piece = i / shares, first = i % shares * share;
        T* out = parts + piece * total_;
        const int64_t last = std::min(rows, (piece + 1) * length);
        for (int64_t row = piece * length; row < last; row += step_)
          add(row, std::min(last, row + step_), first, std::min(all, first + share), out,
              row == piece * length);
      }
    });
    add_pieces(pieces, total_, parts + total_, parts);
    parallel_for(all, 1, [&](int64_t begin, int64_t end) {
      for (int64_t q = begin; q < end; ++q) fold(parts, q);
    });
  }

 private:
  // Rows of tiles begin … end-1 into panels first … last-1 of `out`, plane after plane.
  void add(int64_t begin, int64_t end, int64_t first, int64_t last, T* out, bool from_zero) {
    Workspace<T>& memory = workspace<T>();
    std::vector<int64_t>& offsets = memory.offsets;
    auto& a = memory.a;
    auto& c = memory.c;
    const int64_t row = source_.tiles(), tiles = (end - begin) * row;
    const int64_t lanes = kLanes<T>, width = panels_.width();
    // Both sides lie in panels: a panel's tiles are read from end to end.
    const int64_t v_plane = Panels<T>::whole(in_) * tiles * lanes + kPlaneGap<T>;
    const int64_t m_plane = (last - first) * tiles * width + kPlaneGap<T>;
    T* v = static_cast<T*>(memory.scratch.reserve(
        checked_bytes(kPlanes * (v_plane + m_plane) + source_.strip_size(), sizeof(T))));
    T *m = v + kPlanes * v_plane, *strip = m + kPlanes * m_plane;
    const int64_t from = first * width, channels = c_.dest_channels();
    for (int64_t r = begin; r < end; ++r) {
      const int64_t at = (r - begin) * row;
      source_.transform(r, strip, v + at * lanes, v_plane, lanes, tiles * lanes);
      WinogradGradient<T> job = {};
      job.tiles = row;
      job.channels = std::min(channels - from, (last - first) * width);
      job.pixel = channels;
      job.g = g_ + source_.dest_pixel(r) * channels + from;
      job.g_row = c_.axis[2].dest * channels;
      job.rows = source_.dest_rows(r);
      job.cols = c_.axis[2].dest;
      job.out = m + at * width;
      job.plane = m_plane;
      job.panel_step = tiles * width;
      job.width = width;
      kernels<T>().winograd_gradient(job);
    }
    offsets.clear();
    a.clear();
    c.clear();
    for (int64_t t = 0; t < tiles; ++t) offsets.push_back(t * lanes);
    for (int64_t i = 0; i < in_; ++i) {
      a.push_back(v + i / lanes * tiles * lanes + i % lanes);
      c.push_back(out + i * width);
    }
    ConvBlock<T> block = {};
    block.rows = in_;
    block.k = tiles;
    block.a = a.data();
    block.c = c.data();
    block.offsets = offsets.data();
    block.b_rs = width;
    block.from_zero = from_zero;
    for (int64_t x = 0; x < kPlanes; ++x) {
      block.a_shift = x * v_plane;
      for (int64_t q = first; q < last; ++q) {
        block.vectors = panels_.vectors_of(q);
        block.cols = block.vectors * lanes;
        block.b = m + x * m_plane + (q - first) * tiles * width;
        block.c_shift = (x * panels_.count() + q) * panel_;
        kernels<T>().block(block);
        // This plane holds the sums of whole tiles.
        if (db_ != nullptr && x == 5)
          kernels<T>().column_sums(block.b, tiles, width, block.vectors, out + size_ + q * width,
                                   from_zero);
      }
    }
  }

  // Panel q of all planes to the rows of dw for its output channels.
  void fold(const T* parts, int64_t q) {
    const int64_t width = panels_.width(), cols = panels_.cols_of(q), first = q * width;
    T* taps = static_cast<T*>(workspace<T>().scratch.reserve(checked_bytes(9 * panel_, sizeof(T))));
    kernels<T>().winograd_weight_gradient(in_, width, parts + q * panel_, panels_.count() * panel_,
                                          taps);
    gemm_kernels_of<T>().transpose(9 * in_, cols, taps, width, dw_ + first * 9 * in_, 9 * in_);
    if (db_ != nullptr) std::copy_n(parts + size_ + first, cols, db_ + first);
  }

  const Correlation& c_;
  WinogradSource<T> source_;
  Panels<T> panels_;
  const T* g_;
  T *dw_, *db_;
  int64_t in_, step_ = 1;  // channels; rows of tiles at a time
  int64_t panel_ = 0, size_ = 0, total_ = 0;
  Scratch parts_;
};

}  // namespace

template <class T>
void winograd_weight(const Correlation& c, const T* g, const T* x, T* dw, T* db) {
  WinogradWeight<T>(c, g, x, dw, db).run();
}

template void winograd_weight(const Correlation&, const float*, const float*, float*, float*);
template void winograd_weight(const Correlation&, const double*, const double*, double*, double*);

}  // namespace annx::conv
