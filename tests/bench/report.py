"""From the document (summary.py) to tables that people read: table.md, and the main table on stdout."""
from summary import OK, UNSUPPORTED, figure

# The columns of a group of scenarios: title, and whose figures stand there, separated by slashes.
COLUMNS = {
    "live": (("pubsubd", ("pubsubd-tcp", "pubsubd-unix")), ("NATS", ("nats",)), ("Redis", ("redis-tcp", "redis-unix")),
             ("Mosquitto", ("mosquitto-tcp", "mosquitto-unix")), ("Floor", ("relay-tcp", "relay-unix"))),
    "stored": (("pubsubd", ("pubsubd-stored",)), ("JetStream, always", ("jetstream-always",)),
               ("Redis, always", ("redis-always",)), ("JetStream", ("jetstream",)),
               ("Redis, everysec", ("redis-everysec",)), ("Floor", ("sink",)), ("Bare file", ("disk",))),
    "tls": (("pubsubd", ("pubsubd-tls",)), ("NATS", ("nats-tls",)), ("Mosquitto", ("mosquitto-tls",)),
            ("pubsubd without TLS", ("pubsubd-tcp",))),
    "attack": (("pubsubd", ("pubsubd-attacked",)),),
}
NOTHING = "–"
LOST = "†"
LOADED = ("flow", "acked", "wildcards", "mixed", "scale-conns", "scale-subs", "scale-topics")  # modes with a rate
MIB_KIB = 1 / 1024
NO_DISKS = ("tmpfs", "ramfs")
BUSY_SHARE = 0.25  # of the cores: with more at work than that, others disturb the measurement


def short(value):
    """A number with three significant digits, without an exponent."""
    if value is None:
        return NOTHING
    if value == 0:
        return "0"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    text = f"{value:.3g}"
    return f"{value:.6f}".rstrip("0") if "e" in text else text


def times(value):
    return NOTHING if value is None else f"{short(value)}x"


def table(heads, rows, texts=1):
    """A Markdown table, aligned so that it can be read as it is, too. The first `texts` columns are text, numbers follow.
    """
    cells = [heads, *[[str(cell) for cell in row] for row in rows]]
    widths = [max(3, *(len(row[column]) for row in cells)) for column in range(len(heads))]

    def line(row):
        padded = [cell.ljust(width) if column < texts else cell.rjust(width)
                  for column, (cell, width) in enumerate(zip(row, widths))]
        return "| " + " | ".join(padded) + " |"

    rule = "|" + "|".join("-" * (width + 2) if column < texts else "-" * (width + 1) + ":"
                          for column, width in enumerate(widths)) + "|"
    return "\n".join([line(cells[0]), rule, *map(line, cells[1:])])


def cell_of(row, peer, key, factor, which):
    """One broker's figure as text; where there is none, why."""
    if peer not in row["takes_part"]:
        return None
    measured = row["peers"].get(peer)
    if measured is None:
        return "not run"
    if measured["status"] != OK:
        return "n/a" if measured["status"] == UNSUPPORTED else "failed"
    value = figure(row, peer, key, "median" if which == "spread" else which)
    if value is None:
        return NOTHING
    mark = LOST if key != "lost" and figure(row, peer, "lost", "max") else ""
    if which == "spread":
        low, high = figure(row, peer, key, "min"), figure(row, peer, key, "max")
        return f"{short(low * factor)}–{short(high * factor)}"
    return short(value * factor) + mark


def cells(row, key, factor=1.0, which="median"):
    """A cell for each column of the row's group."""
    found = []
    for _, peers in COLUMNS[row["group"]]:
        parts = [cell_of(row, peer, key, factor, which) for peer in peers]
        found.append(" / ".join(part for part in parts if part is not None))
    return found


def titles(group):
    return [title for title, _ in COLUMNS[group]]


def rows_of(document, group):
    return [row for row in document["scenarios"] if row["group"] == group]


