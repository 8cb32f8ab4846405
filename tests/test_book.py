"""The book and the house around it: what a reader, a teacher or a later author relies on."""

import ast
import contextlib
import copy
import functools
import importlib
import importlib.util
import inspect
import io
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import nbformat
import pytest
import yaml

import fuzznet

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "book").glob("*.ipynb"))
CHAPTERS = [path for path in NOTEBOOKS if path.stem[0].isdigit()]
NAMES = [
    "01_sound", "02_convolution", "03_dilation", "04_forward_pass", "05_loss",
    "06_output_mixer", "07_kernels_and_biases", "08_mixing_weights", "09_backpropagation", "10_gradient_descent",
    "11_recordings", "12_single_note", "13_significance", "14_gpu", "15_optimizers_and_search",
    "16_real_time", "17_a_real_pedal", "18_speed", "19_whole_data_sets",
]  # fmt: skip
MODULES = [importlib.import_module(f"fuzznet.{path.stem}") for path in sorted((ROOT / "src/fuzznet").glob("[a-z]*.py"))]

each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
each_chapter = pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)


def load(name):
    """A script of tools/ as a module."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "tools" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


ledger = load("ledger")


def cells(path):
    return nbformat.read(path, as_version=4).cells


def code_cells(path):
    return [cell for cell in cells(path) if cell.cell_type == "code"]


def faults(cells):
    """What is wrong with the stored state of these code cells, in words."""
    found = []
    for cell in cells:
        name = cell.source.splitlines()[0] if cell.source else "an empty cell"
        if cell.execution_count is None:
            found.append(f"never run, so never compared: {name}")
        if set(cell.metadata.get("tags", [])) - {"hide-input", "nbval-ignore-output"} or "NBVAL_" in cell.source:
            found.append(f"switches checks off: {name}")
        if len(cell.source.splitlines()) > 20:
            found.append(f"longer than 20 lines: {name}")
        for output in cell.outputs:
            if output.output_type == "error" or output.get("name") == "stderr":
                found.append(f"failed or wrote to standard error: {name}")
            if set(output.get("data", {})) - {"text/plain", "application/papermill.record/text/plain"}:
                found.append(f"stores more than text: {name}")
    return found


def test_all_chapters_are_there():
    assert [path.stem for path in CHAPTERS] == NAMES


@each_notebook
def test_notebook_is_stored_run_and_clean(path):
    assert faults(code_cells(path)) == []


def test_faults_are_found():
    code = nbformat.v4.new_code_cell
    picture = nbformat.v4.new_output("display_data", data={"text/plain": "a", "image/png": "b"})
    warning = nbformat.v4.new_output("stream", name="stderr", text="careful")
    good = code("1 + 1", execution_count=1)
    assert faults([good]) == []
    assert faults([code("1 + 1")]) == ["never run, so never compared: 1 + 1"]
    assert faults([code("a\n" * 21, execution_count=1)]) == ["longer than 20 lines: a"]
    assert faults([code("a", execution_count=1, metadata={"tags": ["nbval-skip"]})]) == ["switches checks off: a"]
    assert faults([code("a", execution_count=1, outputs=[picture])]) == ["stores more than text: a"]
    assert faults([code("a", execution_count=1, outputs=[warning])]) == ["failed or wrote to standard error: a"]


@each_notebook
def test_storing_a_notebook_again_changes_nothing(path):
    stored = nbformat.read(path, as_version=4)
    assert load("chapters").clean(copy.deepcopy(stored)) == stored


KINDS = (ast.FunctionDef, ast.ClassDef)


def tree(definition):
    """The syntax of a function or a class without its docstrings."""
    definition = copy.deepcopy(definition)
    for node in ast.walk(definition):
        if isinstance(node, KINDS) and ast.get_docstring(node) is not None:
            node.body = node.body[1:]
    return ast.dump(definition)


@functools.cache
def shipped():
    functions = {}
    for module in MODULES:
        for node in ast.parse(inspect.getsource(module)).body:
            if isinstance(node, KINDS):
                functions[node.name] = tree(node)
    return functions


def built_in(path):
    """Name and syntax of all functions and classes that a chapter defines outside of others."""
    cells = [ast.parse(cell.source) for cell in code_cells(path)]
    return [(node.name, tree(node)) for cell in cells for node in cell.body if isinstance(node, KINDS)]


@each_chapter
def test_functions_built_in_a_chapter_are_the_shipped_ones(path):
    package = shipped()
    for name, syntax in built_in(path):
        assert syntax == package.get(name, syntax), f"{name} in {path.name} differs from the package's"


def public(module):
    """Names of the functions and classes that a module defines and does not mark as its own affair."""
    own = {name: thing for name, thing in vars(module).items() if getattr(thing, "__module__", None) == module.__name__}
    kinds = (inspect.isfunction, inspect.isclass)
    return {name for name, thing in own.items() if name[0] != "_" and any(kind(thing) for kind in kinds)}


RESULTS = {  # readers meet them as results
    "Checkpoint", "Clips", "CorpusTraining", "Dataset", "Explorer", "Findings", "Level", "Levels", "Pairs", "Pedal",
    "ProofOfConcept", "Saved", "Segments", "SingleNote", "Take", "Trial",
}  # fmt: skip


def shown(source):
    """What code builds or takes from the package: full names, or for `def name` and `fuzznet.name` the last part alone."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, KINDS):
            found.add(node.name)
        elif isinstance(node, ast.ImportFrom) and node.module.startswith("fuzznet."):
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Attribute):
            owner = ast.unparse(node.value)
            found.add(node.attr if owner == "fuzznet" else f"fuzznet.{owner}.{node.attr}")
    return found


