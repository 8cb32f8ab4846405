"""Run the tests and the chapters with another array library inside the package, and keep a record of how far they agree.

    python benchmarks/gpu.py                        CuPy, on a GPU; the record goes to benchmarks/results/gpu.md
    python benchmarks/gpu.py --library strict       without a GPU: the array API standard's strict library; prints only

Exits with 1 where anything fails.
"""

import argparse
import datetime
import os
import platform
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from importlib import metadata
from pathlib import Path

from fuzznet.arrays import backend

ROOT = Path(__file__).parents[1]


def device():
    """What the record says of the GPU and its software."""
    import cupy

    runtime = cupy.cuda.runtime
    name = runtime.getDeviceProperties(0)["name"].decode()
    return f"{name}, CUDA runtime {runtime.runtimeGetVersion()}, driver {runtime.driverGetVersion()}, CuPy {cupy.__version__}"


def run(arguments, **environment):
    """Run pytest; each test case as (test, outcome, message, largest difference or None)."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", "-q", f"--junitxml={report}", *arguments]
        done = subprocess.run(command, cwd=ROOT, env={**os.environ, **environment}, check=False)
        if done.returncode not in (0, 1):  # all passed, some failed
            sys.exit(f"pytest stopped with {done.returncode}, so there is nothing to record")
        cases = list(ElementTree.parse(report).iter("testcase"))
    found = []
    for case in cases:
        wrong = [part for part in case if part.tag in ("failure", "error", "skipped")]
        outcome, message = (wrong[0].tag, wrong[0].get("message", "")) if wrong else ("passed", "")
        differences = [float(part.get("value")) for part in case.iter("property") if part.get("name") == "largest difference"]
        found.append((f"{case.get('classname')}::{case.get('name')}", outcome, message, max(differences, default=None)))
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--library", choices=("cupy", "strict"), default="cupy")
    parser.add_argument("--chapters", nargs="*", metavar="NN", help="only chapters whose file name begins so")
    arguments = parser.parse_args()
    library = arguments.library
    if library == "cupy":
        try:
            backend("cupy")
        except ValueError as error:
            parser.error(str(error))
    chapters = [
        str(path)
        for path in sorted((ROOT / "book").glob("*.ipynb"))
        if arguments.chapters is None or path.name.startswith(tuple(arguments.chapters))
    ]
    tests = run(["-k", library, "tests"])
    environment = {"FUZZNET_BACKEND": library, "PYTHONSTARTUP": str(ROOT / "tests/start_ported.py")}
    cells = run(["--nbval", *chapters], **environment) if chapters else []

    where = device() if library == "cupy" else f"array_api_strict {metadata.version('array-api-strict')}, no GPU"
    versions = f"Python {platform.python_version()}, NumPy {metadata.version('numpy')}"
    lines = [
        "# The package on a GPU: what `make gpu` found", "",
        f"{datetime.date.today()}. {where}. {versions}, {platform.system()} {platform.machine()}.", "",
        *(
            f"- {name}: {sum(case[1] == 'passed' for case in cases)} of {len(cases)} passed."
            for name, cases in (("tests of the package with this library inside", tests), ("cells of the chapters", cells))
        ),
        "", "Largest difference of each function from NumPy in float64, relative to its largest value:", "",
        "| test | largest difference |", "|---|---|",
        *(f"| `{name.split('::')[-1]}` | {difference:.1e} |" for name, _, _, difference in tests if difference is not None),
    ]  # fmt: skip
    failed = [case for case in tests + cells if case[1] != "passed"]
    lines += ["", "Not passed:" if failed else "Nothing failed.", ""]
    lines += [f"- `{name}`: {outcome}: {(message.splitlines() or [''])[0][:200]}" for name, outcome, message, _ in failed]
    text = "\n".join(lines).rstrip() + "\n"
    print(text)
    if library == "cupy":
        (ROOT / "benchmarks/results/gpu.md").write_text(text)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
