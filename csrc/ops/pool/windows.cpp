#include "ops/pool/windows.h"

#include <algorithm>

namespace annx::pool {

void Axis::find_windows() {
  first.assign(static_cast<size_t>(source), dest);
  last.assign(static_cast<size_t>(source), 0);
  for (int64_t o = 0; o < dest; ++o) {
    const auto at = static_cast<size_t>(o);
    for (int64_t i = begin[at]; i <= begin[at] + (count[at] - 1) * step; ++i) {
      const auto pixel = static_cast<size_t>(i);
      first[pixel] = std::min(first[pixel], o);
      last[pixel] = std::max(last[pixel], o + 1);
    }
  }
  for (size_t i = 0; i < first.size(); ++i) first[i] = std::min(first[i], last[i]);
}

namespace {

int64_t number(const Ints& values, int i, int dims, int64_t least, const char* op,
               const char* what) {
  ANNX_CHECK(values.size() == 1 || values.size() == dims, value, op, "expected 1 or ", dims,
             " numbers for ", what, " but got ", values);
  const int64_t v = values[values.size() == 1 ? 0 : i];
  ANNX_CHECK(v >= least && v < (int64_t{1} << 31), value, op, "expected ", what, " of at least ",
             least, " and below 2**31 but got ", values);
  return v;
}

void adaptive_axis(Axis& a, int64_t dest) {
  a.dest = dest;
  for (int64_t o = 0; o < dest; ++o) {
    const int64_t begin = o * a.source / dest;
    const int64_t end = ((o + 1) * a.source + dest - 1) / dest;
    a.begin.push_back(begin);
    a.count.push_back(end - begin);
    a.padded.push_back(end - begin);
  }
}

struct Window {
  int64_t kernel, stride, padding;
  bool ceil;
};

void sliding_axis(Axis& a, const Window& w, const Dims& shape, const char* op) {
  ANNX_CHECK(2 * w.padding <= w.kernel, value, op,
             "expected padding of at most half the kernel but got padding ", w.padding,
             " and kernel ", w.kernel);
  const int64_t span = a.step * (w.kernel - 1) + 1;
  const int64_t room = a.source + 2 * w.padding - span + (w.ceil ? w.stride - 1 : 0);
  ANNX_CHECK(room >= 0, value, op, "expected an input that is not smaller than the kernel ",
             w.kernel, " (padding ", w.padding, ", dilation ", a.step, ") but got shape ", shape);
  a.dest = room / w.stride + 1;
  // The last window has to begin in the input or in the padding before it.
  if (w.ceil && (a.dest - 1) * w.stride >= a.source + w.padding) --a.dest;
  for (int64_t o = 0; o < a.dest; ++o) {
    int64_t begin = o * w.stride - w.padding;
    const int64_t end = std::min(begin + span, a.source + w.padding);
    a.padded.push_back(end - begin);
    while (begin < 0) begin += a.step;
    const int64_t stop = std::min(o * w.stride - w.padding + span, a.source);
    a.begin.push_back(begin);
    a.count.push_back(std::max<int64_t>(0, (stop - begin + a.step - 1) / a.step));
  }
}

}  // namespace

Windows::Windows(const Dims& source, const Attrs& attrs, const char* op)
    : dims(source.size() - 2), include_pad(attrs[kIncludePad].b()) {
  ANNX_CHECK(dims >= 1 && dims <= 3, value, op,
             "expected an input of shape (N, C, ...) with 1 to 3 spatial dimensions but got ",
             source);
  if (!attrs[kDivisor].is_none()) {
    divisor = static_cast<double>(attrs[kDivisor].i());
    ANNX_CHECK(divisor != 0, value, op, "expected a divisor_override that is not 0");
  }
  for (int i = 0; i < 3; ++i) {
    Axis& a = axis[i];
    const int at = i - (3 - dims);
    if (at < 0) {
      a.begin = {0};
      a.count = a.padded = {1};
      a.find_windows();
      continue;
    }
    a.source = source[at + 2];
    ANNX_CHECK(a.source > 0, value, op, "expected spatial dimensions that are not empty but got ",
               source);
    const Ints& kernel = attrs[kKernel].ints();
    if (attrs[kAdaptive].b()) {
      adaptive_axis(a, number(kernel, at, dims, 0, op, "output_size"));
    } else {
      const bool given = !attrs[kStride].is_none() && !attrs[kStride].ints().empty();
      const Ints& stride = given ? attrs[kStride].ints() : kernel;
      a.step = number(attrs[kDilation].ints(), at, dims, 1, op, "dilation");
      const Window w = {
          number(kernel, at, dims, 1, op, "kernel_size"), number(stride, at, dims, 1, op, "stride"),
          number(attrs[kPadding].ints(), at, dims, 0, op, "padding"), attrs[kCeil].b()};
      sliding_axis(a, w, source, op);
    }
    a.find_windows();
  }
}

Dims Windows::dest_shape(const Dims& source) const {
  Dims shape{source[0], source[1]};
  for (int i = 3 - dims; i < 3; ++i) shape.push_back(axis[i].dest);
  return shape;
}

double Windows::divisor_of(int64_t d, int64_t h, int64_t w) const {
  if (divisor != 0) return divisor;
  const int64_t at[3] = {d, h, w};
  int64_t pixels = 1;
  for (int i = 0; i < 3; ++i) {
    const auto& counts = include_pad ? axis[i].padded : axis[i].count;
    pixels *= counts[static_cast<size_t>(at[i])];
  }
  return static_cast<double>(pixels);
}

}  // namespace annx::pool
