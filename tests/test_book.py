"""The book and the house around it: what a reader, a teacher or a later author relies on."""

import ast
import contextlib
import copy
import importlib.util
import inspect
import io
import re
from pathlib import Path

import nbformat
import pytest
import yaml

import fuzznet
from fuzznet import convolution, gradients, loss, network, optimizers, postprocessing, recordings, signals, training

ROOT = Path(__file__).parents[1]
CHAPTERS = sorted((ROOT / "book").glob("*.ipynb"))
MODULES = (convolution, gradients, loss, network, optimizers, postprocessing, recordings, signals, training)

each_chapter = pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)


def code_cells(path):
    return [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]


def faults(cells):
    """What is wrong with the stored state of these code cells, in words."""
    found = []
    for cell in cells:
        name = cell.source.splitlines()[0] if cell.source else "an empty cell"
        if cell.execution_count is None:
            found.append(f"never run, so never compared: {name}")
        if len(cell.source.splitlines()) > 20:
            found.append(f"longer than 20 lines: {name}")
        for output in cell.outputs:
            if output.output_type == "error" or output.get("name") == "stderr":
                found.append(f"failed or wrote to standard error: {name}")
            if set(output.get("data", {})) - {"text/plain", "application/papermill.record/text/plain"}:
                found.append(f"stores more than text: {name}")
    return found


def test_there_are_chapters():
    assert ROOT / "book" / "12_single_note.ipynb" in CHAPTERS


@each_chapter
def test_chapter_is_stored_run_and_clean(path):
    assert faults(code_cells(path)) == []


def test_faults_are_found():
    code = nbformat.v4.new_code_cell
    picture = nbformat.v4.new_output("display_data", data={"text/plain": "a", "image/png": "b"})
    warning = nbformat.v4.new_output("stream", name="stderr", text="careful")
    good = code("1 + 1", execution_count=1)
    assert faults([good]) == []
    assert faults([code("1 + 1")]) == ["never run, so never compared: 1 + 1"]
    assert faults([code("a\n" * 21, execution_count=1)]) == ["longer than 20 lines: a"]
    assert faults([code("a", execution_count=1, outputs=[picture])]) == ["stores more than text: a"]
    assert faults([code("a", execution_count=1, outputs=[warning])]) == ["failed or wrote to standard error: a"]


@each_chapter
def test_storing_a_chapter_again_changes_nothing(path):
    spec = importlib.util.spec_from_file_location("chapters", ROOT / "tools" / "chapters.py")
    chapters = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(chapters)
    stored = nbformat.read(path, as_version=4)
    assert chapters.clean(copy.deepcopy(stored)) == stored


def tree(function):
    """The syntax of a function without its docstring."""
    function = copy.deepcopy(function)
    if ast.get_docstring(function) is not None:
        function.body = function.body[1:]
    return ast.dump(function)


def shipped():
    functions = {}
    for module in MODULES:
        for node in ast.parse(inspect.getsource(module)).body:
            if isinstance(node, ast.FunctionDef):
                functions[node.name] = tree(node)
    return functions


def built_in(path):
    cells = [ast.parse(cell.source) for cell in code_cells(path)]
    return {node.name: tree(node) for cell in cells for node in cell.body if isinstance(node, ast.FunctionDef)}


@each_chapter
def test_functions_built_in_a_chapter_are_the_shipped_ones(path):
    package, chapter = shipped(), built_in(path)
    for name in set(package) & set(chapter):
        assert chapter[name] == package[name], f"{name} in {path.name} differs from the package's"


def test_chapter_12_builds_its_module():
    built = built_in(ROOT / "book" / "12_single_note.ipynb")
    public = {name for name, thing in vars(postprocessing).items() if inspect.isfunction(thing)} - {"check_signal", "namespace"}
    assert public == {"match_mean", "keep_lowest_frequencies"} <= set(built)


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
    }
    for name, signature in expected.items():
        assert str(inspect.signature(getattr(fuzznet, name))) == signature


def test_package_is_read_in_an_afternoon():
    lines = sum(len(path.read_text().splitlines()) for path in (ROOT / "src" / "fuzznet").glob("*.py"))
    assert lines < 1500


def test_every_public_function_is_documented():
    for module in MODULES:
        for name, thing in vars(module).items():
            if getattr(thing, "__module__", None) == module.__name__ and not name.startswith("_"):
                assert inspect.getdoc(thing), f"{module.__name__}.{name} has no docstring"


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
