"""Run the chapters and store them clean: text outputs only, stable cell ids.

    python tools/chapters.py                  all chapters
    python tools/chapters.py 12               only chapters whose file name begins so
    python tools/chapters.py --assignments    the same for the teachers' versions of the assignments, stored without outputs

Each can be edited as text, in book/text/ or assignments/text/ (not in git). Whichever of text and notebook is newer is taken,
run in a fresh kernel, and both are written. A cell that fails or writes to standard error stops it, and nothing is written.
"""

import argparse
import hashlib
import os
from pathlib import Path

import jupytext
import nbformat
from nbclient import NotebookClient
from tqdm import tqdm

BOOK = Path(__file__).parents[1] / "book"
COURSE = Path(__file__).parents[1] / "assignments"
KEPT = ("text/plain", "application/papermill.record/text/plain")


def text_of(path):
    return (COURSE if COURSE in path.parents else BOOK) / "text" / f"{path.stem}.md"


def newest(path):
    """The notebook, or the text made from it where that was edited since."""
    text = text_of(path)
    if text.exists() and (not path.exists() or text.stat().st_mtime > path.stat().st_mtime):
        return jupytext.read(text)
    return nbformat.read(path, as_version=4)


def run(notebook, folder):
    """Run all cells in a fresh kernel. Raises where a cell fails or writes to standard error."""
    notebook.metadata["kernelspec"] = {"display_name": "Python 3", "language": "python", "name": "python3"}
    NotebookClient(notebook, timeout=600, resources={"metadata": {"path": folder}}).execute()
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if output.output_type == "stream" and output.name == "stderr":
                raise RuntimeError(f"a cell wrote to standard error:\n{cell.source}\n{output.text}")


def merged(outputs):
    """Text that a busy kernel sent in pieces, put together again."""
    whole = []
    for output in outputs:
        if output.output_type == "stream" and whole and whole[-1].get("name") == output.name:
            whole[-1].text += output.text
        else:
            whole.append(output)
    return whole


def clean(notebook):
    """Keep what is compared: text outputs. Everything that changes between runs goes."""
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    seen = {}
    for cell in notebook.cells:
        if "nbgrader" in cell.metadata:  # an assignment
            cell.metadata = {"nbgrader": cell.metadata.nbgrader}
        digest = hashlib.sha1(cell.source.encode()).hexdigest()[:8]
        seen[digest] = seen.get(digest, 0) + 1
        cell.id = digest if seen[digest] == 1 else f"{digest}-{seen[digest]}"
        cell.metadata.pop("execution", None)
        for output in cell.get("outputs", []):
            if "data" in output:
                output.data = {kind: text for kind, text in output.data.items() if kind in KEPT}
        if "outputs" in cell:
            cell.outputs = [output for output in merged(cell.outputs) if output.get("data") != {}]
    return notebook


def without_outputs(notebook):
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    return notebook


def write(path, notebook):
    """Replace the notebook and its text, the text last, so that the notebook does not look older than it."""
    text_of(path).parent.mkdir(exist_ok=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    nbformat.write(notebook, partial)
    partial.replace(path)
    jupytext.write(notebook, text_of(path), fmt="md:myst")
    os.utime(path)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="beginnings of file names; all chapters if none is given")
    parser.add_argument("--assignments", action="store_true", help="the assignments in place of the chapters")
    options = parser.parse_args()
    names = tuple(options.names)
    if options.assignments:
        stems = {path.stem for path in [*COURSE.glob("source/*/*.ipynb"), *COURSE.glob("text/*.md")]}
        found = {COURSE / "source" / stem / f"{stem}.ipynb" for stem in stems}
    else:
        found = {BOOK / f"{path.stem}.ipynb" for path in [*BOOK.glob("*.ipynb"), *BOOK.glob("text/*.md")]}
    chapters = sorted(path for path in found if path.name.startswith(names or ""))
    if not chapters:
        parser.error(f"no chapter begins with {' or '.join(names)}")
    os.environ["TQDM_DISABLE"] = "1"
    for path in tqdm(chapters, unit="chapter", disable=False):
        notebook = newest(path)
        run(notebook, COURSE if options.assignments else BOOK)
        write(path, clean(without_outputs(notebook) if options.assignments else notebook))


if __name__ == "__main__":
    main()
