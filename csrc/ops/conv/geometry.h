// What a convolution is, in numbers; and a convolution or its transposition as one correlation.
#pragma once

#include <memory>

#include "gemm/gemm.h"
#include "ops/conv/choice.h"
#include "ops/conv/kernels.h"
#include "ops/registry.h"

namespace annx::conv {

template <class T>
const ConvTable<T>& kernels() {
  if constexpr (sizeof(T) == 4)
    return conv_kernels().f32;
  else
    return conv_kernels().f64;
}

// A plain convolution of three spatial dimensions; missing ones have size 1, in front. A transposed
// convolution is described by the plain one whose gradient it is.
struct ConvShape {
  int64_t batch = 0, groups = 1;
  int64_t in_channels = 0, out_channels = 0;  // of all groups
  int64_t in[3] = {1, 1, 1}, out[3] = {1, 1, 1};
  int64_t kernel[3] = {1, 1, 1}, stride[3] = {1, 1, 1};
  int64_t padding[3] = {0, 0, 0}, dilation[3] = {1, 1, 1};
  Winograd winograd = Winograd::f23;  // where it applies

  int64_t taps() const { return kernel[0] * kernel[1] * kernel[2]; }
  int64_t in_size() const { return in[0] * in[1] * in[2]; }
  int64_t out_size() const { return out[0] * out[1] * out[2]; }
  bool unit_stride() const { return stride[0] == 1 && stride[1] == 1 && stride[2] == 1; }
  // One product of matrices.
  bool pointwise() const {
    for (int i = 0; i < 3; ++i)
      if (padding[i] != 0 || in[i] != out[i]) return false;
    return taps() == 1 && unit_stride();
  }
  bool depthwise() const { return groups > 1 && groups == in_channels && groups == out_channels; }
};

// One dimension: tap r of destination index o reads the source at base(o) + shift(r), if both have
// the same phase. Forward the destination is the output; transposed it is the input.
struct Axis {
  int64_t source, dest, taps, stride, padding, dilation;
  bool transposed;

  int64_t phases() const { return transposed ? stride : 1; }
  int64_t base(int64_t o) const {
    return transposed ? (o + padding) / stride : o * stride - padding;
  }
  int64_t shift(int64_t r) const { return transposed ? -(r * dilation / stride) : r * dilation; }
  int64_t phase_of(int64_t o) const { return transposed ? (o + padding) % stride : 0; }
  int64_t tap_phase(int64_t r) const { return transposed ? r * dilation % stride : 0; }
  int64_t least_shift() const { return transposed ? shift(taps - 1) : 0; }
  int64_t most_shift() const { return transposed ? 0 : shift(taps - 1); }
  // First destination index of a phase, and the steps from one to the next.
  int64_t first(int64_t phase) const {
    return transposed ? (phase - padding % stride + stride) % stride : 0;
  }
  int64_t dest_step() const { return transposed ? stride : 1; }
  int64_t base_step() const { return transposed ? 1 : stride; }
  int64_t least() const { return base(0) + least_shift(); }
  int64_t most() const { return base(dest - 1) + most_shift(); }
};

struct Correlation {
  int64_t batch, groups;
  int64_t reduce, produce;  // channels of a group in the source and in the destination
  Axis axis[3];
  bool transposed;
  Winograd form;

  Correlation(const ConvShape& s, bool transposed);
  int64_t taps() const { return axis[0].taps * axis[1].taps * axis[2].taps; }
  int64_t source_channels() const { return groups * reduce; }
  int64_t dest_channels() const { return groups * produce; }
  int64_t source_size() const { return axis[0].source * axis[1].source * axis[2].source; }
  int64_t dest_size() const { return axis[0].dest * axis[1].dest * axis[2].dest; }
  // Rows of the destination, over all images and planes.
  int64_t units() const { return batch * axis[0].dest * axis[1].dest; }
  bool winograd() const;
  int64_t winograd_tile() const;  // pixels along a side
  bool winograd_weight() const;
  bool scatters() const;
};

// Weights packed for many calls (weights.h).
template <class T>
struct ReadyWeights;
// Null where the way to this correlation reads weights as they are.
template <class T>
std::shared_ptr<const ReadyWeights<T>> ready_weights(const ConvShape& s, bool transposed,
                                                     const T* w);

// x and y are channels last; w is (out, in / groups, taps) in rows; `ready`, if given, is w packed.
// y = activation(x * w + bias)
template <class T>
void convolve(const ConvShape& s, const T* x, const T* w, const T* bias, Activation activation,
              T* y, const ReadyWeights<T>* ready = nullptr);
// x = activation(transposed (y * w) + bias)
template <class T>
void convolve_transposed(const ConvShape& s, const T* y, const T* w, const T* bias,
                         Activation activation, T* x, const ReadyWeights<T>* ready = nullptr);
// dw, and unless null db = the sums of g over all but the channels.
template <class T>
void convolve_weight(const ConvShape& s, const T* g, const T* x, T* dw, T* db);

}  // namespace annx::conv
