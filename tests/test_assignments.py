"""The nbgrader course: what a teacher and a student rely on. How it grades is tried by assignments/grade_demo.py and lab.py."""

import ast
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import nbformat
import pytest
from test_book import load

from fuzznet import recordings

ROOT = Path(__file__).parents[1]
COURSE = ROOT / "assignments"
NAMES = [
    "01_convolution", "02_forward_pass", "03_loss_and_mixer", "04_kernels_and_biases", "05_backpropagation", "06_experiment",
]  # fmt: skip
SOLUTION = re.compile(r"### BEGIN SOLUTION\n(.*?)### END SOLUTION", re.DOTALL)
HIDDEN = re.compile(r"### BEGIN HIDDEN TESTS\n(.*?)### END HIDDEN TESTS", re.DOTALL)
SCHEME = re.compile(r"=== BEGIN MARK SCHEME ===\n(.*?)=== END MARK SCHEME ===", re.DOTALL)

each = pytest.mark.parametrize("name", NAMES)


def notebook(version, name):
    return nbformat.read(COURSE / version / name / f"{name}.ipynb", as_version=4)


def marked(version, name):
    """Cells that nbgrader knows, by their names."""
    cells = [cell for cell in notebook(version, name).cells if "nbgrader" in cell.metadata]
    found = {cell.metadata.nbgrader.grade_id: cell for cell in cells}
    assert len(found) == len(cells), "two cells of one name"
    return found


def kind(cell):
    """What a cell is for: a test, a written answer, code to write, or given code."""
    grade, solution = cell.metadata.nbgrader.grade, cell.metadata.nbgrader.solution
    return {(True, False): "test", (True, True): "answer", (False, True): "task", (False, False): "given"}[grade, solution]


def of_kind(version, name, wanted):
    return {key: cell for key, cell in marked(version, name).items() if kind(cell) == wanted}


def test_all_assignments_are_there():
    for part in ("source", "release", "mistakes"):
        assert sorted(path.stem for path in (COURSE / part).iterdir()) == NAMES


@each
def test_assignment_has_what_it_promises(name):
    cells = notebook("source", name).cells
    tests, answers, tasks = (of_kind("source", name, wanted) for wanted in ("test", "answer", "task"))
    assert len(tasks) >= 3 and len(tests) >= 8 and len(answers) >= 1
    points = [cell.metadata.nbgrader.points for cell in [*tests.values(), *answers.values()]]
    assert sum(points) == 20 and min(points) > 0
    title = cells[0].source
    assert "**After this assignment you can**" in title and "**You need**" in title and "YOUR CODE HERE" in title
    minutes = int(re.search(r"^\|[^\n]*together[^\n]*\| *20 *\| *(\d+) *\|", title, re.MULTILINE)[1])
    assert 60 <= minutes <= 120
    assert all(not cell.outputs and cell.execution_count is None for cell in cells if cell.cell_type == "code")
    for key, cell in tasks.items():
        assert len(SOLUTION.findall(cell.source)) == 1, key
        assert ast.get_docstring(ast.parse(cell.source).body[-1]), f"{key} has no docstring"
    for key, cell in answers.items():
        assert SCHEME.search(cell.source), f"{key} has no marking scheme"
    assert sum("### BEGIN HIDDEN TESTS" in cell.source for cell in tests.values()) >= len(tests) / 2


@each
def test_a_test_cell_is_plain_and_explains_itself(name):
    for key, cell in of_kind("source", name, "test").items():
        tree = ast.parse(cell.source)
        asserts = [node for node in ast.walk(tree) if isinstance(node, ast.Assert)]
        assert asserts and all(node.msg is not None for node in asserts), f"{key}: an assertion without a message"
        own = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}  # they return nothing
        last = tree.body[-1]
        value = isinstance(last, ast.Expr) and not (isinstance(last.value, ast.Call) and ast.unparse(last.value.func) in own)
        assert not value, f"{key}: nbgrader would take its last value for points"


