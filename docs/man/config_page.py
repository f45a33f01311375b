"""pubsubd.conf(5), made of the commented example."""
import re

import roff

INTRODUCTION = """The configuration of the broker: sections in brackets, and in them a key and its value a line. What begins with '#'
is a comment. What is said of a key here stands in the commented example, too, and is what 'pubsubd --print-config'
prints; the value shown is the default, or an example where the line begins with '#'. A file with a mistake is refused as a
whole, with the line of the mistake; 'pubsubd --check-config -c FILE' says so beforehand.""".split("\n")

KEY = re.compile(r"(# )?[a-z_]+ = ")


def bare(line):
    return re.sub(r"^# ?", "", line)


def setting(page, lines):
    """What is said of keys, and behind it the keys. What stands for a key alone is told with it."""
    keys = [line for line in lines if KEY.match(line)]
    about = [bare(line) for line in lines if not KEY.match(line)]
    for key in keys:
        page.tagged(key, about)


def prose(page, lines):
    """Sentences and an example, between empty comments."""
    block = []
    for line in [*lines, "#"]:
        if line != "#":
            block.append(line)
        elif block:
            if block[0].startswith("# ["):
                page.literal([bare(one) for one in block])
            elif KEY.match(block[-1]):
                setting(page, block)
            else:
                page.text([bare(one) for one in block])
            block = []


def page(example, version, see):
    made = roff.Page("pubsubd.conf", 5, "configuration of the message broker pubsubd", version, "File Formats")
    made.heading("DESCRIPTION")
    made.text(INTRODUCTION)
    for number, block in enumerate(re.split(r"\n{2,}", example.strip("\n"))):
        lines = block.split("\n")
        section = re.match(r"\[.*\]$", lines[0])
        names = dict.fromkeys(re.findall(r"(?m)^# \[(\w+) \w+\]$", block))
        if number == 0:
            made.text([bare(line) for line in lines[1:]])
        elif section:
            made.heading(section[0])
            setting(made, lines[1:])
        elif names:
            made.heading(", ".join(f"[{name} NAME]" for name in names))
            prose(made, lines)
        else:
            setting(made, lines)
    made.see_also(see)
    return made