def test_each_public_name_is_built_or_shown_in_a_chapter():
    met = set().union(*(shown(cell.source) for path in CHAPTERS for cell in code_cells(path)))
    names = {(module.__name__, name) for module in MODULES for name in public(module) - RESULTS}
    assert {f"{module}.{name}" for module, name in names if met.isdisjoint({name, f"{module}.{name}"})} == set()


def test_a_namesake_is_not_shown():
    assert shown("rms = 3\nx.esr\ntraining.train(y)") == {"fuzznet.x.esr", "fuzznet.training.train"}


@pytest.mark.parametrize("row", ledger.walk(), ids=lambda row: f"eq-{row.number}")
def test_each_equation_has_one_place_a_function_and_a_test(row):
    assert len(row.chapters) == 1, f"label eq-{row.number} stands in {row.chapters or 'no chapter'}: expected one"
    assert row.functions, f"no function of the package cites Eq. ({row.number})"
    assert row.tests, f"no test is marked with equation({row.number})"


def test_citations_and_marks_are_read():
    assert ledger.cited("Source: Eq. (1), (2). As in Eq. (20), whose") == {1, 2, 20}
    assert ledger.cited("Source: section IV.2") == ledger.cited(None) == set()
    node = ast.parse("@pytest.mark.equation(3)\n@pytest.mark.other(4)\ndef test_it(): ...").body[0]
    assert ledger.marked(node) == {3}
    node = ast.parse("@pytest.mark.equation(3)\n@pytest.mark.skip\ndef test_it(): ...").body[0]
    assert ledger.marked(node) == set()


SECTIONS = ("Say it", "Do it by hand", "Prove it", "Break it", "Turn the knob", "Your turn", "Exercises", "Where this lives")


@each_chapter
def test_chapter_has_the_shape_of_a_chapter(path):
    text = ledger.markdown(path)
    headings = re.findall(r"^## (.*)$", text, re.MULTILINE)
    assert [name for name in SECTIONS if name not in headings] == []
    assert {"Hear it", "See it"} & set(headings)
    for opening in ("**After this chapter you can**", "**You need**", "**It runs**"):
        assert opening in text
    calls = [node for cell in code_cells(path) for node in ast.walk(ast.parse(cell.source)) if isinstance(node, ast.Call)]
    assert any(ast.unparse(call.func) == "display.explore" for call in calls), "no slider"


@each_chapter
def test_exercises_have_executed_solutions(path):
    found, solved, inside = [], set(), None
    for cell in cells(path):
        if cell.cell_type == "code":
            solved |= {inside} if cell.execution_count and ast.parse(cell.source).body else set()
            continue
        found += re.findall(r"```\{exercise\} *(\w+).*\n:label: (\S+)", cell.source)
        for mark, label in re.findall(r"```\{solution-(start|end)\} *(\S*)", cell.source):
            inside = label if mark == "start" else None
    assert inside is None
    assert len(found) == ledger.markdown(path).count("{exercise}"), "an exercise without a title or a label in its second line"
    assert {"Predict", "Derive", "Program"} <= {kind for kind, _ in found}
    assert {label for _, label in found} - solved == set(), "exercises without an executed solution"


def teaches(source):
    """Whether code does more than draw, glue or play."""
    return not any(word in source for word in ("plt.", "display.", "axis."))


@each_notebook
def test_no_cell_is_hidden_that_teaches(path):
    for cell in code_cells(path):
        if any(tag.startswith(("hide", "remove")) for tag in cell.metadata.get("tags", [])):
            assert not teaches(cell.source), f"hidden, and yet it teaches: {cell.source.splitlines()[0]}"
            defined = {node.name for node in ast.walk(ast.parse(cell.source)) if isinstance(node, KINDS)}
            assert defined & set(shipped()) == set(), "hidden, and yet it builds what the package ships"
        assert set(cell.metadata) <= {"tags", "mystnb"} and set(cell.metadata.get("mystnb", {})) <= {"markdown_format"}


