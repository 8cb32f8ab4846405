"""Which layers, kernels, taps, optimizer and learning rate? The report's open question, answered by a search (chapter 15).

    python benchmarks/search.py --table mine.jsonl        searches anew, or goes on where it was stopped; half an hour
    python benchmarks/search.py                           with the recorded table: repeats nothing, and says what it holds
    python benchmarks/search.py --quick --table t.jsonl   all of it in so few steps that it means nothing; under a minute
    ... --scheduler tcp://host:8786                       on a Dask cluster whose workers have this package

The clips of a note are cut in three. 13 are locked away. A seed deals the others: 40 to learn from, 13 to choose by. It also
makes the initial values and the order. All settings get equally many steps of five clips.

1. Settings drawn at random, the report's shape at many learning rates, and shapes of equal cost and receptive field; all of
   them with the same three seeds, judged by the median ESR of the clips to choose by.
2. The best for each budget of multiplications, and some others to compare with, learn again with fresh seeds, and meet the
   clips that were locked away. The same on two more notes, which chose nothing, and for some with five times as many
   steps.

The table has a line a training. Beside it, with the ending .md, stands a summary.
"""

import argparse
import datetime
import os
import platform
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fuzznet import optimizers, recordings
from fuzznet.loss import esr
from fuzznet.network import forward, initialize
from fuzznet.sweep import grid, read_table, sweep
from fuzznet.training import train

TABLE = Path(__file__).parent / "results/search.jsonl"
RATES = {"GradientDescent": (0.005, 1.0), "Momentum": (0.001, 0.3), "Adam": (0.001, 0.3)}
MOST_LAYERS, MOST_KERNELS, MOST_TAPS, MOST_SAMPLES, MOST_MULTIPLICATIONS = 10, 32, 64, 1024, 2000
FIELDS, EQUAL_RATES = (64, 512), (0.02, 0.05, 0.1)  # of the shapes of equal cost and receptive field
BUDGETS = (30, 60, 120, 250, 500, 1000, 2000)
REPORT = {"layers": 8, "kernels": 10, "kernel_size": 3, "optimizer": "GradientDescent", "learning_rate": 0.05}
LONGER = ("up to 60", "up to 500", "up to 2000", "report", "report's shape")  # finalists that learn for longer, too
SHAPE = ("layers", "kernels", "kernel_size")
LEARNED, CHOOSING, LOCKED, EPOCHS = 40, 13, 13, 100


class Plan(NamedTuple):
    """How much of it: settings at random, seeds each, fresh seeds for the finalists, epochs, and those of the long training."""

    settings: int = 300
    seeds: int = 3
    fresh: int = 8
    epochs: int = EPOCHS
    long: int = 5 * EPOCHS
    notes: tuple = ("E2", "E5")

    @property
    def more(self):
        """What its trials have in common, beside what `trial` takes by itself."""
        return {} if self.epochs == EPOCHS else {"epochs": self.epochs}


QUICK = Plan(settings=2, seeds=2, fresh=2, epochs=1, long=2, notes=("E2",))


def parts_of(note, rng):
    """The clips of a note as pairs (x, y): to learn from, to choose by, and those locked away, which no rng changes."""
    pair = recordings.load_note(note)
    sounds = recordings.remove_silence(pair.clean, pair.distorted)
    x, y = (recordings.standardize(recordings.split_into_clips(sound)).astype(np.float32) for sound in sounds)
    order = np.random.default_rng(0).permutation(len(x))
    dealt = rng.permutation(order[LOCKED:])
    learned, choosing = dealt[:LEARNED], dealt[LEARNED : LEARNED + CHOOSING]
    x = np.float32(recordings.best_scalar(x[learned], y[learned])) * x
    return [(x[part], y[part]) for part in (learned, choosing, order[:LOCKED])]


def trial(layers, kernels, kernel_size, optimizer, learning_rate, seed, epochs=EPOCHS, note="D3", final=False):
    """One training. Returns: the ESR on the clips to choose by, and if it is final, on those locked away."""
    rng = np.random.default_rng(seed)
    learned, choosing, locked = parts_of(note, rng)
    parameters = initialize(rng, layers, kernels, kernel_size).astype(np.float32)
    rule = getattr(optimizers, optimizer)(learning_rate)
    with np.errstate(over="ignore", invalid="ignore"):  # `train` notices
        parameters, _ = train(parameters, *learned, optimizer=rule, rng=rng, epochs=epochs, batch_size=5, progress=False)
    judges = {"validation": choosing, "test": locked} if final else {"validation": choosing}
    found = {}
    for name, (x, y) in judges.items():
        found[name] = rounded(np.mean(esr(output=forward(parameters, x)[0], target=y)), 4)
    return found


