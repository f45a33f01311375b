"""mps(7), made of the specification by lowdown."""
import os
import re
import subprocess

import roff


def write(lowdown, source, version, see, directory):
    with open(source, encoding="utf-8") as file:
        title, text = file.read().split("\n", 1)
    # The pages of the others have their NAME first; the specification's parts are its sections.
    text = re.sub(r"(?m)^(#+)# ", r"\1 ", text)
    text = f"# NAME\n\nmps - the protocol between clients of pubsub and the broker\n\n# DESCRIPTION\n{text}"
    made = subprocess.run(
        [lowdown, "-s", "-Tman", "-m", "title=MPS", "-m", "section=7", "-m", f"date={roff.day()}",
         "-m", f"source=pubsub {version}", "--parse-no-super", "--out-no-smarty"],
        input=text, capture_output=True, text=True, check=True).stdout
    made = re.sub(r"(?m)^\.SH\n(.*)$", lambda found: f'.SH "{found[1].upper()}"', made)
    made = roff.tidy(re.sub(r"(?m)^\.SS\n(.*)$", r'.SS "\1"', made))
    # Not every formatter has a font C; in the manual what is literal is bold.
    made = made.replace("\\fC", "\\fB").replace("mps - the protocol", "mps \\- the protocol")
    also = ",\n.BR ".join(f"{roff.escape(name)} ({section})" for name, section in see)
    place = os.path.join(directory, "man7")
    os.makedirs(place, exist_ok=True)
    with open(os.path.join(place, "mps.7"), "w", encoding="utf-8") as file:
        # The first line says that tables are in it.
        file.write(f"'\\\" t\n{made}.SH \"SEE ALSO\"\n.BR {also}\n")
    return title
