#!/usr/bin/env python3
"""Measures how long one scrape of /stats/prometheus takes, on this machine.

One gateway with one worker, which has answered every consumer, is scraped again and again over one connection, as
Prometheus does it, while nothing else goes on. What a scrape has to write grows with the consumers.
"""

import argparse
import contextlib
import http.client
import pathlib
import statistics
import tempfile
import time

import operated
import processes
import run


def arguments():
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scrapes", type=int, default=1000, help="how many (default: %(default)s)")
    parser.add_argument("--consumers", type=int, default=1000, help="consumers (default: %(default)s)")
    return parser.parse_args()


def scrape(connection):
    """One scrape: seconds and text."""
    begun = time.perf_counter()
    connection.request("GET", "/stats/prometheus")
    text = connection.getresponse().read().decode()
    return time.perf_counter() - begun, text


def main():
    """Measures and prints."""
    options = arguments()
    programs = run.find_programs({"host"}, False)
    modules = run.find_modules([run.Row("host", "operated", True)], False)
    with tempfile.TemporaryDirectory(prefix="switchover-bench-") as folder, contextlib.ExitStack() as stack:
        folder = pathlib.Path(folder)
        proxy, admin, _ = operated.serve(stack, programs, modules, folder, options.consumers)
        operated.load(programs, folder, proxy.port, 2).wait()
        # Counts reach the admin within a quarter of a second.
        time.sleep(1)
        connection = http.client.HTTPConnection("127.0.0.1", admin)
        samples = [scrape(connection) for _ in range(options.scrapes)]
    times, text = sorted(took * 1e3 for took, _ in samples), samples[-1][1]
    counted = len({line for line in text.splitlines() if line.startswith("switchover_auth{") and 'outcome="ok"' in line})
    if counted < options.consumers:
        raise processes.Failure(f"only {counted} consumers are told of")
    machine = run.machine(programs, modules)
    print(f"{machine['cpu']}, {machine['cores']} cores, {machine['kernel']}; commit {machine['commit']}")
    print(f"{options.scrapes} scrapes, {options.consumers} consumers, {len(text)} bytes, {len(text.splitlines())} lines")
    print(f"milliseconds: best {times[0]:.2f}, median {statistics.median(times):.2f}, "
          f"p99 {times[int(len(times) * 0.99)]:.2f}, worst {times[-1]:.2f}")


if __name__ == "__main__":
    main()
