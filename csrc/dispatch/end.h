// Closes what begin.h opened.
}  // namespace ANNX_TARGET
}  // namespace annx

#if defined(ANNX_TARGET_AVX2) || defined(ANNX_TARGET_AVX512)
#if defined(__clang__)
#pragma clang attribute pop
#else
#if defined(ANNX_TARGET_AVX512)
#pragma GCC diagnostic pop
#endif
#pragma GCC pop_options
#endif
#endif

#undef ANNX_INLINE
#undef ANNX_INLINE_MEMBER
#undef ANNX_NOINLINE
