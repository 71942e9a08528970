#!/bin/sh
# dist.sh VERSION OUT: the runtime as a tree that Zephyr, ESP-IDF, Arduino, PlatformIO, CMake or a plain compiler
# take; then what can be checked here is: manifests that parse, sources that compile and link alone.
set -eu
version=$1 out=$2
rm -rf "$out"
mkdir -p "$out/src/kd" "$out/zephyr"
cp include/kd/edge.h "$out/src/kd/"
for f in lib/edge/*.[ch]; do
    case $f in */edge_exporter.c) ;; *) cp "$f" "$out/src/" ;; esac
done
cp LICENSE "$out/"
for f in CMakeLists.txt idf_component.yml library.properties library.json README.md zephyr/module.yml zephyr/Kconfig zephyr/CMakeLists.txt; do
    sed "s/@VERSION@/$version/" "lib/edge/dist/$f" >"$out/$f"
done

check=$(mktemp -d)
trap 'rm -rf "$check"' EXIT
fail() { echo "edge-dist: $*" >&2; exit 1; }
cat >"$check/main.c" <<'END'
#include <kd/edge.h>
int main(void)
{
    kd_edge_model model;
    return kd_edge_open(&model, 0, 0, kd_edge_ops_i8) != KD_EDGE_E_ARGUMENT ||
           kd_edge_open(&model, 0, 0, kd_edge_ops_f32) != KD_EDGE_E_ARGUMENT;
}
END
${CC:-cc} -Wall -Wextra -Werror -I"$out/src" -o "$check/main" "$check/main.c" "$out"/src/*.c || fail "it does not compile"
"$check/main" || fail "it does not run"
for key in name version author maintainer sentence paragraph category url architectures; do
    grep -q "^$key=." "$out/library.properties" || fail "library.properties has no $key"
done
for key in version description; do grep -q "^$key: ." "$out/idf_component.yml" || fail "idf_component.yml has no $key"; done
grep -q '^name: .' "$out/zephyr/module.yml" || fail "module.yml has no name"
if command -v python3 >/dev/null; then
    python3 -c 'import json, sys; d = json.load(open(sys.argv[1])); assert d["name"] and d["version"]' "$out/library.json" ||
        fail "library.json does not parse"
fi
if command -v cmake >/dev/null; then
    { cmake -S "$out" -B "$check/cmake" && cmake --build "$check/cmake"; } >/dev/null || fail "CMake does not build it"
fi
if command -v arm-none-eabi-gcc >/dev/null; then
    (cd "$check" && arm-none-eabi-gcc -mcpu=cortex-m4 -mthumb -Os -Wall -Wextra -Werror -ffreestanding -I"$OLDPWD/$out/src" -c "$OLDPWD/$out"/src/*.c) ||
        fail "it does not compile for a Cortex-M4"
fi
echo "$out"
