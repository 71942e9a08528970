#!/bin/sh
# list.sh INCLUDE LIBKD.SO: prints what programs are compiled against: functions, structs with
# offset and size of each member, enums with their values, other types, macros; sorted, and the
# same for every compiler and all build options. The names are those the shared library exports; sizes
# are of a machine with pointers of 64 bits. CC and RUNNER (for a foreign machine) are of the environment.
set -eu
include=$1
library=$2
cc="${CC:-gcc} -std=c11 -I$include"
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
here=$(dirname "$0")

# The declarations of our headers alone, without attributes, one a line.
echo '#include <kd/kd.h>' >"$dir/all.c"
$cc -E "$dir/all.c" >"$dir/all.i"
awk -f "$here/declarations.awk" "$dir/all.i" >"$dir/declarations"

# A program that knows offsets and values prints the list, each line with what it is sorted by.
awk -f "$here/program.awk" "$dir/declarations" >"$dir/print.c"
$cc -o "$dir/print" "$dir/print.c"
# shellcheck disable=SC2086 # words
${RUNNER:-} "$dir/print" >"$dir/lines"

$cc -E -dM "$dir/all.c" | sed -n 's/^#define \(KD_[A-Z0-9_]*\)\(([^ ]*\)\{0,1\} \(.*\)/macro \1\t0\tmacro \1\2 \3/p' |
    grep -v '^macro KD_\([A-Z]*_H\|API\|VERSION_[A-Z]*\|[A-Z]*_LIST\)	' >>"$dir/lines"

# Functions and objects of the headers and of the library are the same, or the list says so.
sed -n 's/^\(function\|object\) \([a-z0-9_]*\)\t.*/\2/p' "$dir/lines" | LC_ALL=C sort >"$dir/declared"
nm -D --defined-only "$library" | awk '$2 != "A" { sub(/@.*/, "", $3); print $3 }' | LC_ALL=C sort >"$dir/exported"
LC_ALL=C comm -23 "$dir/declared" "$dir/exported" | sed 's/.*/function &\t1\tnot exported: &/' >>"$dir/lines"
LC_ALL=C comm -13 "$dir/declared" "$dir/exported" | sed 's/.*/function &\t1\tin no header: &/' >>"$dir/lines"

LC_ALL=C sort -t '	' -k1,1 -k2,2n "$dir/lines" | cut -f3