def grid(document, key, factor=1.0, which="median", modes=None, group="live"):
    """The figure `key` of all brokers in all scenarios of the group that have it."""
    rows = [[row["title"], *cells(row, key, factor, which)] for row in rows_of(document, group)
            if (modes is None or row["mode"] in modes)
            and any(figure(row, peer, key) is not None for peer in row["peers"])]
    return table(["scenario", *titles(group)], rows) if rows else None


def unit_title(row):
    metric = row["metric"]
    return row["title"] if metric["name"] == "cpu" else f"{row['title']} ({metric['unit']})"


def main_table(document, group="live"):
    rows = []
    for row in rows_of(document, group):
        verdict, metric = row["verdict"], row["metric"]
        rows.append([unit_title(row), *cells(row, metric["key"], metric["factor"]), row["goal"] or "",
                     times(verdict["times_better"]), verdict["text"]])
    return table(["scenario", *titles(group), "goal", "best/ours", "reached"], rows) if rows else None


def spread_table(document, group="live"):
    rows = [[unit_title(row), *cells(row, row["metric"]["key"], row["metric"]["factor"], "spread")]
            for row in rows_of(document, group)]
    return table(["scenario", *titles(group)], rows) if rows else None


def growth_table(document):
    if not document["growth"]:
        return "Not measured: its scenarios were not run."
    labels = document["peers"]
    rows = [[growth["title"] if index == 0 else "", labels[peer]["label"], short(ends["small"]), short(ends["large"]),
             times(ends["ratio"]), verdict_of_growth(growth, peer)]
            for growth in document["growth"] for index, (peer, ends) in enumerate(growth["peers"].items())]
    return table(["growth", "broker", "µs before", "µs after", "ratio", f"at most {document['growth'][0]['at_most']:g}x"],
                 rows, texts=2)


def verdict_of_growth(growth, peer):
    if not peer.startswith("pubsubd"):
        return ""
    return "met" if growth["peers"][peer]["ratio"] <= growth["at_most"] else "missed"


def peers_table(document, modes, columns, with_scenario=True):
    """A row for each broker of the scenarios of these modes. columns: (head, key, factor)."""
    rows = []
    for row in document["scenarios"]:
        if row["mode"] not in modes:
            continue
        for peer in row["takes_part"]:
            lead = [row["title"]] if with_scenario else []
            rows.append([*lead, document["peers"][peer]["label"],
                         *(cell_of(row, peer, key, factor, "median").rstrip(LOST) for _, key, factor in columns)])
    heads = [*(["scenario"] if with_scenario else []), "broker", *(head for head, _, _ in columns)]
    return table(heads, rows, texts=2 if with_scenario else 1) if rows else None


LATENCY = (("p50 µs", "p50_us", 1), ("p90 µs", "p90_ns", 1e-3), ("p99 µs", "p99_us", 1), ("p99.9 µs", "p999_us", 1),
           ("most µs", "max_us", 1))
STALL = (("alone /s", "fast_alone_per_s", 1), ("beside /s", "fast_beside_per_s", 1), ("beside, % of alone", "ratio", 100),
         ("slow got", "slow_received", 1), ("slow missed", "slow_missed", 1), ("slow was told of", "slow_told", 1),
         ("slow cut off", "slow_closed", 1), ("peak MiB", "peak_kib", MIB_KIB))
MIXED = (("delivered /s", "delivered_per_s", 1), ("CPU µs", "cpu_us_per_delivered", 1), ("lost", "lost", 1),
         ("slow got", "slow_received", 1), ("slow lost", "slow_lost", 1), ("slow was told of", "slow_told", 1),
         ("peak MiB", "peak_kib", MIB_KIB))


STORED = (("stored /s", "acked_per_s", 1), ("CPU µs", "cpu_us_per_acked", 1), ("p50 µs", "p50_us", 1),
          ("p99 µs", "p99_us", 1), ("p99.9 µs", "p999_us", 1), ("most µs", "max_us", 1),
          ("broker's CPUs", "broker_cpu_share", 1), ("acknowledged", "stored", 1), ("read back", "read_back", 1))
