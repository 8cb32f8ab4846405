"""Commands: python -m fuzznet pedal, play, fetch, pairs, note or train, each with --help (chapters 17 and 19)."""

import argparse
import sys
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from fuzznet import corpus, datasets, display, experiments, recordings, storage
from fuzznet.convolution import receptive_field
from fuzznet.gradients import backpropagate
from fuzznet.network import initialize
from fuzznet.optimizers import Adam
from fuzznet.streaming import render

# -- pedal: a recording of one's own ------------------------------------------------------------------------------------

PUBLISHED = """published, without pre-emphasis; other units, settings and playing, so no ranking; 0.04 above is 4 %:
  Boss DS-1                2.1 to 3.2 %    Damskägg et al. 2019
  Ibanez Tube Screamer     0.04 to 0.07 %  Damskägg et al. 2019
  Big Muff                 6.9 to 9.9 %    Damskägg et al. 2019
  Mesa Boogie 5:50         0.29 to 0.64 %  Wright et al. 2020
  Blackstar HT-5 Metal     0.32 to 2.8 %   Wright et al. 2020"""


def _channel(text):
    if text != "mean" and not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r}: expected a number from 0, or mean")
    return text if text == "mean" else int(text)


def _size(text):
    numbers = text.split("x")
    if len(numbers) != 3 or not all(map(str.isdecimal, numbers)):
        raise argparse.ArgumentTypeError(f"{text!r}: expected layers x kernels x taps, such as 8x10x3")
    return dict(zip(("layers", "kernels", "kernel_size"), map(int, numbers)))


def _add_pedal(commands):
    text = "Learn a pedal from a clean and a distorted recording of the same playing, and judge it on an end it never met."
    parser = commands.add_parser("pedal", help="learn a pedal from two recordings", description=text)
    parser.set_defaults(run=_pedal)
    parser.add_argument("clean", metavar="CLEAN", help="any sound file: WAV, FLAC, Ogg, MP3 and others")
    parser.add_argument("distorted", metavar="DISTORTED", help="the same playing through the pedal, as long as CLEAN")
    parser.add_argument("--sample-rate", type=int, metavar="HZ", help="resample both to this rate")
    parser.add_argument("--channel", type=_channel, metavar="N", help="of files with several: from 0, or mean")
    parser.add_argument("--align", action="store_true", help="first move the distorted sound to where it is 3 samples late")
    parser.add_argument("--seconds", type=float, default=180.0, help="how long to train, each size (default: 180)")
    parser.add_argument("--seed", type=int, default=0, help="of the initial values and the order of the clips (default: 0)")
    size = {"metavar": "LxNxK", "type": _size, "nargs": "+", "default": [_size("8x10x3")]}
    parser.add_argument("--sizes", **size, help="layers x kernels x taps (default: 8x10x3, the report's); several give a table")
    parser.add_argument("--save", metavar="FILE.npz", help="keep the network, for the command play")
    parser.add_argument("--picture", metavar="FILE.png", help="draw where it fails")


def _pedal(given):
    wanted = [(path, ending) for path, ending in ((given.save, ".npz"), (given.picture, ".png")) if path]
    for path, ending in wanted:  # now, not after minutes of training
        fits = Path(path).suffix.lower() == ending and not Path(path).is_dir()  # so no sound is written over
        if len(given.sizes) > 1 or not fits or not Path(path).absolute().parent.is_dir():
            needed = f"it takes one size, a name that ends in {ending}, and a folder that is there"
            raise ValueError(f"{path} can't be written: {needed}")
    pair = recordings.load_pair(given.clean, given.distorted, given.sample_rate, given.channel)
    print(recordings.examine(pair))
    pair = recordings.align(pair) if given.align else pair
    if len(given.sizes) > 1:
        _print_heads(given.seconds)
    for size in given.sizes:
        found = experiments.pedal(pair, seed=given.seed, max_seconds=given.seconds, **size)
        if len(given.sizes) == 1:
            _print_pedal(found)
        else:
            _print_size(size, found)
    if len(given.sizes) > 1:
        print(f"doing nothing, the clean sound at its best level: {found.esr_input:.4f}\n{PUBLISHED}")
    if given.save:
        storage.save(given.save, found.parameters, **found.facts)
    if given.picture:
        display.use_style()
        Path(given.picture).write_bytes(display.segments(found).png)
    for path, _ in wanted:
        print(f"written: {path}")


