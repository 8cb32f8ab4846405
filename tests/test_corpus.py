"""Clips come from the disk as they would from memory; a training that was stopped ends as one that was not."""

import dataclasses
import shutil
import signal
import threading

import numpy as np
import pytest
import soundfile

import fuzznet
from fuzznet import corpus as corpus_module
from fuzznet import optimizers, storage, training
from fuzznet.arrays import to_numpy
from fuzznet.corpus import Corpus, Stopped, judge, train_corpus

NAMES = fuzznet.Parameters.NAMES
LENGTHS = (1237, 500, 760)  # 12, 5 and 7 clips of 100 samples
HISTORY = 14  # of three layers with three taps
OPTIMIZERS = (optimizers.GradientDescent, optimizers.Momentum, optimizers.Adam)


def write(folder, sounds, ending="wav", subtype="FLOAT"):
    """Pairs of files, one for each pair of sounds."""
    folder.mkdir(exist_ok=True)
    pairs = []
    for number, pair in enumerate(sounds):
        pairs.append([folder / f"{number}_{name}.{ending}" for name in ("clean", "distorted")])
        for path, sound in zip(pairs[-1], pair):
            soundfile.write(path, sound, 44100, subtype=subtype)
    return pairs


@pytest.fixture
def sounds(rng):
    """The second pair begins with silence, of two clips and a half."""
    clean = [0.2 * rng.normal(size=length).astype(np.float32).clip(-4, 4) for length in LENGTHS]
    clean[1][:250] = 0
    return [(x, 0.5 * np.tanh(4 * x)) for x in clean]


@pytest.fixture
def corpus(tmp_path, sounds):
    return Corpus(write(tmp_path / "sounds", sounds), clip_length=100, history=HISTORY)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "checkpoint.npz"


@pytest.fixture
def parameters():
    return fuzznet.initialize(np.random.default_rng(4), layers=3, kernels=2).astype(np.float32)


def numbers(parameters):
    return [getattr(parameters, name) for name in NAMES]


def same(one, other):
    return all(np.array_equal(*pair) for pair in zip(numbers(one), numbers(other)))


def learn(parameters, corpus, path, optimizer=optimizers.Adam, **settings):
    settings = {"epochs": 2, "progress": False, "every_s": 1e9, **settings}
    return train_corpus(parameters, corpus, optimizer=optimizer(0.01), checkpoint=path, **settings)


class Watched:
    """A corpus that calls `act` with the number of each batch, from 1, before it reads it."""

    def __init__(self, corpus, act):
        self.corpus, self.act, self.met = corpus, act, []

    def __getattr__(self, name):
        return getattr(self.corpus, name)

    def batch(self, indices):
        self.met.append(np.array(indices).tolist())
        self.act(len(self.met))
        return self.corpus.batch(indices)


def interrupt_at(step, number=signal.SIGINT):
    return lambda now: signal.raise_signal(number) if now == step else None


# -- the clips ----------------------------------------------------------------------------------------------------------


