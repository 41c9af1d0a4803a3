// GEMM kernels of one SIMD target, collected into gemm_kernels.

#if defined(ANNX_TARGET_AVX512)
static constexpr GemmBlocking kBlocking = kGemmBlockingAvx512;
#elif defined(ANNX_TARGET_AVX2)
static constexpr GemmBlocking kBlocking = kGemmBlockingAvx2;
#elif defined(ANNX_TARGET_NEON)
static constexpr GemmBlocking kBlocking = kGemmBlockingNeon;
#else
static constexpr GemmBlocking kBlocking = kGemmBlockingScalar;
#endif

#include "gemm/transpose-inl.h"
// transpose-inl.h comes first: the others use its copy_few.
#include "gemm/pack-inl.h"
#include "gemm/activation-inl.h"
#include "gemm/ukernel-inl.h"
#include "gemm/epilogue-inl.h"
#include "gemm/gradient-inl.h"
#include "gemm/thin-inl.h"
#include "gemm/narrow-inl.h"
#include "gemm/block-inl.h"

extern const GemmKernels gemm_kernels;
const GemmKernels gemm_kernels = {
    {kBlocking, gemm_block<F32>, gemm_thin<F32>, gemm_pack_a<float>, gemm_pack_b<F32>,
     gemm_transpose<float>, gemm_epilogue<F32>, gemm_gradient<F32>},
    {kBlocking, gemm_block<F64>, gemm_thin<F64>, gemm_pack_a<double>, gemm_pack_b<F64>,
     gemm_transpose<double>, gemm_epilogue<F64>, gemm_gradient<F64>},
};
