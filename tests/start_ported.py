"""PYTHONSTARTUP of notebook kernels: the chapters run with the library named by FUZZNET_BACKEND inside the package."""

import os
import sys
import traceback

sys.path.insert(0, os.path.dirname(os.environ["PYTHONSTARTUP"]))
try:
    import ported

    ported.start(os.environ["FUZZNET_BACKEND"])
except BaseException:  # IPython would carry on without
    traceback.print_exc()
    os._exit(1)
