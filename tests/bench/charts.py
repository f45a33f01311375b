"""One chart a scenario, by gnuplot: a bar for each broker as long as the median, with whiskers from least to most."""
import math
import pathlib
import shutil
import subprocess

from peers import PEERS
from report import short
from summary import OK, UNSUPPORTED, figure

LOG_FROM = 20  # times the smallest figure: from there on a bar would be too short to be seen
WIDTH, HEAD_HEIGHT, BAR_HEIGHT = 900, 150, 34
TIMEOUT_S = 60
TOO_SMALL = 1e-9
INK = '"#222222"'
FONTS = {"svg": "DejaVu Sans,Helvetica,Arial,sans-serif", "pngcairo": "DejaVu Sans"}


def quoted(text):
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def bars_of(row):
    """(peer, median, least, most) in the metric's unit, the top bar first; three times None where there is no figure."""
    key, factor = row["metric"]["key"], row["metric"]["factor"]
    found = []
    for peer in row["takes_part"]:
        values = [figure(row, peer, key, which) for which in ("median", "min", "max")]
        found.append((peer, *(None if value is None else value * factor for value in values)))
    return found


def reason(row, peer):
    measured = row["peers"].get(peer)
    if measured is None:
        return "not run"
    return {OK: "no figure", UNSUPPORTED: "not supported"}.get(measured["status"], "failed")


def span(values, is_log):
    """The ends of the axis, with room for the figures at the bars' ends."""
    if not is_log:
        return 0, max(values) * 1.15 or 1
    low, high = min(values), max(values)
    # The shortest bar is still a bar.
    bottom = 10 ** math.floor(math.log10(low / 1.5))
    return bottom, high * (high / bottom) ** 0.15


def script(document, row, output, terminal="svg"):
    """The gnuplot program that draws a scenario's chart to the file `output`; None when there is nothing to draw."""
    bars = bars_of(row)
    values = [value for _, *three in bars for value in three if value is not None]
    if not values:
        return None
    goal = row["goal_at_most"]
    shown = values + ([goal] if goal else [])
    is_log = min(shown) > TOO_SMALL and max(shown) / min(shown) >= LOG_FROM
    left, right = span(shown, is_log)
    lines = [*page(document, row, output, terminal, is_log), *axes(bars, left, right, is_log), "$bars << END"]
    for level, (peer, median, least, most) in levels(bars):
        if median is not None:
            colour = int(PEERS[peer].colour[1:], 16)
            lines.append(f"{level} {median:.9g} {least:.9g} {most:.9g} {colour} {quoted(short(median))}")
    lines.append("END")
    for level, (peer, median, *_) in levels(bars):
        if median is None:
            lines.append(f"set label {quoted(reason(row, peer))} at first {left:.9g}, {level} offset 1,0 "
                         'textcolor rgb "#8a1f1f"')
    if goal:
        lines += [f"set arrow from first {goal:.9g}, graph 0 to first {goal:.9g}, graph 1 "
                  f"nohead dt 2 lw 1.5 lc rgb {INK}",
                  f'set label "goal" at first {goal:.9g}, graph 1 center offset 0,0.6 textcolor rgb {INK}']
    bar = f"2:1:({left:.9g}):2:($1-0.36):($1+0.36):5"
    return "\n".join(lines + [
        f"plot $bars using {bar} with boxxyerror fs solid 1 noborder lc rgb variable, \\",
        f'     "" using 2:1:3:4 with xerrorbars pt -1 lw 1.5 lc rgb {INK}, \\',
        '     "" using 4:1:6 with labels left offset 0.8,0 boxed', ""])


def levels(bars):
    """Each bar with its place on the vertical axis, where 1 is the lowest."""
    return [(len(bars) - index, bar) for index, bar in enumerate(bars)]


def page(document, row, output, terminal, is_log):
    metric, runs = row["metric"], document["runs"]
    direction = "higher is better" if metric["higher_is_better"] else "lower is better"
    title = f"{quoted(row['title'])[1:-1]}\\n{metric['title']}, {metric['unit']} ({direction})"
    size = f"{WIDTH},{HEAD_HEIGHT + BAR_HEIGHT * len(row['takes_part'])}"
    return ["set encoding utf8",
            f'set terminal {terminal} size {size} font "{FONTS[terminal]},13" background rgb "#ffffff" noenhanced',
            f"set output {quoted(str(output))}",
            f'set title "{title}" offset 0,0.7',
            f"set xlabel \"{metric['unit']}{', log scale' if is_log else ''}; median of {runs} run{'s' * (runs != 1)}, "
            'whiskers: least and most"']


def axes(bars, left, right, is_log):
    labels = ", ".join(f"{quoted(PEERS[peer].label)} {level}" for level, (peer, *_) in levels(bars))
    return [*(["set logscale x", 'set format x "%g"'] if is_log else []),
            f"set xrange [{left:.9g}:{right:.9g}]", f"set yrange [0.4:{len(bars) + 0.6}]",
            "set xtics nomirror", f"set ytics ({labels}) scale 0 nomirror", 'set grid xtics lc rgb "#dddddd"',
            "set border 3", "unset key", "set tmargin 5", "set style textbox opaque noborder margins 0.3,0.3"]


def draw(document, directory):
    """Draws all charts as SVG files. Returns their names, and a sentence for each one that failed."""
    directory = pathlib.Path(directory)
    gnuplot = shutil.which("gnuplot")
    if gnuplot is None:
        return [], ["gnuplot is not installed, so there are no charts"]
    drawn, errors = [], []
    for row in document["scenarios"]:
        name = f"{row['name']}.svg"
        text = script(document, row, directory / name)
        if text is None:
            (directory / name).unlink(missing_ok=True)
            continue
        try:
            done = subprocess.run([gnuplot], input=text, text=True, capture_output=True, timeout=TIMEOUT_S, check=False)
        except subprocess.TimeoutExpired:
            errors.append(f"gnuplot was not done with {name} after {TIMEOUT_S} s")
            continue
        if done.returncode != 0:
            errors.append(f"gnuplot could not draw {name}: {' '.join(done.stderr.split())[:300]}")
        else:
            drawn.append(name)
    return drawn, errors
