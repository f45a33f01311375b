"""The judge of the campaign finds what is wrong in notes that are wrong, and nothing in those that are right."""
import unittest

from judge import Account, Life, Notes, holes, judge_live, judge_stored

A, B = ("a", 1), ("b", 1)


def lives(**settled):
    return {name: Life(name, number, number) for name, number in ((A, settled.get("a", 0)), (B, settled.get("b", 0)))}


def events(text):
    """`a1 b1 - a3`: what came, - for a GAP."""
    return [None if word == "-" else ({"a": A, "b": B}[word[0]], int(word[1:])) for word in text.split()]


class LiveTest(unittest.TestCase):
    def judge(self, text, since=None, is_whole=True, **settled):
        return judge_live(Notes({} if since is None else since, events(text), is_whole), lives(**settled))

    def assert_unsaid(self, expected, text, **more):
        self.assertEqual(self.judge(text, **more).unsaid, expected, text)

    def test_all_came(self):
        found = self.judge("a1 b1 a2 b2 a3", a=3, b=2)
        self.assertEqual((found.received, found.gaps, found.unsaid, found.doubled, found.disordered), (5, 0, [], 0, 0))

    def test_hole(self):
        self.assert_unsaid([(A, 2, 3)], "a1 b1 a4", a=4, b=1)
        self.assert_unsaid([], "a1 b1 - a4", a=4, b=1)
        self.assert_unsaid([], "a1 - b1 a4", a=4, b=1)

    def test_gap_elsewhere_says_nothing(self):
        self.assert_unsaid([(A, 2, 3)], "- a1 a4", a=4)
        self.assert_unsaid([(A, 2, 3)], "a1 a4 -", a=4)
        self.assert_unsaid([(A, 2, 2), (A, 5, 5)], "a1 a3 - a4 a6", a=6)

    def test_one_gap_says_it_for_each_publisher(self):
        self.assert_unsaid([], "a1 b1 - a4 b3", a=4, b=3)

    def test_beginning(self):
        self.assert_unsaid([], "a7", since={A: 6}, a=7)
        self.assert_unsaid([], "a5 a6 a7", since={A: 6}, a=7)  # what was under way when it came is no fault
        self.assert_unsaid([(A, 7, 7)], "a8", since={A: 6}, a=8)
        self.assert_unsaid([], "- a8", since={A: 6}, a=8)
        self.assert_unsaid([(A, 1, 2)], "a3", a=3)  # a life that began later

    def test_beginning_that_nobody_knows(self):
        def unsaid(text, **settled):
            return judge_live(Notes(None, events(text)), lives(**settled)).unsaid
        self.assertEqual(unsaid("a7 a8", a=8, b=3), [])
        self.assertEqual(unsaid("a7 a9", a=9), [(A, 8, 8)])
        self.assertEqual(unsaid("a7", a=8), [(A, 8, 8)])

    def test_end(self):
        self.assert_unsaid([(A, 3, 4)], "a1 a2", a=4)
        self.assert_unsaid([(B, 1, 2)], "a1 a2", a=2, b=2)
        self.assert_unsaid([], "a1 a2 -", a=4)
        self.assert_unsaid([], "a1 a2", is_whole=False, a=4)
        self.assert_unsaid([], "", since={A: 4}, a=4)
        unanswered = {A: Life(A, 9, 2)}
        self.assertEqual(judge_live(Notes({}, events("a1 a2")), unanswered).unsaid, [])

    def test_doubled_and_disordered(self):
        found = self.judge("a1 a2 a2 a1 a3", a=3)
        self.assertEqual((found.doubled, found.disordered, found.unsaid), (1, 1, []))


class StoredTest(unittest.TestCase):
    def judge(self, text, acknowledged=(), refused=(), sent=9, in_flight=1):
        return judge_stored(events(text), {A: Account(A, sent, set(acknowledged), set(refused), in_flight), B: Account(B, sent)})

    def test_right(self):
        found = self.judge("a1 b1 a2 a4", acknowledged=[1, 2], refused=[3, 4])
        self.assertEqual((found.acknowledged, found.refused, found.kept_though_refused), (2, 2, 1))
        self.assertEqual((found.lost, found.doubled, found.unknown, found.disordered), ([], [], [], 0))

    def test_lost(self):
        self.assertEqual(self.judge("a1 a3", acknowledged=[1, 2, 3]).lost, [(A, 2)])
        self.assertEqual(self.judge("a1 b2", acknowledged=[1, 2]).lost, [(A, 2)])

    def test_doubled(self):
        self.assertEqual(self.judge("a1 b1 a1", acknowledged=[1]).doubled, [(A, 1)])
        self.assertEqual(self.judge("a1 a1", refused=[1]).doubled, [(A, 1)])

    def test_unknown(self):
        self.assertEqual(self.judge("a1 a2", sent=1).unknown, [(A, 2)])
        self.assertEqual(judge_stored(events("b1"), {}).unknown, [(B, 1)])

    def test_order(self):
        found = self.judge("a1 a3 a2 b1")
        self.assertEqual((found.disordered, found.overtaken), (1, 0))

    def test_order_of_what_is_under_way(self):
        found = self.judge("a3 a2 a1", in_flight=2)
        self.assertEqual((found.disordered, found.overtaken), (1, 1))


class HolesTest(unittest.TestCase):
    def test_holes(self):
        self.assertEqual(holes([4, 5, 6]), [])
        self.assertEqual(holes([4, 6]), [(4, 6)])
        self.assertEqual(holes([4, None, 6]), [])
        self.assertEqual(holes([4, 5, 5]), [(5, 5)])
        self.assertEqual(holes([]), [])


if __name__ == "__main__":
    unittest.main()
