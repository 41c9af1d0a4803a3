# annx_flags: what every C++ file of ours is compiled with.
#
# Only flags that leave results alone: contraction into FMA is off (an fma is written where it is
# meant), and errno from sqrt is not wanted. Nothing here assumes the build machine's CPU, nothing
# relaxes floating point, and there is no LTO: it would move code across the SIMD regions.

add_library(annx_flags INTERFACE)
target_compile_features(annx_flags INTERFACE cxx_std_20)
target_compile_options(
  annx_flags
  INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-ffp-contract=off;-fno-math-errno;-Wall;-Wextra>
            $<$<AND:$<COMPILE_LANGUAGE:CXX>,$<BOOL:${ANNX_WERROR}>>:-Werror>)

if(ANNX_RED_ZONES)
  target_compile_definitions(annx_flags INTERFACE ANNX_RED_ZONES=1)
endif()

if(ANNX_SANITIZE)
  set(sanitize -fsanitize=${ANNX_SANITIZE} -fno-sanitize-recover=all)
  target_compile_options(
    annx_flags INTERFACE $<$<COMPILE_LANGUAGE:CXX>:${sanitize};-fno-omit-frame-pointer;-O1;-g1>)
  target_link_options(annx_flags INTERFACE ${sanitize})
endif()
