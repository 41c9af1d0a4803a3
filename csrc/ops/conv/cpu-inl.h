// Convolution kernels of one SIMD target, collected into conv_kernels.
#include "ops/conv/tile-inl.h"

#include "ops/conv/depthwise-inl.h"

#include "ops/conv/winograd-inl.h"

#include "ops/conv/winograd_f43-inl.h"

extern const ConvKernels conv_kernels;
const ConvKernels conv_kernels = {
    {kConvVectors,
     conv_block<F32>,
     conv_column_sums<F32>,
     depthwise_row<F32>,
     depthwise_weight_row<F32>,
     conv_scatter<F32>,
     {winograd_weight<F32>, winograd_input<F32>, winograd_output<F32>},
     {winograd_f43_weight<F32>, winograd_f43_input<F32>, winograd_f43_output<F32>},
     winograd_gradient<F32>,
     winograd_weight_gradient<F32>},
    {kConvVectors,
     conv_block<F64>,
     conv_column_sums<F64>,
     depthwise_row<F64>,
     depthwise_weight_row<F64>,
     conv_scatter<F64>,
     {winograd_weight<F64>, winograd_input<F64>, winograd_output<F64>},
     {winograd_f43_weight<F64>, winograd_f43_input<F64>, winograd_f43_output<F64>},
     winograd_gradient<F64>,
     winograd_weight_gradient<F64>},
};