def clips_by_definition(sound):
    heard = np.concatenate([np.zeros(HISTORY, np.float32), sound])
    return [heard[100 * c : 100 * c + HISTORY + 100] for c in range(len(sound) // 100)]


@pytest.mark.parametrize(("ending", "subtype"), [("wav", "FLOAT"), ("wav", "PCM_16"), ("flac", "PCM_24")])
def test_a_batch_is_what_reading_whole_files_gives(tmp_path, sounds, ending, subtype):
    pairs = write(tmp_path, sounds, ending, subtype)
    corpus = Corpus(pairs, clip_length=100, history=HISTORY)
    assert corpus.clips == 24 and corpus.sample_rate_hz == 44100 and corpus.lengths.tolist() == list(LENGTHS)
    whole = [[soundfile.read(path, dtype="float32")[0] for path in pair] for pair in pairs]
    clips = [np.concatenate([clips_by_definition(pair[side]) for pair in whole]) for side in (0, 1)]
    order = np.random.default_rng(1).permutation(24)
    for batch, expected in zip(corpus.batch(order), clips):
        assert batch.dtype == np.float32 and np.array_equal(batch, expected[order])
    for file, pair in enumerate(whole):
        for blocks, expected in zip(zip(*corpus.blocks(file)), pair):
            assert np.array_equal(np.concatenate(blocks), expected)


def test_a_long_history_and_long_files(tmp_path, rng):
    """A history longer than a clip, and files of several blocks."""
    sound = rng.uniform(-1, 1, 20_000).astype(np.float32)
    corpus = Corpus(write(tmp_path, [(sound, sound[::-1])]), clip_length=1000, history=2500)
    x, y = corpus.batch([0, 1, 19])
    assert np.array_equal(x[1], np.concatenate([np.zeros(1500), sound[:2000]])) and not np.any(x[0, :2500])
    assert np.array_equal(y[2], sound[::-1][16_500:20_000])
    assert [len(x) for x, _ in corpus.blocks(0)] == [8000, 8000, 4000]


def test_levels_are_those_of_all_sound_together(corpus, sounds):
    x, y = (np.concatenate(side).astype(float) for side in zip(*sounds))
    levels = corpus.levels()
    assert levels.x_level == pytest.approx(np.sqrt(np.mean(x**2)), rel=1e-12)
    assert levels.y_level == pytest.approx(np.sqrt(np.mean(y**2)), rel=1e-12)
    x, y = x / levels.x_level, y / levels.y_level
    assert levels.scalar == pytest.approx(np.sum(x * y) / np.sum(x**2), rel=1e-12)


@pytest.mark.parametrize("quietest", [0.1, 0.9])
def test_quiet_clips_are_left_out(tmp_path, path, sounds, parameters, quietest):
    corpus = Corpus(write(tmp_path, sounds), clip_length=100, history=HISTORY, quietest=quietest)
    targets = np.concatenate([np.stack(clips_by_definition(y))[:, HISTORY:] for _, y in sounds])
    level = np.sqrt(np.mean(np.concatenate([y for _, y in sounds]).astype(float) ** 2))
    expected = np.sqrt(np.mean(targets.astype(float) ** 2, axis=1)) >= quietest * level
    assert np.array_equal(corpus.levels().loud, expected)
    assert not np.any(expected[12:14]) and (quietest > 0.5 or np.sum(expected) == 22)
    watched = Watched(corpus, lambda _: None)
    learn(parameters, watched, path, epochs=2, batch_size=5)
    met = [index for batch in watched.met for index in batch]
    loud = np.flatnonzero(expected).tolist()
    first, second = met[: len(loud)], met[len(loud) :]
    assert sorted(first) == sorted(second) == loud and first != second


def test_the_content_is_that_of_the_samples(tmp_path, sounds):
    def content(folder, sounds):
        return Corpus(write(tmp_path / folder, sounds), clip_length=100).levels().content

    first = content("a", sounds)
    assert content("renamed", sounds) == first
    assert content("b", sounds[::-1]) != first
    sounds[2][1][5] += np.float32(1e-6)
    assert content("c", sounds) != first


def test_a_few_samples_more_in_one_file_of_a_pair(tmp_path, sounds):
    x, y = sounds[0]
    corpus = Corpus(write(tmp_path, [(x, y[:-12])]), clip_length=100, history=HISTORY)
    assert corpus.lengths.tolist() == [1225]
    assert sum(len(x) for x, _ in corpus.blocks(0)) == 1225
    with pytest.raises(ValueError, match=r"has 1237 samples, .* has 1224 samples: expected the same, to a hundredth"):
        Corpus(write(tmp_path, [(x, y[:-13])]), clip_length=100)


def test_files_that_can_not_be_used(tmp_path, sounds):
    (good,) = write(tmp_path, sounds[:1])
    (tmp_path / "text.wav").write_text("no sound")
    (tmp_path / "samples.raw").write_bytes(bytes(1000))
    soundfile.write(tmp_path / "stereo.wav", np.zeros((1237, 2)), 44100)
    soundfile.write(tmp_path / "rate.wav", np.zeros(1237), 48000)
    cases = {
        "missing.wav": (FileNotFoundError, "no file; check the path"),
        "": (FileNotFoundError, "a folder, not a file; check the path"),
        "text.wav": (ValueError, "text.wav can't be read as audio"),
        "samples.raw": (ValueError, "samples.raw can't be read as audio"),
        "stereo.wav": (ValueError, "2 channels and 44100 Hz: expected mono and 44100 Hz"),
        "rate.wav": (ValueError, "1 channels and 48000 Hz: expected mono and 44100 Hz, as the first"),
    }
    for name, (kind, message) in cases.items():
        with pytest.raises(kind, match=message):
            Corpus([good, (good[0], tmp_path / name)], clip_length=100)
    with pytest.raises(ValueError, match=r"has 1237 samples: expected .* 1238, one clip, or more"):
        Corpus([good], clip_length=1238)
    with pytest.raises(ValueError, match="no pairs of files"):
        Corpus([])
    for setting in ({"clip_length": 0}, {"history": -1}, {"quietest": 0}, {"quietest": float("nan")}):
        with pytest.raises(ValueError, match="expected at least 1, at least 0, and above 0"):
            Corpus([good], **setting)


def test_indices_out_of_range(corpus):
    for index in (-1, 24):
        with pytest.raises(ValueError, match=f"clip {index}: expected from 0 to 23"):
            corpus.batch([0, index])


@pytest.mark.parametrize("side", [0, 1])
def test_a_file_that_is_cut_after_the_start(corpus, side):
    path = corpus.pairs[2][side]
    soundfile.write(path, np.ones(650), 44100, subtype="FLOAT")
    assert np.all(corpus.batch([17 + 5])[side] == 1)
    for read in (lambda: corpus.batch([17 + 6]), lambda: list(corpus.blocks(2)), corpus.levels):
        with pytest.raises(ValueError, match=rf"{path.name} can't be read as audio \(it ends after 650 samples\)"):
            read()
    soundfile.write(path, np.ones(50), 44100, subtype="FLOAT")
    with pytest.raises(ValueError, match=rf"{path.name} can't be read as audio"):  # where the clip begins there is nothing
        corpus.batch([17 + 6])
    path.unlink()
    with pytest.raises(FileNotFoundError, match=f"{path.name}: no file"):
        corpus.batch([23])


def test_sounds_without_a_level(tmp_path, sounds):
    x, y = sounds[0]
    broken = y.copy()
    broken[1000] = np.nan
    with pytest.raises(ValueError, match=r"1_distorted.wav holds NaN or infinite samples"):
        Corpus(write(tmp_path, [(x, y), (x, broken)]), clip_length=100).levels()
    for pair in ((x, 0 * y), (0 * x, y)):
        with pytest.raises(ValueError, match="all clean or all distorted files are silent"):
            Corpus(write(tmp_path, [pair, pair]), clip_length=100).levels()


# -- training -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("batch_size", [1, 5])
@pytest.mark.parametrize("final_learning_rate", [None, 0.001])
def test_an_epoch_is_that_of_train(corpus, path, parameters, optimizer, batch_size, final_learning_rate):
    settings = {"epochs": 1, "batch_size": batch_size, "final_learning_rate": final_learning_rate}
    found = learn(parameters, corpus, path, optimizer, seed=7, **settings)
    levels = corpus.levels()
    x, y = corpus.batch(np.flatnonzero(levels.loud))
    expected = training.train(
        parameters, x / levels.x_level, y / levels.y_level, optimizer=optimizer(0.01), rng=np.random.default_rng([7, 0]),
        warm_up=HISTORY, progress=False, **settings,
    )  # fmt: skip
    assert same(found.parameters, expected.parameters)
    clips = [batch_size] * (22 // batch_size) + [22 % batch_size]
    assert found.losses == pytest.approx([np.dot(clips[: len(expected.losses)], expected.losses) / 22], rel=1e-6)


def test_it_learns(corpus, path, parameters):
    losses = learn(parameters, corpus, path, epochs=30).losses
    assert len(losses) == 30 and losses[-1] < 0.5 * losses[1] < 0.5 * losses[0]


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("stops", [[1], [8], [9], [10], [16], [2, 3, 11, 4]])  # of eight steps an epoch
def test_a_stopped_training_ends_with_the_same_numbers(corpus, tmp_path, path, parameters, optimizer, stops):
    settings = {"optimizer": optimizer, "batch_size": 3, "final_learning_rate": 0.002, "seed": 3}
    expected = learn(parameters, corpus, tmp_path / "undisturbed.npz", **settings)
    done = 0
    for stop in stops:
        if done + stop > 16:
            break
        done += stop
        with pytest.raises(Stopped, match=f"stopped after step {done} of 16; .*holds everything: run the same again") as caught:
            learn(parameters, Watched(corpus, interrupt_at(stop)), path, **settings)
        assert caught.value.status == 130
        assert storage.load_checkpoint(path).about["steps"] == done
    found = learn(parameters, corpus, path, **settings)
    assert same(found.parameters, expected.parameters) and found.losses == expected.losses
    assert path.read_bytes() == (tmp_path / "undisturbed.npz").read_bytes()


def test_an_optimizer_that_forgets_is_noticed(monkeypatch, corpus, tmp_path, path, parameters):
    """A wrong twin: a checkpoint without Adam's memory. The test above has to tell it from the right one."""

    def forget(path):
        return load(path)._replace(optimizer=optimizers.Adam(0.01))

    load = storage.load_checkpoint
    expected = learn(parameters, corpus, tmp_path / "undisturbed.npz")
    with pytest.raises(Stopped):
        learn(parameters, Watched(corpus, interrupt_at(5)), path)
    monkeypatch.setattr(corpus_module, "load_checkpoint", forget)
    assert not same(learn(parameters, corpus, path).parameters, expected.parameters)


@pytest.mark.parametrize(("every_s", "kept"), [(0, 6), (1e9, 0)])
def test_a_crash_loses_what_came_after_the_last_checkpoint(corpus, tmp_path, path, parameters, every_s, kept):
    def crash(now):
        if now == 7:
            raise MemoryError("in the seventh step")

    expected = learn(parameters, corpus, tmp_path / "undisturbed.npz")
    with pytest.raises(MemoryError):
        learn(parameters, Watched(corpus, crash), path, every_s=every_s)
    assert storage.load_checkpoint(path).about["steps"] == kept
    watched = Watched(corpus, lambda _: None)
    assert same(learn(parameters, watched, path).parameters, expected.parameters) and len(watched.met) == 44 - kept


def test_sigterm_and_a_second_signal(corpus, path, parameters):
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with pytest.raises(Stopped) as caught:
        learn(parameters, Watched(corpus, interrupt_at(4, signal.SIGTERM)), path)
    assert caught.value.status == 143 and storage.load_checkpoint(path).about["steps"] == 4

    def impatient(_):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt) as caught:
        learn(parameters, Watched(corpus, impatient), path)
    assert type(caught.value) is KeyboardInterrupt and storage.load_checkpoint(path).about["steps"] == 4
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_in_another_thread(corpus, tmp_path, path, parameters):
    """Signals are for the main thread alone; elsewhere training works without them."""
    found = []
    thread = threading.Thread(target=lambda: found.append(learn(parameters, corpus, path)))
    thread.start()
    thread.join()
    assert same(found[0].parameters, learn(parameters, corpus, tmp_path / "here.npz").parameters)


def test_the_optimizer_that_is_given_stays_new(corpus, path, parameters):
    optimizer = optimizers.Adam(0.01)
    for _ in range(2):  # the second call finds the finished checkpoint, with the same settings
        train_corpus(parameters, corpus, optimizer=optimizer, checkpoint=path, final_learning_rate=0.001, progress=False)
    assert vars(optimizer) == vars(optimizers.Adam(0.01))


def test_more_epochs_for_a_finished_training(corpus, tmp_path, path, parameters):
    expected = learn(parameters, corpus, tmp_path / "four.npz", epochs=4)
    learn(parameters, corpus, path, epochs=1)
    found = learn(parameters, corpus, path, epochs=4)
    assert same(found.parameters, expected.parameters) and found.losses == expected.losses
    watched = Watched(corpus, lambda _: None)
    again = learn(parameters, watched, path, epochs=4)
    assert same(again.parameters, expected.parameters) and again.losses == expected.losses and not watched.met


def test_a_checkpoint_is_a_network_too(corpus, path, parameters):
    found = learn(parameters, corpus, path)
    kept, about = storage.load(path)
    assert same(kept, found.parameters)
    levels = corpus.levels()
    expected = {"sample_rate_hz": 44100, "x_level": levels.x_level, "y_level": levels.y_level}
    assert {name: about[name] for name in expected} == expected


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 1}, "seed was 0, is 1"),
        ({"batch_size": 2}, "batch_size was 1, is 2"),
        ({"final_learning_rate": 0.001}, "epochs was None, is 1, final_learning_rate was None, is 0.001"),
        ({"optimizer": optimizers.Momentum}, "optimizer was Adam, is Momentum"),
        ({"optimizer": lambda _: optimizers.Adam(0.02)}, "learning_rate was 0.01, is 0.02"),
        ({"optimizer": lambda _: optimizers.Adam(0.01, beta2=0.99)}, "beta2 was 0.999, is 0.99"),
        ({"history": 15}, "history was 14, is 15"),
        ({"clip_length": 50}, "clip_length was 100, is 50"),
        ({"quietest": 0.2}, "quietest was 0.1, is 0.2"),
    ],
)
def test_a_checkpoint_of_other_settings(corpus, path, parameters, change, message):
    settings = {"clip_length": 100, "history": HISTORY, "quietest": 0.1}
    learn(parameters, corpus, path, epochs=1)
    before = path.read_bytes()
    other = Corpus(corpus.pairs, **{name: change.pop(name, value) for name, value in settings.items()})
    with pytest.raises(ValueError, match=rf"{message}.*\): go on with what it was begun with, or name another") as caught:
        learn(parameters, other, path, **{"epochs": 1, **change})
    assert path.read_bytes() == before and "other sounds" not in str(caught.value)


