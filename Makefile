# make book       build the book, and say where the page is
# make test       everything: tests, every chapter's numbers, a clean build of the book, every page in a browser
# make lab        open the chapters in JupyterLab
# make chapters   run the chapters after an edit, and store them clean (NAMES=12 for some)
# make assignments   the students' versions of the assignments, from the teachers' (installs nbgrader into .venv)
# make faults     what is killed, cut off or finds its disk full: how often it was tried, and what was lost (under ten minutes)
# make grade-demo    a class of made-up students, graded: what each gets, beside what it should get (under ten minutes)
# make lock       renew the lock after a change of the dependencies (needs uv)
# make oldest     the tests and the chapters' numbers with the oldest dependencies that pyproject.toml allows (needs uv)
# make mutants    change the package in hundreds of small ways, and see whether the tests notice (some minutes)
# make bench      the package beside PyTorch, torch.compile, loops and C: under ten minutes, in an environment of its own
# make bench-quick   the main rows of it, under a minute
# make gpu        the tests and all chapters with CuPy inside the package, on a machine with a GPU
# make gpu-bench  a training step with CuPy beside PyTorch's with CUDA, timed on a machine with a GPU
# make clean      remove what was built and installed here

PYTHON ?= python3
BIN := .venv/bin
READY := .venv/ready
PACKAGE := $(shell find src -name '*.py' -o -name '*.flac' -o -name '*.mplstyle')

export TQDM_DISABLE := 1# progress bars tell the time, which no two runs share
export PYDEVD_DISABLE_FILE_VALIDATION := 1

# Each target uses both cores by itself, and test removes what book has built.
.NOTPARALLEL:

.PHONY: book test lab chapters assignments grade-demo faults lock oldest mutants bench bench-quick gpu gpu-bench clean

book: $(READY) _build/package
	$(BIN)/jupyter-book build . --all -W -n --keep-going
	@echo "Open $(CURDIR)/_build/html/index.html"

# The results that jupyter-cache keeps are good only for the package they were computed with.
_build/package: $(PACKAGE) requirements.txt
	rm -rf _build/.jupyter_cache
	@mkdir -p _build && touch $@

test: $(READY) .venv/course
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --cov
	PYTHONPATH=$(CURDIR)/tests/closed OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --dist loadfile --nbval book/*.ipynb
	rm -rf _build
	PYTHONPATH=$(CURDIR)/tests/closed $(MAKE) book
	$(BIN)/python -m pytest --numprocesses auto tests/pages.py
	$(MAKE) faults
	$(BIN)/python assignments/grade_demo.py --short
	$(BIN)/python -m pytest tests/lab.py

lab: $(READY)
	env -u TQDM_DISABLE $(BIN)/jupyter lab book

chapters: $(READY)
	$(BIN)/python tools/chapters.py $(NAMES)

# What the course needs beyond the one lock stands in a short one of its own.
COMPILE := uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	--no-emit-find-links --no-header --no-annotate --no-strip-extras --extra book --extra test pyproject.toml
lock:
	$(COMPILE) --upgrade -o requirements.txt
	$(COMPILE) --extra course --constraint requirements.txt | grep -vxFf requirements.txt > assignments/requirements.txt

.venv/course: assignments/requirements.txt $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r assignments/requirements.txt
	@touch $@

# nbgrader calls alembic by its name
NBGRADER := PATH="$(abspath $(BIN)):$$PATH" nbgrader

assignments: .venv/course
	cd assignments && for name in source/*; do $(NBGRADER) generate_assignment --force $$(basename $$name) || exit 1; done

grade-demo: .venv/course
	env -u TQDM_DISABLE $(BIN)/python assignments/grade_demo.py

faults: $(READY)
	$(BIN)/python -m pytest --numprocesses auto tests/faults/faults_*.py

MUTMUT := mutmut==3.8.1
mutants: $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(MUTMUT)
	$(BIN)/python tools/mutants.py

gpu: $(READY)
	$(BIN)/python -c 'import cupy' 2>/dev/null || $(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[gpu]'
	$(BIN)/python benchmarks/gpu.py

bench: .venv-bench/ready
	.venv-bench/bin/python benchmarks/speed.py

bench-quick: .venv-bench/ready
	.venv-bench/bin/python benchmarks/speed.py --quick

gpu-bench: .venv-bench/ready
	.venv-bench/bin/python -c 'import cupy' 2>/dev/null || \
		.venv-bench/bin/python -m pip install --quiet --disable-pip-version-check -e '.[gpu]'
	.venv-bench/bin/python benchmarks/gpu_speed.py

.venv-bench/ready: pyproject.toml
	$(PYTHON) -m venv --clear .venv-bench
	.venv-bench/bin/python -m pip install --quiet --disable-pip-version-check -e '.[bench]'
	@touch $@

oldest:
	uv venv --quiet --clear --python $(PYTHON) .venv-oldest
	uv pip install --quiet --python .venv-oldest --resolution lowest-direct -e '.[book,test]'
	.venv-oldest/bin/python -m pytest --numprocesses auto
	OMP_NUM_THREADS=1 .venv-oldest/bin/python -m pytest --numprocesses auto --dist loadfile --nbval book/*.ipynb

clean:
	rm -rf _build .venv .venv-bench .venv-oldest mutants .hypothesis .coverage

$(READY): requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed, and $(PYTHON) is older. Name another: make PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv --clear .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@
