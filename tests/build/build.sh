#!/bin/sh
# build.sh: what the Makefile promises: no kernel table lies about its processor whatever CFLAGS are, flags
# reach every command, options have folders of their own, and 'make install' installs what was built. CC and
# other options may be in the environment. What is built stays under build/.
set -eu
unset MAKEFLAGS MFLAGS # an outer make's jobs are not for the makes below
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
fail() { echo "build.sh: $*" >&2; exit 1; }
quiet() { make --no-print-directory "$@"; }
value() { name=$1; shift; quiet -pn help "$@" | sed -n "s|^$name := *||p"; }

# ---- options and folders ----
plain=$(value obj)
for option in CFLAGS=-O1 CPPFLAGS=-DX=1 LDFLAGS=-L/nowhere OPENMP=0 BLAS=builtin DEBUG=1 THREADS=0 ZLIB=0 SANITIZE=thread; do
    [ "$(value obj "$option")" != "$plain" ] || fail "$option shares the folder of other options"
done
[ "$(value obj CFLAGS=-O1)" != "$(value obj CFLAGS=-O3)" ] || fail "CFLAGS do not tell folders apart"
[ "$(value obj WERROR=1)" = "$plain" ] || fail "WERROR=1 builds everything twice"
[ "$(value OPENMP CC=musl-gcc)" = 0 ] || fail "musl-gcc takes the system's OpenMP, which musl cannot load"

# ---- flags reach every command ----
quiet -Bn V=1 all run-tests CPPFLAGS=-DFLAG_A CFLAGS=-DFLAG_B LDFLAGS=-L/flag_c LDLIBS=-lflag_d >"$dir/commands"
compiled=$(grep -c -e ' -c -o ' "$dir/commands")
[ "$(grep -c -e ' -DFLAG_A -DFLAG_B .*-c -o ' "$dir/commands")" = "$compiled" ] || fail "CPPFLAGS or CFLAGS do not reach all objects"
grep -e ' -o [^ ]*/bin/[a-z-]* ' -e ' -o [^ ]*/libkd\.so ' "$dir/commands" >"$dir/links"
[ "$(grep -c . "$dir/links")" -gt 6 ] || fail "no links are seen"
if grep -v -e '-L/flag_c .* -lflag_d' "$dir/links" >&2; then fail "LDFLAGS or LDLIBS do not reach these"; fi

# ---- jobs ----
# What calls make again gives it the jobs: without the + of its recipe all would be built one after the other.
for target in check check-lto check-full demo fuzz; do
    if quiet -j2 -n "$target" 2>&1 | grep jobserver >&2; then fail "make -j2 $target builds with one job"; fi
done
# A script's make would print a warning that it has no jobserver, and who reads the script's words would read it.
for script in $(git ls-files '*.sh' 2>/dev/null | grep -v -e '^\.ci/'); do
    if grep -q '^ *\(.*() { \)\{0,1\}make ' "$script" && ! grep -q '^unset MAKEFLAGS' "$script"; then
        fail "$script: its make takes the outer make's jobs for its own"
    fi
done

# ---- kernel tables ----
# The generic table's code, built for this machine's own processor, has nothing newer than x86-64 itself.
tables=$(value tables)
case " $tables " in
*" avx2 generic "*)
    native=$(value obj CFLAGS=-march=native)
    objects=$(printf "$native/lib/kernel/isa/%s.generic.o " gemm winograd softmax resample)
    # shellcheck disable=SC2086 # words
    quiet $objects CFLAGS=-march=native
    for object in $objects; do
        objdump -d --no-show-raw-insn "$object" >"$dir/code"
        grep -q xmm "$dir/code" || fail "$object has no vectors at all"
        # shellcheck disable=SC1087
        if grep -m3 -E '[yz]mm[0-9]|	v[a-z0-9]+ ' "$dir/code" >&2; then fail "$object is not for every processor"; fi
    done
    for flag in -mavx2 -mfma -mcpu=native; do
        object=$(value obj CFLAGS=$flag)/lib/kernel/isa/gemm.generic.o
        case " $(quiet -Bn V=1 "$object" CFLAGS=$flag) " in
        *" $flag "*) fail "$flag reaches the generic table" ;;
        *" -c -o $object "*) ;;
        *) fail "there is no command for $object" ;;
        esac
    done ;;
esac
# select.c has what kernel.mk says, the best first.
quiet build/bin/kd
# shellcheck disable=SC2086 # a runner is words
said=$(${RUNNER:-} build/bin/kd --version | sed -n 's/.* isa=\([a-z0-9,]*\).*/\1/p' | head -n 1)
[ "$said" = "$(echo "$tables" | tr ' ' ',')" ] || fail "kd says isa=$said, kernel.mk $tables"
for table in $tables; do
    nm "$plain/lib/kernel/select.o" | grep -q "U kdi_kernels_$table\$" || fail "select.c does not know the table $table"
done

# ---- make install takes the last build's options, unless it is given others ----
installs() { quiet -pn install "$@" | sed -n 's|^obj := *||p' | tail -n 1; }
# shellcheck disable=SC2016 # make is to see the dollars
money='CFLAGS=-O2 -DMONEY="$$5#3"'
[ ! -f build/last.mk ] || cp build/last.mk "$dir/last.mk"
quiet build/last.mk DEBUG=1 "$money"
[ "$(installs)" = "$(value obj DEBUG=1 "$money")" ] || fail "make install does not install what was built"
[ "$(installs DEBUG=0 CFLAGS=)" = "$plain" ] || fail "make install does not take options"
[ ! -f "$dir/last.mk" ] || cp "$dir/last.mk" build/last.mk
# ---- make dist, and again from what was unpacked ----
files() { tar -tzf "$1" | grep -v '/$' | sort; }
archive=$(quiet dist)
files "$archive" >"$dir/files"
tar -xzf "$archive" -C "$dir"
again=$(quiet -C "$dir"/libkd-* dist)
files "$dir"/libkd-*/"$again" | diff "$dir/files" - || fail "make dist without a repository packs other files"
[ "$(grep -c -e '/Makefile$' -e '/.ci/deps.sh$' -e '/include/kd/kd.h$' "$dir/files")" = 3 ] || fail "make dist left files out"
echo "build.sh: all holds"