def imported(tree):
    """The packages that code imports."""
    names = [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    return {name.split(".")[0] for name in names}


@each
def test_students_need_the_package_alone(name):
    trees = [ast.parse(cell.source) for cell in notebook("release", name).cells if cell.cell_type == "code"]
    assert set().union(*map(imported, trees)) <= {"fuzznet", "matplotlib", "numpy"} | sys.stdlib_module_names


@each
def test_students_version_is_the_teachers_without_answers(name):
    source, release = notebook("source", name), notebook("release", name)
    text = "\n".join(cell.source for cell in release.cells)
    for word in ("BEGIN", "END", "HIDDEN", "SCHEME"):
        assert f"{word} " not in text and f" {word}" not in text
    assert [cell.id for cell in source.cells] == [cell.id for cell in release.cells]
    for ours, theirs in zip(source.cells, release.cells):
        role = kind(ours) if "nbgrader" in ours.metadata else None
        if role == "task":
            assert theirs.source == SOLUTION.sub("# YOUR CODE HERE\n    raise NotImplementedError()", ours.source)
        elif role == "answer":
            assert theirs.source == "YOUR ANSWER HERE"
        elif role == "test":
            assert theirs.source.split() == HIDDEN.sub("", ours.source).split()
        else:
            assert theirs.source == ours.source


@each
def test_storing_an_assignment_again_changes_nothing(name):
    stored = notebook("source", name)
    assert load("chapters").clean(notebook("source", name)) == stored


@each
def test_famous_mistakes_cost_something_and_not_everything(name):
    mistakes = tomllib.loads((COURSE / "mistakes" / f"{name}.toml").read_text())["mistake"]
    tests, tasks = of_kind("source", name, "test"), of_kind("source", name, "task")
    assert len(mistakes) >= 4 and len({mistake["name"] for mistake in mistakes}) == len(mistakes)
    for mistake in mistakes:
        assert tasks[mistake["cell"]].source.count(mistake["right"]) == 1, mistake["name"]
        assert 0 < len(set(mistake["fails"])) < len(tests) and set(mistake["fails"]) <= set(tests), mistake["name"]


@pytest.mark.parametrize("note", recordings.NOTES)
def test_experiment_can_be_won_with_every_note(note):
    """The model solution beats all thresholds of assignment 6, hidden ones too, for somebody who gets this note."""
    cells = marked("source", "06_experiment")
    for number in range(1000):
        space = {"STUDENT": f"student {number}"}
        exec(f"import zlib\nfrom fuzznet import recordings\n{cells['variant'].source.partition('def my_clips')[0]}", space)
        if space["NOTE"] == note:
            break
    for name in ("setup", "variant", "judge", "settings", "test_beats_input", "test_half", "test_threshold"):
        exec(cells[name].source, space)
    assert space["NOTE"] == note


def test_lock_of_the_course_adds_to_the_lock_of_all():
    lock, common = (path.read_text() for path in (COURSE / "requirements.txt", ROOT / "requirements.txt"))
    assert "://" not in lock
    entries = re.split(r"^(?=[a-z0-9])", lock, flags=re.MULTILINE)
    names = {re.match(r"([a-z0-9][\w.-]*)==", entry)[1] for entry in entries if entry}
    assert {"nbgrader", "nbgitpuller"} <= names and all("--hash=sha256:" in entry for entry in entries if entry)
    assert names.isdisjoint(re.findall(r"^([a-z0-9][\w.-]*)==", common, flags=re.MULTILINE))
    assert "nbgrader" not in common  # students need none


def test_page_of_the_assignments_says_what_they_say():
    page = (ROOT / "book" / "assignments.md").read_text()
    row = r"^\| \d\. ([^|]*) \|[^|]*\| (\d+) \| \{download\}`[^<]*<\.\./assignments/release/([\w/.]+)>` \|"
    rows = re.findall(row, page, re.MULTILINE)
    assert [path for *_, path in rows] == [f"{name}/{name}.ipynb" for name in NAMES]
    for (title, minutes, _), name in zip(rows, NAMES):
        first = notebook("release", name).cells[0].source
        assert first.startswith(f"# {int(name[:2])}. {title}\n"), first.splitlines()[0]
        assert re.search(rf"together[^\n]*\| *{minutes} *\|", first), name


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """A copy of what the course needs, with the environment that is here."""
    pytest.importorskip("nbgrader", reason="nbgrader is not installed: make .venv/course")
    folder = tmp_path_factory.mktemp("clone") / "fuzznet"
    ignored = shutil.ignore_patterns("text", ".*", "*.db", "submitted", "autograded", "feedback", "__pycache__")
    shutil.copytree(COURSE, folder / "assignments", ignore=ignored)
    for file in ("Makefile", "requirements.txt", "pyproject.toml"):
        shutil.copy(ROOT / file, folder)
    (folder / ".venv").mkdir()
    (folder / ".venv" / "bin").symlink_to(ROOT / ".venv" / "bin")
    for stamp in ("ready", "course"):
        (folder / ".venv" / stamp).touch()
    return folder


def test_every_command_of_the_teachers_guide_works_as_written(clone):
    """In one shell, in their order. The demonstration takes minutes and is a step of its own in `make test`, in short."""
    guide = (ROOT / "book" / "teaching.md").read_text()
    commands = re.findall(r"^```sh\n(.*?)^```", guide, re.DOTALL | re.MULTILINE)
    assert len(commands) >= 8 and "make grade-demo\n" in commands
    last = commands.pop()  # cleans up
    script = "set -ex\n" + "".join(block for block in commands if block != "make grade-demo\n")
    done = subprocess.run(["bash", "-c", script], cwd=clone, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    course = clone / "assignments"
    assert (course / "feedback" / "ada" / "01_convolution" / "01_convolution.html").exists()
    rows = [line.split(",") for line in (course / "grades.csv").read_text().splitlines()]
    scores = {(row[0], row[3]): float(row[9]) for row in rows[1:]}
    assert scores == {(name, student): 0 for name in NAMES for student in ("ada", "fourier")}
    for name in NAMES:
        assert notebook("release", name) == nbformat.read(course / "release" / name / f"{name}.ipynb", as_version=4)
    done = subprocess.run(["bash", "-ec", last], cwd=course, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    left = {path.name for path in course.iterdir()} - {path.name for path in COURSE.iterdir()}
    assert left <= {"gradebook.db", ".nbgrader.log"}