def _print_pedal(found):
    (edges_s, esr, share), tested_s = found.segments, len(found.target) / found.sample_rate_hz
    print(f"{found.parameters.size} parameters, {len(found.losses)} steps; the last {tested_s:.1f} s were kept unheard")
    print(f"ESR of the network: {found.esr_output:.4f}")
    print(f"ESR of doing nothing, the clean sound at its best level: {found.esr_input:.4f}")
    print(f"where it fails: of {len(esr)} segments, those with most of the error")
    for k in np.argsort(-share)[:3]:
        print(f"  {edges_s[k]:.2f} to {edges_s[k + 1]:.2f} s: ESR {esr[k]:.3f}, {share[k]:.0%} of the whole error")


def _print_heads(seconds):
    print(f"{seconds:g} s of training each")
    print("layers x kernels x taps   parameters   multiplications    memory     steps   ESR, unseen")
    print("                                              a sample   samples")


def _print_size(size, found):
    layers, kernels, taps = size.values()
    products = kernels * (layers * (taps + 2) - 1)  # of each layer: its kernels, the output and, but for one, the mixing
    memory = receptive_field(taps, found.parameters.dilations)
    print(f"{f'{layers} x {kernels} x {taps}':23s}   {found.parameters.size:10d}   {products:15d}   ", end="")
    print(f"{memory:7d}   {len(found.losses):7d}   {found.esr_output:.4f}", flush=True)


def _add_play(commands):
    text = "Play a sound through a network that pedal --save or train kept, block by block."
    parser = commands.add_parser("play", help="play a sound through a learned network", description=text)
    parser.set_defaults(run=_play)
    parser.add_argument("network", metavar="NETWORK", help="a file that pedal --save or train wrote")
    parser.add_argument("input", metavar="IN", help="a clean sound")
    parser.add_argument("output", metavar="OUT", help="what to write: .wav, of 32 bit floats, or .flac, of 24 bit")
    parser.add_argument("--resample", action="store_true", help="bring IN to the sample rate of the network, if it differs")
    parser.add_argument("--channel", type=_channel, metavar="N", help="of a file with several: from 0, or mean")


def _play(given):
    recordings._check_name(given.output)  # now, not after the playing
    parameters, about = storage.load(given.network)
    facts = [about.get(name) for name in ("sample_rate_hz", "x_level", "y_level")]
    if not all(isinstance(fact, int | float) and fact > 0 for fact in facts):
        lacked = "lacks sample_rate_hz, x_level or y_level"
        raise ValueError(f"{given.network} {lacked}: expected a file that pedal --save or train wrote")
    if Path(given.output).exists() and Path(given.input).exists() and Path(given.output).samefile(given.input):
        raise ValueError(f"{given.output} is the sound to be played: choose another name for what comes out")
    own_rate_hz, x_level, y_level = facts
    x, sample_rate_hz = recordings.load_sound(given.input, own_rate_hz if given.resample else None, given.channel)
    if sample_rate_hz != own_rate_hz:
        raise ValueError(
            f"{given.input} has {sample_rate_hz} Hz, and the network learned at {own_rate_hz} Hz: add --resample, since it "
            "counts samples, not seconds"
        )
    y = y_level * render(parameters, (x / x_level).astype(np.float32), progress=True)
    recordings.save_sound(given.output, y, sample_rate_hz)
    peak = np.max(np.abs(y))
    over = "; above 1 a player clips it: turn it down" if peak > 1 else ""
    print(f"{given.output}: {len(y) / sample_rate_hz:.1f} s at {sample_rate_hz} Hz, peak {peak:.3f}{over}")


# -- fetch, pairs, note: data sets --------------------------------------------------------------------------------------


def _add_fetch(commands):
    text = "Download a data set of clean and distorted notes, and unpack it. Stopped, the same command goes on where it was."
    parser = commands.add_parser("fetch", help="download a data set", description=text)
    parser.set_defaults(run=_fetch)
    parser.add_argument("name", metavar="NAME", help=" or ".join(datasets.DATASETS))
    parser.add_argument("folder", metavar="FOLDER", help="where to")
    parser.add_argument("--accept-licence", action="store_true", help="you read the licence, which is shown without this")
    parser.add_argument("--files", nargs="+", metavar="FILE", help="some of the set's archives only")


def _fetch(given):
    try:
        datasets.fetch(given.name, given.folder, given.files, given.accept_licence)
    except KeyboardInterrupt:
        print("stopped; what came is kept, and the same command goes on from there", file=sys.stderr)
        return 130
    print(f"in {given.folder}; archives there may be deleted; next: python -m fuzznet pairs {given.folder}")


