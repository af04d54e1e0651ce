#!/usr/bin/env python3
"""Measures the same filters in the library crate `proxy-wasm-host` and in the bundled host, in turns, on this machine.

The library is a program of its own, with dependencies of its own (tests/bench/library), which cargo builds first. Both run a
request's and its response's callbacks with five request headers, deadlines and limits on; making the headers is not part of
the figures. Ratios are of the two turns of a round, so that they hold whatever pace the machine has in it.
"""

import argparse
import json
import pathlib
import statistics
import subprocess

import inprocess
import run

FILTERS = ("empty", "rename")
LIBRARY = run.HERE / "library"


def arguments():
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=10, help="turns of each (default: %(default)s)")
    parser.add_argument("--requests", type=int, default=500_000, help="requests in a turn (default: %(default)s)")
    return parser.parse_args()


def built(target):
    """The library's program."""
    # The crate names a newer compiler than it needs.
    subprocess.run(["cargo", "build", "--release", "--locked", "--quiet", "--ignore-rust-version",
                    "--target-dir", target], cwd=LIBRARY, check=True)
    return pathlib.Path(target) / "release/library"


def main():
    options = arguments()
    rows = [run.Row("host", name, False) for name in FILTERS]
    programs = run.find_programs({"host"}, False)
    modules = run.find_modules(rows, False)
    paths = [modules[name] for name in FILTERS]
    program = built(run.ROOT / "target/library")
    print(json.dumps(run.machine(programs, modules)))
    headers = ["--header-count", "4", "--header", "api-key: team-0-key-0123456789abcdef"]
    ratios = {name: [] for name in FILTERS}
    print("round filter  library, ns  host, ns  ratio")
    for number in range(1, options.rounds + 1):
        library = json.loads(subprocess.run([program, str(options.requests), *paths], check=True, capture_output=True,
                                            text=True).stdout)
        host = inprocess.bench(programs["host"], *paths, *headers, "--requests", str(options.requests))
        for name, theirs, ours in zip(FILTERS, library, host):
            own = ours["ns_per_request_median"]
            ratios[name].append(own / theirs)
            print(f"{number:5} {name:7} {theirs:11.0f} {own:9.0f} {own / theirs:6.2f}", flush=True)
    for name, samples in ratios.items():
        print(f"{name}: {statistics.median(samples):.2f} times the library's time, "
              f"{min(samples):.2f} to {max(samples):.2f}")


if __name__ == "__main__":
    main()
