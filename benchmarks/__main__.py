"""`python -m benchmarks [NAME…] [--json] [--list]`: run benchmarks and print what they measured.

The exit status is 0 whether or not targets were met: figures of a busy machine are no reason to stop a build.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time

from benchmarks.catalog import BENCHMARKS, PARTS
from benchmarks.machine import machine_facts
from benchmarks.report import figures_table, machine_line, summary


def main() -> None:
    """Run what the command line names."""
    known = BENCHMARKS | PARTS
    arguments = _arguments()
    if arguments.list:
        width = 2 + max(map(len, known))
        for benchmark in (*BENCHMARKS.values(), *PARTS.values()):
            print(f"{benchmark.name:<{width}}{benchmark.summary}")
        return
    # Defaults are what is measured, here and in the processes that are started.
    for variable in [name for name in os.environ if name.upper().startswith("FLEETKEY_")]:
        del os.environ[variable]
    facts = machine_facts()
    if not arguments.json:
        print(machine_line(facts), flush=True)
    start = time.perf_counter()
    figures = []
    for name in arguments.names or BENCHMARKS:
        print(f"measuring {name} …", file=sys.stderr, flush=True)
        figures += known[name].run()
    seconds = time.perf_counter() - start
    if arguments.json:
        fields = [figure.as_fields() for figure in figures]
        print(json.dumps({"machine": facts, "figures": fields, "summary": summary(figures), "seconds": seconds}))
        return
    print(figures_table(figures))
    print(f"measured in {seconds:.0f} s; medians of alternating rounds; other work on this machine moves the figures")
    print(summary(figures))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure, side by side with a peer.")
    parser.add_argument("names", metavar="NAME", nargs="*", help="benchmarks to run; without any, all of them")
    parser.add_argument("--json", action="store_true", help="print JSON for scripts")
    parser.add_argument("--list", action="store_true", help="list the benchmarks")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(BENCHMARKS) - set(PARTS):
        parser.error(f"no benchmark is called {', '.join(sorted(unknown))}; there are {', '.join(BENCHMARKS)}")
    return arguments


if __name__ == "__main__":
    main()
