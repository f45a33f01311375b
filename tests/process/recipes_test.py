"""The recipes of docs/recipes/, as a reader would follow them."""
import unittest

import docs_test


class Recipes(docs_test.Reader):
    def test_recipes(self):
        self.assertTrue(docs_test.RECIPES)
        self.follow(docs_test.RECIPES)


if __name__ == "__main__":
    docs_test.namespaces.enter_own()
    unittest.main(verbosity=2)
