# SIMD targets of this architecture, and one spine translation unit per (kernel family, target).

if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64|amd64)$")
  set(ANNX_TARGETS scalar avx2 avx512)
elseif(CMAKE_SYSTEM_PROCESSOR MATCHES "^(aarch64|arm64|ARM64)$")
  set(ANNX_TARGETS scalar neon)
else()
  set(ANNX_TARGETS scalar)
endif()

# annx_add_spines(<library> <root>): every folder below <root> that holds a cpu-inl.h is a kernel
# family. Its spines are plain C++ to the compiler: the code regions they open say which
# instructions are allowed, so no file needs a flag of its own.
function(annx_add_spines library root)
  file(GLOB_RECURSE kernels CONFIGURE_DEPENDS "${root}/*cpu-inl.h")
  foreach(kernel IN LISTS kernels)
    cmake_path(GET kernel PARENT_PATH family)
    cmake_path(RELATIVE_PATH family BASE_DIRECTORY "${root}" OUTPUT_VARIABLE family_dir)
    foreach(target IN LISTS ANNX_TARGETS)
      string(TOUPPER ${target} TARGET)
      set(spine "${PROJECT_BINARY_DIR}/spines/${family_dir}/${target}.cpp")
      configure_file("${PROJECT_SOURCE_DIR}/csrc/dispatch/spine.cpp.in" "${spine}" @ONLY)
      target_sources(${library} PRIVATE "${spine}")
      if(ANNX_SANITIZE MATCHES "address")
        # Marking each temporary of an inlined formula as gone takes three times as long to compile.
        set_source_files_properties("${spine}" PROPERTIES COMPILE_OPTIONS
                                    -fno-sanitize-address-use-after-scope)
      endif()
    endforeach()
  endforeach()
endfunction()
