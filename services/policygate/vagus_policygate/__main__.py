"""`python -m vagus_policygate`."""

import sys

from vagus.runtime.process import run
from vagus_policygate.gate import serve
from vagus_policygate.settings import Settings

if __name__ == "__main__":
    sys.exit(run("policygate", Settings, serve))
