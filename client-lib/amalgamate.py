"""Makes of the client's core two files for a firmware to drop in: pubsub_core.h and pubsub_core.c.

    amalgamate.py VERSION DIRECTORY     writes both there

pubsub_core.h is pubsub/core.h with what it includes; of pubsub.h only what the core's interface needs. pubsub_core.c is
device.c with what it includes; all but the functions of pubsub_core.h is static. Tables (*.def) are written out.
"""
import pathlib
import re
import sys

HERE = pathlib.Path(__file__).resolve().parent
PUBLIC = HERE / "include"
PLACES = (HERE, PUBLIC, HERE.parent / "proto")
INCLUDE = re.compile(r'#include [<"]([^">]+)[">]$')
DEFINE = re.compile(r"#define (\w+)\(([^)]*)\)(.*)", re.S)
NAME = re.compile(r"[A-Za-z_]\w*")
COMMENT_OR_TEXT = re.compile(r'/\*.*?\*/|"(?:\\.|[^"\\])*"', re.S)


def find(name):
    """The file of ours that an #include means, or None."""
    return next((place / name for place in PLACES if (place / name).is_file()), None)


def logical_lines(text):
    """Lines, those that end in a backslash together with what follows."""
    return re.findall(r"(?:[^\n]*\\\n)*[^\n]*\n", text)


# ---- tables -----------------------------------------------------------------------------------------------------------


def macro(line):
    """(name, (parameters, body)) of a #define with parameters, or None."""
    found = DEFINE.match(line)
    if not found:
        return None
    body = COMMENT_OR_TEXT.sub(lambda part: part[0] if part[0][0] == '"' else "", found[3].replace("\\\n", " "))
    return found[1], ([name.strip() for name in found[2].split(",")], body.strip())


def arguments(text):
    """The arguments of a row, which hold no parentheses, and commas only in texts."""
    return [part.strip() for part in re.findall(r'(?:"(?:\\.|[^"\\])*"|[^",])+', text)]


def substituted(body, parameters, values):
    """What the preprocessor makes of a macro's body."""
    value = dict(zip(parameters, values))

    def replace(found):
        if found["text"]:
            return found["text"]
        if found["quoted"] in value:
            return '"' + value[found["quoted"]] + '"'
        return value.get(found["name"], found[0])

    out = re.sub(r'(?P<text>"(?:\\.|[^"\\])*")|(?<!#)#(?P<quoted>\w+)|(?P<name>[A-Za-z_]\w*)', replace, body)
    return re.sub(r"\s*##\s*", "", out)


def expanded(row, macros):
    """A row of a table, as the macros say; a macro may stand for another."""
    found = re.fullmatch(r"(\w+)\((.*)\)", row)
    while found and found[1] in macros:
        parameters, body = macros[found[1]]
        row = substituted(body, parameters, arguments(found[2]))
        found = re.fullmatch(r"(\w+)\((.*)\)", row)
    return row


def table(path, given):
    """The lines that a .def file becomes with the macros that were defined before it."""
    text = COMMENT_OR_TEXT.sub(lambda part: part[0] if part[0][0] == '"' else "", path.read_text())
    lines = logical_lines(text)
    macros = dict(filter(None, map(macro, lines)))  # what its rows are when nobody defines them
    macros.update(given)
    rows = [line.strip() for line in lines if re.match(r"\w+\(", line)]
    return [f"    {line}\n" for line in (expanded(row, macros) for row in rows) if line]


# ---- files ------------------------------------------------------------------------------------------------------------


class Unit:
    """One file that is written: others poured into it, each once."""

    def __init__(self, known=()):
        self.seen = set(known)
        self.system = set()
        self.lines = []

    def pour(self, path, text=None):
        self.seen.add(path)
        for line in logical_lines(path.read_text() if text is None else text):
            found = INCLUDE.match(line.rstrip())
            inner = found and find(found[1])
            if found and inner is None:
                self.include(line)
            elif found and inner.suffix == ".def":
                self.pour_table(inner)
            elif found:
                if inner not in self.seen:
                    self.pour(inner)
            elif not self.is_spent(line):
                self.lines.append(line)

    def include(self, line):
        if line not in self.system:
            self.lines.append(line)
        if line.startswith("#include <"):
            self.system.add(line)

    def pour_table(self, path):
        macros = {}
        while self.lines and (made := macro(self.lines[-1])):
            macros.setdefault(*made)
            self.lines.pop()
        self.lines += table(path, macros)
        self.spent = set(macros)

    spent = frozenset()

    def is_spent(self, line):
        """Whether it is the #undef of a macro that went with its table."""
        found = re.match(r"#undef (\w+)", line)
        return found and found[1] in self.spent and not any(
            re.match(rf"#define {found[1]}\b", before) for before in self.lines)

    def text(self):
        return re.sub(r"\n{3,}", "\n\n", "".join(self.lines))


