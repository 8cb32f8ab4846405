"""The course, for nbgrader: run its commands in this folder. The teacher's guide in the book says which, and when."""

import os
import sys
from pathlib import Path

from nbgrader import preprocessors

os.environ.setdefault("OMP_NUM_THREADS", "1")  # small arrays: more threads cost time, and the notebook next door too
sys.path.insert(0, str(Path(__file__).parent))
from grading import Execute, RestoreCells

c = get_config()  # noqa: F821 - nbgrader defines it

c.CourseDirectory.course_id = "fuzz"
# A module beside a notebook would be taken for the one that is installed.
c.CourseDirectory.ignore = [".ipynb_checkpoints", "__pycache__", "feedback", "*.py", "*.pyc", "*.so", "*.pyd", "*.json"]

c.Execute.timeout = 60  # seconds a cell; the slowest of the solutions needs a fifth of it
c.Autograde.sanitize_preprocessors = [
    preprocessors.ClearOutput,
    RestoreCells,
    preprocessors.OverwriteKernelspec,
    preprocessors.OverwriteCells,
    preprocessors.CheckCellMetadata,
]
c.Autograde.autograde_preprocessors = [
    Execute,
    preprocessors.IgnorePattern,
    preprocessors.LimitOutput,
    preprocessors.SaveAutoGrades,
    preprocessors.AssignLatePenalties,
    preprocessors.CheckCellMetadata,
]
