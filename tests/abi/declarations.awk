# declarations.awk: of a preprocessed file, the declarations that stand in <kd/...>, one a line, white space
# and attributes taken out.

# Line markers say which file the next lines are of.
/^#/ { ours = $3 ~ /\/kd\/[a-z]*\.h"$/; next }
ours { text = text " " $0 }

END {
    gsub(/[ \t]+/, " ", text)
    for (i = 1; i <= length(text); i++) {
        c = substr(text, i, 1)
        if (depth == 0 && substr(text, i, 13) == "__attribute__") {
            i = end_of_attribute(i)
            continue
        }
        if (c == "{" || c == "(") depth++
        if (c == "}" || c == ")") depth--
        if (c != ";" || depth > 0) {
            line = line c
            continue
        }
        gsub(/^ +| +$/, "", line)
        if (line != "") print line
        line = ""
    }
}

function end_of_attribute(i,    inside, c) {
    do {
        c = substr(text, i++, 1)
        if (c == "(") inside++
        if (c == ")") inside--
    } while (c != ")" || inside > 0)
    return i - 1
}
