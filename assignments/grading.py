"""What nbgrader needs beyond itself to grade code that nobody has read: see nbgrader_config.py.

The student's code and the tests share one process, so nothing here is a wall. It stops what students have been seen to do, by
accident or on purpose, and keeps the fault of one from the grades of others.
"""

import secrets
from pathlib import Path

import nbformat
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from nbformat.v4 import new_code_cell, new_markdown_cell, new_output
from nbgrader import preprocessors, utils
from nbgrader.api import Gradebook

PRINTED = 20_000  # characters of printed text, or of an error, that are kept of a cell
SHOWN = 2_000_000  # characters of everything else, pictures included

# Run in the student's kernel before anything of theirs: {name} is drawn anew for each notebook.
KEEP = """
def {name}():
    import builtins, sys
    import fuzznet, numpy
    from builtins import dict, getattr, list, setattr, vars  # not those that a notebook may put in their place
    ours = ("builtins", "fuzznet", "math", "numpy", "operator")
    kept = {{key: (module, dict(vars(module))) for key, module in sys.modules.items() if key.split(".")[0] in ours}}
    shell = get_ipython()
    cells = shell.input_transformer_manager
    hooks = [(shell, "ast_transformers"), (shell, "input_transformers_post")]
    hooks += [(cells, key) for key in ("cleanup_transforms", "line_transforms", "token_transformers")]
    hooks = [(owner, key, list(getattr(owner, key))) for owner, key in hooks]

    def restore():
        for key, (module, names) in kept.items():
            sys.modules[key] = module
            vars(module).update(names)
        for name in ("abs", "all", "any", "isinstance", "len", "max", "min", "range", "sum", "type", "AssertionError"):
            shell.user_ns.pop(name, None)
        for owner, key, functions in hooks:
            setattr(owner, key, list(functions))
        shell.set_custom_exc((), None)
        for functions in shell.events.callbacks.values():
            functions[:] = [function for function in functions if getattr(function, "__module__", "") != "__main__"]
        for kind in numpy.ndarray.__subclasses__():  # an array of one's own may agree with whatever it is compared with
            assert kind.__module__ != "__main__", "an array of one's own kind"

    builtins.{name} = restore
{name}()
del {name}
"""
# Run before each test: an assertion that fails must be seen to fail.
PROBE = "{name}()\nassert False, '{name}'"


class RestoreCells(preprocessors.NbGraderPreprocessor):
    """Put back what was given out: cells that are missing return, locked ones become what they were, answers stay.

    nbgrader's own `add_missing_cells` stops with a KeyError where the cell before a missing one is missing or no test, and a
    wrong `schema_version` in one notebook stops the grading of all.
    """

    def preprocess(self, nb, resources):
        where = resources["nbgrader"]
        with Gradebook(where["db_url"]) as gradebook:
            notebook = gradebook.find_notebook(where["notebook"], where["assignment"])
            points = {cell.name: cell.max_score for cell in notebook.grade_cells}
            answers = {cell.name for cell in notebook.solution_cells}
            given = {cell.name: self.as_given(cell, points, answers) for cell in notebook.source_cells}
        source = nbformat.read(Path("source", where["assignment"], f"{where['notebook']}.ipynb"), as_version=4)  # for the order
        order = [cell.metadata.nbgrader["grade_id"] for cell in source.cells if "nbgrader" in cell.metadata]
        said = [cell.metadata.pop("nbgrader", None) for cell in nb.cells]  # a student can write anything there
        names = [str(found.get("grade_id")) if isinstance(found, dict) else None for found in said]
        present = {name: cell for name, cell in zip(names, nb.cells) if name in given}  # of copies the last one counts
        place = len(nb.cells)
        for grade_id in reversed([name for name in order if name in given]):
            cell = given[grade_id]
            if grade_id in present:
                place = next(index for index, other in enumerate(nb.cells) if other is present[grade_id])
                if grade_id in answers:
                    cell.update({key: nb.cells[place][key] for key in ("source", "attachments") if key in nb.cells[place]})
                nb.cells[place] = cell
            elif grade_id in points or grade_id not in answers:  # code may have been moved to another cell
                self.log.warning("Cell %s was missing, and is put back", grade_id)
                nb.cells.insert(place, cell)
        return nb, resources

    @staticmethod
    def as_given(source, points, answers):
        make = new_code_cell if source.cell_type == "code" else new_markdown_cell
        cell = make(source.source)
        cell.metadata.nbgrader = {
            "grade_id": source.name, "grade": source.name in points, "solution": source.name in answers,
            "locked": source.locked, "task": False, "schema_version": 3, "checksum": source.checksum,
            "cell_type": source.cell_type,
        }  # fmt: skip
        if source.name in points:
            cell.metadata.nbgrader["points"] = points[source.name]
        return cell


class Execute(preprocessors.Execute):
    """Run the notebook; a kernel that dies, hangs or was altered costs the tests that it can't answer, and no more."""

    def preprocess(self, nb, resources=None, km=None):
        self.secret, self.stopped, self.ready, self.shown = f"_{secrets.token_hex(8)}", None, False, {}
        return super().preprocess(nb, resources, km)

    def preprocess_cell(self, cell, resources, index):
        if cell.cell_type != "code":
            return cell, resources
        if not self.stopped:
            try:
                return self.run(cell, resources, index), resources
            except DeadKernelError:
                self.stopped = "Python had ended, or had run out of memory"
            except CellTimeoutError:
                self.stopped = "Python no longer answered, and could not be interrupted"
        return self.refused(cell, self.stopped), resources

    def run(self, cell, resources, index):
        if not self.ready:
            self.ready = not self.quietly(KEEP.format(name=self.secret), index)
        if utils.is_grade(cell) and not utils.is_solution(cell):
            seen = self.quietly(PROBE.format(name=self.secret), index)
            if [(output.ename, output.evalue) for output in seen] != [("AssertionError", self.secret)]:
                return self.refused(cell, "the code before this cell changed how Python or numpy work")
        cell = super().preprocess_cell(cell, resources, index)[0]
        if utils.is_grade(cell):  # nbgrader would take a last value for points
            cell.outputs = [output for output in cell.outputs if output.output_type != "execute_result"]
        return cell

    def quietly(self, source, index):
        """The errors that code of ours ends with in the student's kernel."""
        cell = self.nb.cells[index]
        probe = self.execute_cell(new_code_cell(source), index, store_history=False)
        self.nb.cells[index] = cell
        return [output for output in probe.outputs if output.output_type == "error"]

    def refused(self, cell, why):
        cell.outputs = [new_output("error", ename="NotGraded", evalue=why, traceback=[f"NotGraded: {why}"])]
        return cell

    def output(self, outs, msg, display_id, cell_index):
        """Keep no more of a cell's output than anybody reads."""
        content = msg["content"]
        if msg["msg_type"] == "stream":
            left = PRINTED - sum(len(out.text) for out in outs if out.output_type == "stream")
            if left <= 0:
                return None
            text = content["text"]
            content["text"] = text if len(text) <= left else f"{text[:left]}\n... and more, cut off here\n"
        elif msg["msg_type"] == "error":
            content |= {"evalue": content["evalue"][:PRINTED], "traceback": [line[:PRINTED] for line in content["traceback"]]}
        else:
            self.shown[cell_index] = self.shown.get(cell_index, 0) + len(str(content))
            if self.shown[cell_index] > SHOWN:
                return None
        return super().output(outs, msg, display_id, cell_index)