# ---- the header -------------------------------------------------------------------------------------------------------


def declarations(text):
    """The top level of a header as blocks: directives one by one; declarations with their comments."""
    block, depth = [], 0
    for line in logical_lines(text):
        directive = line.startswith("#") and depth == 0 and not any(part.strip() for part in block)
        block.append(line)
        code = COMMENT_OR_TEXT.sub("", "".join(block))
        depth = code.count("{") - code.count("}") + code.count("(") - code.count(")") + code.count("/*")
        ended = code.rstrip().endswith((";", "}")) or (line.startswith("#") and depth == 0)
        if directive or (depth == 0 and ended):
            yield "".join(block)
            block = []
        elif not line.strip() and depth == 0 and not code.strip():
            block = []  # a comment that belongs to nothing
    yield "".join(block)


def names_used(text):
    return set(NAME.findall(COMMENT_OR_TEXT.sub("", text)))


def names_made(block):
    """What a declaration of a header gives a name to."""
    code = COMMENT_OR_TEXT.sub("", block).strip()
    if found := re.match(r"#define (\w+)", code):
        return {found[1]}
    found = re.match(r"(?:typedef )?(?:struct|enum|union) (\w+)", code)
    made = {found[1]} if found and ("{" in code or code.startswith("typedef") or code.endswith(found[1] + ";")) else set()
    if code.startswith("typedef"):
        made.add(NAME.findall(code)[-1])
    if code.startswith("enum"):
        made |= names_used(code) - {"enum"}
    return made


def needed(text, users):
    """Of a header those declarations that the users need, and what these need. Directives that only include stay."""
    blocks = list(declarations(text))
    made = [names_made(block) for block in blocks]
    used, kept = set().union(*map(names_used, users)), set()
    while more := [i for i in range(len(blocks)) if i not in kept and made[i] & used]:
        kept.update(more)
        used = used.union(*(names_used(blocks[i]) for i in more))
    return "\n".join(blocks[i].strip("\n") + "\n" for i in range(len(blocks))
                     if i in kept or re.match(r"#include <std", blocks[i]))


def header():
    config, public, core = (PUBLIC / "pubsub" / name for name in ("core_config.h", "pubsub.h", "core.h"))
    unit = Unit()
    types = needed(re.sub(r"^#(ifndef|define) PUBSUB_PUBSUB_H$|^#ifdef __cplusplus\n.*?#endif$", "", public.read_text(),
                          flags=re.M | re.S), [core.read_text(), "PUBSUB_TOPIC_MAX"])
    unit.seen |= {config, public}
    text = core.read_text()
    for part in (f"#include <pubsub/{config.name}>\n", f"#include <pubsub/{public.name}>\n"):
        if part not in text:
            sys.exit(f"{core.name} does not say {part.strip()}: amalgamate.py does not know where its parts belong")
        before, text = text.split(part)
        unit.pour(core, before)
        unit.pour(config if "config" in part else public, None if "config" in part else "\n" + types)
    unit.pour(core, text)
    return unit


def main(version, directory):
    title = (f"/* pubsub_core.%s: the core of libpubsub {version}, a client of the pubsub broker. Made by amalgamate.py of\n"
             " * its sources: change those. %s */\n")
    top = header()
    unit = Unit(top.seen)
    unit.lines.append('#include "pubsub_core.h"\n\n')
    unit.pour(HERE / "device.c")
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "pubsub_core.h").write_text(
        title % ("h", "Configuration: below; give each file that includes this the same.") + top.text())
    (directory / "pubsub_core.c").write_text(
        title % ("c", "C99; needs string.h's functions of the C library.") + unit.text())


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(sys.argv[1], pathlib.Path(sys.argv[2]))
