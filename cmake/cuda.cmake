# The CUDA backend: a shared library of its own, _annx_cuda.so, beside the extension.
#
# The compiler comes from the wheels of cuda-toolkit[nvcc,cccl] where the build's Python has them (pip
# fetches them for ANNX_CUDA=1), else from the machine. The runtime is linked statically and libcuda
# not at all, so the library opens on a machine without a driver and says so.

find_package(Python 3.10 REQUIRED COMPONENTS Interpreter)

if(NOT ANNX_CUDA_ROOT)
  execute_process(
    COMMAND "${Python_EXECUTABLE}" "${PROJECT_SOURCE_DIR}/cmake/find_cuda_wheel.py"
    OUTPUT_VARIABLE wheel_root
    OUTPUT_STRIP_TRAILING_WHITESPACE COMMAND_ERROR_IS_FATAL ANY)
  set(ANNX_CUDA_ROOT "${wheel_root}" CACHE PATH "Folder of a CUDA toolkit; empty: nvcc on the PATH")
endif()

if(ANNX_CUDA_ROOT)
  message(STATUS "CUDA toolkit: ${ANNX_CUDA_ROOT}")
  set(CMAKE_CUDA_COMPILER "${ANNX_CUDA_ROOT}/bin/nvcc")
  if(EXISTS "${ANNX_CUDA_ROOT}/lib/libcudart_static.a")
    # nvcc looks in lib64, the wheels have lib and no unversioned libcudart.so: say where things are
    # before CMake tries the compiler.
    set(ENV{LIBRARY_PATH} "${ANNX_CUDA_ROOT}/lib")
    set(CUDA_CUDART "${ANNX_CUDA_ROOT}/lib/libcudart.so.13" CACHE FILEPATH "")
  endif()
endif()

# Ampere, Hopper, Blackwell, and PTX for what comes later; code for 9.0a and 10.0f runs nowhere else.
set(ANNX_CUDA_ARCHITECTURES "80-real;90a-real;100f-real;120-real;120-virtual"
    CACHE STRING "Architectures of the CUDA backend")
set(CMAKE_CUDA_ARCHITECTURES "${ANNX_CUDA_ARCHITECTURES}")
set(CMAKE_CUDA_RUNTIME_LIBRARY Static)
enable_language(CUDA)

file(GLOB_RECURSE cuda_sources CONFIGURE_DEPENDS csrc/*.cu)
add_library(annx_cuda MODULE ${cuda_sources})
set_target_properties(
  annx_cuda
  PROPERTIES OUTPUT_NAME _annx_cuda
             PREFIX ""
             SUFFIX ".so"
             CUDA_STANDARD 20
             CUDA_STANDARD_REQUIRED ON
             CUDA_EXTENSIONS OFF
             CUDA_VISIBILITY_PRESET hidden)
target_include_directories(annx_cuda PRIVATE csrc)
# No contraction into FMA, as everywhere: formulas say fma where they mean it. A kernel that spills
# registers fails the build.
target_compile_options(
  annx_cuda
  PRIVATE -fmad=false
          --expt-relaxed-constexpr
          --compress-mode=size
          -Xcompiler=-ffp-contract=off,-Wall,-Wextra
          -Xptxas=--warn-on-spills
          $<$<BOOL:${ANNX_WERROR}>:--Werror=all-warnings>
          $<$<BOOL:${ANNX_WERROR}>:-Xcompiler=-Werror>
          $<$<BOOL:${ANNX_WERROR}>:-Xptxas=--warning-as-error>)
if(ANNX_CUDA_ROOT AND EXISTS "${ANNX_CUDA_ROOT}/lib")
  # Not target_link_directories: CMake saw the folder through LIBRARY_PATH and takes it for implicit.
  target_link_options(annx_cuda PRIVATE "-L${ANNX_CUDA_ROOT}/lib")
endif()
# Only the table leaves the library; its symbols are of no use to anyone, so they go.
target_link_options(
  annx_cuda PRIVATE "LINKER:--version-script=${PROJECT_SOURCE_DIR}/cmake/cuda.map"
  "LINKER:--strip-all" "LINKER:--no-undefined")
set_target_properties(annx_cuda PROPERTIES LINK_DEPENDS "${PROJECT_SOURCE_DIR}/cmake/cuda.map")
target_link_libraries(annx_cuda PRIVATE Threads::Threads ${CMAKE_DL_LIBS} rt)

# The loader says "not built" or "missing" by this.
set_source_files_properties(
  "${PROJECT_SOURCE_DIR}/csrc/cuda/backend.cpp" TARGET_DIRECTORY annx_objects
  PROPERTIES COMPILE_DEFINITIONS ANNX_CUDA)
if(ANNX_BUILD_PYTHON)
  install(TARGETS annx_cuda LIBRARY DESTINATION annx)
endif()