def computed(alternative, source):
    """Whether an alternative text is made from data: a string with a value in it, or a name that is one in the same cell."""
    nodes = list(ast.walk(alternative))
    if any(isinstance(node, ast.FormattedValue) and not isinstance(node.value, ast.Constant) for node in nodes):
        return True
    names = {node.id for node in nodes if isinstance(node, ast.Name)}
    given = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Assign | ast.AugAssign)]
    targets = [(getattr(node, "targets", None) or [node.target], node.value) for node in given]
    return any(computed(value, "") for ends, value in targets if names & {ast.unparse(end) for end in ends})


def test_a_constant_is_not_computed():
    for text, cell in (("'a wave'", ""), ("f'a {3} wave'", ""), ("alt", "alt = 'a wave'\ntitle = f'{x}'")):
        assert not computed(ast.parse(text, mode="eval"), cell)
    for text, cell in (("f'a peak of {peak}'", ""), ("alt", "alt = f'a peak of {peak}'"), ("a + b", "a = 'x'\nb = f'{y}'")):
        assert computed(ast.parse(text, mode="eval"), cell)


@each_notebook
def test_pictures_say_what_is_to_be_seen(path):
    for cell in code_cells(path):
        calls = [node for node in ast.walk(ast.parse(cell.source)) if isinstance(node, ast.Call)]
        for call in calls:
            if ast.unparse(call.func).endswith("Picture"):
                text = call.args[1] if len(call.args) > 1 else call.keywords[0].value
                assert computed(text, cell.source), f"alt text without numbers from the data: {ast.unparse(text)}"
            assert not ast.unparse(call.func).endswith("plt.show"), "a figure without alternative text"
    assert "![" not in ledger.markdown(path), "an image file: draw it, as a display.Picture"


@each_notebook
def test_glued_numbers_are_used_and_used_ones_glued(path):
    glued = set()
    for cell in code_cells(path):
        for output in cell.outputs:
            glued |= {output.metadata.scrapbook.name} if "scrapbook" in output.get("metadata", {}) else set()
    used = set(re.findall(r"\{glue:text\}`([^`]+)`", ledger.markdown(path)))
    assert len(re.findall(r"\{glue", ledger.markdown(path))) == len(re.findall(r"\{glue:text\}`", ledger.markdown(path)))
    assert used - glued == set(), "never glued"
    assert glued - used == set(), "glued and not used"


@pytest.mark.parametrize("command", ["--nbval", "$(MAKE) book"])
def test_a_notebook_can_not_reach_the_network(command):
    """With what the Makefile sets for this command, in the folder where kernels start."""
    path = re.search(rf"PYTHONPATH=(\S+) .*{re.escape(command)}", (ROOT / "Makefile").read_text())[1]
    closed = {"env": {**os.environ, "PYTHONPATH": path.replace("$(CURDIR)", str(ROOT))}, "cwd": ROOT / "book"}
    for ask in ("s.connect(('192.0.2.1', 80))", "s.sendto(b'', ('192.0.2.1', 80))", "socket.getaddrinfo('example.org', 80)"):
        code = f"import socket; s = socket.socket(type=socket.SOCK_DGRAM); {ask}"
        done = subprocess.run([sys.executable, "-c", code], **closed, capture_output=True, text=True)
        assert done.returncode != 0 and "the network is closed" in done.stderr
    ask = "import socket; s = socket.create_server(('127.0.0.1', 0)); socket.create_connection(s.getsockname())"
    assert subprocess.run([sys.executable, "-c", ask], **closed).returncode == 0


def test_make_test_runs_everything():
    makefile = (ROOT / "Makefile").read_text()
    recipe = re.search(r"^test:.*\n((?:\t.*\n)+)", makefile, flags=re.MULTILINE)[1]
    steps = (
        "-m pytest --numprocesses auto --cov\n", "--nbval book/*.ipynb", "rm -rf _build", "$(MAKE) book", "tests/pages.py",
        "$(MAKE) faults", "assignments/grade_demo.py --short", "tests/lab.py",
    )  # fmt: skip
    for step in steps:
        assert step in recipe
    assert "jupyter-book build . --all -W -n" in makefile
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]
    assert settings["pytest"]["ini_options"]["testpaths"] == ["tests"]  # the wrong twins are among them
    assert settings["coverage"]["run"] == {"branch": True, "source_pkgs": ["fuzznet"]}
    assert settings["coverage"]["report"]["fail_under"] >= 98 and "omit" not in settings["coverage"]["report"]


