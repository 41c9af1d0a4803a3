// Depthwise convolution, its transposition and the gradient of its weights: lanes run over channels. The
// source is read in place, a filter row at a time; what lies beyond it is left out.
#include <algorithm>
#include <vector>

#include "core/thread_pool.h"
#include "ops/conv/paths.h"
#include "ops/conv/weights.h"
#include "ops/conv/workspace.h"

namespace annx::conv {
namespace {

// The destination columns of one phase and the taps that they share, by ascending source.
template <class T>
struct Columns {
  int64_t first_tap;  // of the filter's row
  int64_t start;      // of the destination
  DepthwiseRow<T> row;
};

template <class T>
class Depthwise {
 public:
  Depthwise(const Correlation& c, const T* x, const T* bias, T* y) : c_(c), x_(x), y_(y) {
    const Axis& aw = c.axis[2];
    const int64_t channels = c.groups;
    for (int64_t phase = 0; phase < aw.phases(); ++phase) {
      std::vector<int64_t> taps;
      for (int64_t t = 0; t < aw.taps; ++t)
        if (aw.tap_phase(t) == phase) taps.push_back(t);
      if (c.transposed) std::reverse(taps.begin(), taps.end());
      const int64_t start = aw.first(phase);
      if (start >= aw.dest) continue;
      Columns<T> columns = {taps.empty() ? 0 : taps[0], start, {}};
      DepthwiseRow<T>& row = columns.row;
      row.pixels = (aw.dest - start + aw.dest_step() - 1) / aw.dest_step();
      row.channels = channels;
      row.taps = static_cast<int64_t>(taps.size());
      row.tap = 1;
      row.step = aw.base_step();
      row.width = aw.source;
      row.first = taps.empty() ? 0 : aw.base(start) + aw.shift(taps[0]);
      if (taps.size() > 1) {
        row.tap = aw.shift(taps[1]) - aw.shift(taps[0]);
        row.w_step = (taps[1] - taps[0]) * channels;
      }
      row.bias = bias;
      row.y_step = aw.dest_step() * channels;
      columns_.push_back(columns);
    }
  }

  // Calls f(row, filter rows) for every phase of columns of the destination row `unit`; filter rows are
  // indices of (plane, row), the order that of row.x.
  template <class F>
  void each(int64_t unit, F f) const {
    const Axis &ad = c_.axis[0], &ah = c_.axis[1], &aw = c_.axis[2];
    const int64_t h = unit % ah.dest, d = unit / ah.dest % ad.dest,
                  image = unit / ah.dest / ad.dest;
    auto& x = workspace<T>().a;
    auto& filters = workspace<T>().offsets;
    x.clear();
    filters.clear();
    const int64_t pitch = aw.source * c_.groups;
    const T* const from = x_ + image * ad.source * ah.source * pitch;
    for (int64_t i = 0; i < ad.taps * ah.taps; ++i) {
      const int64_t t = c_.transposed ? ad.taps * ah.taps - 1 - i : i;
      const int64_t q = t / ah.taps, r = t % ah.taps;
      const int64_t plane = ad.base(d) + ad.shift(q), line = ah.base(h) + ah.shift(r);
      if (ad.phase_of(d) != ad.tap_phase(q) || ah.phase_of(h) != ah.tap_phase(r)) continue;
      if (plane < 0 || plane >= ad.source || line < 0 || line >= ah.source) continue;
      x.push_back(from + (plane * ah.source + line) * pitch);
      filters.push_back(t);
    }
    const auto parts = static_cast<int64_t>(columns_.size());
    for (int64_t part = 0; part < parts; ++part) {
      const Columns<T>& columns = columns_[static_cast<size_t>(part)];
      DepthwiseRow<T> row = columns.row;
      row.rows = row.taps == 0 ? 0 : static_cast<int64_t>(x.size());
      row.x = x.data();
      row.y = y_ + (unit * aw.dest + columns.start) * c_.groups;
      ahead(unit, part, parts, row);
      f(row, filters, columns.first_tap);
    }
  }

