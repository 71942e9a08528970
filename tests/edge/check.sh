#!/bin/sh
# check.sh [TARGET...]: builds libkd-edge.a and the tests' networks for each target, runs them under QEMU
# and compares what they print with what this machine prints, bit by bit; looks at the archives: sizes,
# no data, nothing asked for but memcpy and memset.
set -eu
unset MAKEFLAGS MFLAGS # an outer make's jobs are not for the makes below
out=build/edge/check
firmware=examples/firmware
mkdir -p "$out"
fail() { echo "check-edge: $*" >&2; exit 1; }

# Instructions that the example's firmware takes for a VGG of 16 million multiply-accumulates.
check_speed() { # BOARD MOST: in hundredths of an instruction a multiply-accumulate
    ${CC:-gcc} -std=c11 -O2 -Iinclude -o "$out/make_net" tests/edge/board/make_net.c tests/edge/net.c tests/edge/net_shapes.c \
        tests/edge/reference.c lib/edge/edge_exporter.c build/edge/host/libkd-edge.a -lm
    "$out/make_net" "$out/vgg.kde" vgg 32 48 64 96 1 2 2 2
    KD_DATA=none PICTURES=1 sh $firmware/build.sh "$out/vgg.kde" "$1" "$out/firmware-$1" 2>/dev/null
    sh $firmware/run.sh "$1" "$out/firmware-$1" >"$out/firmware-$1.txt" || { cat "$out/firmware-$1.txt"; fail "$1: the firmware failed"; }
    spent=$(sed -n 's/.*, \([0-9]*\) instructions a hundred MACs/\1/p' "$out/firmware-$1.txt")
    echo "check-edge: $1: $spent instructions a hundred multiply-accumulates, at most $2"
    [ "$spent" -le "$2" ] || fail "$1: too many"
}

# The trained networks of examples/models on the M4: the host's bits, what a whole firmware takes of flash and RAM.
check_students() {
    for model in examples/models/*.kde; do
        [ -e "$model" ] || continue
        dir=$out/student
        KD_DATA=none PICTURES=1 sh $firmware/build.sh "$model" m4 "$dir" 2>/dev/null
        sh $firmware/run.sh m4 "$dir" >"$dir.txt" || { cat "$dir.txt"; fail "$model: the firmware failed"; }
        spent=$(sed -n 's/.*, \([0-9]*\) instructions a hundred MACs/\1/p' "$dir.txt")
        stack=$(sed -n 's/.* bytes of arena, \([0-9]*\) of stack.*/\1/p' "$dir.txt")
        flash=$(arm-none-eabi-size "$dir/firmware.elf" | awk 'NR == 2 { print $1 + $2 - 3072 }') # without the picture
        ram=$(arm-none-eabi-size "$dir/firmware.elf" | awk -v stack="$stack" 'NR == 2 { print $2 + $3 + stack }')
        echo "check-edge: m4: $model: flash $flash bytes, RAM $ram, $spent instructions a hundred multiply-accumulates"
        [ "$flash" -le 262144 ] && [ "$ram" -le 65536 ] && [ "$spent" -le 250 ] || fail "$model: too much"
    done
}

# A network that a board has no room for: one line, with what it needs and what there is.
check_too_large() {
    if KD_DATA=none PICTURES=1 sh $firmware/build.sh "$out/vgg.kde" m0 "$out/firmware-m0" >"$out/too-large.txt" 2>&1; then
        fail "m0: a network of 32x32 maps fits 16 KB of RAM"
    fi
    said=$(grep -v '^no CIFAR-10' "$out/too-large.txt")
    case $said in
    *"
"*) fail "m0: too large, but it says: $said" ;;
    *"too large for m0: flash "[1-9]*" of 262144 bytes, RAM "[1-9]*" of 16384 bytes, "*) ;;
    *) fail "m0: too large, but it says: $said" ;;
    esac
    echo "check-edge: $said"
}

# name : compiler's prefix : flags : linker script, or - : QEMU : clock in Hz : most arena, most blobs (bytes)
targets="host:::-::0:131072:500000
freestanding::-DKD_EDGE_PORTABLE:-::0:131072:500000
m0:arm-none-eabi-:-mcpu=cortex-m0plus -mthumb:microbit:microbit:16000000:6000:180000
m3:arm-none-eabi-:-mcpu=cortex-m3 -mthumb:mps2:mps2-an385:25000000:131072:500000
m4:arm-none-eabi-:-mcpu=cortex-m4 -mthumb -mfloat-abi=hard -mfpu=fpv4-sp-d16:mps2:mps2-an386:25000000:131072:500000
m7:arm-none-eabi-:-mcpu=cortex-m7 -mthumb -mfloat-abi=hard -mfpu=fpv5-d16:mps2:mps2-an500:25000000:131072:500000
m33:arm-none-eabi-:-mcpu=cortex-m33 -mthumb -mfloat-abi=hard -mfpu=fpv5-sp-d16:mps2_an505:mps2-an505:20000000:131072:500000
m55:arm-none-eabi-:-mcpu=cortex-m55 -mthumb -mfloat-abi=hard:mps3_an547:mps3-an547:32000000:131072:300000
aarch64:aarch64-linux-gnu-::-:qemu-aarch64-static:0:131072:500000
dotprod:aarch64-linux-gnu-:-march=armv8.2-a+dotprod:-:qemu-aarch64-static:0:131072:500000
riscv64:riscv64-linux-gnu-::-:qemu-riscv64-static:0:131072:500000"

objects() { # NAME: the archive's objects
    find "build/edge/$1/lib" -name '*.o'
}

