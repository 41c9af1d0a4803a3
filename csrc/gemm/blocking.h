// Sizes of the blocks, as data: one row per target. No result depends on them (gemm.h).
//
// A vector is 64 bytes on every target: 1 zmm, 2 ymm or 4 q registers. The microkernel holds
// rows x vectors accumulators, `vectors` vectors of B and one broadcast element of A in registers:
//   avx512 12 x 2: 24 + 2 + 1 of 32 zmm    avx2 6 x 1: 12 + 2 + 1 of 16 ymm
//   neon    6 x 1: 24 + 4 + 1 of 32 q      scalar: memory, any shape does
// Products of few rows have too few chains for the latency of fma, so their tiles are wider:
// wide[r] vectors, whole panels, for a product of r <= rows rows.
#pragma once

#include <cstdint>

namespace annx {

inline constexpr int kGemmMaxRows = 12;
inline constexpr int kGemmMaxVectors = 8;

struct GemmBlocking {
  int rows;                    // rows of a full tile
  int vectors;                 // vectors of a full tile
  int wide[kGemmMaxRows + 1];  // vectors of the tile of a product of that many rows
  int64_t narrow;              // bytes of a row of the narrowest tile
  int64_t kc;                  // k per block: A's rows of a tile stay in L1, B's panel in L2
  int64_t mc;                  // rows per task at most: an A block of mc x kc stays in L2
  int64_t nc;                  // bytes of a B row per task at most
};

inline constexpr GemmBlocking kGemmBlockingScalar = {4, 1, {0, 1, 1, 1, 1}, 64, 512, 64, 2048};
// 3 x 2 on avx2 leaves one register for B: GCC loads half a vector at a time, Clang all of it.
#if defined(__clang__)
inline constexpr int kGemmWideThreeAvx2 = 1;
#else
inline constexpr int kGemmWideThreeAvx2 = 2;
#endif
inline constexpr GemmBlocking kGemmBlockingAvx2 = {
    6, 1, {0, 4, 2, kGemmWideThreeAvx2, 1, 1, 1}, 32, 512, 256, 2048};
inline constexpr GemmBlocking kGemmBlockingAvx512 = {
    12, 2, {0, 8, 8, 8, 6, 4, 4, 2, 2, 2, 2, 2, 2}, 32, 512, 256, 2048};
inline constexpr GemmBlocking kGemmBlockingNeon = {6, 1, {0, 4, 2, 2, 1, 1, 1}, 64, 512, 128, 2048};

}  // namespace annx
