#include "ops/conv/geometry.h"

namespace annx::conv {

Correlation::Correlation(const ConvShape& s, bool transposed)
    : batch(s.batch),
      groups(s.groups),
      reduce((transposed ? s.out_channels : s.in_channels) / s.groups),
      produce((transposed ? s.in_channels : s.out_channels) / s.groups),
      transposed(transposed),
      form(s.winograd) {
  for (int i = 0; i < 3; ++i)
    axis[i] = {transposed ? s.out[i] : s.in[i],
               transposed ? s.in[i] : s.out[i],
               s.kernel[i],
               s.stride[i],
               s.padding[i],
               s.dilation[i],
               transposed};
}

// Where 3x3 taps at every pixel meet enough channels to pay for the transforms.
bool Correlation::winograd() const {
  if (groups != 1 || reduce < 16 || produce < 16) return false;
  for (int i = 0; i < 3; ++i) {
    const Axis& a = axis[i];
    if (a.taps != (i == 0 ? 1 : 3) || a.stride != 1 || a.dilation != 1) return false;
    if (i == 0 && a.padding != 0) return false;
  }
  return true;
}

// F(4x4, 3x3) is used where asked for and fewer products: borders can make its tiles too large.
int64_t Correlation::winograd_tile() const {
  auto products = [&](int64_t m) {
    const int64_t tiles = ((axis[1].dest + m - 1) / m) * ((axis[2].dest + m - 1) / m);
    return tiles * (m + 2) * (m + 2);
  };
  return form == Winograd::f43 && products(4) < products(2) ? 4 : 2;
}

// The same for the weights' gradient, unless most of the tiles lies beyond the destination.
bool Correlation::winograd_weight() const {
  const int64_t tiles = ((axis[1].dest + 1) / 2) * ((axis[2].dest + 1) / 2);
  return winograd() && 3 * 16 * tiles <= 2 * 9 * axis[1].dest * axis[2].dest;
}

// Transposed, into few channels: lanes along them would be empty, along taps and channels they are not.
bool Correlation::scatters() const {
  const Axis& plane = axis[0];
  return transposed && groups == 1 && produce <= 8 && axis[2].dilation == 1 && taps() > 1 &&
         plane.taps == 1 && plane.stride == 1 && plane.padding == 0;
}

}  // namespace annx::conv
