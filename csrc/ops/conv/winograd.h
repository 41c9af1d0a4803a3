// What a Winograd correlation reads: rows of tiles of (m+2)^2 source pixels, every m, in as many planes.
#pragma once

#include <algorithm>

#include "ops/conv/weights.h"

namespace annx::conv {

// Between planes: a power of two apart, the values of a tile would fall on one set of L1.
template <class T>
constexpr int64_t kPlaneGap = kLanes<T>;

// F(m x m, 3x3): m is 2 or 4.
struct Tiling {
  int64_t m;
  int64_t reach() const { return m + 2; }
  int64_t planes() const { return reach() * reach(); }
  template <class T>
  const WinogradTable<T>& kernels() const {
    return m == 4 ? conv::kernels<T>().f43 : conv::kernels<T>().f23;
  }
};

// Row r of tiles is row r % rows of plane r / rows of all images.
template <class T>
class WinogradSource {
 public:
  WinogradSource(const Correlation& c, Tiling tiling, const T* x)
      : c_(c),
        tiling_(tiling),
        x_(x),
        rows_((c.axis[1].dest + tiling.m - 1) / tiling.m),
        tiles_((c.axis[2].dest + tiling.m - 1) / tiling.m) {}

  int64_t tiles() const { return tiles_; }  // of a row
  int64_t all_rows() const { return c_.batch * c_.axis[0].dest * rows_; }
  // Destination pixels before row r, and how many of its m rows of pixels exist.
  int64_t dest_pixel(int64_t r) const {
    return (r / rows_ * c_.axis[1].dest + r % rows_ * tiling_.m) * c_.axis[2].dest;
  }
  int64_t dest_rows(int64_t r) const {
    return std::min(tiling_.m, c_.axis[1].dest - r % rows_ * tiling_.m);
  }
  int64_t strip_size() const { return tiling_.reach() * width() * c_.reduce; }

  // Row r to `out`, see WinogradInput. `strip` has strip_size() elements, for pixels at a border.
  void transform(int64_t r, T* strip, T* out, int64_t plane, int64_t tile_step,
                 int64_t vector_step) const {
    const Axis &ah = c_.axis[1], &aw = c_.axis[2];
    const int64_t in = c_.reduce;
    const T* image = x_ + r / rows_ * ah.source * aw.source * in;
    const int64_t first = r % rows_ * tiling_.m + ah.least(), left = aw.least();
    WinogradInput<T> job = {};
    job.tiles = tiles_;
    job.channels = in;
    job.out = out;
    job.plane = plane;
    job.tile_step = tile_step;
    job.vector_step = vector_step;
    if (first < 0 || first + tiling_.reach() > ah.source || left < 0 ||
        left + width() > aw.source) {
      fill(image, first, left, strip);
      job.x = strip;
      job.x_row = width() * in;
    } else {
      job.x = image + (first * aw.source + left) * in;
      job.x_row = aw.source * in;
    }
    tiling_.kernels<T>().input(job);
  }

 private:
  int64_t width() const { return tiling_.m * tiles_ + 2; }

  // Rows of pixels of a row of tiles, with zeros where there is no source.
  void fill(const T* image, int64_t first, int64_t left, T* to) const {
    const Axis &ah = c_.axis[1], &aw = c_.axis[2];
    const int64_t in = c_.reduce, width = this->width();
    const int64_t begin = std::clamp<int64_t>(left, 0, aw.source);
    const int64_t end = std::clamp<int64_t>(left + width, begin, aw.source);
    for (int64_t r = first; r < first + tiling_.reach(); ++r, to += width * in) {
      if (r < 0 || r >= ah.source || begin == end) {
        std::fill_n(to, width * in, T(0));
        continue;
      }
      std::fill_n(to, (begin - left) * in, T(0));
      std::copy_n(image + (r * aw.source + begin) * in, (end - begin) * in,
                  to + (begin - left) * in);
      std::fill_n(to + (end - left) * in, (left + width - end) * in, T(0));
    }
  }

  const Correlation& c_;
  Tiling tiling_;
  const T* x_;
  int64_t rows_, tiles_;
};

}  // namespace annx::conv
