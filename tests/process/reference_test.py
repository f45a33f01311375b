"""The library's reference, made by Doxygen from the headers: without a warning, and nothing is left out of it."""
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unittest
import xml.etree.ElementTree

TOP = pathlib.Path(__file__).resolve().parents[2]
HEADERS = sorted((TOP / "client-lib/include/pubsub").glob("*.h"))
DOXYGEN_S = 600


def text_of(element):
    return " ".join("".join(element.itertext()).split())


class Reference(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory(prefix="pubsub-test-")
        self.addCleanup(directory.cleanup)
        self.dir = pathlib.Path(directory.name)

    def make(self, *more):
        """Runs Doxygen with further lines of its configuration. Returns its exit code and what it complained of."""
        text = (TOP / "docs/reference/Doxyfile.in").read_text()
        for name, value in (("PROJECT_VERSION", "1"), ("PROJECT_SOURCE_DIR", TOP), ("PUBSUB_REFERENCE_DIR", self.dir)):
            text = text.replace(f"@{name}@", str(value))
        path = self.dir / "Doxyfile"
        path.write_text("\n".join([text, *more, ""]))
        done = subprocess.run(["doxygen", path], capture_output=True, text=True, timeout=DOXYGEN_S)
        return done.returncode, done.stderr

    def members(self, kind):
        """The descriptions of all members of that kind, by their names."""
        found = {}
        for path in (self.dir / "xml").glob("*.xml"):
            for member in xml.etree.ElementTree.parse(path).iter("memberdef"):
                if member.get("kind") == kind:
                    found[member.findtext("name")] = text_of(member.find("detaileddescription"))
        return found

    def test_it_is_complete_and_without_warnings(self):
        self.assertEqual(self.make("GENERATE_XML = YES"), (0, ""))
        functions = self.members("function")
        declared = set()
        for header in HEADERS:
            declared |= set(re.findall(r"^[a-z].*?\b(pubsub_\w+)\(", header.read_text(), re.MULTILINE))
        self.assertGreater(len(declared), 50)
        self.assertEqual(declared - functions.keys(), set(), "functions that are missing")
        self.assertEqual([name for name, text in functions.items() if not text], [], "functions of which nothing is said")
        self.assertIn("Queues one message for the broker.", functions["pubsub_publish"])
        self.assertEqual(functions["pubsub_reject"], functions["pubsub_ack_upto"])  # they share a comment
        fields = self.members("variable")
        self.assertRegex(fields["outbox_file_bytes"], r"^what it may take, .* 0: 4 \* outbox_bytes$")  # all lines of it
        self.assertIn("larger than the input buffer in pieces", self.members("define")["PUBSUB_CORE_PIECES"])
        self.assertTrue((self.dir / "html/index.html").exists())

    def test_errors_have_their_texts(self):
        self.assertEqual(self.make("GENERATE_XML = YES"), (0, ""))
        rows = re.findall(r'^ERROR\((\w+), +(-\d+), "(.*)"\)', (TOP / "client-lib/include/pubsub/errors.def").read_text(),
                          re.MULTILINE)
        values = {value.findtext("name"): (value.findtext("initializer"), text_of(value.find("detaileddescription")))
                  for path in (self.dir / "xml").glob("pubsub_8h.xml")
                  for value in xml.etree.ElementTree.parse(path).iter("enumvalue")}
        self.assertGreater(len(rows), 10)
        for name, number, text in rows:
            self.assertEqual(values[f"PUBSUB_{name}"], (f"= {number}", text))

    def test_a_warning_is_an_error(self):
        (self.dir / "bad.h").write_text("/** @file */\n/** See @ref nowhere. */\nint bad(void);\n")
        code, complaint = self.make(f"INPUT = {self.dir}/bad.h")
        self.assertNotEqual(code, 0)
        self.assertIn("nowhere", complaint)


if __name__ == "__main__":
    if not shutil.which("doxygen"):
        print("skipped: there is no doxygen")
        sys.exit(77)
    unittest.main(verbosity=2)
