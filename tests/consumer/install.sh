#!/bin/sh
# install.sh: installs into a temporary folder and builds programs as a stranger would, by
# pkg-config alone: shared and static, C and (where there is g++) C++.
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
make --no-print-directory install PREFIX="$dir/usr" >/dev/null
PKG_CONFIG_PATH="$dir/usr/lib/pkgconfig"
export PKG_CONFIG_PATH
cc=${CC:-gcc}
# shellcheck disable=SC2046 # flags are words
{
    $cc -std=c11 -o "$dir/shared" examples/embed/graph.c $(pkg-config --cflags --libs libkd) -lm
    $cc -std=c11 -o "$dir/static" examples/embed/graph.c $(pkg-config --cflags libkd) "$dir/usr/lib/libkd.a" \
        $(pkg-config --libs-only-l --static libkd | sed 's/-lkd//')
    sh tests/consumer/foreign.sh "$dir/usr/lib" "$dir/foreign" $(pkg-config --libs-only-l --static libkd | sed 's/-lkd//')
    if command -v g++ >/dev/null; then
        g++ -std=c++17 -o "$dir/plus" tests/consumer/consumer.cpp $(pkg-config --cflags --libs libkd)
        LD_LIBRARY_PATH="$dir/usr/lib" "$dir/plus"
    fi
}
LD_LIBRARY_PATH="$dir/usr/lib" "$dir/shared"
"$dir/static"
"$dir/usr/bin/kd" --version
make --no-print-directory uninstall PREFIX="$dir/usr"
left=$(find "$dir/usr" -type f -o -type l)
[ -z "$left" ] || { echo "uninstall left: $left" >&2; exit 1; }