REPLAYED = (("live /s", "live_per_s", 1), ("replay /s", "delivered_per_s", 1),
            ("replay, % of live", "replay_share", 100), ("live CPU µs", "live_cpu_us", 1),
            ("replay CPU µs", "cpu_us_per_delivered", 1), ("peak MiB", "peak_kib", MIB_KIB))
CONNECTS = (("connections /s", "connects_per_s", 1), ("CPU µs", "cpu_us_per_connect", 1),
            ("resumed, %", "resumed_share", 100), ("p50 µs", "p50_us", 1), ("p99 µs", "p99_us", 1),
            ("peak MiB", "peak_kib", MIB_KIB))
ATTACKED = (("p99 alone, µs", "p99_us_alone", 1), ("p99 attacked, µs", "p99_us", 1), ("more, µs", "p99_added_us", 1),
            ("p50 alone, µs", "p50_us_alone", 1), ("p50 attacked, µs", "p50_us", 1), ("most alone, µs", "max_us_alone", 1),
            ("most attacked, µs", "max_us", 1), ("attacks /s", "attacks_per_s", 1),
            ("broker's CPUs", "broker_cpu_share", 1), ("lost", "lost", 1))
READERS = (("KiB for each", "bytes_per_reader", 1 / 1024), ("copies", "copies", 1), ("delivered /s", "delivered_per_s", 1),
           ("CPU µs", "cpu_us_per_delivered", 1), ("peak MiB", "peak_kib", MIB_KIB))


def stored_section(document):
    """Of streams that are kept on the disk."""
    if not rows_of(document, "stored"):
        return []
    return ["Messages are acknowledged when they are stored, and all are read back and counted. Of the others only those "
            "called `always` have what they acknowledge on the disk: JetStream by default synchronises its files every "
            "two minutes (`sync_interval`, whose `always` is a column where this version knows it), Redis with "
            "`appendfsync everysec` once a second; `best/ours` of what is stored leaves these out. Floor: a server that "
            "writes what comes, synchronises, and answers. Bare file: one block of 4 KiB after the other, each with its "
            "fdatasync, and nobody else.",
            main_table(document, "stored"),
            "**Stored**: latencies are those of acknowledgements", peers_table(document, ("stored",), STORED),
            "**Replay**, beside live messages that are not stored at the same broker",
            peers_table(document, ("replay",), REPLAYED),
            "**Many readers**: the memory that they take beyond idle connections, at most",
            peers_table(document, ("readers",), READERS),
            "**Spread**: least and most of the runs", spread_table(document, "stored")]


def tls_section(document):
    """Of connections with TLS."""
    if not rows_of(document, "tls"):
        return []
    connects = [row for row in rows_of(document, "tls") if row["mode"] == "connects"]
    return ["Everybody has an ECDSA certificate of P-256, TLS 1.3, TLS_AES_128_GCM_SHA256 and X25519. The generator encrypts "
            "and decrypts as much as the broker, in one thread: it bounds the rates. Handshakes are of connections that are "
            "greeted by the broker and then closed; the latencies are from connect() to that.",
            main_table(document, "tls"),
            "**Messages delivered per second**, thousands", grid(document, "delivered_per_s", 1e-3, modes=("flow",), group="tls"),
            *(["**Connections**", peers_table({**document, "scenarios": connects}, ("connects",), CONNECTS)]
              if connects else []),
            "**Spread**: least and most of the runs", spread_table(document, "tls")]


def attack_section(document):
    """Of a publisher and a subscriber beside others who attack the broker."""
    rows = rows_of(document, "attack")
    if not rows:
        return []
    return ["One publisher, one subscriber, 1,000 messages a second, each with its latency: first alone, then while the broker is "
            "attacked as attack.py does it, at fixed rates and with the lowest priority.",
            main_table(document, "attack"),
            peers_table({**document, "scenarios": rows}, ("flow",), ATTACKED),
            "**Spread**: least and most of the runs", spread_table(document, "attack")]


