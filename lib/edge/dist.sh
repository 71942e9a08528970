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
# ---- the manifests, by what their readers document ----
property() { sed -n "s/^$1=//p" "$out/library.properties"; }
number='[0-9][0-9]*\.[0-9][0-9]*\.[0-9][0-9]*'
for key in name version author maintainer sentence paragraph category url architectures; do
    [ -n "$(property $key)" ] || fail "library.properties has no $key"
done
property name | grep -qx '[A-Za-z0-9][A-Za-z0-9 _.-]\{0,62\}' || fail "library.properties: name"
property version | grep -qx "$number" || fail "library.properties: version is not of three numbers"
case $(property category) in
Display | Communication | "Signal Input/Output" | Sensors | "Device Control" | Timing | "Data Storage" | "Data Processing" | Other) ;;
*) fail "library.properties: category" ;;
esac
for header in $(property includes | tr , ' '); do [ -f "$out/src/$header" ] || fail "library.properties: no src/$header"; done
grep -q "^version: \"$number\"\$" "$out/idf_component.yml" || fail "idf_component.yml: version is not of three numbers"
keys=$(sed -n 's/^\([a-z_]*\):.*/\1/p' "$out/idf_component.yml")
for key in $keys; do
    case $key in
    version | description | license | dependencies | url | repository | documentation | issues | tags | targets | maintainers | files | examples) ;;
    *) fail "idf_component.yml: $key is no key" ;;
    esac
done
grep -q '^description: .' "$out/idf_component.yml" || fail "idf_component.yml has no description"
grep -qx 'name: [A-Za-z0-9_-]*' "$out/zephyr/module.yml" || fail "module.yml has no name"
cmake=$(sed -n 's/^  cmake: //p' "$out/zephyr/module.yml") kconfig=$(sed -n 's/^  kconfig: //p' "$out/zephyr/module.yml")
[ -f "$out/${cmake:-none}/CMakeLists.txt" ] || fail "module.yml: build.cmake is no folder with a CMakeLists.txt"
[ -f "$out/${kconfig:-none}" ] || fail "module.yml: build.kconfig is no file"
if command -v python3 >/dev/null; then
    python3 - "$out" <<'END' || fail "library.json is not what PlatformIO documents"
import json, os, re, sys
out = sys.argv[1]
with open(out + "/library.json") as f:
    d = json.load(f)
known = {"name": str, "version": str, "description": str, "keywords": list, "license": str, "frameworks": str,
         "platforms": str, "headers": str, "build": dict, "homepage": str, "repository": dict, "authors": list}
assert all(k in known and isinstance(v, known[k]) for k, v in d.items()), d
assert re.fullmatch(r"[^/@:;<>]{1,100}", d["name"]) and re.fullmatch(r"\d+\.\d+\.\d+", d["version"])
assert all(k in ("srcDir", "includeDir", "srcFilter", "flags") for k in d["build"])
assert all(os.path.isdir(os.path.join(out, d["build"][k])) for k in ("srcDir", "includeDir"))
assert os.path.isfile(os.path.join(out, d["build"]["includeDir"], d["headers"]))
END
fi

if command -v cmake >/dev/null; then
    { cmake -S "$out" -B "$check/cmake" && cmake --build "$check/cmake"; } >/dev/null || fail "CMake does not build it"
fi
if command -v arm-none-eabi-gcc >/dev/null; then
    (cd "$check" && arm-none-eabi-gcc -mcpu=cortex-m4 -mthumb -Os -Wall -Wextra -Werror -ffreestanding -I"$OLDPWD/$out/src" -c "$OLDPWD/$out"/src/*.c) ||
        fail "it does not compile for a Cortex-M4"
fi
echo "$out"
