"""The search behind chapter 15: what it draws, deals, counts and chooses, a small one for real, and the recorded one."""

import shutil
from concurrent.futures import Executor
from pathlib import Path

import numpy as np
import pytest

import fuzznet
from fuzznet import recordings
from fuzznet.sweep import Trial, read_table

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def search(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import search

    return search


@pytest.mark.parametrize("shape", [(1, 1, 1), (8, 10, 3), (3, 4, 32)])
def test_cost_is_a_multiplication_for_each_weight_but_the_biases(search, shape):
    parameters = fuzznet.initialize(np.random.default_rng(0), *shape)
    assert search.multiplications(*shape) == parameters.size - parameters.biases.size


def test_what_is_drawn_stays_in_its_ranges_and_fills_them(search):
    rng = np.random.default_rng(1)
    drawn = [search.draw(rng) for _ in range(3000)]
    fields = [fuzznet.receptive_field(s["kernel_size"], [2**layer for layer in range(s["layers"])]) for s in drawn]
    costs = [search.cost_of(s) for s in drawn]
    assert max(fields) <= 1024 and max(costs) <= 2000 < 1.1 * max(costs)
    assert {s["layers"] for s in drawn} == set(range(1, 11))
    assert {s["kernels"] for s in drawn} == set(range(1, 33))
    assert {s["kernel_size"] for s in drawn} == set(range(2, 65))
    for optimizer, (low, high) in search.RATES.items():
        rates = [s["learning_rate"] for s in drawn if s["optimizer"] == optimizer]
        assert low <= min(rates) < 1.1 * low and high / 1.1 < max(rates) <= high
        assert 0.4 < np.mean(np.array(rates) < np.sqrt(low * high)) < 0.6


@pytest.mark.parametrize("samples", [64, 512])
def test_equal_shapes_cost_and_hear_about_the_same(search, samples):
    shapes = list(search.equal_shapes(samples))
    fields = [fuzznet.receptive_field(s["kernel_size"], [2**layer for layer in range(s["layers"])]) for s in shapes]
    assert all(0.95 * samples <= field <= samples for field in fields)
    assert all(0.85 < search.cost_of(s) / 390 < 1.15 for s in shapes)
    assert [s["layers"] for s in shapes] == list(range(shapes[0]["layers"], shapes[-1]["layers"] + 1)) and len(shapes) >= 6


def test_clips_are_dealt_by_the_seed_except_those_locked_away(search):
    pair = recordings.load_note("E4")
    _, distorted = recordings.remove_silence(pair.clean, pair.distorted)
    everything = recordings.standardize(recordings.split_into_clips(distorted)).astype(np.float32)
    dealt = [search.parts_of("E4", np.random.default_rng(seed)) for seed in (0, 1)]
    for parts in dealt:
        targets = np.concatenate([y for _, y in parts])
        assert [len(y) for _, y in parts] == [40, 13, 13] and all(x.shape == y.shape for x, y in parts)
        assert {row.tobytes() for row in targets} == {row.tobytes() for row in everything}  # each clip once
        x, y = parts[0]
        assert recordings.best_scalar(x, y) == pytest.approx(1, abs=1e-5)
    (learned, _, locked), (others, _, same) = dealt
    assert np.array_equal(locked[1], same[1]) and not np.array_equal(learned[1], others[1])


def test_seeds_are_gathered_and_a_failure_counts_as_infinite(search):
    one, two = {"layers": 1, "kernels": 2}, {"layers": 2, "kernels": 1}
    rows = [(one, 0, 0.3), (two, 0, None), (one, 1, 0.1), (two, 1, 0.2)]
    trials = [
        Trial({**s, "seed": seed}, None if esr is None else {"validation": esr}, "it broke" if esr is None else None, 1.0)
        for s, seed, esr in rows
    ]
    assert search.by_setting(trials) == {search.key_of(one): [0.3, 0.1], search.key_of(two): [np.inf, 0.2]}


def test_finalists_by_hand(search):
    def setting(layers, kernels, kernel_size, optimizer="Adam"):
        return {"layers": layers, "kernels": kernels, "kernel_size": kernel_size, "optimizer": optimizer, "learning_rate": 0.1}

    cheap, dear, worse, other = setting(1, 2, 3), setting(1, 20, 9), setting(1, 21, 9), setting(1, 21, 9, "Momentum")
    assert [search.cost_of(s) for s in (cheap, dear, worse)] == [8, 200, 210]
    found = search.finalists([worse, cheap, other, dear], [0.2, 0.3, np.inf, 0.1])
    expected = {f"up to {budget}": cheap if budget < 200 else dear for budget in search.BUDGETS}
    assert found == {**expected, "report": search.REPORT, "Momentum": other, "Adam": dear}


def test_small_search_for_real_and_again(search, tmp_path, monkeypatch, capsys):
    table = tmp_path / "small.jsonl"
    monkeypatch.setattr("sys.argv", ["search.py", "--quick", "--table", str(table)])
    search.main()
    first, text = read_table(table), table.with_suffix(".md").read_text()
    assert all(trial.error is None and trial.result["validation"] > 0 for trial in first)
    assert [set(t.result) == {"validation", "test"} for t in first] == [bool(t.settings.get("final")) for t in first]
    assert "`python benchmarks/search.py --quick`" in text and str(tmp_path) not in text
    assert text.endswith(capsys.readouterr().out.rstrip("\n") + "\n")
    table.with_suffix(".md").unlink()
    search.main()
    assert read_table(table) == first and not table.with_suffix(".md").exists()
    settings = first[-1].settings
    assert search.trial(**settings) == first[-1].result  # here as in a process of its own


def test_a_quick_search_does_not_touch_the_record(search, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["search.py", "--quick"])
    with pytest.raises(SystemExit) as stop:
        search.main()
    assert stop.value.code == 2 and "--table of its own" in capsys.readouterr().err


def test_record_is_whole_and_the_summary_is_made_from_it(search, tmp_path):
    """Nothing is left to run: an executor that runs nothing is enough."""
    table = tmp_path / "search.jsonl"
    shutil.copy(search.TABLE, table)
    text = search.summary(search.Plan(), *search.search(search.Plan(), Executor(), table))
    assert table.read_bytes() == search.TABLE.read_bytes()
    assert search.TABLE.with_suffix(".md").read_text().endswith("\n\n" + text)
    assert search.TABLE.stat().st_size < 400_000
