"""Notebooks that would stop the grading, or gain from it; some by accident. Used by grade_demo.py."""

import nbformat

NOT_GRADED = ("corrupt", "empty-folder", "misnamed")  # nbgrader says so and goes on with the others; the score is 0

ENDLESS = """
import time
while True:
    try:
        time.sleep(1)
    except KeyboardInterrupt:
        pass
"""
OVERWRITES = """
import builtins, sys, types
import fuzznet, numpy
for name in ("allclose", "isclose", "array_equal", "all", "any", "abs", "max", "isfinite", "shape"):
    setattr(numpy, name, lambda *a, **k: True)
builtins.abs = builtins.max = builtins.sum = lambda *a, **k: 0
builtins.isinstance = builtins.all = builtins.any = lambda *a, **k: True
fuzznet.convolution.convolve = fuzznet.forward = lambda *a, **k: 0
sys.modules["fuzznet"] = types.ModuleType("fuzznet")
"""
SWALLOWS = """
import ast
shell = get_ipython()
shell.set_custom_exc((Exception,), lambda *a, **k: None)
class NoAsserts(ast.NodeTransformer):
    def visit_Assert(self, node):
        return ast.Pass()
shell.ast_transformers.append(NoAsserts())
AssertionError = None
"""
DROPS_CELLS = """
shell = get_ipython()
ours = type(shell).run_cell_async
async def run_nothing(self, raw_cell, *a, **k):
    return await ours(self, "pass", *a, **k | {"transformed_cell": "pass"})
type(shell).run_cell_async = run_nothing
"""
AGREES = """
class Agrees:
    def __getattr__(self, name):
        return Agrees()
    def __call__(self, *a, **k):
        return Agrees()
    def __bool__(self):
        return True
    def __array_function__(self, *a, **k):
        return True
    def __array_ufunc__(self, *a, **k):
        return Agrees()
for name in "eq ne lt le gt ge".split():
    setattr(Agrees, f"__{name}__", lambda self, other: True)
for name in "add radd sub rsub mul rmul truediv rtruediv pow matmul rmatmul getitem".split():
    setattr(Agrees, f"__{name}__", lambda self, other: self)
Agrees.__abs__ = Agrees.__neg__ = lambda self: self
Agrees.__iter__ = lambda self: iter([self])
"""
HOOKS = """
import sys
shell = get_ipython()
shell.events.register("pre_run_cell", lambda info: setattr(info, "raw_cell", "pass"))
shell.input_transformer_manager.cleanup_transforms.append(lambda lines: ["pass\\n"])
shell.display_formatter.format = lambda *a, **k: ({"text/plain": "9"}, {})
"""
ARRAYS = """
import numpy as np
class Array(np.ndarray):
    def __array_function__(self, *a, **k):
        return True
    def __array_ufunc__(self, *a, **k):
        return True
    shape = property(lambda self: Same())
class Same(tuple):
    __eq__ = lambda self, other: True
    __hash__ = None
"""