def _choose_effect(parser):
    text = "distortion or overdrive in idmt, BluesDriver, TubeScreamer or RAT in egfxset (default: distortion)"
    parser.add_argument("--effect", default="distortion", help=text)
    parser.add_argument("--setting", type=int, metavar="N", help="of the effect: 1 to 3 in idmt")


def _add_pairs(commands):
    text = "List which distorted sound was made of which clean one, by the names in FOLDER, and what lacks a partner."
    parser = commands.add_parser("pairs", help="list what belongs together in a data set", description=text)
    parser.set_defaults(run=_pairs)
    parser.add_argument("folder", metavar="FOLDER", help="a data set, or a part of it")
    _choose_effect(parser)


def _pairs(given):
    found = datasets.pairs(given.folder, given.effect, given.setting)
    takes = {take.path: take for take in datasets.catalogue(given.folder)}
    print("note  string  fret  setting  clean and distorted")
    for clean, distorted in found.pairs:
        take, files = takes[distorted], [path.relative_to(given.folder) for path in (clean, distorted)]
        note = "C C#D D#E F F#G G#A A#B "[2 * (take.midi % 12) :][:2].strip() + str(take.midi // 12 - 1)
        string, fret = ("", "") if take.string is None else (take.string, take.fret)
        print(f"{note:4}  {string:6}  {fret:4}  {take.setting or '':7}  {files[0]}\n{'':27}  {files[1]}")
    for paths, what in (found.lonely, "lacks its partner"), (found.twice, "is left out, since another file has the same name"):
        print(*(f"{path.relative_to(given.folder)} {what}" for path in paths), sep="\n", end="\n" if paths else "")
    print(f"{len(found.pairs)} pairs, {len(found.lonely)} files without a partner, {len(found.twice)} left out")


def _add_note(commands):
    text = "The report's experiment on one note: learn 50 clips of it, and judge the network on 15 others."
    parser = commands.add_parser("note", help="the report's experiment on one pair", description=text)
    parser.set_defaults(run=_note)
    parser.add_argument("clean", metavar="CLEAN", help="a clean note")
    parser.add_argument("distorted", metavar="DISTORTED", nargs="?", help="its twin; found by name unless given")
    _choose_effect(parser)
    parser.add_argument("--seed", type=int, default=0, help="of the choice of clips and the initial values (default: 0)")
    text = "in place of the report's settings: a bias per kernel, the exact gradient, and Adam at 0.02 for 50 epochs"
    parser.add_argument("--better", action="store_true", help=text)


BETTER = {
    "bias": "kernel", "gradient": backpropagate, "frozen": (), "optimizer": Adam, "learning_rate": 0.02, "epochs": 50,
}


def _note(given):
    distorted = given.distorted or datasets.partner(given.clean, given.effect, given.setting)
    pair = recordings.load_pair(given.clean, distorted)
    heard = len(recordings.remove_silence(pair.clean, pair.distorted)[0])
    found = experiments.single_note(pair, given.seed, **(BETTER if given.better else {}), progress=True)
    print(f"clean:     {given.clean}\ndistorted: {distorted}")
    onset_s, learned, tested = (len(pair.clean) - heard) / pair.sample_rate_hz, len(found.clips.x), len(found.clips.x_test)
    print(f"begins at {onset_s:.3f} s; {heard // 1000} clips of 1000 samples follow: {learned} learned, {tested} others judged")
    print(f"ESR, mean and standard deviation over the {tested} clips")
    for name, errors in ("input", found.esr_input), ("raw output", found.esr_output), ("processed output", found.esr_processed):
        print(f"{name:16}  {np.mean(errors):.3f} ± {np.std(errors):.3f}")


# -- train: whole folders -----------------------------------------------------------------------------------------------


def _add_train(commands):
    text = "Learn from all pairs of a folder but some notes, and judge the network on those. Stopped, the same command goes on."
    parser = commands.add_parser("train", help="learn from a whole data set", description=text)
    parser.set_defaults(run=_train)
    parser.add_argument("folder", metavar="FOLDER", help="a data set, or a part of it")
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help="a file that holds all that was learned so far, also for play")
    _choose_effect(parser)
    instruments = {"choices": ("guitar", "bass", "chords"), "default": "guitar"}
    parser.add_argument("--instrument", **instruments, help="of IDMT-SMT-Audio-Effects (default: guitar)")
    text = "how many notes are never learned from: a number, or a share below 1 (default: 0.1)"
    parser.add_argument("--hold-out", type=float, default=0.1, metavar="N", help=text)
    parser.add_argument("--epochs", type=int, default=5, help="how often each clip is met (default: 5); fixed once begun")
    parser.add_argument("--every", type=float, default=60.0, metavar="S", help="seconds between checkpoints (default: 60)")
    for name, default, what in ("layers", 8, "of the network"), ("kernels", 10, "a layer"), ("taps", 3, "a kernel"):
        parser.add_argument(f"--{name}", type=int, default=default, help=f"{what} (default: {default})")
    text = "of Adam at the beginning; it falls to a twentieth (default: 0.01)"
    parser.add_argument("--learning-rate", type=float, default=0.01, help=text)
    text = "of the notes held out, the initial values and the order of the clips (default: 0)"
    parser.add_argument("--seed", type=int, default=0, help=text)


