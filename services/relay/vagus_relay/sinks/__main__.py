"""`python -m vagus_relay.sinks`."""

import os
import sys
from functools import partial

from vagus.runtime.process import run
from vagus_relay.sinks.service import serve
from vagus_relay.sinks.settings import SinkSettings

if __name__ == "__main__":
    sys.exit(run("sink", SinkSettings, partial(serve, environ=os.environ)))
