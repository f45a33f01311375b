"""Pages made of what the programs say with --help."""
import itertools
import re
import subprocess

import roff

MANUAL = {1: "User Commands", 8: "System Administration"}
RULES = (("usage", r"Usage: "), ("commands", r"Commands, each with"), ("environment", r"Environment$"),
         ("examples", r"Examples$"), ("exits", r"Exit codes"))


class Help:
    """A help, taken apart: the lines of its usage, and blocks (kind, heading lines, lines below it)."""

    def __init__(self, program, words):
        text = subprocess.run([program, *words, "--help"], capture_output=True, text=True, check=True).stdout
        self.blocks = [self.block(block.split("\n")) for block in re.split(r"\n{2,}", text.strip("\n"))]
        kinds = [kind for kind, _, _ in self.blocks]
        if kinds[0] != "usage" or "exits" not in kinds:
            raise SystemExit(f"{program} {' '.join(words)} --help has another form: {kinds}")

    @staticmethod
    def block(lines):
        head = list(itertools.takewhile(lambda line: not line.startswith(" "), lines))
        below = lines[len(head):]
        for kind, pattern in RULES:
            if re.match(pattern, lines[0]):
                return kind, head, lines if kind == "usage" else below
        if lines[0].startswith(" ") or (below and re.match(r" +-", below[0])):
            return "options", head, below
        return "text", [], lines

    def of(self, kind):
        return [(head, below) for found, head, below in self.blocks if found == kind]

    def commands(self):
        """Those that it lists, with what it says of them."""
        return [re.match(r"  (\S+) +(.*)", line).groups() for _, below in self.of("commands") for line in below]


def rows(lines):
    """Of options: what can be typed, and lines about it."""
    found = []
    for line in lines:
        option = re.match(r" {2,6}(-\S.*?)(?:  +(\S.*))?$", line)
        if option:
            found.append((option[1], [option[2]] if option[2] else []))
        else:
            found[-1][1].append(line)
    for tag, about in found:
        widths = [len(line) - len(line.lstrip()) for line in about[1:] if line.strip()] or [0]
        first = about[:1] if about and not about[0].startswith(" ") else []
        rest = about[len(first):]
        width = min([len(line) - len(line.lstrip()) for line in rest if line.strip()] or widths)
        yield tag, first + [line[width:] for line in rest]


def usage_lines(lines):
    """Each way to call it; a line that is indented by more goes on with the one before."""
    return [line.removeprefix("Usage:").strip() for line in lines]


def listed(made, heading, blocks):
    """A word a line, and what it means."""
    for _, lines in blocks:
        made.heading(heading)
        for line in lines:
            word, about = re.match(r"  (\S+) +(.*)", line).groups()
            made.tagged(word, [about])


def page(name, section, title, version, help_text, see):
    made = roff.Page(name, section, title, version, MANUAL[section])
    made.heading("SYNOPSIS")
    made.literal(usage_lines(help_text.of("usage")[0][1]))
    made.heading("DESCRIPTION")
    for _, lines in help_text.of("text"):
        made.text(lines)
    listed(made, "COMMANDS", help_text.of("commands"))
    made.heading("OPTIONS")
    for head, lines in help_text.of("options"):
        if head and head != ["Options"]:
            made.subheading(" ".join(head))
        for tag, about in rows(lines):
            made.tagged(tag, about)
    listed(made, "ENVIRONMENT", help_text.of("environment"))
    for _, lines in help_text.of("examples"):
        made.heading("EXAMPLES")
        made.literal([line[2:] for line in lines])
    made.heading("EXIT STATUS")
    for head, lines in help_text.of("exits"):
        if lines and re.match(r" *\d", lines[0]):
            for line in lines:
                code, about = re.match(r" *(128 \+ N|\d+)  (.*)", line).groups()
                made.tagged(code, [about])
        else:
            made.text([re.sub(r"Exit codes: ", "", line) for line in head + lines])
    made.see_also(see)
    return made


def all_commands(program, words=()):
    """Each command with those that it has: (words, what the help says of it, its help)."""
    for name, about in Help(program, words).commands():
        deeper = [*words, name]
        yield deeper, about, Help(program, deeper)
        yield from all_commands(program, deeper)


def keys_page(pubsubd, version, see):
    """Of the commands that make the files of tokens and passwords: a way to call it a line, and what it does."""
    text = Help(pubsubd, ["token"])
    made = roff.Page("pubsubd-token", 8, "files of tokens and passwords for pubsubd", version, MANUAL[8])
    calls = []
    for line in text.of("usage")[0][1]:
        call = re.match(r"(?:Usage:|      ) (pubsubd .*?)(?:  +(\S.*))?$", line)
        if call:
            calls.append((call[1], [call[2]] if call[2] else []))
        else:
            calls[-1][1].append(line.strip())
    made.heading("SYNOPSIS")
    made.literal([call for call, _ in calls])
    made.heading("DESCRIPTION")
    for call, about in calls:
        made.tagged(call, about)
    for _, lines in text.of("text"):
        made.text(lines)
    made.heading("EXIT STATUS")
    made.text([re.sub(r"Exit codes: ", "", line) for line in text.of("exits")[0][0]])
    made.see_also(see)
    return made
