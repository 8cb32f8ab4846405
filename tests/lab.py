"""The real JupyterLab in a real browser: a student hands in an assignment, a reader moves a live slider and uploads sounds.

Not collected by a plain `pytest`, because it needs nbgrader: make .venv/course && .venv/bin/python -m pytest tests/lab.py
"""

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
import numpy as np
import pytest
from nbgrader.api import Gradebook
from pages import browser  # noqa: F401 - a fixture

from fuzznet import recordings, storage

ROOT = Path(__file__).parents[1]
NAME = "01_convolution"
SETTINGS = """
c = get_config()
c.CourseDirectory.course_id = "fuzz"
c.CourseDirectory.root = {course!r}
c.Exchange.root = {exchange!r}
c.Execute.timeout = 180  # for a first cell that has to import everything, on a slow machine
"""
PROMPT = ".jp-Notebook .jp-CodeCell .jp-InputPrompt"
ERROR = ".jp-Notebook .jp-RenderedText:is([data-mime-type$='.error'], [data-mime-type$='.stderr'])"


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
    fonts = [sys.executable, "-c", "import matplotlib.font_manager"]  # lists them once; in a cell it warns where that is slow
    subprocess.run(fonts, env=place.environment, check=True)
    log = place.student.parent / "lab.log"  # no pipe: nobody would empty it while the tests run
    with open(log, "w") as stderr:
        server = subprocess.Popen(
            [
                sys.executable, "-m", "jupyter", "lab", "--no-browser", "--allow-root", "--port=0",
                "--IdentityProvider.token=", "--LabApp.news_url=None",
                "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate", f"--ServerApp.root_dir={place.student}",
            ],
            cwd=place.student, env=place.environment, stderr=stderr,
        )  # fmt: skip
    while not (found := re.search(r"(http://127\.0\.0\.1:\d+/)lab", log.read_text())):
        assert server.poll() is None, "JupyterLab did not start:\n" + log.read_text()
        time.sleep(0.2)
    yield lambda where: found[1] + where
    server.terminate()
    server.wait(120)


@pytest.fixture
def tab(browser):  # noqa: F811
    """An empty page. What it shows at the end is printed, for the report of a failure."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    tab = context.new_page()
    tab.set_default_timeout(180_000)
    yield tab
    shown = {"address": [tab.url]}
    for name, which in (("status", "#jp-main-statusbar"), ("dialogs", ".jp-Dialog"), ("prompts", PROMPT), ("errors", ERROR)):
        shown[name] = tab.locator(which).all_text_contents()
    print(shown)
    context.close()


def open_notebook(tab, address):
    """Open it and wait for its kernel. Its own indicator says "idle" before there is one, the status bar doesn't."""
    tab.goto(address)
    tab.locator(".jp-Notebook .jp-Cell").first.wait_for()
    tab.locator("#jp-main-statusbar", has_text=re.compile(r"\| Idle")).wait_for()


def run_all(tab):
    """Run every cell, and wait until the last is done or one shows an error."""
    tab.get_by_role("menuitem", name="Run", exact=True).click()
    tab.get_by_role("menuitem", name="Run All Cells", exact=True).click()
    last = tab.locator(PROMPT).last.filter(has_text=re.compile(r"\[\d+\]"))
    last.or_(tab.locator(ERROR)).first.wait_for(state="attached")
    assert tab.locator(ERROR).all_text_contents() == []


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
    deadline = time.monotonic() + 180
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
    notebook = nbformat.read(ROOT / "book" / "03_dilation.ipynb", as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":  # with nothing stored all that is seen comes from this run
            cell.execution_count, cell.outputs = None, []
    nbformat.write(notebook, place.student / "03_dilation.ipynb")
    open_notebook(tab, lab("lab/tree/03_dilation.ipynb?reset"))
    run_all(tab)
    area = tab.locator(".jp-Cell-outputArea", has=tab.locator(".noUi-handle")).first
    seen = []
    for _ in range(3):
        seen.append(area.locator("img").first.get_attribute("src"))
        area.locator(".noUi-handle").first.press("ArrowRight")
        changed = "([area, before]) => area.querySelector('img').src !== before"
        tab.wait_for_function(changed, arg=[area.element_handle(), seen[-1]])
    assert len(set(seen)) == 3
    assert tab.locator(ERROR).all_text_contents() == []


def test_two_sounds_that_are_uploaded_become_a_network(place, lab, tab, tmp_path):
    cell = nbformat.v4.new_code_cell("from fuzznet import display\n\ndisplay.PedalUpload(max_seconds=2)")
    kernel = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    nbformat.write(nbformat.v4.new_notebook(cells=[cell], metadata=kernel), place.student / "upload.ipynb")
    notes = [recordings.load_note(name) for name in ("D3", "A4")]
    open_notebook(tab, lab("lab/tree/upload.ipynb?reset"))
    run_all(tab)
    learn = tab.get_by_role("button", name="examine and learn")
    learn.click()
    tab.get_by_text("no clean sound has come").wait_for()
    for name in ("clean", "distorted"):
        recordings.save_sound(tmp_path / f"{name}.flac", np.concatenate([getattr(note, name) for note in notes]), 44100)
        with tab.expect_file_chooser() as chooser:
            tab.get_by_role("button", name=re.compile(name + r" \(")).click()
        chooser.value.set_files(tmp_path / f"{name}.flac")
        tab.get_by_role("button", name=f"{name} (1)").wait_for()
    learn.click()
    link = tab.get_by_role("link", name="Download pedal.npz")
    link.wait_for()
    with tab.expect_download() as download:
        link.click()
    download.value.save_as(tmp_path / "pedal.npz")
    about = storage.load(tmp_path / "pedal.npz").about
    assert about["sample_rate_hz"] == 44100 and 0 < about["esr_output"] < 1
    assert tab.locator(ERROR).all_text_contents() == []


def test_a_link_of_nbgitpuller_opens_the_assignment(place, lab, tab, tmp_path):
    shutil.copytree(ROOT / "assignments" / "release", tmp_path / "fuzznet" / "assignments" / "release")
    for command in ("init -q -b main", "add .", "-c user.name=t -c user.email=t@example.org commit -qm first"):
        subprocess.run(["git", *command.split()], cwd=tmp_path / "fuzznet", check=True)
    repository = quote(f"file://{tmp_path}/fuzznet", safe="")
    target = quote(f"lab/tree/fuzznet/assignments/release/{NAME}/{NAME}.ipynb", safe="")
    open_notebook(tab, lab(f"git-pull?repo={repository}&branch=main&urlpath={target}"))
    assert tab.locator(".jp-Notebook h1").first.inner_text()
