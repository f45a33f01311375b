"""tests/hostile.md and the tests say the same of each other: what the list names exists and says its number, and what
says a number is in the list."""
import pathlib
import re
import unittest

TESTS = pathlib.Path(__file__).resolve().parent.parent
NUMBERS = range(1, 58)


def rows():
    """{number: names of tests}"""
    text = (TESTS / "hostile.md").read_text(encoding="utf-8")
    return {int(number): names.split() for number, names in re.findall(r"^\| (\d+) \|[^|]*\|([^|]*)\|$", text, re.MULTILINE)}


def sources():
    """(name without the test, path) of all files that may have tests of the list."""
    for path in sorted((TESTS / "process").glob("*_test.py")):
        yield "process/" + path.name.removesuffix("_test.py"), path
    for path in sorted((TESTS / "unit").glob("*_test.c")):
        yield "unit/" + path.name.removesuffix("_test.c"), path
    for path in sorted((TESTS / "faults").iterdir()):
        if path.suffix in ("", ".c") and path.is_file():
            yield "faults/" + path.stem, path
    for path in sorted((TESTS / "fuzz").glob("fuzz_*.c")):
        yield "fuzz/" + path.stem.removeprefix("fuzz_"), path


def said():
    """{name of a test: numbers that it says}, whole files where the comment is above no function."""
    found = {}
    mark = re.compile(r"^[ \t]*(?:#|/\*|\*) Hostile ([\d, ]+)\.(?: \*/)?\n[ \t]*(?:def (test_\w+)|static void (\w+)\()?", re.MULTILINE)
    for name, path in sources():
        for numbers, python, c in mark.findall(path.read_text(encoding="utf-8")):
            test = f"{name}.{python or c}" if python or c else name
            found.setdefault(test, set()).update(int(n) for n in numbers.split(","))
    return found


class HostileList(unittest.TestCase):
    def test_each_number_is_there(self):
        self.assertEqual(sorted(rows()), list(NUMBERS))

    def test_list_and_tests_agree(self):
        listed = {}
        for number, names in rows().items():
            for name in names:
                listed.setdefault(name, set()).add(number)
        self.maxDiff = None
        self.assertEqual(listed, said())


if __name__ == "__main__":
    unittest.main(verbosity=2)