def losses_section(document):
    parts = []
    for title, modes, columns in (("One stalled subscriber beside a fast one", ("stall",), STALL),
                                  ("Mixed load with one slow subscriber", ("mixed",), MIXED)):
        found = peers_table(document, modes, columns, with_scenario=False)
        if found:
            parts += [f"**{title}**", found]
    lossy = [[row["title"], document["peers"][peer]["label"], short(figure(row, peer, "lost", "max")),
              short(figure(row, peer, "delivered"))]
             for row in document["scenarios"] if row["mode"] not in ("stall", "mixed")
             for peer in row["peers"] if figure(row, peer, "lost", "max")]
    if lossy:
        parts += ["**Messages lost elsewhere** (the worst run)",
                  table(["scenario", "broker", "lost", "delivered"], lossy, texts=2)]
    else:
        parts.append("In all other scenarios nobody lost a message.")
    return parts


def better_section(document):
    """Says openly where others are ahead."""
    if not document["peer_better"]:
        return ["In none of the figures that were measured."]
    rows = []
    for found in document["peer_better"]:
        label, ours = (document["peers"][found[key]]["label"] for key in ("peer", "ours_peer"))
        unit = f", {found['unit']}" if found["unit"] else ""
        rows.append([found["title"], f"{found['what']}{unit}", label, short(found["theirs"]),
                     f"{short(found['ours'])} ({ours})", "overlap" if found["spreads_overlap"] else ""])
    return [table(["scenario", "figure", "who", "their figure", "ours", "spreads"], rows, texts=3)]


def failures_section(document):
    lines = []
    for row in document["scenarios"]:
        for peer, measured in row["peers"].items():
            if measured["error"] is None:
                continue
            of = measured["runs_ok"] + measured["runs_failed"]
            how = "cannot" if measured["status"] == UNSUPPORTED else f"{measured['runs_failed']} of {of} runs failed"
            lines.append(f"* {row['title']}: {document['peers'][peer]['label']}: {how}: {measured['error']}")
    return ["\n".join(lines) or "Nothing."]


def window_text(size):
    if size is None:
        return ""
    return short(size / 1024) if size >= 1024 else "2 messages"


def windows_table(document, group):
    rows = []
    for row in rows_of(document, group):
        sizes = [[row["windows"][peer] for peer in peers if peer in row["windows"]] for _, peers in COLUMNS[group]]
        rows.append([row["title"], *(window_text(found[0] if found else None) for found in sizes)])
    return table(["scenario", *titles(group)], rows) if rows else None


def settings_section(document):
    """What differed between the brokers, or from their defaults."""
    lines = [f"* {row['title']}: {program} was started with `{' '.join(words)}`, else it refuses the scenario"
             for row in document["scenarios"] for program, words in row["settings"].items()]
    if document["runs"] > 1:
        lines += [f"* {row['title']}: {program} was measured once: it needs long to get there"
                  for row in document["scenarios"] for program in row["once"]]
    return ["**Windows**: KiB under way at the same time, of all publishers together, but two messages at least. They are "
            "smaller where otherwise a queue limit of that broker would be reached, or its backlog would last seconds.",
            *filter(None, (windows_table(document, group) for group in ("live", "tls"))),
            "**Exceptions**:", "\n".join(lines) or "None."]


def head(document):
    machine, versions = document["machine"], document["versions"]
    lines = [f"* Machine: {machine['cpu']}, {machine['cores']} cores, {machine['memory_mib']:,} MiB, Linux "
             f"{machine['kernel']}, {machine['distribution']}",
             f"* What is stored is on {machine['storage']['type']} ({machine['storage']['device']})",
             f"* When: {document['date']}, revision {document['revision']}, `{document['command']}`",
             "* " + "; ".join(f"{name}: {version or 'not installed'}" for name, version in versions.items()),
             f"* Runs of each: {document['runs']}; figures are medians, interleaved run by run, on loopback"]
    warnings = []
    if document["quick"]:
        warnings.append("**This was a quick look (`--quick`): short measurements, less scale. Do not quote its figures.**")
    if machine["load_before"] > BUSY_SHARE * machine["cores"]:
        warnings.append(f"**The machine was busy with other work** (load {machine['load_before']} before the first run): "
                        "the ratios are less sure, the figures themselves are too high.")
    if machine["storage"]["type"] in NO_DISKS and rows_of(document, "stored"):
        warnings.append(f"**{machine['storage']['type']} is no disk**: what is stored there is not safe, and costs "
                        "nothing.")
    if not document["complete"]:
        warnings.append("**This was interrupted: figures are missing.**")
    return [*warnings, "\n".join(lines)]


