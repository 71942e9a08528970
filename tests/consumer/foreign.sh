#!/bin/sh
# foreign.sh LIBRARIES FOLDER [FLAGS...]: links foreign.c, whose functions have names like the library's, with
# libkd.a and libkd.so of LIBRARIES, and runs it; FOLDER takes the programs. FLAGS: what else a
# program is linked with. Then looks at the names themselves.
set -eu
lib=$(cd "$1" && pwd)
dir=$2
shift 2
cc="${CC:-gcc} -std=c11 -Wall -Wextra -Werror -Iinclude"
fail() { echo "foreign.sh: $*" >&2; exit 1; }
mkdir -p "$dir"
ln -sf "$lib/libkd.so" "$dir/libkd.so.0"

$cc -o "$dir/static" tests/consumer/foreign.c "$lib/libkd.a" "$@"
$cc -o "$dir/shared" tests/consumer/foreign.c "$dir/libkd.so.0" "$@"
$cc -DOURS -o "$dir/ours" tests/consumer/foreign.c "$dir/libkd.so.0" "$@"
"$dir/static"
LD_LIBRARY_PATH=$dir "$dir/shared"
LD_LIBRARY_PATH=$dir "$dir/ours"

# Every name begins with kd_, and none is the k-d tree library's.
names=$(nm -D --defined-only "$lib/libkd.so" | awk '$2 != "A" { sub(/@.*/, "", $3); print $3 }')
archive=$(nm --defined-only --extern-only "$lib/libkd.a" | awk 'NF == 3 { print $3 }' | sort)
# Without an objcopy that hides them (lib/lib.mk) the archive also shows the names that the library's files share.
if ! ${OBJCOPY:-objcopy} --help 2>/dev/null | grep -q localize-hidden; then
    archive=$(echo "$archive" | grep -Fx "$names")
fi
[ "$archive" = "$(echo "$names" | sort)" ] || fail "libkd.a and libkd.so have different names"
for name in $names; do
    case $name in
    kd_create | kd_free | kd_clear | kd_alloc | kd_data_destructor | kd_insert* | kd_nearest* | kd_res_*)
        fail "$name is a name of the k-d tree library's" ;;
    kd_*) ;;
    *) fail "$name is exported" ;;
    esac
done
# What the loader has to look up is other libraries': a call of one of these names would be the program's to answer.
bound=$(readelf --wide --relocs "$lib/libkd.so" | awk '$5 ~ /^kd_/ { print $5 }')
[ -z "$bound" ] || fail "a program could take the place of: $bound"
