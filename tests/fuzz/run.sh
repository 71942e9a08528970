#!/bin/sh
# run.sh FOLDER TARGET...: run built fuzz targets one after another, each for FUZZ_SECONDS (0: no
# limit) or FUZZ_RUNS executions, whichever comes first. What is found new goes to FOLDER/corpus, a
# crashing input to FOLDER/crashes; the first finding ends it all.
set -eu
folder=$1
shift
here=tests/fuzz
# Targets that need files write them here: to memory, where there is such a folder.
FUZZ_DIR=$(mktemp -d /dev/shm/libkd-fuzz.XXXXXX 2>/dev/null || mktemp -d)
export FUZZ_DIR
trap 'rm -rf "$FUZZ_DIR"' EXIT
# Freed memory is kept back for a while, but not so much of it that every block is a fresh page; fresh
# memory is filled for its first bytes alone.
ASAN_OPTIONS=${ASAN_OPTIONS:-quarantine_size_mb=8:malloc_context_size=6:max_malloc_fill_size=64}
export ASAN_OPTIONS
mkdir -p "$folder/crashes"
for target in "$@"; do
    mkdir -p "$folder/corpus/$target"
    log=$folder/$target.log
    longest=$(sed -n "s/^FUZZ($target, \([0-9]*\))/\1/p" $here/targets.def)
    set -- -max_len="$longest" -max_total_time="${FUZZ_SECONDS:-60}" -rss_limit_mb=2048 \
        -print_final_stats=1 -artifact_prefix="$folder/crashes/$target-"
    [ -z "${FUZZ_RUNS:-}" ] || set -- "$@" -runs="$FUZZ_RUNS"
    [ ! -f "$here/$target.dict" ] || set -- "$@" -dict="$here/$target.dict"
    if ! "$folder/$target" "$@" "$folder/corpus/$target" "$here/corpus/$target" 2>"$log"; then
        tail -n 40 "$log" >&2
        echo "fuzz $target: a finding, see $log and $folder/crashes" >&2
        exit 1
    fi
    done_=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
    seconds=$(sed -n 's/^Done [0-9]* runs in \([0-9]*\) second(s)/\1/p' "$log")
    echo "fuzz $target: $done_ executions in $seconds s, no finding"
done