def markdown(document):
    """The text of table.md."""
    sections = (
        ("CPU of the broker per delivered message, µs",
         ["Other units are named. Where there are two figures they are TCP / Unix socket. Lower is better, except for a "
          "rate. `best/ours`: how many times less pubsubd needs than the best other broker, over TCP if that took part; goals "
          f"are judged there, too. {LOST}: messages were lost. Floor: a relay of bytes that parses nothing.",
          main_table(document)]),
        ("Streams that are kept on the disk", stored_section(document)),
        ("With TLS", tls_section(document)),
        ("Under attack", attack_section(document)),
        ("Growth of the cost of a delivered message", [growth_table(document)]),
        ("Spread: least and most of the runs", [spread_table(document)]),
        ("Messages delivered per second, thousands", [grid(document, "delivered_per_s", 1e-3, modes=LOADED)]),
        ("Payload delivered, MB per second", [grid(document, "mb_per_s", modes=LOADED)]),
        ("Latency", ["**Ping-pong**: one message under way", peers_table(document, ("pingpong",), LATENCY),
                     "**Under full load**, median µs: mostly the time in the queues, which the window bounds",
                     grid(document, "p50_us", modes=LOADED), "The same, 99th percentile µs",
                     grid(document, "p99_us", modes=LOADED)]),
        ("Memory", ["**Per idle connection**, KiB", grid(document, "bytes_per_connection", 1 / 1024),
                    "**Per subscription**, bytes", grid(document, "bytes_per_subscription"),
                    "**Per topic that was used once**, bytes", grid(document, "bytes_per_topic"),
                    "**The most resident memory** of the broker, MiB", grid(document, "peak_kib", MIB_KIB)]),
        ("Losses and slow subscribers", losses_section(document)),
        ("Where another broker is better", ["Compared over the same transport, each figure for itself.",
                                            *better_section(document)]),
        ("What could not be measured", failures_section(document)),
        ("Windows and settings", settings_section(document)),
        ("Charts", [f"![{row['title']}]({row['name']}.svg)" for row in document["scenarios"]]),
    )
    parts = ["# The broker's speed beside others", *head(document)]
    for title, body in sections:
        if not body:
            continue
        parts += [f"## {title}", *(part if part is not None else "Not measured." for part in body)]
    return "\n\n".join(parts) + "\n"


def closing(document):
    """What is printed at the end: the main table and how many goals are met."""
    goals = [row for row in document["scenarios"] if row["goal"]]
    met = sum(row["verdict"]["met"] is True for row in goals)
    grown = [growth for growth in document["growth"] if growth["met"] is not None]
    lines = []
    if rows_of(document, "live"):
        lines += ["CPU of the broker per delivered message, µs (TCP / Unix socket); other units are named", "",
                  main_table(document), ""]
    if rows_of(document, "tls"):
        lines += ["With TLS", "", main_table(document, "tls"), ""]
    if rows_of(document, "attack"):
        lines += ["Under attack: 99th percentile of the latency of somebody else, more than without the attack", "",
                  main_table(document, "attack"), ""]
    if rows_of(document, "stored"):
        lines += ["Streams that are kept on the disk", "", main_table(document, "stored"), ""]
    lines.append(f"Goals met: {met} of {len(goals)}. Growth within its limit: {sum(g['met'] for g in grown)} of "
                 f"{len(grown)}.")
    if document["quick"]:
        lines.append("This was a quick look: do not quote its figures.")
    return "\n".join(lines)
