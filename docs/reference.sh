#!/bin/sh
# reference.sh DIR: the public headers in DIR as one Markdown page on standard output: each
# header's comments as text, its declarations as code, in the order they stand there.
# shellcheck disable=SC2016 # the backquotes are Markdown's
set -eu
dir=${1:?usage: reference.sh include/kd}

# From the bottom of the library to its top; a header this list does not know comes last.
known="status ctx dtype graph op params plan model optim train options data file json"
names=
for n in $known; do
    [ ! -f "$dir/$n.h" ] || names="$names $n"
done
for f in "$dir"/*.h; do
    n=$(basename "$f" .h)
    case " $known kd " in *" $n "*) ;; *) names="$names $n" ;; esac
done

version=$(awk '/define KD_VERSION_(MAJOR|MINOR|PATCH)/ { v = v dot $3; dot = "." } END { print v }' "$dir/ctx.h")
printf '# Reference of libkd %s\n\nMade from the public headers. `#include <kd/kd.h>` for all of them, or one by one.\n\n' "$version"
for n in $names; do printf -- '- [`kd/%s.h`](#kd%sh)\n' "$n" "$n"; done

for n in $names; do
    printf '\n## `kd/%s.h`\n' "$n"
    awk '
    # A line of a comment as Markdown: names of the library as code, nothing else marked up.
    function markdown(s,    out, name) {
        if (s ~ /`/) return escaped(s)
        while (match(s, /(kd|KD)_[A-Za-z0-9_]*[*]?/)) {
            name = substr(s, RSTART, RLENGTH)
            out = out escaped(substr(s, 1, RSTART - 1)) "`" name "`"
            s = substr(s, RSTART + RLENGTH)
        }
        return out escaped(s)
    }
    function escaped(s) {
        gsub(/[*]/, "\\*", s)
        gsub(/</, "\\&lt;", s)
        return s
    }
    # What stands in a comment, line by line: indented lines are kept as they are.
    function say(s,    pre) {
        sub(/^ ?\/?[*]+ ?/, "", s)
        sub(/ *[*]+\/ *$/, "", s)
        pre = s ~ /^  /
        if (pre != in_pre) print ""
        in_pre = pre
        print pre ? "    " s : markdown(s)
    }
    function flush() {
        if (code != "") printf "\n```c\n%s```\n", code
        code = ""
    }
    function depth_of(s,    open, shut) {
        open = gsub(/[{]/, "", s)
        shut = gsub(/[}]/, "", s)
        return open - shut
    }
    NR == 1 { top = 1; next }                                   # the licence
    top == 1 {
        print ""
        match($0, /^ [*] [a-z]+\.h: /)
        $0 = " * " toupper(substr($0, RLENGTH + 1, 1)) substr($0, RLENGTH + 2)
        top = 2
    }
    top { say($0); if (/[*]\//) top = 0; next }
    /^#if(def)? / { skip = 1 }                                  # C++ and compilers
    skip { if (/^#endif/) skip = 0; next }
    /^#(ifndef|define) KD_[A-Z]+_H$/ || /^#include/ || /^#endif/ || /^#undef/ { next }
    comment { say($0); if (/[*]\//) comment = 0; next }
    depth == 0 && /^\/[*] ----/ {
        flush()
        gsub(/^\/[*] -+ *| *-+ *[*]\/$/, "")
        printf "\n### %s\n", $0
        next
    }
    depth == 0 && /^\/[*]/ { flush(); print ""; in_pre = 0; say($0); comment = !/[*]\//; next }
    depth == 0 && /^$/ { flush(); next }
    /^ *;$/ { sub(/\n$/, ";\n", code); next }
    {
        if (sub(/^KD_API /, ""))
            api = 1
        else if (api)
            sub(/^       /, "") # keep what follows aligned
        if (/;/) api = 0
        depth += depth_of($0)
        sub(/ +\\$/, " \\")
        code = code $0 "\n"
    }
    END { flush() }
    ' "$dir/$n.h"
done
