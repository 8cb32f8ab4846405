"""A class of made-up students, graded by the real nbgrader: what each submission gets, beside what it should get.

    python assignments/grade_demo.py            everything, under ten minutes
    python assignments/grade_demo.py 02 05      the solution, the blank and the mistakes of those assignments alone
    python assignments/grade_demo.py --short    a few of them, and those who tamper with the first assignment

The students: one who solves everything, one who hands in what was given out, one for each famous mistake (mistakes/*.toml), and
those whose notebooks would stop the grading, or gain from it (tampering.py). Written answers that were given are marked with
full points, as a teacher would in the browser. Ends with 1 where a score is not what it should be. Needs nbgrader (the extra
`course`); works in a folder of its own and changes nothing here.
"""

import argparse
import csv
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

import nbformat
from nbgrader.api import Gradebook, MissingEntry
from tampering import NOT_GRADED, tampering
from tqdm import tqdm

HERE = Path(__file__).parent
SECONDS_A_CELL = 15  # a cell that does not end is stopped after this


class Assignment:
    """The teacher's and the students' version of an assignment, and what its cells are worth.

    answers: what the teacher's version holds in each cell that is the student's to fill; tests, written: points by cell.
    """

    def __init__(self, course, name):
        self.name = name
        self.source, self.release = (
            nbformat.read(course / version / name / f"{name}.ipynb", as_version=4) for version in ("source", "release")
        )
        cells = {cell.metadata.nbgrader.grade_id: cell for cell in self.source.cells if "nbgrader" in cell.metadata}
        self.answers = {key: cell.source for key, cell in cells.items() if cell.metadata.nbgrader.solution}
        points = {key: cell.metadata.nbgrader.points for key, cell in cells.items() if cell.metadata.nbgrader.grade}
        self.written = {key: worth for key, worth in points.items() if key in self.answers}
        self.tests = {key: worth for key, worth in points.items() if key not in self.answers}

    def blank(self):
        return nbformat.from_dict(self.release)

    def filled_in(self, **changes):
        """The students' version with all answers in it, some of them changed."""
        notebook = self.blank()
        for cell in notebook.cells:
            name = cell.metadata.get("nbgrader", {}).get("grade_id")
            if name in self.answers:
                cell.source = changes.get(name, self.answers[name])
        return notebook

    def mistaken(self, mistake):
        answer, right = self.answers[mistake["cell"]], mistake["right"]
        if answer.count(right) != 1 or not set(mistake["fails"]) <= set(self.tests):
            raise SystemExit(f"mistakes/{self.name}.toml, {mistake['name']}: unknown tests, or {right!r} not once")
        return self.filled_in(**{mistake["cell"]: answer.replace(right, mistake["wrong"])})


class Submission:
    """What a student hands in for an assignment, and what comes of it.

    fails: the tests that it must fail; answered: whether it holds the written answers.
    """

    def __init__(self, student, assignment, content, fails, answered=True):
        self.student, self.assignment, self.content, self.fails = student, assignment, content, set(fails)
        written = assignment.written if answered else {}
        self.expected = {key: 0.0 if key in self.fails else worth for key, worth in assignment.tests.items()}
        self.expected |= {key: float(written.get(key, 0)) for key in assignment.written}
        self.found, self.graded = {}, False

    def hand_in(self, course):
        folder = course / "submitted" / self.student / self.assignment.name
        folder.mkdir(parents=True)
        if callable(self.content):
            self.content(folder)
        else:
            nbformat.write(self.content, folder / f"{self.assignment.name}.ipynb")

    @property
    def right(self):
        return self.found == self.expected and self.graded == (self.student not in NOT_GRADED)


def ordinary(assignment):
    """Those who solve it, who hand it in untouched, and who make a famous mistake."""
    yield Submission("solution", assignment, assignment.filled_in(), ())
    yield Submission("blank", assignment, assignment.blank(), assignment.tests, answered=False)
    mistakes = HERE / "mistakes" / f"{assignment.name}.toml"
    for mistake in tomllib.loads(mistakes.read_text())["mistake"] if mistakes.exists() else ():
        yield Submission(mistake["name"].replace(" ", "-"), assignment, assignment.mistaken(mistake), mistake["fails"])


