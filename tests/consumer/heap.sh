#!/bin/sh
# heap.sh LIBRARIES FOLDER [FLAGS...]: links heap.c, which counts calls of malloc, with libkd.a of LIBRARIES and
# runs it in FOLDER on pictures of the kinds that FLAGS have a library for.
set -eu
lib=$1
dir=$2
shift 2
mkdir -p "$dir"
${CC:-gcc} -std=c11 -D_GNU_SOURCE -Wall -Wextra -Werror -Iinclude -o "$dir/heap" tests/consumer/heap.c "$lib/libkd.a" "$@"

corpus=tests/fuzz/corpus
pictures=
case " $* " in *" -lpng "*) pictures="$corpus/png/rgb $corpus/png/palette" ;; esac
case " $* " in *" -ljpeg "*) pictures="$pictures $corpus/jpeg/420 $corpus/jpeg/progressive" ;; esac
for split in train val; do
    for class in one two; do
        mkdir -p "$dir/pictures/$split/$class"
        for picture in $pictures; do
            cp "$picture" "$dir/pictures/$split/$class/$(basename "$picture").jpg"
        done
    done
done
"$dir/heap" "$dir/pictures" "$dir/run"
