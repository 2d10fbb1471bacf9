"""`python -m tests.model`: explore more than the tests do, or see a schedule again."""

import argparse
import logging
import sys
from time import perf_counter

from tests.model.explore import explore, schedules
from tests.model.run import play
from tests.model.scenario import SCENARIOS
from tests.model.schedule import parse


def main() -> int:
    """Explore; exit code 1 when something does not hold."""
    parser = argparse.ArgumentParser(prog="python -m tests.model", description=__doc__)
    parser.add_argument("--scenario", choices=sorted(SCENARIOS), action="append", help="repeat for more")
    parser.add_argument("--faults", type=int, default=2, help="in every schedule (default 2)")
    parser.add_argument(
        "--sample", type=int, default=2000, help="schedules of each, at random; 0: all (default 2000)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the sample")
    parser.add_argument("--replay", metavar="'SCENARIO STEP:FAULT …'", help="run this one")
    options = parser.parse_args()
    logging.disable(logging.NOTSET if options.replay else logging.CRITICAL)
    if options.replay:
        scenario, _, text = options.replay.partition(" ")
        print(f"at rest after {play(scenario, parse(text))} steps")
        return 0
    for scenario in options.scenario or SCENARIOS:
        began = perf_counter()
        some = schedules(scenario, options.faults, sample=options.sample or None, seed=options.seed)
        count, failure = explore(scenario, some)
        took_s = perf_counter() - began
        print(f"{scenario}: {count} schedules in {took_s:.0f} s ({60 * count / took_s:.0f} a minute)")
        if failure is not None:
            print(failure)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