def nbgrader(course, *arguments, may_fail=False, bar=None):
    """Run one command of nbgrader in the course's folder; a bar is moved on with each notebook that it takes up."""
    alone = {"JUPYTER_CONFIG_DIR": str(course / "config"), "IPYTHONDIR": str(course / "config"), "TQDM_DISABLE": "1"}
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])  # nbgrader calls alembic by its name
    process = subprocess.Popen(
        [sys.executable, "-m", "nbgrader", *arguments],
        cwd=course, env={**os.environ, **alone, "PATH": path}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    said = []
    for line in process.stdout:
        said.append(line)
        if bar is not None and "] Sanitizing " in line:
            bar.update()
    if process.wait() and not may_fail:
        raise SystemExit(f"nbgrader {' '.join(arguments)} ended with {process.returncode}:\n{''.join(said)}")


def set_up(course, names):
    """A course of its own with some of the assignments, released."""
    for file in ("nbgrader_config.py", "grading.py"):
        shutil.copy(HERE / file, course)
    for name in names:
        shutil.copytree(HERE / "source" / name, course / "source" / name)
        nbgrader(course, "generate_assignment", name, "--create")
    return [Assignment(course, name) for name in names]


def grade(course, submissions):
    """Grade them all as a teacher does, an assignment at a time, and read the gradebook."""
    roster = course / "roster.csv"
    roster.write_text("id\n" + "".join(f"{student}\n" for student in dict.fromkeys(s.student for s in submissions)))
    nbgrader(course, "db", "student", "import", roster.name)
    with tqdm(total=len(submissions), unit="submission") as bar:
        for submission in submissions:
            submission.hand_in(course)
        for name in dict.fromkeys(submission.assignment.name for submission in submissions):
            damaged = any(s.student in NOT_GRADED for s in submissions if s.assignment.name == name)
            nbgrader(course, "autograde", name, f"--Execute.timeout={SECONDS_A_CELL}", may_fail=damaged, bar=bar)
    with Gradebook(f"sqlite:///{course / 'gradebook.db'}") as gradebook:
        for submission in submissions:
            mark(course, gradebook, submission)


def mark(course, gradebook, submission):
    """Give the written answers that wait for a teacher full points, and note each cell's score."""
    name, student = submission.assignment.name, submission.student
    submission.found = dict.fromkeys(submission.expected, 0.0)
    try:
        grades = gradebook.find_submission_notebook(name, name, student).grades
    except MissingEntry:
        return
    submission.graded = (course / "autograded" / student / name / f"{name}.ipynb").exists()
    for grade in grades:
        if submission.graded and grade.needs_manual_grade:
            grade.manual_score, grade.needs_manual_grade = grade.max_score, False
    gradebook.db.commit()
    submission.found |= {grade.name: float(grade.score) for grade in grades}


def check_papers(course, assignments, submissions):
    """That every grade is in the table that the teacher exports, and every graded student has feedback to read."""
    nbgrader(course, "export", "--to=grades.csv")
    with open(course / "grades.csv", newline="") as table:
        exported = {(row["student_id"], row["assignment"]): float(row["score"]) for row in csv.DictReader(table)}
    for assignment in assignments:
        nbgrader(course, "generate_feedback", assignment.name)
    for submission in submissions:
        student, name = submission.student, submission.assignment.name
        if exported[student, name] != sum(submission.found.values()):
            raise SystemExit(f"{student}, {name}: the export says {exported[student, name]}")
        page = course / "feedback" / student / name / f"{name}.html"
        if page.exists() != submission.graded or (page.exists() and page.stat().st_size > 3_000_000):
            raise SystemExit(f"{student}, {name}: feedback is missing, or too large")


def table(submissions):
    lines = [f"{'assignment':24s}{'student':34s}{'score':>7s}{'should be':>11s}{'of':>5s}"]
    for submission in submissions:
        score, expected = sum(submission.found.values()), sum(submission.expected.values())
        most = sum(submission.assignment.tests.values()) + sum(submission.assignment.written.values())
        remark = "" if submission.graded else "   not graded: nbgrader says so"
        for key in submission.expected if not submission.right else ():
            if submission.found[key] != submission.expected[key]:
                remark += f"\n    WRONG: {key} got {submission.found[key]:g}, expected {submission.expected[key]:g}"
        lines.append(
            f"{submission.assignment.name:24s}{submission.student:34s}{score:7g}{expected:11g}{most:5g}{remark}"
        )
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="beginnings of assignments' names; all if none is given")
    parser.add_argument("--short", action="store_true", help="the first assignment, with those who tamper")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="work in this new folder, and leave it there")
    options = parser.parse_args()
    names = sorted(folder.name for folder in (HERE / "source").iterdir() if folder.name.startswith(tuple(options.names) or ""))
    with tempfile.TemporaryDirectory() as temporary:
        course = options.keep or Path(temporary)
        course.mkdir(exist_ok=True, parents=True)
        assignments = set_up(course.resolve(), names[:1] if options.short else names)
        submissions = [submission for assignment in assignments for submission in ordinary(assignment)]
        if not options.names:
            submissions += [Submission(who, assignments[0], *rest) for who, *rest in tampering(assignments[0])]
        grade(course.resolve(), submissions)
        print(table(submissions))
        check_papers(course.resolve(), assignments, submissions)
    wrong = sum(not submission.right for submission in submissions)
    print(f"{len(submissions)} submissions, {wrong} with a score that is not what it should be")
    sys.exit(wrong > 0)


if __name__ == "__main__":
    main()
