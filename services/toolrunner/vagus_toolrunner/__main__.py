"""`python -m vagus_toolrunner`."""

import sys

from vagus.runtime.process import run
from vagus_toolrunner.runner import serve
from vagus_toolrunner.settings import RunnerSettings

if __name__ == "__main__":
    sys.exit(run("toolrunner", RunnerSettings, serve))
