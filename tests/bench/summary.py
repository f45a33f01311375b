"""From measurements to the document that results.json is: medians, spreads, ratios, what was reached and what was not."""
import statistics

from measure import FAILED, OK, UNSUPPORTED
from peers import PEERS
from scenarios import GROWTH, METRICS, by_name

SCHEMA = 1
LOSSY_MODES = ("stall", "mixed")  # here losing messages is part of the scenario

# Figures in which brokers are compared beside the main one: key, what it is, unit, factor, whether higher is better.
COMPARED = (
    ("cpu_us_per_delivered", "CPU per delivered message", "µs", 1, False),
    ("delivered_per_s", "messages delivered per second", "/s", 1, True),
    ("p50_us", "median latency", "µs", 1, False),
    ("p99_us", "99th percentile of the latency", "µs", 1, False),
    ("acked_per_s", "messages stored and acknowledged per second", "/s", 1, True),
    ("cpu_us_per_acked", "CPU per stored message", "µs", 1, False),
    ("bytes_per_reader", "memory for each reader of a stream", "bytes", 1, False),
    ("cpu_us_per_connect", "CPU per connection", "µs", 1, False),
    ("connects_per_s", "connections per second", "/s", 1, True),
    ("bytes_per_connection", "memory per connection", "bytes", 1, False),
    ("bytes_per_subscription", "memory per subscription", "bytes", 1, False),
    ("bytes_per_topic", "memory per topic that was used once", "bytes", 1, False),
    ("subscribe_seconds", "time to subscribe", "s", 1, False),
    ("peak_kib", "peak memory", "KiB", 1, False),
    ("ratio", "rate beside a stalled subscriber, of the rate alone", "%", 100, True),
    ("lost", "messages lost", "", 1, False),
)
# What says little where the windows differ: what waits in the window is latency and memory.
NEEDS_SAME_WINDOW = ("p50_us", "p99_us", "peak_kib")
# What says nothing of a few subscriptions.
NEEDS_MANY = ("bytes_per_subscription", "subscribe_seconds")
MANY = 1000


def spread(values):
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def figures_of(runs):
    """Median, least and most of each number over the runs that succeeded."""
    made = [run["figures"] for run in runs if run["status"] == OK]
    keys = dict.fromkeys(key for figures in made for key in figures)
    found = {}
    for key in keys:
        values = [figures[key] for figures in made if isinstance(figures.get(key), (int, float))]
        if values:
            found[key] = spread([float(value) for value in values])
    return found


def peer_summary(runs):
    good = sum(run["status"] == OK for run in runs)
    errors = [run["error"] for run in runs if run["status"] != OK]
    status = OK if good else (UNSUPPORTED if runs[0]["status"] == UNSUPPORTED else FAILED)
    return {"status": status, "runs_ok": good, "runs_failed": len(errors), "error": errors[0] if errors else None,
            "figures": figures_of(runs), "runs": runs}


def figure(row, peer, key, which="median"):
    """A figure of a peer in a scenario of the document; None if there is none."""
    return row["peers"].get(peer, {}).get("figures", {}).get(key, {}).get(which)


def best_other(row, metric, judged):
    """The best of the other brokers over the same transport: (peer, figure), or None."""
    found = [(peer, figure(row, peer, metric.key)) for peer in row["peers"] if PEERS[peer].is_other
             and PEERS[peer].transport == PEERS[judged].transport and (PEERS[peer].synced or not metric.synced_only)]
    found = [(peer, value) for peer, value in found if value is not None]
    choose = max if metric.higher_is_better else min
    return choose(found, key=lambda pair: pair[1], default=None)


def times_better(metric, ours, other):
    above, below = (ours, other) if metric.higher_is_better else (other, ours)
    return above / below if below else None


def floor_of(row, judged, key):
    return figure(row, "sink" if PEERS[judged].stores else f"relay-{PEERS[judged].transport}", key)


def judge(scenario, row, rows):
    """How our broker did: its figure, the best other one's, how many times better it is, and what that makes of the goal.
    `met` is None where there is no goal or no figure to compare it with."""
    metric = METRICS[scenario.metric]
    raw = figure(row, scenario.judged, metric.key)
    best = best_other(row, metric, scenario.judged) if metric.compares else None
    verdict = {"judged": scenario.judged, "ours": None if raw is None else raw * metric.factor, "best_peer": None,
               "best": None, "times_better": None, "met": None, "text": ""}
    if best:
        verdict.update(best_peer=best[0], best=best[1] * metric.factor)
    if raw is None:
        measured = row["peers"].get(scenario.judged)
        verdict["text"] = "not measured" if measured is None else measured["status"]
        verdict["met"] = False if measured and scenario.goal else None
        return verdict
    if best:
        verdict["times_better"] = times_better(metric, raw, best[1])
    if scenario.goal:
        verdict["met"], verdict["text"] = reached(scenario, row, verdict, rows)
    return verdict