 private:
  // One of `parts` of the next destination row, and of the source rows that it is the first to read.
  void ahead(int64_t unit, int64_t part, int64_t parts, DepthwiseRow<T>& row) const {
    const Axis &ad = c_.axis[0], &ah = c_.axis[1], &aw = c_.axis[2];
    if (ad.source != 1 || ad.dest != 1 || unit + 1 == c_.units()) return;
    const int64_t h = unit % ah.dest, image = (unit + 1) / ah.dest, next = (unit + 1) % ah.dest;
    const auto share = [&](int i, const T* from, int64_t size) {
      row.ahead[i] = from + part * size / parts;
      row.ahead_size[i] = (part + 1) * size / parts - part * size / parts;
    };
    share(1, y_ + (unit + 1) * aw.dest * c_.groups, aw.dest * c_.groups);
    const int64_t begin = next == 0 ? 0 : std::max<int64_t>(ah.base(h) + ah.most_shift() + 1, 0);
    const int64_t end = std::min(ah.base(next) + ah.most_shift() + 1, ah.source);
    const int64_t pitch = aw.source * c_.groups;
    if (begin < end) share(0, x_ + (image * ah.source + begin) * pitch, (end - begin) * pitch);
  }

  const Correlation& c_;
  const T* x_;
  T* y_;
  std::vector<Columns<T>> columns_;
};

}  // namespace

template <class T>
void depthwise(const Correlation& c, const T* x, const T* w, const T* bias, Activation activation,
               T* y) {
  const int64_t channels = c.groups, width = c.axis[2].dest;
  Scratch memory;  // [tap][channel]
  T* turned = static_cast<T*>(memory.reserve(checked_bytes(channels * c.taps(), sizeof(T))));
  gemm_kernels_of<T>().transpose(channels, c.taps(), w, c.taps(), turned, channels);
  const Depthwise<T> way(c, x, bias, y);
  const int64_t grain = std::max<int64_t>(1, kTaskPixels / std::max<int64_t>(1, width));
  parallel_for(c.units(), grain, [&](int64_t begin, int64_t end) {
    auto& at = workspace<T>().base;
    for (int64_t unit = begin; unit < end; ++unit) {
      way.each(unit, [&](DepthwiseRow<T>& row, const auto& filters, int64_t first_tap) {
        at.clear();
        for (int64_t t : filters)
          at.push_back(turned + (t * c.axis[2].taps + first_tap) * channels);
        row.w = at.data();
        kernels<T>().depthwise(row);
      });
      if (activation != Activation::none)
        gemm_kernels_of<T>().epilogue(
            {width, channels, y + unit * width * channels, channels, T(1), nullptr, activation});
    }
  });
}

template <class T>
void depthwise_weight(const Correlation& c, const T* g, const T* x, T* dw) {
  const int64_t channels = c.groups, units = c.units(), size = c.taps() * channels;
  const int64_t pieces = std::clamp<int64_t>(units * c.axis[2].dest / kPiecePixels, 1, kMaxPieces);
  const int64_t length = (units + pieces - 1) / pieces;
  const Depthwise<T> way(c, x, nullptr, const_cast<T*>(g));
  Scratch memory;
  T* parts = static_cast<T*>(memory.reserve(checked_bytes(pieces * size, sizeof(T))));
  parallel_for(pieces, 1, [&](int64_t begin, int64_t end) {
    auto& at = workspace<T>().c;
    for (int64_t piece = begin; piece < end; ++piece) {
      T* out = parts + piece * size;
      std::fill_n(out, size, T(0));
      const int64_t last = std::min(units, (piece + 1) * length);
      for (int64_t unit = piece * length; unit < last; ++unit)
        way.each(unit, [&](DepthwiseRow<T>& row, const auto& filters, int64_t first_tap) {
          at.clear();
          for (int64_t t : filters) at.push_back(out + (t * c.axis[2].taps + first_tap) * channels);
          kernels<T>().depthwise_weight(row, at.data());
        });
    }
  });
  add_pieces(pieces, size, parts + size, parts);
  gemm_kernels_of<T>().transpose(c.taps(), channels, parts, channels, dw, c.taps());
}

template void depthwise(const Correlation&, const float*, const float*, const float*, Activation,
                        float*);
template void depthwise(const Correlation&, const double*, const double*, const double*, Activation,
                        double*);
template void depthwise_weight(const Correlation&, const float*, const float*, float*);
template void depthwise_weight(const Correlation&, const double*, const double*, double*);

}  // namespace annx::conv
