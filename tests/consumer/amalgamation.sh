#!/bin/sh
# amalgamation.sh VERSION LIBKD.A [FLAGS...]: makes kd.c and kd.h twice, which must be the same; compiles them without a
# warning, and links programs with them alone. What these compute must have the bits of the library given, which is linked
# with FLAGS, in each kernel table that this processor runs. CC, CXX: the compilers; clang, where it is there, compiles too.
set -eu
version=$1
archive=$2
shift 2
dir=$(mktemp -d)
trap 'wait; rm -rf "$dir"' EXIT
python=${PYTHON:-python3}
cc=${CC:-gcc}
fail() { echo "amalgamation.sh: $*" >&2; exit 1; }
there() { command -v "$1" >/dev/null || { echo "amalgamation.sh: no $1, left out"; false; }; }
there "$python" || exit 0

for folder in one/kd two; do
    $python lib/amalgamation.py "$dir/$folder" "$version"
done
diff -r "$dir/one/kd" "$dir/two" || fail "two runs, two texts"
made=$dir/one/kd
if grep -n "@[A-Z]*@" "$made"/kd.? || grep -nF -e "$PWD" -e "$dir" "$made"/kd.?; then fail "a place is left open, or a folder's name in it"; fi

# Options, as many as the library has.
options=
for flag in "$@"; do
    case $flag in
    -lz) options="$options -DKDI_ZLIB=1" ;;
    -ljpeg) options="$options -DKDI_JPEG=1" ;;
    -lpng) options="$options -DKDI_PNG=1" ;;
    -lopenblas) options="$options -DKDI_OPENBLAS=1" ;;
    -fopenmp) options="$options -fopenmp" ;;
    esac
done
# Compiling takes most of the time: at once. As the page says, one command will do, and no flag is needed.
cd "$made"
$cc -O2 -Werror -c kd.c &
plain=$!
if [ -n "$options" ]; then
    # shellcheck disable=SC2086 # options are words
    $cc -O1 $options -c kd.c -o options.o &
    with_options=$!
fi
if there clang; then
    clang -O2 -Wall -Wextra -Werror -c kd.c -o clang.o &
    by_clang=$!
fi
cd "$OLDPWD"

# Other standards.
for flags in -std=c11 '-std=c2x' '-O2 -march=native' -DKDI_THREADS=0; do
    # shellcheck disable=SC2086 # flags are words
    $cc $flags -Wall -Wextra -Werror -fsyntax-only "$made/kd.c" || fail "$flags: not taken"
done
if $cc -ffast-math -fsyntax-only "$made/kd.c" 2>/dev/null; then fail "-ffast-math is taken"; fi

wait "$plain" || fail "$cc -O2 does not compile it"
programs='tests/consumer/training.c examples/embed/graph.c'
for program in $programs; do
    name=$(basename "$program" .c)
    $cc -I"$dir/one" -o "$dir/$name" "$program" "$made/kd.o" -lm -lpthread
    $cc -Iinclude -o "$dir/$name-library" "$program" "$archive" "$@" -lm
done
export KD_BLAS=builtin
tables=
for table in generic avx2 avx512 amx neon; do
    KD_ISA=$table "$dir/training-library" >"$dir/want" 2>/dev/null || continue # not a table of this processor
    tables="$tables $table"
    KD_ISA=$table "$dir/training" | diff "$dir/want" - || fail "training: other bits in the table $table"
    KD_ISA=$table "$dir/graph-library" >"$dir/want"
    KD_ISA=$table "$dir/graph" | diff "$dir/want" - || fail "graph: other bits in the table $table"
done
[ -n "$tables" ] || fail "no table runs"
echo "amalgamation.sh: $cc: the library's bits, in the tables$tables"

# The library's names, and no others, are for a program to see.
nm --defined-only --extern-only "$archive" | awk 'NF == 3 { print $3 }' | LC_ALL=C sort >"$dir/names"
readelf -sW "$made/kd.o" | awk '$5 == "GLOBAL" && $6 == "DEFAULT" && $7 != "UND" { print $8 }' | LC_ALL=C sort >"$dir/shown"
diff "$dir/names" "$dir/shown" || fail "kd.o has other names than libkd.a"
# A text has none of the new names.
if strings -d "$made/kd.o" | grep -i 'kdi_'; then fail "a text was renamed"; fi

if [ -n "$options" ]; then
    wait "$with_options" || fail "not compiled with$options"
    $cc -I"$dir/one" -o "$dir/options" tests/consumer/training.c "$made/options.o" "$@"
    "$dir/training-library" >"$dir/want"
    "$dir/options" | diff "$dir/want" - || fail "other bits with$options"
fi

if there "${CXX:-g++}"; then
    ${CXX:-g++} -std=c++17 -Wall -Wextra -Werror -I"$dir/one" -o "$dir/plus" tests/consumer/consumer.cpp "$made/kd.o" -lm -lpthread
    "$dir/plus"
fi
if [ -n "${by_clang:-}" ]; then
    wait "$by_clang" || fail "clang does not compile it"
    clang -I"$dir/one" -o "$dir/clang" tests/consumer/training.c "$made/clang.o" -lm -lpthread
    for table in $tables; do KD_ISA=$table "$dir/clang" >"$dir/clang.txt" || fail "clang: $table"; done
    cat "$dir/clang.txt"
fi
