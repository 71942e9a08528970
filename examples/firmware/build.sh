#!/bin/sh
# build.sh MODEL BOARD OUT: the firmware for one board, and the same program for this machine.
#   MODEL  a .kde file, or PREFIX of PREFIX.c and PREFIX.h written by kd export --c-array (named model.c, model.h)
#   BOARD  m0 m3 m4 m7 m33 m55
# The pictures: the first of CIFAR-10's test set, of the folder KD_DATA, or noise where that is not.
set -eu
unset MAKEFLAGS MFLAGS # an outer make's jobs are not for the makes below
model=$1 board=$2 out=$3
here=examples/firmware
mkdir -p "$out"

case $board in
m0) flags="-mcpu=cortex-m0plus -mthumb" script=microbit.ld clock=16000000 ;;
m3) flags="-mcpu=cortex-m3 -mthumb" script=mps2.ld clock=25000000 ;;
m4) flags="-mcpu=cortex-m4 -mthumb -mfloat-abi=hard -mfpu=fpv4-sp-d16" script=mps2.ld clock=25000000 ;;
m7) flags="-mcpu=cortex-m7 -mthumb -mfloat-abi=hard -mfpu=fpv5-d16" script=mps2.ld clock=25000000 ;;
m33) flags="-mcpu=cortex-m33 -mthumb -mfloat-abi=hard -mfpu=fpv5-sp-d16" script=mps2_an505.ld clock=20000000 ;;
m55) flags="-mcpu=cortex-m55 -mthumb -mfloat-abi=hard" script=mps3_an547.ld clock=32000000 ;;
*) echo "build.sh: no board '$board': m0 m3 m4 m7 m33 m55" >&2; exit 2 ;;
esac

# A little-endian number of SIZE bytes at OFFSET of the blob.
field() { # OFFSET SIZE
    od -An -v -tu1 -j "$1" -N "$2" "$model" | awk '{ n = 0; for (i = NF; i; i--) n = 256 * n + $i; print n }'
}
bytes_as_c() { od -An -v -tu1 | sed 's/  */,/g; s/^,//; s/$/,/'; }

case $model in
*.kde)
    [ "$(od -An -c -N 3 "$model" | tr -d ' ')" = KDE ] || { echo "build.sh: $model is no .kde blob" >&2; exit 1; }
    case $(field 17 1) in 1) type=int8_t ;; 2) type=float ;; *) type=int32_t ;; esac
    case $(field 16 1) in 1) ops=kd_edge_ops_i8 ;; *) ops=kd_edge_ops_f32 ;; esac
    {
        echo "#include <kd/edge.h>"
        echo "#define MODEL_ARENA_BYTES $(field 24 4)u"
        echo "#define MODEL_HEIGHT $(field 28 2)"
        echo "#define MODEL_WIDTH $(field 30 2)"
        echo "#define MODEL_CHANNELS $(field 32 2)"
        echo "#define MODEL_CLASSES $(field 34 2)"
        echo "#define MODEL_OUTPUT_TYPE $type"
        echo "#define model_ops $ops"
        echo "extern const uint8_t model_blob[$(field 8 4)];"
    } >"$out/model.h"
    {
        echo '#include "model.h"'
        echo "__attribute__((aligned(16))) const uint8_t model_blob[] = {"
        bytes_as_c <"$model"
        echo "};"
    } >"$out/model.c" ;;
*)
    cp "$model.h" "$out/model.h"
    cp "$model.c" "$out/model.c" ;;
esac
side=$(sed -n 's/^#define MODEL_HEIGHT //p' "$out/model.h")
channels=$(sed -n 's/^#define MODEL_CHANNELS //p' "$out/model.h")
n=${PICTURES:-8}

# Records of CIFAR-10: a label, then planes of red, green, blue; the network takes pixel after pixel.
records=${KD_DATA:-data}/cifar-10-batches-bin/test_batch.bin
{
    echo '#include "pictures.h"'
    if [ "$side" = 32 ] && [ "$channels" = 3 ] && [ -f "$records" ]; then
        echo "const uint8_t pictures[$n][PICTURE_BYTES] = {"
        head -c $((3073 * n)) "$records" | od -An -v -tu1 -w3073 | awk '{
            printf "{"
            for (i = 0; i < 1024; i++) printf "%d,%d,%d,", $(2 + i), $(1026 + i), $(2050 + i)
            print "},"
            labels = labels $1 ","
        } END { print "};\nconst int16_t pictures_label[] = {" labels "};" }'
    else
        echo "no CIFAR-10 at $records: pictures of noise" >&2
        echo "const uint8_t pictures[$n][PICTURE_BYTES] = {"
        awk -v n="$n" -v size="$((side * side * channels))" 'BEGIN {
            srand(1)
            for (p = 0; p < n; p++) {
                printf "{"
                for (i = 0; i < size; i++) printf "%d,", int(256 * rand())
                print "},"
                labels = labels "-1,"
            }
            print "};\nconst int16_t pictures_label[] = {" labels "};"
        }'
    fi
    echo "const uint32_t pictures_n = $n;"
} >"$out/pictures.c"
cat >"$out/pictures.h" <<END
#include "model.h"
#define PICTURE_BYTES (MODEL_HEIGHT * MODEL_WIDTH * MODEL_CHANNELS)
extern const uint8_t pictures[$n][PICTURE_BYTES]; /* [N][H,W,C] */
extern const int16_t pictures_label[$n];          /* -1: not known */
extern const uint32_t pictures_n;
END

make --no-print-directory edge CROSS=arm-none-eabi- EDGE_CFLAGS="$flags" EDGE_NAME="$board" >/dev/null
make --no-print-directory edge EDGE_NAME=host >/dev/null
sources="$here/main.c $here/board_text.c $out/model.c $out/pictures.c"

# The linker's table: a memory, what is used, what there is.
memory() { # NAME: "USED of SIZE"
    awk -v name="$1:" '
        function bytes(n, unit) { return n * (unit == "KB" ? 1024 : unit == "MB" ? 1048576 : unit == "GB" ? 1073741824 : 1) }
        $1 == name { printf "%d of %d", bytes($2, $3), bytes($4, $5) }' "$out/link.txt"
}
# shellcheck disable=SC2086 # flags and sources are words
arm-none-eabi-gcc -std=c99 -Os -ffreestanding -ffunction-sections -fdata-sections -Wl,--gc-sections,--print-memory-usage \
    -Wall -Wextra $flags -DBOARD_CLOCK_HZ=${clock}u -Iinclude -I"$out" -I$here -nostdlib -L$here -T "$here/$script" \
    -o "$out/firmware.elf" $sources $here/start_cortexm.c "build/edge/$board/libkd-edge.a" -lgcc >"$out/link.txt" 2>&1 || {
    if grep -q -e 'overflowed by' -e 'no room for the stack' "$out/link.txt"; then
        echo "build.sh: this network is too large for $board: flash $(memory FLASH) bytes, RAM $(memory RAM) bytes, the stack's 1536 besides" >&2
    else
        cat "$out/link.txt" >&2
    fi
    exit 1
}
if grep -q warning "$out/link.txt"; then cat "$out/link.txt" >&2; fi
# shellcheck disable=SC2086
${CC:-gcc} -std=c99 -O2 -Iinclude -I"$out" -I$here -o "$out/on_host" $sources $here/start_hosted.c build/edge/host/libkd-edge.a