def test_a_checkpoint_of_other_values_or_sounds(tmp_path, corpus, sounds, path, parameters):
    learn(parameters, corpus, path, epochs=1)
    other = fuzznet.initialize(np.random.default_rng(5), layers=3, kernels=2).astype(np.float32)
    for start in (other, dataclasses.replace(parameters, dilations=(1, 2, 3))):
        with pytest.raises(ValueError, match=r"is of another training \(other initial parameters\)"):
            learn(start, corpus, path, epochs=1)
    moved = Corpus(write(tmp_path / "moved", sounds), clip_length=100, history=HISTORY)
    learn(parameters, moved, path, epochs=1)  # the same samples in another folder
    sounds[1][0][300] *= 0.5
    changed = Corpus(write(tmp_path / "changed", sounds), clip_length=100, history=HISTORY)
    with pytest.raises(ValueError, match=r"is of another training \(other sounds\)"):
        learn(parameters, changed, path, epochs=1)
    storage.save_checkpoint(path, parameters, optimizers.Adam())  # which knows nothing of a corpus
    with pytest.raises(ValueError, match="is of another training"):
        learn(parameters, corpus, path, epochs=1)
    storage.save(path, parameters)
    with pytest.raises(ValueError, match="holds a network and no optimizer"):
        learn(parameters, corpus, path, epochs=1)


