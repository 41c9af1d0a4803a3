// What a Winograd correlation reads: rows of tiles of 4x4 source pixels, every 2, in its 16 planes.
#pragma once

#include <algorithm>

#include "ops/conv/weights.h"

namespace annx::conv {

inline constexpr int64_t kPlanes = 16;

// Row r of tiles is row r % rows of plane r / rows of all images.
template <class T>
class WinogradSource {
 public:
  WinogradSource(const Correlation& c, const T* x)
      : c_(c), x_(x), rows_((c.axis[1].dest + 1) / 2), tiles_((c.axis[2].dest + 1) / 2) {}

  int64_t tiles() const { return tiles_; }  // of a row
  int64_t all_rows() const { return c_.batch * c_.axis[0].dest * rows_; }
  // Destination pixels before row r, and how many of its two rows of pixels exist.
  int64_t dest_pixel(int64_t r) const {
    return (r / rows_ * c_.axis[1].dest + r % rows_ * 2) * c_.axis[2].dest;
  }
  int64_t dest_rows(int64_t r) const {
    return std::min<int64_t>(2, c_.axis[1].dest - r % rows_ * 2);
  }
  int64_t strip_size() const { return 4 * width() * c_.reduce; }

  // Row r to `out`, see WinogradInput. `strip` has strip_size() elements, for pixels at a border.
  void transform(int64_t r, T* strip, T* out, int64_t plane, int64_t tile_step,
                 int64_t vector_step) const {
    const Axis &ah = c_.axis[1], &aw = c_.axis[2];
    const int64_t in = c_.reduce;
    const T* image = x_ + r / rows_ * ah.source * aw.source * in;
    const int64_t first = r % rows_ * 2 + ah.least(), left = aw.least();
    WinogradInput<T> job = {};
    job.tiles = tiles_;
    job.channels = in;
    job.out = out;
    job.plane = plane;
    job.tile_step = tile_step;
    job.vector_step = vector_step;
    if (first < 0 || first + 4 > ah.source || left < 0 || left + width() > aw.source) {
      fill(image, first, left, strip);
      job.x = strip;
      job.x_row = width() * in;
    } else {
      job.x = image + (first * aw.source + left) * in;
      job.x_row = aw.source * in;
    }
    kernels<T>().winograd_input(job);
  }

 private:
  int64_t width() const { return 2 * tiles_ + 2; }

  // Four rows of pixels with zeros where there is no source.
  void fill(const T* image, int64_t first, int64_t left, T* to) const {
    const Axis &ah = c_.axis[1], &aw = c_.axis[2];
    const int64_t in = c_.reduce, width = this->width();
    const int64_t begin = std::clamp<int64_t>(left, 0, aw.source);
    const int64_t end = std::clamp<int64_t>(left + width, begin, aw.source);
    for (int64_t r = first; r < first + 4; ++r, to += width * in) {
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
  const T* x_;
  int64_t rows_, tiles_;
};

}  // namespace annx::conv
