#!/bin/sh
# install.sh [NAME=VALUE...]: installs into a temporary folder, with these options of make. Builds programs as
# strangers would: by pkg-config, plain flags, CMake and Meson, shared and static, in C and C++17. One of them has
# functions with names like ours. Then uninstalls. CROSS=aarch64-linux-gnu- with a RUNNER, CC=musl-gcc:
# for another machine or C library, in C alone. Tools that are not there are left out, and named.
set -eu
unset MAKEFLAGS MFLAGS # an outer make's jobs are not for the makes below
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
usr=$dir/usr
CROSS=
CC=
RUNNER=
for option in "$@"; do
    case $option in
    CROSS=*) CROSS=${option#*=} ;;
    CC=*) CC=${option#*=} ;;
    RUNNER=*) RUNNER=${option#*=} ;;
    esac
done
CC=${CC:-${CROSS}gcc}
export CC
fail() { echo "install.sh: $*" >&2; exit 1; }
# shellcheck disable=SC2086 # a runner is words
run() { LD_LIBRARY_PATH=$usr/lib $RUNNER "$@"; }
there() { command -v "$1" >/dev/null || { echo "install.sh: no $1, left out"; false; }; }
make --no-print-directory -j"$(nproc 2>/dev/null || echo 2)" "$@" all >/dev/null
make --no-print-directory install PREFIX="$usr" "$@" >/dev/null

# ---- what is there, and how large ----
for file in include/kd/kd.h lib/libkd.a lib/libkd.so lib/cmake/kd/kdConfig.cmake bin/kd share/doc/libkd/README.md \
    share/doc/libkd/docs/embedder.md share/doc/libkd/examples/embed/graph.c; do
    [ -s "$usr/$file" ] || fail "$file is not installed"
done
if "${CROSS}objdump" -h "$usr/lib/libkd.so" | grep -q debug_info; then fail "libkd.so is not stripped"; fi
PKG_CONFIG_PATH=$usr/lib/pkgconfig
export PKG_CONFIG_PATH
[ -z "$CROSS" ] || export PKG_CONFIG_LIBDIR="/usr/lib/${CROSS%-}/pkgconfig"
[ "$(pkg-config --variable=libdir libkd)" = "$usr/lib" ] || fail "libkd.pc has no libdir"
[ "$(pkg-config --variable=includedir libkd)" = "$usr/include" ] || fail "libkd.pc has no includedir"

# ---- pkg-config, plain flags ----
private=$(pkg-config --libs --static libkd)
behind=$(echo "$private" | tr ' ' '\n' | grep -v -e '^-lkd$' -e "^-L$usr/lib\$" | tr '\n' ' ')
# shellcheck disable=SC2046,SC2086 # flags are words
{
    $CC -std=c11 -o "$dir/shared" examples/embed/graph.c $(pkg-config --cflags --libs libkd) -lm
    all_static=-static # OpenBLAS' archive wants a Fortran library, which few have
    case $private in *-lopenblas*) all_static= ;; esac
    $CC -std=c11 $all_static -o "$dir/all-static" examples/embed/graph.c $(pkg-config --cflags libkd) $private ||
        fail "pkg-config --static does not name all libraries"
    $CC -std=c11 -I"$usr/include" -o "$dir/static" examples/embed/graph.c "$usr/lib/libkd.a" $behind
    $CC -std=c11 -I"$usr/include" -o "$dir/plain" examples/embed/graph.c -L"$usr/lib" -lkd -lm
}
run "$dir/shared" >"$dir/said"
for program in all-static static plain; do
    run "$dir/$program" | diff "$dir/said" - || fail "$program says something else"
done
run "$usr/bin/kd" --version

if [ "$#" = 0 ]; then
    # shellcheck disable=SC2086 # flags are words
    sh tests/consumer/foreign.sh "$usr/lib" "$dir/foreign" $behind
    # shellcheck disable=SC2046 # flags are words
    if there g++; then
        g++ -std=c++17 -o "$dir/plus" tests/consumer/consumer.cpp $(pkg-config --cflags --libs libkd)
        run "$dir/plus"
    fi
    if there cmake; then
        for static in OFF ON; do
            cmake -S tests/consumer/cmake -B "$dir/cmake-$static" -DCMAKE_PREFIX_PATH="$usr" -Dkd_USE_STATIC=$static >/dev/null
            cmake --build "$dir/cmake-$static" >/dev/null
            "$dir/cmake-$static/graph" | diff "$dir/said" - && "$dir/cmake-$static/consumer"
        done
        if readelf -d "$dir/cmake-ON/graph" | grep -q libkd; then fail "kd_USE_STATIC links libkd.so"; fi
    fi
    if there meson && there ninja; then
        for static in false true; do
            meson setup "$dir/meson-$static" tests/consumer/meson -Dstatic=$static >/dev/null
            ninja -C "$dir/meson-$static" >/dev/null
            run "$dir/meson-$static/graph" | diff "$dir/said" -
        done
    fi
fi

make --no-print-directory uninstall PREFIX="$usr" "$@"
left=$(find "$usr" -type f -o -type l -o -name kd -o -name libkd)
[ -z "$left" ] || fail "uninstall left: $left"