def test_survivors_among_the_mutants_are_mutants_of_what_stands_in_the_package():
    survivors = tomllib.loads((ROOT / "tests/survivors.toml").read_text())["survivor"]
    assert len({entry["change"] for entry in survivors}) == len(survivors)
    for entry in survivors:
        before, after = entry["change"].strip().splitlines()
        source = (ROOT / "src/fuzznet" / f"{entry['where'].split('.')[0]}.py").read_text()
        assert before.removeprefix("- ") in source and after.removeprefix("+ ") not in source
        assert len(entry["why"].split()) > 1


def test_front_and_back_matter():
    pages = {path.stem for path in (ROOT / "book").iterdir()}
    assert pages >= {"index", "assignments", "teaching", "ledger", "errata", "proof", "notation", "glossary", "references"}
    assert any("ledger.walk()" in cell.source for cell in code_cells(ROOT / "book" / "ledger.ipynb"))
    assert len(re.findall(r"\{ref\}`", (ROOT / "book" / "glossary.md").read_text())) >= 50


def test_each_erratum_has_a_check_that_runs():
    checked, erratum = {}, None
    for cell in cells(ROOT / "book" / "errata.ipynb"):
        if cell.cell_type == "markdown":
            for number in re.findall(r"^## (\d+)\.", cell.source, re.MULTILINE):
                erratum = number
                checked[erratum] = False
        elif erratum is not None:
            checks = any(isinstance(node, ast.Assert | ast.Try) for node in ast.walk(ast.parse(cell.source)))
            checked[erratum] |= checks and cell.execution_count is not None
    assert len(checked) >= 13 and all(checked.values()), checked


def test_contents_list_every_page():
    contents = yaml.safe_load((ROOT / "_toc.yml").read_text())
    listed = {contents["root"], *(chapter["file"] for part in contents["parts"] for chapter in part["chapters"])}
    pages = {f"book/{path.stem}" for path in (ROOT / "book").iterdir() if path.suffix in (".md", ".ipynb")}
    assert listed == pages


def test_public_face():
    expected = {
        "initialize": "(rng, layers=8, kernels=10, kernel_size=3, bias='kernel', clip_length=None, dilations=None)",
        "forward": "(parameters, x)",
        "esr": "(*, output, target)",
        "esr_gradient": "(*, output, target)",
        "backpropagate": "(parameters, activations, dy)",
        "local_gradients": "(parameters, activations, dy)",
        "receptive_field": "(kernel_size, dilations)",
        "Stream": "(parameters, block_size=64)",
    }
    for name, signature in expected.items():
        assert str(inspect.signature(getattr(fuzznet, name))) == signature


def test_package_is_read_in_an_afternoon():
    modules = {path.stem: path.read_text() for path in (ROOT / "src" / "fuzznet").glob("*.py")}
    del modules["display"]  # draws the book's pages, and is needed by no one who wants to understand the network
    del modules["fast"]  # says again, sooner, what network, loss and gradients say
    del modules["practice"]  # holds readers' own functions against what the package says
    for name in ("__main__", "corpus", "datasets", "downloads"):
        del modules[name]  # carry commands, files and folders to the others, and are read by who goes that far
    assert sum(len(text.splitlines()) for text in modules.values()) < 2500


def test_every_public_function_is_documented():
    for module in MODULES:
        for name in public(module):
            assert inspect.getdoc(getattr(module, name)), f"{module.__name__}.{name} has no docstring"


def test_one_lock_serves_everyone():
    lock = (ROOT / "requirements.txt").read_text()
    assert "://" not in lock
    packages = re.findall(r"^([a-z0-9][\w.-]*)==", lock, flags=re.MULTILINE)
    pinned = re.split(r"^(?=[a-z0-9])", lock, flags=re.MULTILINE)[1:]
    assert packages and all("--hash=sha256:" in entry for entry in pinned)
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    interpreter, pip, install = environment["dependencies"]
    assert interpreter.startswith("python=3.") and pip == "pip"
    assert install == {"pip": ["-r requirements.txt"]}
    assert "--no-deps --no-build-isolation -e ." in (ROOT / "postBuild").read_text()


def test_quick_start_prints_what_the_readme_says():
    readme = (ROOT / "README.md").read_text()
    code = re.search(r"```python\n(.*?)```", readme, flags=re.DOTALL)[1]
    said = re.search(r"prints `(input [^`]*)`", readme)[1]
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(io.StringIO()):
        exec(code, {})
    assert printed.getvalue().strip() == said
