"""`python -m vagus_relay`."""

import sys

from vagus.runtime.process import run
from vagus_relay.relay import serve
from vagus_relay.settings import RelaySettings

if __name__ == "__main__":
    sys.exit(run("relay", RelaySettings, serve))
