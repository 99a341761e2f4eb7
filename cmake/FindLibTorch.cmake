# Finds LibTorch's CPU libraries and headers without the CUDA toolkit that the shipped TorchConfig.cmake demands.
#
# Input:  LIBTORCH, a folder with include/ and lib/ (cache variable or environment variable).
# Output: target LibTorch::cpu, variable LibTorch_VERSION.
if(DEFINED ENV{LIBTORCH})
  set(_default "$ENV{LIBTORCH}")
elseif(DEFINED ENV{XDG_CACHE_HOME})
  set(_default "$ENV{XDG_CACHE_HOME}/suture/libtorch-2.11.0")
else()
  set(_default "$ENV{HOME}/.cache/suture/libtorch-2.11.0")
endif()
set(LIBTORCH "${_default}" CACHE PATH "Folder of a LibTorch copy (with include/ and lib/)")

find_path(LibTorch_INCLUDE_DIR NAMES ATen/core/Tensor.h PATHS "${LIBTORCH}/include" NO_DEFAULT_PATH)
find_library(LibTorch_CPU_LIBRARY NAMES torch_cpu PATHS "${LIBTORCH}/lib" NO_DEFAULT_PATH)
find_library(LibTorch_C10_LIBRARY NAMES c10 PATHS "${LIBTORCH}/lib" NO_DEFAULT_PATH)

if(LibTorch_INCLUDE_DIR AND EXISTS "${LibTorch_INCLUDE_DIR}/torch/headeronly/version.h")
  file(STRINGS "${LibTorch_INCLUDE_DIR}/torch/headeronly/version.h" _version REGEX "define TORCH_VERSION_(MAJOR|MINOR|PATCH)")
elseif(LibTorch_INCLUDE_DIR AND EXISTS "${LibTorch_INCLUDE_DIR}/torch/csrc/api/include/torch/version.h")
  file(STRINGS "${LibTorch_INCLUDE_DIR}/torch/csrc/api/include/torch/version.h" _version REGEX "define TORCH_VERSION_(MAJOR|MINOR|PATCH)")
endif()
string(REGEX MATCHALL "[0-9]+" _numbers "${_version}")
list(JOIN _numbers "." LibTorch_VERSION)

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(LibTorch
  REQUIRED_VARS LibTorch_CPU_LIBRARY LibTorch_C10_LIBRARY LibTorch_INCLUDE_DIR
  VERSION_VAR LibTorch_VERSION
  REASON_FAILURE_MESSAGE "LIBTORCH is '${LIBTORCH}': run 'make setup', or pass -DLIBTORCH=<folder with include/ and lib/>")

if(LibTorch_FOUND AND NOT TARGET LibTorch::cpu)
  get_filename_component(_libdir "${LibTorch_CPU_LIBRARY}" DIRECTORY)
  add_library(LibTorch::cpu INTERFACE IMPORTED)
  # Searched after the system's folders: the wheel brings its own fmt headers, of another version than the fmt we link.
  target_compile_options(LibTorch::cpu INTERFACE
    "SHELL:-idirafter \"${LibTorch_INCLUDE_DIR}\"" "SHELL:-idirafter \"${LibTorch_INCLUDE_DIR}/torch/csrc/api/include\"")
  target_compile_definitions(LibTorch::cpu INTERFACE AT_PER_OPERATOR_HEADERS)  # one header an operator: builds stay short
  # The wheel's OpenMP runtime goes first, so that one copy of it serves LibTorch and us.
  target_link_libraries(LibTorch::cpu INTERFACE "${LibTorch_CPU_LIBRARY}" "${LibTorch_C10_LIBRARY}")
  target_link_options(LibTorch::cpu INTERFACE "-Wl,-rpath,${_libdir}" "-Wl,-rpath-link,${_libdir}" "-Wl,--no-as-needed")
endif()
