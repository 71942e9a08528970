#!/bin/sh
# deps.sh [clang|docs|lint|valgrind|arm|edge|musl|consumer|amalgamation]: install what is missing for the build,
# the tests and the demo, or for the named extra. With apt it asks nothing as root or where sudo needs no password; otherwise it
# prints the command and stops.
set -eu

# file or command that shows a package is there : Debian's name of the package
want="/usr/include/jsmn.h:libjsmn-dev
/usr/include/zlib.h:zlib1g-dev
/usr/include/jpeglib.h:libjpeg-dev
/usr/include/png.h:libpng-dev
/usr/include/protobuf-c/protobuf-c.h:libprotobuf-c-dev
/usr/bin/protoc-c:protobuf-c-compiler
/usr/lib/*/openblas-openmp/libopenblas.so:libopenblas-openmp-dev
/usr/include/check.h:check
/usr/bin/pkg-config:pkg-config
/usr/bin/gnuplot:gnuplot-nox
/usr/share/datasets/fashion-mnist:dataset-fashion-mnist"

case "${1:-}" in
"") ;;
clang) want="/usr/bin/clang:clang
/usr/lib/llvm-*/lib/libomp.so:libomp-dev
/usr/lib/llvm-*/lib/clang/*/lib/linux/libclang_rt.fuzzer-*.a:libclang-rt-dev" ;;
lint) want="/usr/bin/clang-format:clang-format
/usr/bin/clang-tidy:clang-tidy
/usr/bin/cppcheck:cppcheck
/usr/bin/shellcheck:shellcheck
/usr/bin/reuse:reuse" ;;
docs) want="/usr/bin/doxygen:doxygen" ;;
musl) want="/usr/bin/musl-gcc:musl-tools" ;;
consumer) want="/usr/bin/g++:g++
/usr/bin/cmake:cmake
/usr/bin/meson:meson
/usr/bin/ninja:ninja-build" ;;
amalgamation) want="/usr/bin/python3:python3" ;;
valgrind) want="/usr/bin/valgrind:valgrind" ;;
arm) want="/usr/bin/aarch64-linux-gnu-gcc:gcc-aarch64-linux-gnu
/usr/aarch64-linux-gnu/include/stdio.h:libc6-dev-arm64-cross
/usr/bin/qemu-aarch64-static:qemu-user-static
/usr/lib/aarch64-linux-gnu/libcheck.a:check:arm64
/usr/lib/aarch64-linux-gnu/libgomp.so.1:libgomp1:arm64
/usr/lib/aarch64-linux-gnu/libz.so:zlib1g-dev:arm64" ;;
edge) want="/usr/bin/arm-none-eabi-gcc:gcc-arm-none-eabi
/usr/bin/aarch64-linux-gnu-gcc:gcc-aarch64-linux-gnu
/usr/aarch64-linux-gnu/include/stdio.h:libc6-dev-arm64-cross
/usr/bin/riscv64-linux-gnu-gcc:gcc-riscv64-linux-gnu
/usr/riscv64-linux-gnu/include/stdio.h:libc6-dev-riscv64-cross
/usr/bin/qemu-system-arm:qemu-system-arm
/usr/bin/qemu-riscv64-static:qemu-user-static" ;;
*) echo "deps.sh: unknown extra '$1'" >&2; exit 2 ;;
esac

missing=
for line in $want; do
    # shellcheck disable=SC2086 # a pattern on purpose
    set -- ${line%%:*}
    [ -e "$1" ] || missing="$missing ${line#*:}"
done
command -v "${CC:-gcc}" >/dev/null 2>&1 || missing="$missing gcc libc6-dev"
[ -n "$missing" ] || exit 0

if ! command -v apt-get >/dev/null 2>&1; then
    echo "libkd needs these packages (Debian's names):$missing" >&2
    exit 1
fi
command="apt-get install -y --no-install-recommends$missing"
if [ "$(id -u)" = 0 ]; then
    sudo=
elif command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; then
    sudo="sudo -n"
else
    echo "libkd needs some packages. As root, run:  $command" >&2
    exit 1
fi
echo "installing:$missing" >&2
case $missing in *:arm64*)
    $sudo dpkg --add-architecture arm64 && $sudo apt-get update >/dev/null ;;
esac
DEBIAN_FRONTEND=noninteractive
export DEBIAN_FRONTEND
log=$(mktemp)
trap 'rm -f "$log"' EXIT
# The package lists may be missing or old: refresh them once if the first try fails.
# shellcheck disable=SC2086
if ! $sudo $command >"$log" 2>&1; then
    { $sudo apt-get update && $sudo $command; } >"$log" 2>&1 || { tail -n 20 "$log" >&2; exit 1; }
fi