def tampering(assignment):
    """Rows of student, what is handed in, the tests that it must fail, and whether it holds the written answers."""
    every = tuple(assignment.tests)

    def solved_with(source):
        return with_cell(assignment.filled_in(), source)

    def wrong_with(source, answer="return 0"):
        """Every function answers nonsense, and another cell tries to have that accepted."""
        notebook = assignment.blank()
        for cell in notebook.cells:
            cell.source = cell.source.replace("raise NotImplementedError()", answer)
        return with_cell(notebook, source)

    def test_cells(notebook):
        return [c for c in notebook.cells if c.metadata.get("nbgrader", {}).get("grade_id") in assignment.tests]

    def tests_edited(**metadata):
        notebook = wrong_with("pass")
        for cell in test_cells(notebook):
            cell.source = "assert True"
            cell.metadata.nbgrader |= metadata
        return notebook

    def tests_gone(notebook):
        gone = {id(cell) for cell in test_cells(notebook)}
        notebook.cells = [cell for cell in notebook.cells if id(cell) not in gone]
        return notebook

    def tests_copied():
        notebook = wrong_with("pass")
        copies = test_cells(nbformat.from_dict(notebook))
        for number, cell in enumerate(copies):
            cell.source, cell["id"] = "pass", f"copy-{number}"
        notebook.cells += copies
        return notebook

    def saved_elsewhere(folder):
        """By a program that knows no cell ids, names another kernel, and adds what it likes."""
        notebook = assignment.filled_in()
        notebook.nbformat_minor = 2
        notebook.metadata = {"kernelspec": {"name": "conda-env-fuzz-py", "display_name": "fuzz"}, "colab": {"provenance": []}}
        for cell in notebook.cells:
            del cell["id"]
            cell.metadata["colab"] = {"base_uri": "elsewhere"}
        nbformat.write(notebook, folder / f"{assignment.name}.ipynb")

    def with_files(folder):
        nbformat.write(assignment.filled_in(), folder / f"{assignment.name}.ipynb")
        for name in ("fuzznet.py", "numpy.py", "ipython_config.py"):
            (folder / name).write_text("raise SystemExit('taken for the real one')")

    def corrupt(folder):
        text = nbformat.writes(assignment.filled_in())
        (folder / f"{assignment.name}.ipynb").write_text(text[: len(text) // 2])

    def merged():
        """All code in the first task's cell, and the other cells to be filled deleted."""
        notebook = assignment.filled_in()
        names = [cell.metadata.get("nbgrader", {}).get("grade_id") for cell in notebook.cells]
        tasks = [cell for name, cell in zip(names, notebook.cells) if name in assignment.answers and cell.cell_type == "code"]
        tasks[0].source = "\n\n".join(cell.source for cell in tasks)
        notebook.cells = [cell for cell in notebook.cells if not any(cell is other for other in tasks[1:])]
        return notebook

    def misnamed(folder):
        nbformat.write(assignment.filled_in(), folder / "Untitled1.ipynb")

    def nothing():
        return nbformat.v4.new_notebook()

    yield "never-ends", solved_with("while True:\n    pass"), ()
    yield "will-not-be-interrupted", solved_with(ENDLESS), every
    yield "raises", solved_with("raise RuntimeError('of my own')"), ()
    yield "syntax-error", solved_with("def ("), ()
    yield "ends-python", solved_with("import os\nos._exit(1)"), every
    yield "prints-a-megabyte", solved_with("print('x' * 1_000_000)"), ()
    yield "prints-without-end", solved_with("while True:\n    print('x' * 1000)"), ()
    yield "answers-nonsense", wrong_with("pass"), every, False
    yield "overwrites-fuzznet", wrong_with(OVERWRITES), every, False
    yield "swallows-assertions", wrong_with(SWALLOWS), every, False
    yield "drops-cells", wrong_with(DROPS_CELLS), every, False
    yield "agrees-with-everything", wrong_with(AGREES, "return Agrees()"), every, False
    yield "hooks-into-cells", wrong_with(HOOKS), every, False
    yield "agrees-as-an-array", wrong_with(ARRAYS, "return np.zeros(9).view(Array)"), every, False
    yield "edits-tests", tests_edited(), every, False
    yield "relabels-tests", tests_edited(solution=True, grade=False, points=1000, schema_version=99), every, False
    yield "copies-tests", tests_copied(), every, False
    yield "deletes-tests", tests_gone(wrong_with("pass")), every, False
    yield "deletes-tests-but-solved-it", tests_gone(assignment.filled_in()), ()
    yield "answers-in-one-cell", merged(), ()
    yield "deletes-everything", nothing(), every, False
    yield "brings-modules", with_files, ()
    yield "saved-elsewhere", saved_elsewhere, ()
    yield "corrupt", corrupt, every, False
    yield "empty-folder", lambda folder: None, every, False
    yield "misnamed", misnamed, every, False


def with_cell(notebook, source):
    """Another cell, after the title and the imports."""
    notebook.cells.insert(2, nbformat.v4.new_code_cell(source))
    return notebook
