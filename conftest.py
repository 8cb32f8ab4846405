"""What the strict comparison of notebooks leaves aside: pictures, sound and widgets, which are drawn when the book is built."""

import os

os.environ["TQDM_DISABLE"] = "1"  # progress bars tell the time, which no two runs share

SKIPPED = (
    "text/html",
    "text/latex",
    "text/markdown",
    "image/png",
    "image/svg+xml",
    "application/javascript",
    "application/vnd.jupyter.widget-view+json",
    "stderr",
)


def pytest_collectstart(collector):
    if hasattr(collector, "skip_compare"):
        collector.skip_compare += SKIPPED
