# pybind11's headers, copied into the build folder: an isolated build finds them at another path each
# time, and a build folder that is used again would compile all bindings anew.
find_package(pybind11 3.0 CONFIG REQUIRED)

get_target_property(pybind11_found pybind11::pybind11_headers INTERFACE_INCLUDE_DIRECTORIES)
set(pybind11_kept "${CMAKE_BINARY_DIR}/pybind11")
file(GLOB_RECURSE pybind11_files RELATIVE "${pybind11_found}" "${pybind11_found}/pybind11/*.h")
foreach(header IN LISTS pybind11_files)
  cmake_path(GET header PARENT_PATH folder)
  file(MAKE_DIRECTORY "${pybind11_kept}/${folder}")
  file(COPY_FILE "${pybind11_found}/${header}" "${pybind11_kept}/${header}" ONLY_IF_DIFFERENT)
endforeach()
set_target_properties(
  pybind11::pybind11_headers
  PROPERTIES INTERFACE_INCLUDE_DIRECTORIES "${pybind11_kept}")
