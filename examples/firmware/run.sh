#!/bin/sh
# run.sh BOARD OUT: what build.sh built, under QEMU and on this machine, side by side. QEMU counts
# instructions, a nanosecond of its time each: no cycles.
set -eu
board=$1 out=$2
case $board in
m0) machine=microbit ;;
m3) machine=mps2-an385 ;;
m4) machine=mps2-an386 ;;
m7) machine=mps2-an500 ;;
m33) machine=mps2-an505 ;;
m55) machine=mps3-an547 ;;
esac
"$out/on_host" >"$out/host.txt" || { cat "$out/host.txt"; echo "firmware-demo: the network does not run on this machine" >&2; exit 1; }
qemu-system-arm -M "$machine" -icount shift=0 -display none -monitor none -serial none -chardev stdio,id=out \
    -semihosting-config enable=on,target=native,chardev=out -kernel "$out/firmware.elf" </dev/null >"$out/board.txt" ||
    { cat "$out/board.txt"; echo "firmware-demo: the firmware failed" >&2; exit 1; }
echo "on $machine (QEMU):"
sed 's/^/    /' "$out/board.txt"
grep -v '^#' "$out/board.txt" >"$out/board.bits"
grep -v '^#' "$out/host.txt" >"$out/host.bits"
if ! cmp -s "$out/board.bits" "$out/host.bits"; then
    echo "firmware-demo: this machine says something else:" >&2
    diff "$out/board.bits" "$out/host.bits" >&2
    exit 1
fi
echo "on this machine: the same, every logit that is printed"