def test_a_checkpoint_that_can_not_be_written(corpus, tmp_path, path, parameters):
    watched = Watched(corpus, lambda _: None)
    with pytest.raises(OSError, match=r"checkpoint.npz can't be written \(No such file.*: nothing was trained yet; make"):
        learn(parameters, watched, tmp_path / "missing" / "checkpoint.npz")
    assert not watched.met  # it fails before the first step
    expected = learn(parameters, corpus, path)
    folder, away = tmp_path / "folder", tmp_path / "away"
    folder.mkdir()
    watched = Watched(corpus, lambda now: shutil.move(folder, away) if now == 6 else None)
    with pytest.raises(OSError, match="the checkpoint of step 5 is whole; make room and run the same again"):
        learn(parameters, watched, folder / "checkpoint.npz", every_s=0)
    assert storage.load_checkpoint(away / "checkpoint.npz").about["steps"] == 5
    assert same(learn(parameters, corpus, away / "checkpoint.npz").parameters, expected.parameters)


@pytest.mark.filterwarnings("ignore:(overflow|invalid value):RuntimeWarning")
@pytest.mark.parametrize(("every_s", "message"), [(0, "parameters hold NaN"), (1e9, "the loss became infinite or NaN")])
def test_divergence(corpus, path, parameters, every_s, message):
    with pytest.raises(training.DivergenceError, match=f"{message}.* use a smaller learning_rate.* is whole") as caught:
        learn(parameters, corpus, path, lambda _: optimizers.GradientDescent(1e300), every_s=every_s)
    assert same(caught.value.training.parameters, storage.load(path).parameters)


