"""`python -m vagus_kernel`."""

import sys

from vagus.runtime.process import run
from vagus_kernel.kernel import serve
from vagus_kernel.settings import KernelSettings

if __name__ == "__main__":
    sys.exit(run("kernel", KernelSettings, serve))
