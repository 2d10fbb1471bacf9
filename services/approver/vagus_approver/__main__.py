"""`python -m vagus_approver`."""

import sys

from vagus.runtime.process import run
from vagus_approver.approver import serve
from vagus_approver.settings import Settings

if __name__ == "__main__":
    sys.exit(run("approver", Settings, serve))
