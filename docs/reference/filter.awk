# What Doxygen reads instead of a header: the plain comments before declarations and behind them become documentation, word
# for word. Functions that stand together share the comment above the first of them.

function escaped(text) {
    gsub(/&/, "\\&amp;", text)
    gsub(/</, "\\&lt;", text)
    gsub(/[\\@#%]/, "\\\\&", text)
    return text
}

# A comment before something, which is laid out by its blanks.
function tell(comment, first_line) {
    if (first_line && FILENAME ~ /pubsub\/pubsub\.h$/) print "/** @mainpage libpubsub\n<pre>" comment "</pre> */"
    if (first_line) print "/** @file\n<pre>" comment "</pre> */"
    else print "/** <pre>" comment "</pre> */"
}

function end_of_block(line) {
    ended = line ~ /\*\/ *$/
    sub(/ *\*\/ *$/, "", line)
    block = block (block == "" ? "" : "\n") escaped(line)
    if (!ended) return
    in_block = 0
    tell(block, is_first)
    shared = is_first ? "" : block
}

in_block { sub(/^ *\* ?/, ""); end_of_block($0); next }
in_tail  { in_tail = !/\*\//; print escaped($0); next }

/^ *\/\* ?---/ { print; next }
/^ *\/\* / {
    in_block = 1
    block = ""
    is_first = FNR == 1
    sub(/^ *\/\* /, "")
    end_of_block($0)
    next
}

# Every error is a row of a table, which makes the enumeration.
/^#define ERROR\(/ || /^#undef ERROR/ { next }
/^#include <pubsub\/errors.def>/ {
    table = FILENAME
    sub(/[^\/]*$/, "errors.def", table)
    while ((getline row < table) > 0)
        if (row ~ /^ERROR/ && split(row, part, /[(,")] */) > 4) print "    PUBSUB_" part[2] " = " part[3] ", /**< " part[5] " */"
    next
}

/^$/ { shared = ""; after_function = 0 }
/^[a-z].*\(/ {
    if (after_function && shared != "") tell(shared, 0)
    after_function = 1
}

/[^ ].*\/\* / {
    at = index($0, "/* ")
    code = substr($0, 1, at - 1)
    comment = escaped(substr($0, at + 3))
    if (code ~ /^struct .*}; *$/) print "/** " comment "\n" code
    else print code "/**< " comment
    in_tail = !/\*\//
    next
}
{ print }
