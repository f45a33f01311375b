"""Runs the measurements: for each a fresh broker and one call of the generator, all runs interleaved."""
import dataclasses
import json
import os
import pathlib
import select
import signal
import subprocess
import sys
import time

from peers import ENDS_WITH_US, PEERS, Broker, PeerError, PeerUnsupported, Tools
from scenarios import Scenario

OK, FAILED, UNSUPPORTED = "ok", "failed", "unsupported"
SEED = 1
WARMUP_S = 0.2
QUICK_WARMUP_S = 0.1
QUICK_SHARE = 0.3  # of a scenario's seconds
START_AND_STOP_S = 0.5  # of a broker and the generator, for the estimate
USAGE = 2  # the generator's exit code for what it can't do
TAIL_LENGTH = 300
HOPELESS_S = 10  # a failure that took longer is not tried again


@dataclasses.dataclass(frozen=True)
class Step:
    """One measurement that is to be made."""
    run: int
    scenario: Scenario
    peer: str

    @property
    def key(self):
        return self.scenario.name, self.peer


@dataclasses.dataclass(frozen=True)
class Plan:
    """All that is to be measured."""
    scenarios: tuple
    peers: tuple  # names; None: all of each scenario
    runs: int
    quick: bool

    def takes_part(self, scenario):
        return [name for name in scenario.peers if self.peers is None or name in self.peers]

    def steps(self):
        """Run 1 of everything, then run 2 of everything: what slows the machine meanwhile, slows all alike."""
        return [Step(run, scenario, peer) for run in range(1, self.runs + 1) for scenario in self.scenarios
                for peer in self.takes_part(scenario) if run == 1 or PEERS[peer].program not in scenario.once]

    def seconds(self, scenario):
        return scenario.seconds * QUICK_SHARE if self.quick else scenario.seconds

    def warmup(self):
        return QUICK_WARMUP_S if self.quick else WARMUP_S


def command(step, plan, tools, broker):
    """The generator's command line for this measurement."""
    scenario, peer = step.scenario, PEERS[step.peer]
    words = [tools.load, "--protocol", peer.protocol, "--url", broker.url, "--mode", peer.mode or scenario.mode]
    if broker.pid is not None:
        words += ["--pid", str(broker.pid)]
    if broker.ca is not None:
        words += ["--ca", broker.ca]
    for key, value in scenario.arguments(plan.quick).items():
        words += [f"--{key}"] if value is True else [f"--{key}", str(value)]
    return words + ["--window", str(scenario.window(peer.program)), "--seconds", f"{plan.seconds(scenario):g}",
                    "--warmup", f"{plan.warmup():g}", "--seed", str(SEED)]


def result(status, **more):
    return {"status": status, **more}


def shortened(text, otherwise):
    """The last line of what a program said."""
    lines = text.strip().splitlines()
    return lines[-1][:TAIL_LENGTH] if lines else otherwise


