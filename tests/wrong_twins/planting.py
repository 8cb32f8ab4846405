"""Plant a wrong twin in a copy of the package, and see which tests reject it.

`python tests/wrong_twins/planting.py "kernel flipped"` tells it for the tests of the package, all but the slow ones; without a
name, for every twin.
"""

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from pathlib import Path

from twins import TWINS

TESTS = Path(__file__).parents[1]
PACKAGE = TESTS.parent / "src" / "fuzznet"
NOT_ASKED = {"test_book.py", "test_circuit.py", "test_display.py", "test_sweep.py"}
REFUTED, CRASHED, PASSED = "refuted", "crashed", "passed"  # the first of these that holds for some case of a test counts


@contextlib.contextmanager
def planted(twin=None):
    """A folder with a copy of the package, and the twin's mistake in it. Raises ValueError for a patch that does not fit."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "fuzznet"
        shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
        if twin is not None:
            source = (copy / twin.file).read_text(encoding="utf-8")
            found = source.count(twin.right)
            if found != 1:
                raise ValueError(f"{twin.name}: {twin.right!r} stands in {twin.file} {found} times: expected once")
            changed = source.replace(twin.right, twin.wrong)
            compile(changed, twin.file, "exec")
            (copy / twin.file).write_text(changed, encoding="utf-8")
        yield Path(folder)


def outcomes(folder, tests, timeout_s=300):
    """Run tests, named "file.py" or "file.py::function", on the package in the folder, in a Python of their own.

    Returns: {"file.py::function": outcome}. REFUTED is a false assertion. Any other error is CRASHED, and proves nothing: a
    mistake worth its name gives plausible numbers. Raises RuntimeError where pytest itself fails.
    """
    path = os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH")]))
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-o", "addopts=", "-p", "no:cacheprovider", "--junitxml=results.xml"]
        + [str(TESTS / test) for test in tests],
        cwd=folder, timeout=timeout_s, capture_output=True, text=True, check=False,
        env={**inherited, "PYTHONPATH": path, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    if done.returncode not in (0, 1):  # all passed, some failed
        raise RuntimeError(f"pytest stopped with {done.returncode}:\n{done.stdout}{done.stderr}")
    cases = {}
    for case in ElementTree.parse(folder / "results.xml").iter("testcase"):
        test = case.get("classname").split(".")[-1] + ".py::" + case.get("name").split("[")[0]
        cases.setdefault(test, set()).add(_outcome(case))
    return {test: next(outcome for outcome in (REFUTED, CRASHED, PASSED) if outcome in found) for test, found in cases.items()}


def _outcome(case):
    failure = case.find("failure")
    if failure is not None and failure.get("message").startswith(("AssertionError", "assert ", "Failed: DID NOT RAISE")):
        return REFUTED
    return PASSED if failure is None and case.find("error") is None else CRASHED


def main():
    tests = sorted(path.name for path in TESTS.glob("test_*.py") if path.name not in NOT_ASKED)
    for twin in [twin for twin in TWINS if twin.name in sys.argv[1:] or not sys.argv[1:]]:
        with planted(twin) as folder:
            found = outcomes(folder, tests, timeout_s=900)
        for outcome in (REFUTED, CRASHED):
            names = [test for test in found if found[test] == outcome]
            print(f"{twin.name}: {len(names)} {outcome}", *names, sep="\n    ", flush=True)


if __name__ == "__main__":
    main()