def test_settings_out_of_range(corpus, path, parameters):
    nan = parameters.map(lambda array: array * np.nan)
    for_time = fuzznet.initialize(np.random.default_rng(4), layers=3, bias="time", clip_length=114)
    cases = {
        "epochs=0, batch_size=1, every_s=1": (parameters, corpus, {"epochs": 0, "every_s": 1}),
        "batch_size=0": (parameters, corpus, {"batch_size": 0}),
        "every_s=-1": (parameters, corpus, {"every_s": -1}),
        "every_s=nan": (parameters, corpus, {"every_s": float("nan")}),
        "final_learning_rate=0": (parameters, corpus, {"final_learning_rate": 0}),
        "keep only finite numbers": (parameters, corpus, {"seed": np.array(1)}),
        "history=13 of the corpus: expected 14 or more": (parameters, Corpus(corpus.pairs, 100, 13), {}),
        "lower quietest": (parameters, Corpus(corpus.pairs, 100, HISTORY, quietest=9), {}),
        "NaN or infinity": (nan, corpus, {}),
    }
    for message, (start, files, settings) in cases.items():
        with pytest.raises(ValueError, match=message):
            learn(start, files, path, **settings)
        assert not path.exists()
    with pytest.raises(ValueError, match="bias over time"):
        learn(for_time, corpus, path)


