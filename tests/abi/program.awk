# program.awk: makes of declarations, one a line, a C program that prints the list: lines of a key, a number
# and a text with tabs between; list.sh sorts them by the first two.

BEGIN {
    print "#include <kd/kd.h>\n#include <stddef.h>\n#include <stdio.h>\nint main(void)\n{"
}
END {
    print "    return 0;\n}"
}

/^(typedef )?struct [a-z0-9_]+ \{/ {
    name = $1 == "typedef" ? $3 : $2
    printf "    printf(\"struct %s\\t0\\tstruct %s: %%zu bytes\\n\", sizeof(%s));\n", name, name, name
    members(name, inside($0))
    next
}
/^(typedef )?enum ([a-z0-9_]+ )?\{/ {
    n = split(inside($0), parts, ",")
    name = $1 == "typedef" ? $3 : "without a name, " first_word(parts[1])
    printf "    printf(\"enum %s\\t0\\tenum %s\\n\");\n", name, name
    for (i = 1; i <= n; i++) {
        value = first_word(parts[i])
        if (value != "")
            printf "    printf(\"enum %s\\t%d\\t    %s = %%lld\\n\", (long long)%s);\n", name, i, value, value
    }
    next
}
/^typedef / {
    name = $0
    if (name ~ /\(\*/) sub(/^[^(]*\(\*/, "", name)
    else sub(/^.*[ *]/, "", name)
    sub(/\).*/, "", name)
    printf "    printf(\"type %s\\t0\\t%s\\n\");\n", name, $0
    next
}
/\(/ {
    name = $0
    sub(/\(.*/, "", name)
    sub(/.*[ *]/, "", name)
    printf "    printf(\"function %s\\t0\\t%s\\n\");\n", name, $0
    next
}
/^extern / { # objects, one or several
    n = split($0, parts, ",")
    type = parts[1]
    sub(/[ *]*[a-z0-9_]+ *(\[[^]]*\])*$/, "", type)
    for (i = 1; i <= n; i++) {
        name = parts[i]
        sub(/ *\[.*/, "", name)
        sub(/.*[ *]/, "", name)
        printf "    printf(\"object %s\\t0\\t%s %s\\n\");\n", name, type, name
    }
    next
}
/^struct [a-z_]+$/ { next } # a struct nobody looks into
{ printf "#error not understood: %s\n", $0 }

function inside(text) {
    sub(/^[^{]*\{ */, "", text)
    sub(/ *\}[^}]*$/, "", text)
    return text
}

function first_word(text) {
    sub(/^ +/, "", text)
    sub(/[ =].*/, "", text)
    return text
}

# A line for each member; "int a[2], *b;" are two.
function members(type, text,    n, i, k, count, all, part, base, word, line) {
    gsub(/ +\[/, "[", text)
    n = split(text, all, ";")
    for (i = 1; i <= n; i++) {
        gsub(/^ +| +$/, "", all[i])
        if (all[i] == "") continue
        count = all[i] ~ /\(/ ? 1 : split(all[i], part, ",")
        if (count == 1) part[1] = all[i]
        base = part[1]
        if (!sub(/[ *]*[a-z0-9_]+(\[[^]]*\])*$/, "", base)) base = ""
        for (k = 1; k <= count; k++) {
            gsub(/^ +/, "", part[k])
            word = part[k]
            if (word ~ /\(\*/) sub(/^[^(]*\(\*/, "", word)
            sub(/[[)].*/, "", word)
            sub(/.*[ *]/, "", word)
            printf "    printf(\"struct %s\\t%d\\t    at %%zu, %%zu bytes: %s\\n\", offsetof(%s, %s), sizeof((%s *)0)->%s);\n",
                type, ++line, k == 1 ? part[k] : base " " part[k], type, word, type, word
        }
    }
}
