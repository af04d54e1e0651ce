#!/usr/bin/env python3
"""Measures what an open console takes from a gateway's throughput, on this machine.

One gateway with one worker is loaded by wrk without a pause. In turns nobody looks, somebody looks at a console that
asks no proxy (a bystander), at `switchover console`, and at the gateway's own page: each time a page's stream of events
is read, which is what makes a console ask. Wrk has the other cores for itself, for whatever disturbs it looks like a
slower gateway; the gateway, which answers by itself, shares its one core with the consoles and the reader, which is the
worst that can be (a browser is where its user is, and is not measured). At the edges of each turn the requests and the
CPU time of the gateway are read; each open turn is compared with the closed one of its round.

Requests a second tell what is lost only as well as the machine is quiet. What noise hardly touches is CPU time: for each
turn, what the gateway's threads but its workers took (the control thread, which answers consoles and does whatever else
is not a request's), as a share of what all its threads took. A worker does nothing for a console: what it counts is read
where it counts it. So where one core is all that a gateway has, no more than that share of its throughput can be lost to
an open console, but for what the caches lose; where the control thread has another core, nothing is.
"""

import argparse
import contextlib
import os
import pathlib
import random
import re
import socket
import statistics
import subprocess
import tempfile
import threading
import time
import urllib.request

import operated
import processes
import run

STATES = ("closed", "bystander", "console", "gateway's own")
# A page's first moments, and the end of an event stream whose page was left.
SETTLE_SECONDS = 0.7


def arguments():
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20, help="turns of each kind, at least 2 (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=1.2, help="length of a turn (default: %(default)s)")
    parser.add_argument("--consumers", type=int, default=100, help="consumers in turns (default: %(default)s)")
    return parser.parse_args()


class Page:
    """What an open page asks for: one stream of events, read as it comes."""

    def __init__(self, url):
        self.response = urllib.request.urlopen(url, timeout=10)
        self.events = 0
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        """Takes in events until the page is closed."""
        with contextlib.suppress(OSError, ValueError, AttributeError):
            for line in self.response:
                self.events += line.startswith(b"data: ")

    def close(self):
        """Leaves it, as a closed page does."""
        self.response.fp.raw._sock.shutdown(socket.SHUT_RDWR)


def taken(admin, proxy):
    """The instant, the requests that the gateway has taken, and the CPU time of the gateway and of its threads beside the workers."""
    with urllib.request.urlopen(f"http://127.0.0.1:{admin}/stats") as response:
        requests = int(re.search(r"^http\.bench\.downstream_rq_total: (\d+)", response.read().decode(), re.M)[1])
    beside = 0
    for task in pathlib.Path(f"/proc/{proxy.child.pid}/task").iterdir():
        if not (task / "comm").read_text().startswith("worker"):
            # Time on a core, in ns; exact, for these sleep most of the time.
            beside += int((task / "schedstat").read_text().split()[0])
    return time.monotonic(), requests, proxy.cpu_ns(), beside


def turn(url, admin, proxy, seconds):
    """One turn: throughput, requests for each CPU second of the gateway, and the part of that which no worker had."""
    page = Page(url) if url else None
    time.sleep(SETTLE_SECONDS)
    events = page.events if page else 0
    before = taken(admin, proxy)
    time.sleep(seconds)
    clock, requests, cpu, beside = (new - old for new, old in zip(taken(admin, proxy), before))
    if page:
        events = page.events - events
        page.close()
        if events < clock / 2:
            raise processes.Failure(f"{url}: {events} events in {clock:.1f} s: nobody was looking")
    return {"rps": requests / clock, "per_cpu_second": requests / cpu * 1e9, "cores": cpu / clock / 1e9,
            "beside": beside / cpu, "events": events / clock}


def measure(options, programs, modules, folder):
    """The turns, in rounds."""
    last = os.cpu_count() - 1
    # Threads and programs that are started from now on stay there.
    os.sched_setaffinity(0, {last})
    ports = {name: processes.free_port() for name in ("gateway", "admin", "bystander", "console")}
    with contextlib.ExitStack() as stack:
        proxy, admin, document = operated.serve(stack, programs, modules, folder, options.consumers)
        ports = {name: processes.free_port() for name in ("bystander", "console")}
        for name, arguments in (("bystander", []), ("console", ["--admin", f"http://127.0.0.1:{admin}"])):
            command = [programs["host"], "console", str(document), *arguments, "--listen", f"127.0.0.1:{ports[name]}"]
            stack.callback(subprocess.Popen(command, stdout=subprocess.DEVNULL).terminate)
        whole = options.rounds * len(STATES) * (options.seconds + 2) + 30
        wrk = operated.load(programs, folder, proxy.port, int(whole), f"0-{last - 1}")
        stack.callback(wrk.terminate)
        time.sleep(2)
        of = lambda port: f"http://127.0.0.1:{port}/console/events"
        urls = dict(zip(STATES, (None, of(ports["bystander"]), of(ports["console"]), of(admin))))
        samples = []
        for _ in range(options.rounds):
            # In any order: whatever grows with time does not side with one of them.
            order = random.sample(STATES, len(STATES))
            samples.append({state: turn(urls[state], admin, proxy, options.seconds) for state in order})
        if wrk.poll() is not None:
            raise processes.Failure("wrk ended before the last turn")
        return samples


def tell(options, samples, machine):
    """Prints the samples and what comes of them."""
    print(f"{machine['cpu']}, {machine['cores']} cores, {machine['kernel']}; commit {machine['commit']}")
    print(f"{options.rounds} rounds, turns of {options.seconds} s, {options.consumers} consumers, one worker\n")
    print(f"{'round':>5} {'state':13} {'requests/s':>11} {'per CPU s':>10} {'cores':>6} {'beside the workers, % of the CPU':>33} {'events/s':>9}")
    for number, sample in enumerate(samples, 1):
        for state in STATES:
            own = sample[state]
            print(f"{number:5} {state:13} {own['rps']:11.0f} {own['per_cpu_second']:10.0f} {own['cores']:6.3f} "
                  f"{own['beside'] * 100:33.3f} {own['events']:9.1f}")
    print("\nagainst the closed turn of the same round; medians, and the quartiles:")
    for state in STATES[1:]:
        for figure in ("rps", "per_cpu_second"):
            lost = [1 - sample[state][figure] / sample["closed"][figure] for sample in samples]
            low, middle, high = (100 * part for part in statistics.quantiles(lost, n=4))
            error = 100 * statistics.stdev(lost) / len(lost) ** 0.5
            print(f"{state:13} {figure:15} {middle:+6.2f} % lost ({low:+.2f} to {high:+.2f}; mean "
                  f"{100 * statistics.mean(lost):+.2f} ± {error:.2f})")
    print("\nCPU beside the workers, as a share of the gateway's: what one core can lose at most, but for caches")
    for state in STATES:
        shares = [100 * sample[state]["beside"] for sample in samples]
        print(f"{state:13} least {min(shares):.3f} %, median {statistics.median(shares):.3f} %, greatest {max(shares):.3f} %")


def main():
    """Measures and prints."""
    options = arguments()
    programs = run.find_programs({"host"}, False)
    modules = run.find_modules([run.Row("host", "operated", True)], False)
    with tempfile.TemporaryDirectory(prefix="switchover-bench-") as folder:
        samples = measure(options, programs, modules, pathlib.Path(folder))
    tell(options, samples, run.machine(programs, modules))


if __name__ == "__main__":
    main()
