"""The ledger of the report's equations: where each stands in the book, which function cites it, which test proves it."""

import ast
import re
from pathlib import Path
from typing import NamedTuple

import nbformat

ROOT = Path(__file__).parents[1]
EQUATIONS = range(1, 21)


class Row(NamedTuple):
    """number: of the equation in the report; chapters: file names without ending; functions: module.name; tests: file::name."""

    number: int
    chapters: list
    functions: list
    tests: list


def markdown(path):
    return "\n".join(cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "markdown")


def cited(docstring):
    """The numbers in "Eq. (8), (9)" of a docstring."""
    found = re.findall(r"Eq\. ((?:\(\d+\)(?:, (?:and )?)?)+)", docstring or "")
    return {int(number) for group in found for number in re.findall(r"\d+", group)}


def marked(function):
    """The numbers that a test function is marked with, if it is a test that runs."""
    if not function.name.startswith("test_") or any("skip" in ast.unparse(d) for d in function.decorator_list):
        return set()
    calls = [d for d in function.decorator_list if isinstance(d, ast.Call) and ast.unparse(d.func) == "pytest.mark.equation"]
    return {call.args[0].value for call in calls}


def definitions(path):
    """Functions and classes of a module, with the methods of none."""
    return [node for node in ast.parse(path.read_text()).body if isinstance(node, ast.FunctionDef | ast.ClassDef)]


def walk():
    """One row for each equation of the report."""
    chapters = {path.stem: markdown(path) for path in sorted((ROOT / "book").glob("[0-9]*.ipynb"))}
    package = [(path.stem, node) for path in sorted((ROOT / "src/fuzznet").glob("*.py")) for node in definitions(path)]
    tests = [(path.name, node) for path in sorted((ROOT / "tests").glob("test_*.py")) for node in definitions(path)]
    label = r"\$\$ *\(eq-{0}\)|^:label: eq-{0}$"
    return [
        Row(
            number,
            [name for name, text in chapters.items() for _ in re.findall(label.format(number), text, re.MULTILINE)],
            [f"{module}.{node.name}" for module, node in package if number in cited(ast.get_docstring(node))],
            [f"{module}::{node.name}" for module, node in tests if number in marked(node)],
        )
        for number in EQUATIONS
    ]


class Table:
    """Rows of texts in Markdown, as plain text in a notebook's record and as a table on the page."""

    def __init__(self, heads, rows):
        self.heads, self.rows = heads, rows

    def _repr_mimebundle_(self, include=None, exclude=None):
        lines = [self.heads, ["---"] * len(self.heads), *([text.replace("|", "\\|") for text in row] for row in self.rows)]
        page = "\n".join("| " + " | ".join(line) + " |" for line in lines)
        return {"text/plain": "\n".join(" ".join(row) for row in self.rows), "text/markdown": page}


def table(rows):
    """The ledger as a table with links."""
    code = [[" ".join(f"`{name}`" for name in names) for names in (row.functions, row.tests)] for row in rows]
    cells = [(f"({row.number})", f"{{eq}}`eq-{row.number}`", *names) for row, names in zip(rows, code)]
    return Table(("report", "here", "function", "test"), cells)
