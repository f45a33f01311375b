"""Makes the pages of the manual of what the programs say of themselves, so that they can't say something else.

    make_pages.py PUBSUB PUBSUBD EXAMPLE-CONFIGURATION VERSION DIRECTORY [LOWDOWN PROTOCOL.md]
"""
import shutil
import sys

import config_page
import help_pages
import protocol_page

COMMON = [("pubsub", 1), ("pubsubd", 8), ("pubsubd-token", 8), ("pubsubd.conf", 5), ("mps", 7)]


def name_of(words):
    return "-".join(["pubsub", *words])


def related(words, commands):
    """Of a command: the one that it belongs to, those that it has, and those beside it that belong to the same."""
    near = [other for other in commands if other[:-1] in (words, words[:-1]) or other == words[:-1]]
    return [(name_of(other), 1) for other in near if other != words]


def main(pubsub, pubsubd, example, version, directory, lowdown=None, protocol=None):
    common = COMMON if lowdown else [page for page in COMMON if page != ("mps", 7)]
    shutil.rmtree(directory, ignore_errors=True)
    commands = list(help_pages.all_commands(pubsub))
    pages = [help_pages.page("pubsub", 1, "publish messages to a broker and receive them", version,
                             help_pages.Help(pubsub, []), [(name_of(words), 1) for words, _, _ in commands] + common),
             help_pages.page("pubsubd", 8, "publish/subscribe message broker", version, help_pages.Help(pubsubd, []), common),
             help_pages.keys_page(pubsubd, version, common)]
    for words, about, text in commands:
        see = related(words, [other for other, _, _ in commands]) + common
        pages.append(help_pages.page(name_of(words), 1, about, version, text, see))
    with open(example, encoding="utf-8") as file:
        pages.append(config_page.page(file.read(), version, common))
    for page in pages:
        page.write(directory)
    if lowdown:
        protocol_page.write(lowdown, protocol, version, common[:-1], directory)


if __name__ == "__main__":
    main(*sys.argv[1:])