def _hold_out(pairs, midi, wanted, seed):
    """Split pairs by note, so that no note is in both. midi: number of the note of each pair. Returns: learned, kept."""
    notes = sorted(set(midi))
    count = max(1, round(wanted * len(notes))) if wanted < 1 else round(wanted)
    if not (wanted > 0 and count < len(notes)):
        raise ValueError(f"--hold-out {wanted:g} of {len(notes)} notes: expected 1 or more, and one or more to learn from")
    kept = set(np.random.default_rng(seed).permutation(notes)[:count].tolist())
    print(f"{len(notes) - count} notes are learned, {count} kept unheard (MIDI {', '.join(map(str, sorted(kept)))})")
    return tuple([pair for pair, note in zip(pairs, midi) if (note in kept) == side] for side in (False, True))


def _train(given):
    found, takes = datasets.pairs(given.folder, given.effect, given.setting), datasets.catalogue(given.folder)
    takes = {take.path: take for take in takes}
    pairs = [pair for pair in found.pairs if takes[pair[0]].instrument == given.instrument]
    settings = sorted({takes[distorted].setting for _, distorted in pairs})
    if len(settings) != 1:
        none = f"no pairs of {given.instrument}: choose --instrument"
        what = f"settings {settings} of the effect, each a pedal of its own: choose --setting" if settings else none
        raise ValueError(f"{given.folder} holds {what}; see python -m fuzznet pairs")
    print(f"{len(pairs)} pairs, {len(found.lonely)} files without a partner")
    sides = _hold_out(pairs, [takes[clean].midi for clean, _ in pairs], given.hold_out, given.seed)
    start = initialize(np.random.default_rng(given.seed), given.layers, given.kernels, given.taps).astype(np.float32)
    learned, kept = (corpus.Corpus(side, history=receptive_field(given.taps, start.dilations) - 1) for side in sides)
    if learned.sample_rate_hz != kept.sample_rate_hz:
        rates_hz = f"{learned.sample_rate_hz} Hz in the notes learned, {kept.sample_rate_hz} Hz in those kept unheard"
        raise ValueError(f"{given.folder} holds sounds of {rates_hz}: convert them to one")
    try:
        training = corpus.train_corpus(
            start, learned, optimizer=Adam(given.learning_rate), checkpoint=given.checkpoint, seed=given.seed,
            epochs=given.epochs, every_s=given.every, final_learning_rate=given.learning_rate / 20,
        )  # fmt: skip
        judged = [corpus.judge(network, kept, training.levels, progress=True) for network in (training.parameters, None)]
    except KeyboardInterrupt as stop:
        state = f"{given.checkpoint} is whole" if Path(given.checkpoint).exists() else "nothing was trained yet"
        print(str(stop) or f"stopped; {state}: run the same again to go on", file=sys.stderr)
        return getattr(stop, "status", 130)
    print(f"{np.sum(training.levels.loud)} of {learned.clips} clips are loud enough; their mean ESR, epoch by epoch:")
    print(*(f"{loss:.4f}" for loss in training.losses))
    for name, errors in zip(("network", "doing nothing"), judged):
        print(f"ESR of the {len(errors)} unheard files, {name}: median {np.median(errors):.4f}, worst {np.max(errors):.4f}")
    print(f"written: {given.checkpoint}")


def main(arguments=None):
    """Run one command, from a list of words or from the command line. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m fuzznet", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    # each adds one command: add(commands), with set_defaults(run=...)
    for add in (_add_pedal, _add_play, _add_fetch, _add_pairs, _add_note, _add_train):
        add(commands)
    given = parser.parse_args(arguments)
    try:
        with threadpool_limits(1):  # matrices this small are multiplied fastest by one core
            return given.run(given) or 0
    except (ArithmeticError, MemoryError, OSError, ValueError) as error:
        print(f"python -m fuzznet: {str(error) or type(error).__name__}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("python -m fuzznet: stopped", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
