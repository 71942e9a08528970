# SPDX-License-Identifier: MIT
# A port of libkd: its own Makefile builds it. SOURCE_PATH: an unpacked release; give one by
#   vcpkg install libkd --overlay-ports=docs/packaging/vcpkg
# from the top of the sources.
get_filename_component(SOURCE_PATH "${CMAKE_CURRENT_LIST_DIR}/../../.." ABSOLUTE)
set(options
    BLAS=builtin
    OPENMP=0
    ONNX=0
    "PREFIX=${CURRENT_PACKAGES_DIR}"
    "DATADIR=${CURRENT_PACKAGES_DIR}/share"
    "CPPFLAGS=-I${CURRENT_INSTALLED_DIR}/include"
    "LDFLAGS=-L${CURRENT_INSTALLED_DIR}/lib")
vcpkg_execute_build_process(
    COMMAND make -j${VCPKG_CONCURRENCY} all ${options}
    WORKING_DIRECTORY "${SOURCE_PATH}"
    LOGNAME build-${TARGET_TRIPLET})
vcpkg_execute_required_process(
    COMMAND make install ${options}
    WORKING_DIRECTORY "${SOURCE_PATH}"
    LOGNAME install-${TARGET_TRIPLET})
file(RENAME "${CURRENT_PACKAGES_DIR}/lib/cmake/kd" "${CURRENT_PACKAGES_DIR}/share/kd")
# The package is moved once it is made: its CMake file finds its folders from where it lies.
file(READ "${CURRENT_PACKAGES_DIR}/share/kd/kdConfig.cmake" config)
string(REPLACE "${CURRENT_PACKAGES_DIR}" [[${CMAKE_CURRENT_LIST_DIR}/../..]] config "${config}")
file(WRITE "${CURRENT_PACKAGES_DIR}/share/kd/kdConfig.cmake" "${config}")
vcpkg_fixup_pkgconfig()
vcpkg_install_copyright(FILE_LIST "${SOURCE_PATH}/LICENSE")
