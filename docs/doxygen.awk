# SPDX-License-Identifier: MIT
# doxygen.awk: a public header on standard output as Doxygen wants its comments: those before a
# declaration as /** */, those behind a member as /**< */, headings of sections as groups of their own.
function escaped(s) {
    gsub(/[\\@#%$~]/, "\\\\&", s)
    gsub(/</, "\\\\<", s)
    gsub(/"/, "\\\\\"", s)
    return s
}
NR == 1 { print "/** \\file"; licence = 1; next }
licence { gsub(/^ \*/, ""); text = $0; if (/\*\//) licence = 0; sub(/ *\*\/$/, "", text); print " *" escaped(text)
          if (!licence) print " */"; next }
inside { # within a comment of several lines
    text = $0
    shut = sub(/ *\*\/ *$/, "", text)
    sub(/^ *\* ?/, "", text)
    if (text ~ /^  / && !pre) { print " * \\verbatim"; pre = 1 }
    if (text !~ /^  / && pre) { print "\\endverbatim"; pre = 0 }
    if (pre) print text; else if (text == "") print " *"; else print " * " escaped(text)
    if (shut) { if (pre) print "\\endverbatim"; print " */"; inside = pre = 0 }
    next
}
/^\/\* ---- / {
    gsub(/^\/\* -+ *| *-+ *\*\/$/, "")
    print "/** \\name " escaped($0) " */"
    next
}
/^ *\/\* / { # before what it is about
    match($0, /^ */)
    text = substr($0, RLENGTH + 4)
    shut = sub(/ *\*\/ *$/, "", text)
    print "/** " escaped(text) (shut ? " */" : "")
    inside = !shut
    next
}
/\/\* / && !/^#/ { # behind it
    at = index($0, "/* ")
    text = substr($0, at + 3)
    shut = sub(/ *\*\/ *$/, "", text)
    if (text ~ /\*\//) { print; next }
    print substr($0, 1, at - 1) "/**< " escaped(text) (shut ? " */" : "")
    inside = !shut
    next
}
{ print }
