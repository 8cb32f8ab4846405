"""Learn a real pedal from a recording, and judge the network on the end of it, which it never met.

    python benchmarks/pedal.py CLEAN DISTORTED

CLEAN and DISTORTED are mono sound files (WAV, FLAC and others) of the same playing, without and with the pedal, and of
the same length. One core is used. The report's network, 470 parameters, learns from the first 80 % and is judged on
the last 20 %.
"""

import argparse
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before NumPy is loaded: one core, as the result says
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from fuzznet.experiments import pedal
from fuzznet.recordings import load_pair
from fuzznet.training import DivergenceError


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clean", metavar="CLEAN")
    parser.add_argument("distorted", metavar="DISTORTED")
    parser.add_argument("--seconds", type=float, default=100, help="how long to train (default: 100)")
    parser.add_argument(
        "--seed", type=int, default=0, help="of the initial values and the order of the clips (default: 0)"
    )
    arguments = parser.parse_args()
    try:
        pair = load_pair(arguments.clean, arguments.distorted)
        found = pedal(pair, seed=arguments.seed, max_seconds=arguments.seconds)
    except (FileNotFoundError, ValueError, DivergenceError) as error:
        parser.error(str(error))
    tested_s = len(found.target) / pair.sample_rate_hz
    print(f"{found.parameters.size} parameters, {len(found.losses)} steps in {arguments.seconds:g} s of training")
    print(
        f"ESR on the last {tested_s:.1f} s, unseen: {found.esr_output:.4f} (clean sound, best scalar: {found.esr_input:.4f})"
    )


if __name__ == "__main__":
    main()
