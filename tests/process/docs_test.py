"""The pages of docs/, as a reader would follow them: each begins in an empty directory, without a broker, in a network of its own where
the default ports are free. Every command is run, every link leads somewhere. The recipes are followed by recipes_test."""
import os
import pathlib
import sys
import tempfile
import unittest

TOP = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP / "tests" / "network"))
import namespaces  # noqa: E402  of the other directory
import walkthrough  # noqa: E402

ELSEWHERE = "device.md", "cluster.md"  # what device_guide_test and cluster_guide_test follow
PAGES = sorted(path for path in (TOP / "docs").glob("*.md") if path.name not in ELSEWHERE)
RECIPES = sorted((TOP / "docs" / "recipes").glob("*.md"))
# What changes the system of whoever follows a page, or would build what is built: not run here.
SYSTEM = """
adduser --system --group --home /var/lib/pubsub pubsub
chown -R pubsub: /etc/pubsub
./deploy/run
PATH="$PWD/build/release/bin:$PATH"
cmake --preset release && cmake --build --preset release
deploy/install-packages build
cmake --preset release -DBUILD_TESTING=OFF && cmake --build --preset release
apt-get install -y dpkg-dev file openssl curl
(cd build/release && cpack -G DEB)
apt-get install -y ./build/release/pubsubd_*.deb ./build/release/pubsub_*.deb
systemctl status pubsubd
systemctl restart pubsubd
runuser -u pubsub -- pubsubd -c /etc/pubsub/pubsubd.conf --check-config
pubsub pub -r hello world && pubsub get hello
apt-get install -y prometheus
install -m 644 deploy/prometheus/*.yml /etc/prometheus && systemctl restart prometheus
curl -s http://127.0.0.1:9717/metrics | grep ^pubsub_connections
curl -s --unix-socket /run/pubsub/metrics.sock http://localhost/readyz
""".split("\n")


class Reader(unittest.TestCase):
    """Follows pages, all of them or those that $PUBSUB_DOCS names: PUBSUB_DOCS=streams,security"""

    def follow(self, pages):
        only = os.environ.get("PUBSUB_DOCS", "").split(",")
        for page in pages:
            if only == [""] or page.stem in only:
                with self.subTest(page.name):
                    self.follow_one(page)

    def follow_one(self, page):
        directory = tempfile.TemporaryDirectory(prefix="pubsub-test-")
        self.addCleanup(directory.cleanup)
        places = {}
        for variable in "HOME", "XDG_RUNTIME_DIR", "XDG_STATE_HOME":
            places[variable] = os.path.join(directory.name, variable)
            os.mkdir(places[variable], 0o700)
        os.mkdir(f"{directory.name}/log")
        paths = {"/etc/pubsub": f"{directory.name}/etc", "/var/log/pubsub": f"{directory.name}/log", "/root": places["HOME"],
                 "/run/user/1000": places["XDG_RUNTIME_DIR"], "/run/pubsub": places["XDG_RUNTIME_DIR"],
                 "build/release": os.environ.get("PUBSUB_BUILD", "build/release")}
        walk = walkthrough.Walk(self, os.path.join(directory.name, "here"), f"unix:{places['XDG_RUNTIME_DIR']}/pubsub.sock",
                                environment={**places, "TERM": "dumb", "SOURCES": str(TOP)}, paths=paths)
        try:
            walk.follow(page.read_text())
        finally:
            walk.end()


class Page(unittest.TestCase):
    """A page of one block, followed without a broker."""

    def __init__(self, info, lines):
        super().__init__()
        self.text = "\n".join([f"```{info}", *lines, "```", ""])

    def runTest(self):
        with tempfile.TemporaryDirectory(prefix="pubsub-test-") as directory:
            walk = walkthrough.Walk(self, directory, f"unix:{directory}/nobody")
            try:
                walk.follow(self.text)
            finally:
                walk.end()


class Docs(Reader):
    def test_mistakes_are_found(self):
        right = [("console", ["$ echo a; echo b", "a", "b"]), ("console", ["$ echo a b", "a …"]), ("console", ["$ true"]),
                 ("console", ["$ seq 3", "1", "…"]), ("console waits 0", ["$ echo a", "a"]), ("text", ["a"]),
                 ("console", ["$ echo a \\", "> b", "a b"]), ("console stays 0", ["$ echo a; sleep 1000", "a"]),
                 ("ini", ["[limits]", "max_payload = 1m"])]
        wrong = [("console", ["$ echo a; echo b", "a"]), ("console", ["$ echo a", "a", "b"]), ("console", ["$ echo a"]),
                 ("console", ["$ seq 3", "1", "…", "4"]), ("console waits 0", ["$ echo a", "b"]), ("strange", ["a"]),
                 ("console", ["$ exit", "a"]), ("console", ["$ pubsub get a", "b"]), ("ini", ["[limits]", "max_pay = 1m"])]
        for expected, pages in (True, right), (False, wrong):
            for page in pages:
                with self.subTest(page):
                    result = unittest.TestResult()
                    Page(*page).run(result)
                    self.assertEqual(result.errors, [])
                    self.assertEqual(result.wasSuccessful(), expected, result.failures)

    def test_pages(self):
        self.follow(PAGES)

    def test_what_is_not_run_is_known(self):
        for page in [*PAGES, *RECIPES]:
            for info, lines in walkthrough.blocks(page.read_text()):
                if info == "sh":
                    self.assertLessEqual(set(lines), set(SYSTEM), page)

    def test_links(self):
        for page in [*PAGES, *RECIPES]:
            with self.subTest(page.name):
                self.assertEqual(walkthrough.dead_links(page), [])

    def test_readme_leads_to_every_page(self):
        self.assertGreater(len(PAGES), 6)
        self.assertGreater(len(RECIPES), 6)
        readme = (TOP / "README.md").read_text()
        for page in [*PAGES, *RECIPES]:
            self.assertIn(f"({page.relative_to(TOP)})", readme)


if __name__ == "__main__":
    namespaces.enter_own()
    unittest.main(defaultTest="Docs", verbosity=2)  # a Page is none of its own
