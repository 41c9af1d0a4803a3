# One executable per tests/cpp/*.cpp, linked with the core and without Python.
# A folder tests/cpp/<family>/ with kernels.h and cpu-inl.h is compiled per SIMD target, as an op's
# folder is.

enable_testing()
set(cpp_tests "${PROJECT_SOURCE_DIR}/tests/cpp")

file(GLOB test_families CONFIGURE_DEPENDS "${cpp_tests}/*/cpu-inl.h")
if(test_families)
  add_library(annx_test_kernels OBJECT)
  target_include_directories(annx_test_kernels PUBLIC "${cpp_tests}")
  target_link_libraries(annx_test_kernels PUBLIC annx_flags)
  target_include_directories(annx_test_kernels PUBLIC "${PROJECT_SOURCE_DIR}/csrc")
  annx_add_spines(annx_test_kernels "${cpp_tests}")
endif()

file(GLOB test_sources CONFIGURE_DEPENDS "${cpp_tests}/*.cpp")
foreach(source IN LISTS test_sources)
  cmake_path(GET source STEM name)
  add_executable(${name} "${source}")
  target_link_libraries(${name} PRIVATE annx_flags annx_objects)
  if(test_families)
    target_link_libraries(${name} PRIVATE annx_test_kernels)
  endif()
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY "${PROJECT_BINARY_DIR}/tests")
  if(name MATCHES "_exhaustive$")
    # Hours in all: `ctest -C Exhaustive` runs these, a plain ctest does not.
    add_test(NAME ${name} CONFIGURATIONS Exhaustive COMMAND ${name})
  elseif(CMAKE_CROSSCOMPILING AND name MATCHES "^test_(thread_pool|allocator)$")
    # Built, not run: user-mode emulation does not fork a process with threads faithfully.
  else()
    add_test(NAME ${name} COMMAND ${name})
    set_tests_properties(${name} PROPERTIES TIMEOUT 600)
  endif()
  if(name MATCHES "^test_(gemm|gemm_steps|numerics)$")
    # The long ones begin first, so that cores end together.
    set_tests_properties(${name} PROPERTIES COST 100)
  endif()
  if(name STREQUAL "test_allocator" AND TEST ${name})
    # It asks for more than there is, which a sanitizer's allocator should refuse, not abort.
    set_tests_properties(${name} PROPERTIES ENVIRONMENT "ASAN_OPTIONS=allocator_may_return_null=1")
  endif()
  if(name STREQUAL "test_thread_pool" AND TEST ${name})
    # The leak checker of a forked child waits for threads that did not come along.
    set_tests_properties(${name} PROPERTIES ENVIRONMENT "ASAN_OPTIONS=detect_leaks=0")
  endif()
endforeach()

# The CUDA backend compiled for the CPU, over an emulated runtime: what tests/gpu runs on where there
# is no device. Built on request: `--target annx_cuda_emulation`.
add_library(annx_cuda_emulation MODULE EXCLUDE_FROM_ALL tests/gpu/emulation/emulation.cpp)
file(GLOB_RECURSE emulated_sources CONFIGURE_DEPENDS csrc/*.cu)
foreach(source IN LISTS emulated_sources)
  # A file of C++ that includes it: a .cu file would be given to the CUDA compiler.
  cmake_path(RELATIVE_PATH source BASE_DIRECTORY "${PROJECT_SOURCE_DIR}/csrc" OUTPUT_VARIABLE name)
  set(emulated "${PROJECT_BINARY_DIR}/emulation/${name}.cpp")
  file(CONFIGURE OUTPUT "${emulated}" CONTENT "#include \"@name@\"\n" @ONLY)
  target_sources(annx_cuda_emulation PRIVATE "${emulated}")
endforeach()
target_include_directories(annx_cuda_emulation PRIVATE csrc tests/gpu/emulation)
target_link_libraries(annx_cuda_emulation PRIVATE annx_flags Threads::Threads)
set_target_properties(annx_cuda_emulation PROPERTIES OUTPUT_NAME _annx_cuda PREFIX "" SUFFIX ".so")