def run_generator(words, patience_s):
    """Calls the generator. Returns its figures, or why there are none, as result() makes it."""
    process = subprocess.Popen([*ENDS_WITH_US, *words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True, errors="replace", start_new_session=True)
    try:
        out, err = process.communicate(timeout=patience_s)
    except subprocess.TimeoutExpired:
        return result(FAILED, error=f"not done after {patience_s:g} s")
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()
    if process.returncode == USAGE and "does not support" in err:
        return result(UNSUPPORTED, error=shortened(err, ""))
    if process.returncode != 0:
        return result(FAILED, error=shortened(err, f"the generator ended with exit code {process.returncode}"))
    try:
        figures = json.loads(out)
    except ValueError:
        figures = None
    if not isinstance(figures, dict):
        return result(FAILED, error=f"the generator printed no JSON object: {shortened(out, 'nothing')}")
    return result(OK, figures=figures)


ATTACK = pathlib.Path(__file__).resolve().with_name("attack.py")
ATTACK_BEGINS_S = 30


class Attack:
    """attack.py at work on a broker."""

    def __init__(self, broker, kinds):
        tcp, tls = broker.urls
        words = [sys.executable, str(ATTACK), "--tcp", tcp, "--tls", tls]
        for kind in kinds:
            words += ["--kind", kind]
        self.process = subprocess.Popen([*ENDS_WITH_US, *words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, text=True, errors="replace", start_new_session=True,
                                        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"})

    def __enter__(self):
        readable, _, _ = select.select([self.process.stdout], [], [], ATTACK_BEGINS_S)
        if not readable or self.process.stdout.readline() != "ready\n":
            self.__exit__()
            raise PeerError(f"the attack did not begin: {shortened(self.process.stderr.read(), 'nothing was said')}")
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def end(self):
        """Returns what it did, as attack.py prints it."""
        self.process.send_signal(signal.SIGTERM)
        out, err = self.process.communicate(timeout=ATTACK_BEGINS_S)
        if self.process.returncode != 0:
            raise PeerError(f"the attack broke off: {shortened(err, 'nothing was said')}")
        return json.loads(out)


def run_under_attack(words, patience_s, broker, kinds):
    """Measures without and with the attack. The figures are those with it, and beside them those of latency without."""
    alone = run_generator(words, patience_s)
    if alone["status"] != OK:
        return alone
    with Attack(broker, kinds) as attack:
        made = run_generator(words, patience_s)
        did = attack.end()
    if made["status"] != OK:
        return made
    figures = made["figures"]
    for key in ("p50_us", "p99_us", "max_us", "lost", "broker_cpu_share"):
        figures[f"{key}_alone"] = alone["figures"][key]
    figures["p99_added_us"] = figures["p99_us"] - figures["p99_us_alone"]
    figures["lost"] += figures["lost_alone"]
    figures["attacks_per_s"] = sum(did["per_s"].values())
    made["attack"] = did
    return made


def measure(step, plan, tools):
    """One measurement with a broker of its own. Returns its result; `command` is what was called."""
    peer = PEERS[step.peer]
    began = time.monotonic()
    try:
        with Broker(peer, tools, step.scenario.settings.get(peer.program, ())) as broker:
            words = command(step, plan, tools, broker)
            patience_s = step.scenario.patience_s + 3 * plan.seconds(step.scenario)
            kinds = step.scenario.attacks
            made = run_under_attack(words, patience_s, broker, kinds) if kinds else run_generator(words, patience_s)
            ended = broker.how_it_ended()
            if ended:
                made = result(FAILED, error=ended)
            made["command"] = words[1:]
    except PeerUnsupported as error:
        made = result(UNSUPPORTED, error=str(error))
    except (PeerError, OSError) as error:
        made = result(FAILED, error=str(error))
    made["run"] = step.run
    made["took_s"] = round(time.monotonic() - began, 3)
    return made


class Estimate:
    """How long the measurements that are left will take; learns from those that were made."""

    def __init__(self, plan):
        self.plan = plan
        self.known = {}

    def learn(self, step, took_s):
        self.known[step.key] = took_s

    def of(self, step):
        guess = self.plan.seconds(step.scenario) + self.plan.warmup() + START_AND_STOP_S
        return self.known.get(step.key, guess)

    def left(self, steps):
        return sum(self.of(step) for step in steps)


def is_hopeless(made):
    """Whether trying again would only cost the others their time."""
    return made["status"] == UNSUPPORTED or made["status"] == FAILED and made["took_s"] > HOPELESS_S


def run_plan(plan, tools: Tools, progress, results=None):
    """Makes all measurements. Returns {(scenario, peer): [result, ...]}; `results` is filled meanwhile, so that what was
    measured before an interruption is not lost."""
    results = {} if results is None else results
    steps = plan.steps()
    estimate = Estimate(plan)
    for index, step in enumerate(steps):
        made_before = results.setdefault(step.key, [])
        progress.begin(index, len(steps), step, estimate.left(steps[index:]))
        if made_before and is_hopeless(made_before[-1]):
            made = {**made_before[-1], "run": step.run, "took_s": 0.0}
        else:
            made = measure(step, plan, tools)
        made_before.append(made)
        estimate.learn(step, made["took_s"])
        progress.end(made)
    return results