# What the archive asks for: itself, memcpy, memset; a compiler's floating-point calls in the float ops alone.
check_names() { # NAME PREFIX
    asks=$("$2nm" -u "build/edge/$1/libkd-edge.a" | sed -n 's/^ *U //p' | sort -u | grep -v '^kd_edge_' || true)
    for symbol in $asks; do
        case $symbol in
        memcpy | memset) ;;
        __aeabi_f* | __aeabi_ui2f | __aeabi_i2f | __*sf[23] | __*sf)
            for o in $(objects "$1" | grep -v '_f32\.o$'); do
                if "$2nm" -u "$o" | grep -qw "$symbol"; then fail "$1: $o asks for $symbol"; fi
            done ;;
        *) fail "$1: the archive asks for $symbol" ;;
        esac
    done
}

text() { # PREFIX OBJECT...: bytes of code and constants
    prefix=$1
    shift
    "${prefix}size" "$@" | awk 'NR > 1 { n += $1 } END { print n }'
}

check_sizes() { # NAME PREFIX: of the M4
    data=$("$2size" -t "build/edge/$1/libkd-edge.a" | awk 'END { print $2 + $3 }')
    [ "$data" = 0 ] || fail "$1: $data bytes of .data and .bss"
    dir=build/edge/$1/lib/edge
    core=$(text "$2" "$dir/edge_core.o" "$dir/edge_crc.o" "$dir/edge_selftest.o")
    # shellcheck disable=SC2046 # names without blanks
    all=$(text "$2" $(objects "$1" | grep -v '_f32\.o$'))
    echo "check-edge: $1: core $core bytes, all of int8 $all bytes, .data and .bss 0"
    [ "$core" -le 3072 ] || fail "$1: the core has $core bytes"
    [ "$all" -le 16384 ] || fail "$1: the int8 runtime has $all bytes"
}

build() { # NAME PREFIX FLAGS SCRIPT CLOCK ARENA BLOBS: the archive, and the program of the tests
    make --no-print-directory edge WERROR=1 CROSS="$2" EDGE_CFLAGS="$3" EDGE_NAME="$1" >"$out/$1.log" 2>&1 ||
        { cat "$out/$1.log" >&2; exit 1; }
    cases=$out/cases-$6-$7.c
    [ -s "$cases" ] || { "$out/make_cases" "$6" "$7" >"$cases.new" && mv "$cases.new" "$cases"; }
    set -- "$1" "${2}gcc" "$3" "$4" "$5" "$cases"
    start=$firmware/start_cortexm.c
    script="-nostdlib -L$firmware -T $firmware/$4.ld"
    libs=-lgcc
    if [ "$4" = - ]; then start=$firmware/start_hosted.c script=-static libs=; fi
    if [ "$1" = freestanding ]; then start=tests/edge/board/start_bare.c script="-nostdlib -static"; fi
    # shellcheck disable=SC2086 # flags are words
    "$2" -std=c99 -O1 -ffreestanding -Wall -Wextra -Werror $3 -DBOARD_CLOCK_HZ="$5u" -Iinclude -I$firmware \
        -Itests/edge/board $script -o "$out/$1.elf" tests/edge/board/main.c "$6" "$firmware/board_text.c" "$start" \
        "build/edge/$1/libkd-edge.a" $libs
}

run() { # NAME QEMU
    case $2 in
    "") "$out/$1.elf" ;;
    qemu-aarch64*) "$2" -cpu max "$out/$1.elf" ;;
    qemu-riscv64*) "$2" "$out/$1.elf" ;;
    *) timeout 300 qemu-system-arm -M "$2" -display none -monitor none -serial none -chardev stdio,id=out \
        -semihosting-config enable=on,target=native,chardev=out -kernel "$out/$1.elf" ;;
    esac </dev/null >"$out/$1.txt" || { grep -v '^[0-9]' "$out/$1.txt" >&2; fail "$1: failed"; }
}

make --no-print-directory edge WERROR=1 EDGE_NAME=host >/dev/null
${CC:-gcc} -std=c11 -O2 -Iinclude -o "$out/make_cases" tests/edge/board/make_cases.c tests/edge/net.c \
    tests/edge/net_shapes.c tests/edge/reference.c lib/edge/edge_exporter.c build/edge/host/libkd-edge.a -lm
rm -f "$out"/cases-*.c "$out"/right-*

echo "$targets" | while IFS=: read -r name prefix flags script qemu clock arena blobs; do
    case " ${*:-$name} " in *" $name "*) ;; *) continue ;; esac
    build "$name" "$prefix" "$flags" "$script" "$clock" "$arena" "$blobs"
    check_names "$name" "$prefix"
    if [ "$name" = m4 ]; then check_sizes "$name" "$prefix"; fi
    run "$name" "$qemu"
    # The same cases on this machine.
    right=$out/right-$arena-$blobs
    if [ ! -s "$right.txt" ]; then
        ${CC:-gcc} -std=c99 -O1 -DKD_EDGE_PORTABLE -Iinclude -I$firmware -Itests/edge/board -o "$right.elf" \
            tests/edge/board/main.c "$out/cases-$arena-$blobs.c" $firmware/board_text.c $firmware/start_hosted.c \
            build/edge/host/libkd-edge.a
        "$right.elf" | grep -v '^#' >"$right.txt"
    fi
    grep -v '^#' "$out/$name.txt" >"$out/$name.bits"
    cmp -s "$out/$name.bits" "$right.txt" || fail "$name: other bits than here: diff $out/$name.bits $right.txt"
    case $name in
    m4)
        check_speed m4 250
        check_students
        check_too_large ;;
    m55) check_speed m55 125 ;;
    esac
    n=$(grep -c '^[0-9]' "$out/$name.bits")
    echo "check-edge: $name: $n networks to the same bits$(sed -n 's/^# /, /p' "$out/$name.txt")"
done
