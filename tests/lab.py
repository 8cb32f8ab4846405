"""The real JupyterLab in a real browser: a student hands in an assignment, a reader moves a live slider.

Not collected by a plain `pytest`, because it needs nbgrader: make .venv/course && .venv/bin/python -m pytest tests/lab.py
"""

import contextlib
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

import nbformat
import pytest
from nbgrader.api import Gradebook
from pages import browser  # noqa: F401 - a fixture
from playwright.sync_api import TimeoutError

ROOT = Path(__file__).parents[1]
NAME = "01_convolution"
SETTINGS = """
c = get_config()
c.CourseDirectory.course_id = "fuzz"
c.CourseDirectory.root = {course!r}
c.Exchange.root = {exchange!r}
"""


class Place(NamedTuple):
    """Folders of a teacher and of a student, and what their commands run with."""

    course: Path
    student: Path
    environment: dict

    def nbgrader(self, *arguments):
        command = [sys.executable, "-m", "nbgrader", *arguments]
        done = subprocess.run(command, cwd=self.course, env=self.environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A course whose first assignment is given out, as the teacher's guide says."""
    folder = tmp_path_factory.mktemp("lab")
    course, student, exchange, settings = (folder / name for name in ("course", "student", "exchange", "settings"))
    for path in (student, settings, course):
        path.mkdir()
    exchange.mkdir(mode=0o777)
    exchange.chmod(0o777)
    (settings / "nbgrader_config.py").write_text(SETTINGS.format(course=str(course), exchange=str(exchange)))
    for file in ("nbgrader_config.py", "grading.py"):
        shutil.copy(ROOT / "assignments" / file, course)
    shutil.copytree(ROOT / "assignments" / "source" / NAME, course / "source" / NAME)
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    own = {"HOME": str(folder), "JUPYTER_CONFIG_DIR": str(settings), "PATH": path, "TQDM_DISABLE": "1"}
    place = Place(course, student, {**os.environ, **own})
    place.nbgrader("generate_assignment", NAME)
    place.nbgrader("release_assignment", NAME)
    return place


@pytest.fixture(scope="module")
def lab(place):
    """A function that makes an address in the student's JupyterLab."""
    server = subprocess.Popen(
        [
            sys.executable, "-m", "jupyter", "lab", "--no-browser", "--allow-root", "--port=0", "--IdentityProvider.token=",
            "--LabApp.news_url=None", "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
            f"--ServerApp.root_dir={place.student}",
        ],
        cwd=place.student, env=place.environment, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    said = []
    for line in server.stderr:
        said.append(line)
        if found := re.search(r"(http://127\.0\.0\.1:\d+/)lab", line):
            break
    else:
        pytest.fail("JupyterLab did not start:\n" + "".join(said))
    yield lambda where: found[1] + where
    server.terminate()
    server.wait(120)


@pytest.fixture
def tab(browser):  # noqa: F811
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    tab = context.new_page()
    tab.set_default_timeout(120_000)
    yield tab
    context.close()


def open_notebook(tab, address):
    tab.goto(address)
    tab.locator(".jp-Notebook .jp-Cell").first.wait_for()
    tab.locator(".jp-Notebook-ExecutionIndicator[data-status=idle]").wait_for()


def run_all(tab):
    """Run every cell. Until its kernel is there a notebook forgets that it was asked to, whatever its indicator shows."""
    begun = tab.locator(".jp-Notebook .jp-InputPrompt", has_text=re.compile(r"\[[*\d]")).first
    for _ in range(20):
        tab.get_by_role("menuitem", name="Run", exact=True).click()
        tab.get_by_role("menuitem", name="Run All Cells", exact=True).click()
        with contextlib.suppress(TimeoutError):
            return begun.wait_for(timeout=3000)
    pytest.fail("no cell was run, 20 times")


def assignment_list(tab):
    tab.get_by_role("menuitem", name="Nbgrader").click()
    tab.get_by_role("menuitem", name="Assignment List").click()
    return tab.get_by_label("Assignments")


def validated(tab):
    """What nbgrader answers to the Validate button."""
    tab.get_by_role("toolbar", name="main area toolbar").get_by_text("Validate").click()
    answer = tab.locator(".jp-Dialog").inner_text()
    tab.locator(".jp-Dialog").get_by_role("button", name="Ok").click()
    return answer


def first_task():
    """The name of the first function, the teacher's solution of it, and the test cells between it and the next."""
    notebook = nbformat.read(ROOT / "assignments" / "source" / NAME / f"{NAME}.ipynb", as_version=4)
    marked = [cell for cell in notebook.cells if cell.cell_type == "code" and "nbgrader" in cell.metadata]
    start = next(index for index, cell in enumerate(marked) if cell.metadata.nbgrader.solution)
    tests = []
    for cell in marked[start + 1 :]:
        if cell.metadata.nbgrader.solution:
            break
        tests += [cell.metadata.nbgrader] if cell.metadata.nbgrader.grade else []
    return marked[start].metadata.nbgrader.grade_id, marked[start].source, {test.grade_id: test.points for test in tests}


def test_a_student_solves_a_cell_validates_and_hands_in(place, lab, tab):
    name, solution, tests = first_task()
    tab.goto(lab("lab"))
    listed = assignment_list(tab)
    listed.get_by_text("Fetch", exact=True).click()
    listed.get_by_text("Submit", exact=True).wait_for()
    open_notebook(tab, lab(f"lab/tree/{NAME}/{NAME}.ipynb?reset"))
    before = validated(tab).count("The following cell failed")
    tab.locator(".jp-CodeCell", has_text=f"def {name}(").locator(".cm-content").click()
    tab.keyboard.press("Control+a")
    tab.keyboard.insert_text(solution)
    answer = validated(tab)
    assert answer.count("The following cell failed") == before - len(tests), answer
    assignment_list(tab).get_by_text("Submit", exact=True).click()
    inbound = place.environment["HOME"] + "/exchange/fuzz/inbound"
    deadline = time.monotonic() + 120
    while not os.listdir(inbound) and time.monotonic() < deadline:
        time.sleep(0.2)

    place.nbgrader("collect", NAME)
    place.nbgrader("autograde", NAME)
    with Gradebook(f"sqlite:///{place.course}/gradebook.db") as gradebook:
        [submission] = gradebook.assignment_submissions(NAME)
        [notebook] = submission.notebooks
        found = {grade.name: grade.auto_score for grade in notebook.grades if grade.auto_score}
    assert found == tests


def test_a_live_slider_moves_its_picture(place, lab, tab):
    shutil.copy(ROOT / "book" / "03_dilation.ipynb", place.student)
    open_notebook(tab, lab("lab/tree/03_dilation.ipynb?reset"))
    run_all(tab)
    tab.locator(".jp-Notebook .noUi-handle").first.wait_for(state="attached")
    area = tab.locator(".jp-Cell-outputArea", has=tab.locator(".noUi-handle")).first
    slider = area.locator(".noUi-handle").first
    slider.scroll_into_view_if_needed()
    seen = set()
    for _ in range(3):
        picture = area.locator("img").first
        seen.add(picture.get_attribute("src"))
        slider.focus()
        before = picture.get_attribute("src")
        tab.keyboard.press("ArrowRight")
        changed = "([area, before]) => area.querySelector('img').src !== before"
        tab.wait_for_function(changed, arg=[area.element_handle(), before])
    assert len(seen) == 3
    errors = tab.locator(".jp-RenderedText[data-mime-type='application/vnd.jupyter.stderr']")
    assert errors.count() == 0


def test_a_link_of_nbgitpuller_opens_the_assignment(place, lab, tab, tmp_path):
    shutil.copytree(ROOT / "assignments" / "release", tmp_path / "fuzznet" / "assignments" / "release")
    for command in ("init -q -b main", "add .", "-c user.name=t -c user.email=t@example.org commit -qm first"):
        subprocess.run(["git", *command.split()], cwd=tmp_path / "fuzznet", check=True)
    repository = quote(f"file://{tmp_path}/fuzznet", safe="")
    target = quote(f"lab/tree/fuzznet/assignments/release/{NAME}/{NAME}.ipynb", safe="")
    open_notebook(tab, lab(f"git-pull?repo={repository}&branch=main&urlpath={target}"))
    assert tab.locator(".jp-Notebook h1").first.inner_text()
