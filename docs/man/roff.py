"""Pages of the manual, written with man(7)'s macros."""
import os
import re
import time


def escape(text):
    """A line of text, or a part of one, that means nothing to roff."""
    text = text.replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq").replace("`", "\\(ga").replace("^", "\\(ha")
    text = text.replace("~", "\\(ti")
    return "\\&" + text if text.startswith(".") else text


def quoted(text):
    """The same as an argument of a macro."""
    return '"' + escape(text).replace('"', '\\(dq') + '"'


def day():
    """Today, or the day that whoever wants the same pages again has chosen."""
    return time.strftime("%Y-%m-%d", time.gmtime(int(os.environ.get("SOURCE_DATE_EPOCH", time.time()))))


def tidy(text):
    """Without paragraphs that begin where one begins anyway, as behind a heading."""
    return re.sub(r"(?m)^(\.S[HS] .*\n)\.[LP]P\n", r"\1", text)


class Page:
    def __init__(self, name, section, title, version, manual):
        self.name, self.section = name, section
        self.lines = [f'.TH {quoted(name.upper())} {section} {day()} {quoted("pubsub " + version)} {quoted(manual)}']
        self.heading("NAME")
        self.lines.append(f"{escape(name)} \\- {escape(title)}")

    def heading(self, text):
        self.lines.append(f".SH {quoted(text)}")

    def subheading(self, text):
        self.lines.append(f".SS {quoted(text)}")

    def literal(self, lines):
        self.lines += [".PP", ".nf", ".RS 4", *(escape(line) for line in lines), ".RE", ".fi"]

    def tagged(self, tag, lines):
        """What can be typed, and text about it."""
        self.lines += [".TP", f".B {quoted(tag)}"]
        # roff begins the text beside the tag; without any it would take the next macro for it.
        self.text(lines, first="") if lines else self.lines.append("\\&")

    def text(self, lines, first=".PP"):
        """Lines as they stand in a help: sentences; lists, "word  what it means", whose items may go on in lines that begin
        with blanks; and what begins with blanks otherwise, which stays as it is."""
        entry = None
        between = first
        kept = []

        def flush():
            nonlocal kept
            if kept:
                self.lines += [".nf", *kept, ".fi"]
            kept = []

        def leave():
            nonlocal entry, between
            flush()
            if entry:
                self.lines.append(".RE")
                between = first or ".IP"
            entry = None

        for line in lines:
            item = re.match(r" *(\S.*?)  +(\S.*)", line)
            if not line.strip():
                leave()
                between = first or ".IP"
            elif item:
                if not entry:
                    flush()
                    self.lines.append(".RS")
                entry = True
                self.lines += [".TP", f".B {quoted(item[1])}", escape(item[2])]
            elif line.startswith(" ") and entry:
                self.lines.append(escape(line.strip()))
            elif line.startswith(" "):
                kept.append(escape(line))
            else:
                leave()
                if between:
                    self.lines.append(between)
                between = ""
                self.lines.append(escape(line))
        leave()

    def see_also(self, names):
        """names: pages, as (name, section)."""
        self.heading("SEE ALSO")
        others = [page for page in names if page != (self.name, self.section)]
        for i, (name, section) in enumerate(others):
            self.lines.append(f".BR {escape(name)} ({section}){',' if i + 1 < len(others) else ''}")

    def write(self, directory):
        place = os.path.join(directory, f"man{self.section}")
        os.makedirs(place, exist_ok=True)
        with open(os.path.join(place, f"{self.name}.{self.section}"), "w", encoding="utf-8") as file:
            file.write(tidy("\n".join(self.lines) + "\n"))