def test_another_array_library(corpus, tmp_path, path, parameters, xp):
    """Parameters of any library: the clips follow them, also after a stop."""
    expected = learn(parameters, corpus, tmp_path / "numpy.npz")
    own = parameters.map(lambda array: xp.asarray(array, copy=True))
    with pytest.raises(Stopped):
        learn(own, Watched(corpus, interrupt_at(9)), path)
    found = learn(own, corpus, path)
    assert type(found.parameters.kernels) is type(own.kernels)
    for pair in zip(numbers(found.parameters), numbers(expected.parameters)):
        np.testing.assert_allclose(*map(to_numpy, pair), rtol=1e-3, atol=1e-5)


def test_progress_bar(corpus, path, parameters, capsys, monkeypatch):
    monkeypatch.delenv("TQDM_DISABLE", raising=False)
    learn(parameters, corpus, path, progress=True)
    judge(parameters, corpus, corpus.levels(), progress=True)
    shown = capsys.readouterr().err
    assert "levels" in shown and "epoch 2 of 2" in shown and "clip/s, esr=" in shown and "44/44" in shown and "judging" in shown


# -- judging ------------------------------------------------------------------------------------------------------------


def test_files_are_judged_from_end_to_end(tmp_path, rng, sounds, parameters):
    long = 0.1 * rng.normal(size=20_000).astype(np.float32)
    sounds = [*sounds, (long, np.tanh(long))]
    corpus = Corpus(write(tmp_path, sounds), clip_length=100, history=HISTORY)
    levels = corpus.levels()
    for start, output in ((parameters, lambda x: fuzznet.forward(parameters, x)[0]), (None, lambda x: levels.scalar * x)):
        expected = [fuzznet.esr(output=output(x / levels.x_level), target=y / levels.y_level) for x, y in sounds]
        np.testing.assert_allclose(judge(start, corpus, levels), expected, rtol=1e-4)


def test_a_silent_file_is_not_judged(corpus, tmp_path, sounds, parameters):
    silent = Corpus(write(tmp_path / "silent", [sounds[0], (sounds[1][0], 0 * sounds[1][1])]), clip_length=100)
    with pytest.raises(ValueError, match=r"1_distorted.wav is silent, so its error-to-signal ratio is undefined: leave it out"):
        judge(parameters, silent, corpus.levels())
