"""That check.py fails when a count rises, and only then: it is fed counts, nothing is run."""
import contextlib
import io
import unittest

import check

CONDITIONS = {"machine": "x86_64, avx2", "compiler": "gcc 12", "libc": "glibc 2.36", "valgrind": "valgrind-3.19.0"}
COUNTS = {"one": 100.0, "many": 1.16, "all": 76512.87}


def judged(recorded, counted):
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        code = check.judge(recorded, counted)
    return code, out.getvalue()


class CheckTest(unittest.TestCase):
    def test_the_same_counts_pass(self):
        code, text = judged(COUNTS, dict(COUNTS))
        self.assertEqual(code, 0)
        self.assertNotIn("rose", text)

    def test_a_rise_of_more_than_a_tenth_fails_and_is_named(self):
        for factor, code_due in ((1.09, 0), (1.11, 1), (10, 1)):
            code, text = judged(COUNTS, COUNTS | {"many": COUNTS["many"] * factor})
            self.assertEqual(code, code_due, text)
            self.assertEqual("rose by more than 10%: many\n" in text, code_due == 1, text)

    def test_a_doctored_file_fails(self):
        text = check.write_counts(CONDITIONS, COUNTS).replace("76512.87", "69000.00")
        code, said = judged(check.read_counts(text)[1], COUNTS)
        self.assertEqual(code, 1)
        self.assertIn("rose by more than 10%: all\n", said)

    def test_a_fall_passes_and_is_told(self):
        code, text = judged(COUNTS, COUNTS | {"one": 80.0, "all": 70000.0})
        self.assertEqual(code, 0)
        self.assertIn("fell by more than 10%, record it: one\n", text)

    def test_a_scenario_that_nobody_recorded_fails(self):
        code, text = judged(COUNTS, COUNTS | {"new": 5.0})
        self.assertEqual(code, 1)
        self.assertIn("not in counts.txt, record it: new\n", text)

    def test_what_is_written_is_read_again(self):
        self.assertEqual(check.read_counts(check.write_counts(CONDITIONS, COUNTS)), (CONDITIONS, COUNTS))

    def test_a_line_that_is_no_count_is_refused(self):
        for line in ("one", "one two", "one 1 2"):
            with self.assertRaisesRegex(check.Failure, "line 2"):
                check.read_counts(f"# counts\n{line}\n")

    def test_other_conditions_are_a_reason_to_skip(self):
        self.assertIsNone(check.reason_to_skip(CONDITIONS, CONDITIONS, "Release"))
        self.assertIsNone(check.reason_to_skip(CONDITIONS, CONDITIONS | {"valgrind": "valgrind-3.20.0"}, "Release"))
        self.assertIn("clang 14", check.reason_to_skip(CONDITIONS, CONDITIONS | {"compiler": "clang 14"}, "Release"))
        self.assertIn("Debug", check.reason_to_skip(CONDITIONS, CONDITIONS, "Debug"))

    def test_the_recorded_file_can_be_read(self):
        conditions, counts = check.read_counts(check.COUNTS.read_text(encoding="utf-8"))
        self.assertEqual(list(conditions), list(CONDITIONS))
        self.assertGreater(len(counts), 20)


if __name__ == "__main__":
    unittest.main()
