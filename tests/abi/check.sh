#!/bin/sh
# check.sh LIBKD.SO: compares what programs are compiled against with tests/abi/list.txt. Before, changes
# to a small header are tried, to see that the list shows them.
set -eu
library=$1
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

mkdir -p "$dir/sample/kd"
cat >"$dir/sample.h" <<'HEADER'
#include <stddef.h>
#define KD_API __attribute__((visibility("default")))
#define KD_OFF (-1.0f)
#define KD_BIT(i) (1u << (i))
typedef enum kd_level { KD_LOW, KD_MIDDLE, KD_HIGH = 4 } kd_level;
enum { KD_MOST = 2 };
typedef struct kd_handle kd_handle;
typedef int kd_value;
typedef void (*kd_fn)(void *user, int n);
typedef struct kd_opt {
    size_t struct_size; /* a comment; with a semicolon */
    int first, *second, third[KD_MOST];
    kd_level (*ask)(int a, int b);
    double last;
} kd_opt;
KD_API kd_value kd_one(const kd_opt *opt);
KD_API void kd_two(const char *format, ...) __attribute__((format(printf, 1, 2)));
HEADER
cat >"$dir/sample.txt" <<'LIST'
enum kd_level
    KD_LOW = 0
    KD_MIDDLE = 1
    KD_HIGH = 4
enum without a name, KD_MOST
    KD_MOST = 2
kd_value kd_one(const kd_opt *opt)
void kd_two(const char *format, ...)
macro KD_BIT(i) (1u << (i))
macro KD_OFF (-1.0f)
struct kd_opt: 48 bytes
    at 0, 8 bytes: size_t struct_size
    at 8, 4 bytes: int first
    at 16, 8 bytes: int *second
    at 24, 8 bytes: int third[KD_MOST]
    at 32, 8 bytes: kd_level (*ask)(int a, int b)
    at 40, 8 bytes: double last
typedef void (*kd_fn)(void *user, int n)
typedef struct kd_handle kd_handle
typedef int kd_value
LIST
cp "$dir/sample.h" "$dir/sample/kd/kd.h"
echo 'int kd_one(void); int kd_one(void) { return 0; } void kd_two(void); void kd_two(void) {}' >"$dir/sample.c"
${CC:-gcc} -shared -fPIC -o "$dir/sample.so" "$dir/sample.c"

# try SCRIPT LINE: sed's SCRIPT is applied to the header; then the list has LINE, which it had not.
sample() { sh tests/abi/list.sh "$dir/sample" "$dir/sample.so"; }
try() {
    sed "$1" "$dir/sample.h" >"$dir/sample/kd/kd.h"
    sample >"$dir/then"
    if grep -qxF -e "$2" "$dir/sample.txt" || ! grep -qxF -e "$2" "$dir/then"; then
        echo "the list does not show the change $1: no line '$2'" >&2
        exit 1
    fi
}
sample | diff -u "$dir/sample.txt" -
try '/kd_one/d' 'in no header: kd_one'
try 's/kd_one/kd_three/' 'not exported: kd_three'
try 's/KD_API kd_value/KD_API int/' 'int kd_one(const kd_opt *opt)'
try 's/const kd_opt \*opt/kd_opt *opt/' 'kd_value kd_one(kd_opt *opt)'
try 's/int first/float first/' '    at 8, 4 bytes: float first'
try 's/int first/long first/' '    at 8, 8 bytes: long first'
try 's/int first, \*second/int first, more, *second/' '    at 12, 4 bytes: int more'
try 's/KD_MOST = 2/KD_MOST = 4/' 'struct kd_opt: 56 bytes'
try 's/KD_LOW, KD_MIDDLE/KD_MIDDLE, KD_LOW/' '    KD_LOW = 1'
try 's/typedef int kd_value/typedef long kd_value/' 'typedef long kd_value'
try 's/void \*user, int n/void *user/' 'typedef void (*kd_fn)(void *user)'
try 's/-1.0f/-2.0f/' 'macro KD_OFF (-2.0f)'

sh tests/abi/list.sh include "$library" >"$dir/now"
if ! diff -u tests/abi/list.txt "$dir/now"; then
    echo "The interface is not the one of tests/abi/list.txt. Is the change meant? Then 'make abi-update', and say it in CHANGELOG.md." >&2
    exit 1
fi
