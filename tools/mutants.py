"""Mutation testing: change the package in hundreds of small ways, and see whether the tests notice.

    python tools/mutants.py            what `make mutants` runs; some minutes
    python tools/mutants.py --again    only the report of the last run

mutmut makes the mutants and runs the tests that reach them; its settings stand in pyproject.toml, its work in mutants/.
The score is kept in benchmarks/results/mutants.txt, which the book shows.
Each mutant that no test rejects has to be explained in tests/survivors.toml. Exits with 1 where one is not, and where
fewer than 90 % are rejected.
"""

import argparse
import collections
import datetime
import json
import shutil
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).parents[1]
RECORD = ROOT / "benchmarks/results/mutants.txt"
NEEDED = 0.9
REJECTED = {1, 3, 24, 36, 152, 255, -24}  # mutmut's exit codes where a test failed or a mutant never ended


def mutmut(*arguments, **settings):
    return subprocess.run([sys.executable, "-m", "mutmut", *arguments], cwd=ROOT, check=True, text=True, **settings)


def results():
    """mutant: exit code of its tests, 0 where all passed, 33 where there are none."""
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
    survivors = [mutant for mutant, code in codes.items() if code not in REJECTED]
    explained = {
        (entry["where"], entry["change"].strip()): entry["why"]
        for entry in tomllib.loads((ROOT / "tests/survivors.toml").read_text())["survivor"]
    }
    tried = collections.Counter(mutant.split(".")[1] for mutant in codes)
    alive = collections.Counter(mutant.split(".")[1] for mutant in survivors)
    rows = [(module, count, count - alive[module]) for module, count in tried.items()]
    rows.append(("all", len(codes), len(codes) - len(survivors)))
    record = [f"{datetime.date.today()}, mutmut {metadata.version('mutmut')}", "", "module         mutants rejected"]
    record += [f"{name:14s} {count:7d} {rejected:8d} {100 * rejected / count:5.1f}%" for name, count, rejected in rows]
    RECORD.write_text("\n".join(record) + "\n")
    print(RECORD.read_text())
    met = set()
    for mutant in survivors:
        key = change(mutant)
        met.add(key)
        print(f"{key[0]}\n{key[1]}\n  survives: {explained.get(key, 'NOT EXPLAINED in tests/survivors.toml')}\n")
    for where, gone in sorted(set(explained) - met):
        print(f"explained, and yet no survivor: {where}\n{gone}\n")
    return 0 if len(survivors) <= (1 - NEEDED) * len(codes) and met == set(explained) else 1


if __name__ == "__main__":
    sys.exit(main())