def reached(scenario, row, verdict, rows):
    """Whether the goal is met, and in words."""
    goal, ours = scenario.goal, verdict["ours"]
    if scenario.mode not in LOSSY_MODES and figure(row, scenario.judged, "lost"):
        return False, "missed: messages were lost"
    if goal.times_of is not None:
        return reached_times(scenario, verdict, rows)
    if goal.above_floor is not None or goal.of_floor is not None:
        metric = METRICS[scenario.metric]
        floor = floor_of(row, scenario.judged, metric.key)
        if floor is None:
            return None, "no floor measured"
        if goal.of_floor is not None:
            share = 100 * ours / (floor * metric.factor)
            return share >= goal.of_floor, f"{met_or_not(share >= goal.of_floor)[1]}: {share:.0f} %"
        return met_or_not(ours <= floor * metric.factor + goal.above_floor)
    if goal.at_least is not None:
        told = not goal.told_exactly or figure(row, scenario.judged, "slow_told") == figure(row, scenario.judged,
                                                                                           "slow_missed")
        if ours >= goal.at_least and not told:
            return False, "missed: not told exactly"
        return met_or_not(ours >= goal.at_least)
    by_figure = ours <= goal.at_most
    if goal.times_best is None or verdict["times_better"] is None:
        return met_or_not(by_figure)
    by_ratio = verdict["times_better"] >= goal.times_best
    if by_figure == by_ratio:
        return met_or_not(by_figure)
    return by_figure, "met, but not the ratio" if by_figure else "missed, but the ratio is met"


def reached_times(scenario, verdict, rows):
    name, least = scenario.goal.times_of
    base = next((row["verdict"]["ours"] for row in rows if row["name"] == name), None)
    if not base:
        return None, f"{name} was not measured"
    times = verdict["ours"] / base
    return times >= least, f"{met_or_not(times >= least)[1]}: {times:.0f} times"


def met_or_not(is_met):
    return is_met, "met" if is_met else "missed"


def scenario_row(scenario, plan, results, rows):
    """rows: those before it."""
    metric = METRICS[scenario.metric]
    measured = {peer: results[scenario.name, peer] for peer in plan.takes_part(scenario)
                if results.get((scenario.name, peer))}
    row = {"name": scenario.name, "title": scenario.heading(plan.quick), "mode": scenario.mode,
           "group": scenario.group,
           "arguments": scenario.arguments(plan.quick), "seconds": plan.seconds(scenario),
           "metric": {"name": scenario.metric, "key": metric.key, "title": metric.title, "unit": metric.unit,
                      "factor": metric.factor, "higher_is_better": metric.higher_is_better},
           "goal": scenario.goal.text() if scenario.goal else None,
           "goal_at_most": scenario.goal.at_most if scenario.goal else None,
           "windows": {peer: scenario.window(PEERS[peer].program) for peer in measured},
           "settings": {program: list(words) for program, words in scenario.settings.items()},
           "once": list(scenario.once),
           "takes_part": list(plan.takes_part(scenario)),
           "peers": {peer: peer_summary(runs) for peer, runs in measured.items()}}
    row["verdict"] = judge(scenario, row, rows)
    return row


def growth_rows(rows, quick):
    """For each pair of figures and each broker: both, and how many times the second is the first."""
    found = []
    by = {row["name"]: row for row in rows}
    for growth in GROWTH:
        small, large = by.get(growth.small[0]), by.get(growth.large[0])
        if small is None or large is None:
            continue
        arguments = by_name(growth.large[0]).arguments(quick)
        title = growth.title.format(**{key: f"{value:,}" for key, value in arguments.items()})
        peers = {}
        for peer in large["peers"]:
            ends = figure(small, peer, growth.small[1]), figure(large, peer, growth.large[1])
            if None not in ends and ends[0] > 0:
                peers[peer] = {"small": ends[0], "large": ends[1], "ratio": ends[1] / ends[0]}
        ours = peers.get("pubsubd-tcp")
        found.append({"title": title, "at_most": growth.at_most, "peers": peers,
                      "met": None if ours is None else ours["ratio"] <= growth.at_most})
    return found


def overlap(row, peers, key):
    ranges = [(figure(row, peer, key, "min"), figure(row, peer, key, "max")) for peer in peers]
    return max(low for low, _ in ranges) <= min(high for _, high in ranges)


def better_peers(rows):
    """Every figure in which another broker is better than ours over the same transport."""
    found = []
    for row in rows:
        for peer in row["peers"]:
            if not PEERS[peer].is_other:
                continue
            ours = f"pubsubd-{PEERS[peer].transport}"
            ours = ours if ours in row["peers"] else row["verdict"]["judged"]
            for key, what, unit, factor, higher in COMPARED:
                if key in NEEDS_SAME_WINDOW and row["windows"].get(peer) != row["windows"].get(ours):
                    continue
                if key in NEEDS_MANY and row["arguments"].get("subscriptions", 0) < MANY:
                    continue
                theirs, own = figure(row, peer, key), figure(row, ours, key)
                if theirs is None or own is None or not (theirs > own if higher else theirs < own):
                    continue
                found.append({"scenario": row["name"], "title": row["title"], "peer": peer, "ours_peer": ours, "key": key,
                              "what": what, "unit": unit, "theirs": theirs * factor, "ours": own * factor,
                              "spreads_overlap": overlap(row, (peer, ours), key)})
    return found


def summarise(plan, results, about):
    """The whole document. `about`: what is known of the machine, the programs and this call, as main.about() makes it."""
    rows = []
    for scenario in plan.scenarios:
        row = scenario_row(scenario, plan, results, rows)
        if row["peers"]:
            rows.append(row)
    made = sum(len(runs) for runs in results.values())
    peers = {name: {"label": peer.label, "program": peer.program, "transport": peer.transport, "protocol": peer.protocol}
             for name, peer in PEERS.items()}
    return {"schema": SCHEMA, **about, "quick": plan.quick, "runs": plan.runs, "complete": made == len(plan.steps()),
            "peers": peers, "scenarios": rows, "growth": growth_rows(rows, plan.quick), "peer_better": better_peers(rows)}
