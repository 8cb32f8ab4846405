"""Mutation testing: change the package in hundreds of small ways, and see whether the tests notice.

    python tools/mutants.py            what `make mutants` runs; about ten minutes
    python tools/mutants.py --again    only the report of the last run

mutmut makes the mutants and runs the tests that reach them; its settings stand in pyproject.toml, its work in mutants/.
Each mutant that no test rejects has to be explained in tests/survivors.toml. Exits with 1 where one is not, and where
fewer than 90 % are rejected.
"""

import argparse
import collections
import json
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
NEEDED = 0.9


def mutmut(*arguments, **settings):
    return subprocess.run([sys.executable, "-m", "mutmut", *arguments], cwd=ROOT, check=True, text=True, **settings)


def results():
    """mutant: exit code of its tests, 0 where all passed."""
    found = {}
    for path in sorted((ROOT / "mutants/src/fuzznet").glob("*.meta")):
        found |= json.loads(path.read_text())["exit_code_by_key"]
    return found


def change(mutant):
    """Where a mutant is, and the lines that it takes away and puts in, without indentation."""
    shown = mutmut("show", mutant, capture_output=True).stdout.splitlines()
    lines = [f"{line[0]} {line[1:].strip()}" for line in shown if line[:1] in ("-", "+") and line[:3] not in ("---", "+++")]
    name = mutant.removeprefix("fuzznet.").split("__mutmut_")[0].replace("x_", "", 1).replace("xǁ", "").replace("ǁ", ".")
    return name, "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--again", action="store_true", help="do not run, report on the last run")
    if not parser.parse_args().again:
        shutil.rmtree(ROOT / "mutants", ignore_errors=True)
        mutmut("run")

    codes = results()
    unknown = [mutant for mutant, code in codes.items() if code is None]
    if unknown or not codes:
        sys.exit(f"{len(unknown)} of {len(codes)} mutants were not tried: run again without --again")
    survivors = [mutant for mutant, code in codes.items() if code == 0]
    explained = {
        (entry["where"], entry["change"].strip()): entry["why"]
        for entry in tomllib.loads((ROOT / "tests/survivors.toml").read_text())["survivor"]
    }
    print(f"\n{'module':16s} mutants  rejected")
    modules = collections.Counter(mutant.split(".")[1] for mutant in codes)
    alive = collections.Counter(mutant.split(".")[1] for mutant in survivors)
    for module, count in modules.items():
        print(f"{module:16s} {count:7d}  {count - alive[module]:5d}  {1 - alive[module] / count:.1%}")
    score = 1 - len(survivors) / len(codes)
    print(f"{'all':16s} {len(codes):7d}  {len(codes) - len(survivors):5d}  {score:.1%}\n")
    met = set()
    for mutant in survivors:
        key = change(mutant)
        met.add(key)
        print(f"{key[0]}\n{key[1]}\n  survives: {explained.get(key, 'NOT EXPLAINED in tests/survivors.toml')}\n")
    for where, gone in sorted(set(explained) - met):
        print(f"explained, and yet no survivor: {where}\n{gone}\n")
    return 0 if score >= NEEDED and met == set(explained) else 1


if __name__ == "__main__":
    sys.exit(main())