def rounded(number, digits):
    return float(f"{number:.{digits}g}")


def multiplications(layers, kernels, kernel_size):
    """How many a sample costs when the network plays: kernels, mixing and output weights. Biases and sigmoids not counted."""
    return layers * kernels * kernel_size + (layers - 1) * kernels + layers * kernels


def draw(rng):
    """Settings at random. Layers are equally likely; taps, kernels and learning rates are equally likely by factors."""

    def by_factors(low, high):
        return float(np.exp(rng.uniform(np.log(low), np.log(high))))

    layers = int(rng.integers(1, MOST_LAYERS + 1))
    taps = min(MOST_TAPS, 1 + (MOST_SAMPLES - 1) // (2**layers - 1))
    kernel_size = int(by_factors(2, taps + 1))
    kernels = int(by_factors(1, min(MOST_KERNELS, MOST_MULTIPLICATIONS // multiplications(layers, 1, kernel_size)) + 1))
    optimizer = str(rng.choice(list(RATES)))
    rate = rounded(by_factors(*RATES[optimizer]), 3)
    return dict(zip((*SHAPE, "optimizer", "learning_rate"), (layers, kernels, kernel_size, optimizer, rate)))


def equal_shapes(samples, cost=REPORT):
    """Shapes of 1 to 10 layers that hear back so many samples, or a little less, and cost about as much as the report's."""
    goal = multiplications(*(cost[name] for name in SHAPE))
    for layers in range(1, MOST_LAYERS + 1):
        kernel_size = 1 + (samples - 1) // (2**layers - 1)
        kernels = round(goal / multiplications(layers, 1, kernel_size))
        if kernel_size >= 2 and kernels >= 3:
            yield dict(zip(SHAPE, (layers, kernels, kernel_size)))


def first_settings(count):
    """What the search tries, without seeds."""
    rng = np.random.default_rng(15)
    settings = [draw(rng) for _ in range(count)] + [REPORT]
    shape = {name: [REPORT[name]] for name in SHAPE}
    for optimizer, rates in (
        ("GradientDescent", [0.01, 0.02, 0.05, 0.1, 0.2, 0.5]),
        ("Momentum", [0.002, 0.005, 0.01, 0.02, 0.05, 0.1]),
        ("Adam", [0.005, 0.01, 0.02, 0.05, 0.1, 0.2]),
    ):
        settings += grid(**shape, optimizer=[optimizer], learning_rate=rates)
    for equal in (*equal_shapes(FIELDS[0]), *equal_shapes(FIELDS[1])):
        settings += [{**equal, "optimizer": "Adam", "learning_rate": rate} for rate in EQUAL_RATES]
    return without_repeats(settings)


def without_repeats(settings):
    return list({key_of(s): s for s in settings}.values())


def with_seeds(settings, seeds, **more):
    return [{**s, "seed": seed, **more} for s in settings for seed in seeds]


def by_setting(trials, judge="validation"):
    """The ESR of each seed, setting by setting: a dict by `key_of`. A failure is infinite."""
    scores = {}
    for settings, result, error, _ in trials:
        scores.setdefault(key_of(settings), []).append(result[judge] if error is None else np.inf)
    return scores


def key_of(settings):
    return frozenset((name, value) for name, value in settings.items() if name != "seed")


def cost_of(setting):
    return multiplications(*(setting[name] for name in SHAPE))


def finalists(settings, errors):
    """Who learns again: a dict from what each stands for to its settings. errors: the median ESR of each of the settings."""
    order = sorted(range(len(settings)), key=lambda k: (errors[k], cost_of(settings[k])))
    ranked = [settings[k] for k in order]

    def best(condition):
        return next((s for s in ranked if condition(s)), None)

    def shaped(s, shape):
        return all(s[name] == shape[name] for name in SHAPE)

    found = {f"up to {budget}": best(lambda s, b=budget: cost_of(s) <= b) for budget in BUDGETS}
    found["report"] = REPORT
    found["report's shape"] = best(lambda s: shaped(s, REPORT))
    for optimizer in RATES:
        found[optimizer] = best(lambda s, o=optimizer: s["optimizer"] == o)
    for samples in FIELDS:
        for shape in equal_shapes(samples):
            same = [{**shape, "optimizer": "Adam", "learning_rate": rate} for rate in EQUAL_RATES]
            found[f"{samples}, {shape['layers']} layers"] = best(lambda s, same=same: s in same)
    return {role: s for role, s in found.items() if s is not None}


def search(plan, executor=None, table=None):
    """Both parts of the search. Returns: {role: its settings}, and all trials as `read_table` finds them."""
    settings = first_settings(plan.settings)
    trials = sweep(trial, with_seeds(settings, range(plan.seeds), **plan.more), executor, table)
    errors = [np.median(row) for row in by_setting(trials).values()]
    chosen = finalists(settings, errors)
    fresh, final = range(100, 100 + plan.fresh), {"final": True, **plan.more}
    again = with_seeds(without_repeats(chosen.values()), fresh, **final)
    few = without_repeats(s for role, s in chosen.items() if not role.endswith("layers"))
    for note in plan.notes:
        again += with_seeds(few, fresh, **final, note=note)
    again += with_seeds(
        without_repeats(chosen[role] for role in LONGER if role in chosen), fresh, **{**final, "epochs": plan.long}
    )
    return chosen, trials, sweep(trial, again, executor, table)


def machine():
    """What the results depend on, in words."""
    name = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next((line.split(":")[1].strip() for line in lines if "model name" in line), name)
    versions = f"Python {platform.python_version()}, NumPy {np.__version__}, {platform.system()} {platform.machine()}"
    return f"{name}, {os.cpu_count()} cores, {versions}, {datetime.date.today()}"


def spread(row):
    middle, least, most = (f"{esr:.4f}" if esr < 10 else "above 10" for esr in (np.median(row), min(row), max(row)))
    return f"{middle}, {least} to {most}"


def summary(plan, chosen, trials, again):
    """The search as Markdown."""
    tried, found, everything = by_setting(trials), by_setting(again, "test"), (*trials, *again)
    kinds = {"D3": {}, **{note: {"note": note} for note in plan.notes}, f"D3, {plan.long} epochs": {"epochs": plan.long}}
    heads = ["stands for", "multiplications", "parameters", "layers x kernels x taps", "optimizer", "rate", "chosen by", *kinds]
    lines = [
        f"{len(tried)} settings with {plan.seeds} seeds each, {plan.epochs} epochs on D3. The finalists with {plan.fresh}",
        f"fresh seeds, also on {' and '.join(plan.notes)}, and on D3 with {plan.long} epochs. {len(everything)} trainings took",
        f"{sum(t.seconds for t in everything):.0f} s, added up; {sum(t.error is not None for t in everything)} of them failed.",
        "ESR: the median over the seeds, and from the smallest to the largest.",
        "", f"| {' | '.join(heads)} |", "|" + "---|" * len(heads),
    ]  # fmt: skip
    for role, setting in chosen.items():
        shape = [setting[name] for name in SHAPE]
        size = initialize(np.random.default_rng(0), *shape).size
        cells = [role, cost_of(setting), size, " x ".join(map(str, shape)), setting["optimizer"], setting["learning_rate"]]
        rows = [found.get(key_of({**setting, "final": True, **plan.more, **more})) for more in kinds.values()]
        cells += ["" if row is None else spread(row) for row in (tried[key_of({**setting, **plan.more})], *rows)]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--table", type=Path, default=TABLE, help="where each training is recorded (default: results/search.jsonl)"
    )
    parser.add_argument("--scheduler", help="address of a Dask scheduler; processes on this machine unless given")
    parser.add_argument("--quick", action="store_true", help="all of it in so few steps that the numbers mean nothing")
    arguments = parser.parse_args()
    if arguments.quick and arguments.table == TABLE:
        parser.error("--quick needs a --table of its own")
    plan, executor, where = (QUICK if arguments.quick else Plan()), None, machine()
    if arguments.scheduler:
        from dask.distributed import Client

        executor, where = Client(arguments.scheduler).get_executor(), "a Dask cluster"
    before = len(read_table(arguments.table)) if arguments.table.exists() else 0
    text = summary(plan, *search(plan, executor, arguments.table))
    print(text)
    if len(read_table(arguments.table)) > before:
        command = "python benchmarks/search.py" + (" --quick" if arguments.quick else "")
        arguments.table.with_suffix(".md").write_text(f"# A search\n\n`{command}`, on {where}.\n\n{text}")


if __name__ == "__main__":
    main()
