// The part of the source that a run of destination rows reads, with its border of zeros: a copy that
// stays in cache. It makes every tap of every pixel one fixed distance away from the pixel.
#pragma once

#include <algorithm>
#include <cstring>

#include "ops/conv/geometry.h"

namespace annx::conv {

template <class T>
class Slabs {
 public:
  explicit Slabs(const Correlation& c) : c_(c), channels_(c.source_channels()) {
    for (int i = 0; i < 3; ++i)
      direct_ = direct_ && c.axis[i].least() >= 0 && c.axis[i].most() < c.axis[i].source;
    if (direct_) {
      column_ = channels_;
      slot_ = c.axis[1].source * c.axis[2].source * column_;
      row_ = c.axis[2].source * column_;
      return;
    }
    low_ = c.axis[2].least();
    width_ = c.axis[2].most() - low_ + 1;
    slots_ = c.axis[0].most_shift() - c.axis[0].least_shift() + 1;
    column_ = channels_;
    slot_ = width_ * column_;
    row_ = slots_ * slot_;
  }

  // Distance of a tap from its pixel.
  int64_t offset(int64_t d, int64_t h, int64_t w) const {
    return c_.axis[0].shift(d) * slot_ + c_.axis[1].shift(h) * row_ + c_.axis[2].shift(w) * column_;
  }
  int64_t column() const { return column_; }
  int64_t row() const { return row_; }
  bool direct() const { return direct_; }

  // Elements for a run of destination rows first … last.
  int64_t size(int64_t first, int64_t last) const {
    return direct_ ? 0 : (source_rows(first, last) * row_);
  }

  // Fills `to` for rows first … last of plane d of image n. Returns the address of pixel (first, 0),
  // in `to` or in x itself; the pixels of row h are (base(h) - base(first)) row() further on.
  const T* fill(const T* x, int64_t n, int64_t d, int64_t first, int64_t last, T* to) const {
    const Axis &ad = c_.axis[0], &ah = c_.axis[1], &aw = c_.axis[2];
    const T* image = x + n * c_.source_size() * channels_;
    if (direct_) return image + ad.base(d) * slot_ + ah.base(first) * row_ + aw.base(0) * column_;
    const int64_t top = ah.base(first) + ah.least_shift();
    const int64_t front = ad.base(d) + ad.least_shift();
    const int64_t rows = source_rows(first, last);
    const int64_t begin = std::max<int64_t>(low_, 0), end = std::min(low_ + width_, aw.source);
    const int64_t left = (begin - low_) * channels_, middle = (end - begin) * channels_;
    const int64_t right = slot_ - left - std::max<int64_t>(middle, 0);
    T* out = to;
    for (int64_t r = top; r < top + rows; ++r) {
      for (int64_t s = front; s < front + slots_; ++s, out += slot_) {
        if (r < 0 || r >= ah.source || s < 0 || s >= ad.source || middle <= 0) {
          std::memset(out, 0, static_cast<size_t>(slot_) * sizeof(T));
          continue;
        }
        std::memset(out, 0, static_cast<size_t>(left) * sizeof(T));
        std::memcpy(out + left, image + ((s * ah.source + r) * aw.source + begin) * channels_,
                    static_cast<size_t>(middle) * sizeof(T));
        std::memset(out + left + middle, 0, static_cast<size_t>(right) * sizeof(T));
      }
    }
    return to - ah.least_shift() * row_ - ad.least_shift() * slot_ + (aw.base(0) - low_) * column_;
  }

 private:
  int64_t source_rows(int64_t first, int64_t last) const {
    const Axis& a = c_.axis[1];
    return a.base(last) - a.base(first) + a.most_shift() - a.least_shift() + 1;
  }

  const Correlation& c_;
  int64_t channels_;
  bool direct_ = true;
  int64_t low_ = 0, width_ = 0, slots_ = 0;
  int64_t column_ = 0, slot_ = 0, row_ = 0;
};

// A run of destination rows of one plane: unit u is row u % H of plane u / H.
struct Run {
  int64_t image, plane, first, last, at;  // at: pixels of the destination before it

  static Run at_unit(const Correlation& c, int64_t unit, int64_t end) {
    const int64_t height = c.axis[1].dest, planes = c.axis[0].dest;
    const int64_t first = unit % height;
    const int64_t last = std::min(height - 1, first + end - unit - 1);
    return {unit / height / planes, unit / height % planes, first, last, unit * c.axis[2].dest};
  }
  int64_t rows() const { return last - first + 1; }
};

}  // namespace annx::conv
