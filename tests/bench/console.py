#!/usr/bin/env python3
"""Measures what an open console takes from a gateway's throughput, on this machine.

One gateway with one worker is loaded by wrk without a pause. In turns nobody looks, somebody looks at a console that
asks no proxy (a bystander), at `switchover console`, and at the gateway's own page: each time a page's stream of events
is read, which is what makes a console ask. Wrk has the other cores for itself, for whatever disturbs it looks like a
slower gateway; the gateway, which answers by itself, shares its one core with the consoles and the reader, which is the
worst that can be (a browser is where its user is, and is not measured). At the edges of each turn the requests and the
CPU time of the gateway are read; each open turn is compared with the closed one of its round.
"""

import argparse
import contextlib
import json
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

import configs
import processes
import run
import workload

STATES = ("closed", "bystander", "console", "gateway's own")
# A page's first moments, and the end of an event stream whose page was left.
SETTLE_SECONDS = 0.7


def arguments():
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20, help="turns of each kind (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=1.2, help="length of a turn (default: %(default)s)")
    parser.add_argument("--consumers", type=int, default=100, help="consumers in turns (default: %(default)s)")
    return parser.parse_args()


def bootstrap(folder, port, admin, modules):
    """The gateway's file, with the document in a file of its own, as a console needs it."""
    file = json.loads(configs.envoy("operated", True, port, port, modules))
    file["admin"] = {"address": configs.address(admin)}
    # Labels, as the demo has them.
    tags = re.findall(r"tag_name: (\w+), regex: '(.*)'", (run.ROOT / "envoy/demo.yaml").read_text())
    file["stats_config"] = {"stats_tags": [{"tag_name": name, "regex": regex} for name, regex in tags]}
    manager = file["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    wasm = manager["http_filters"][0]
    kind = "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig"
    document = folder / "document.json"
    document.write_text(json.dumps({"resources": [{"@type": kind, **wasm}]}))
    manager["http_filters"][0] = {"name": wasm["name"], "config_discovery": {
        "type_urls": [wasm["typed_config"]["@type"]],
        "config_source": {"resource_api_version": "V3", "path_config_source": {"path": str(document)}}}}
    (folder / "bench.json").write_text(json.dumps(file))
    return folder / "bench.json", document


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
    """The instant, the requests that the gateway has taken, and the CPU time of the gateway and of its first thread."""
    with urllib.request.urlopen(f"http://127.0.0.1:{admin}/stats") as response:
        requests = int(re.search(r"^http\.bench\.downstream_rq_total: (\d+)", response.read().decode(), re.M)[1])
    pid = proxy.child.pid
    # The control thread, which serves the admin: time on a core, in ns.
    control = int(pathlib.Path(f"/proc/{pid}/task/{pid}/schedstat").read_text().split()[0])
    return time.monotonic(), requests, proxy.cpu_ns(), control


def turn(url, admin, proxy, seconds):
    """One turn: throughput, requests for each CPU second of the gateway, and the control thread's part of a core."""
    page = Page(url) if url else None
    time.sleep(SETTLE_SECONDS)
    events = page.events if page else 0
    before = taken(admin, proxy)
    time.sleep(seconds)
    clock, requests, cpu, control = (new - old for new, old in zip(taken(admin, proxy), before))
    if page:
        events = page.events - events
        page.close()
        if events < clock / 2:
            raise processes.Failure(f"{url}: {events} events in {clock:.1f} s: nobody was looking")
    return {"rps": requests / clock, "per_cpu_second": requests / cpu * 1e9, "cores": cpu / clock / 1e9,
            "control": control / clock / 1e9, "events": events / clock}


def measure(options, programs, modules, folder):
    """The turns, in rounds."""
    last = os.cpu_count() - 1
    # Threads and programs that are started from now on stay there.
    os.sched_setaffinity(0, {last})
    ports = {name: processes.free_port() for name in ("gateway", "admin", "bystander", "console")}
    with contextlib.ExitStack() as stack:
        file, document = bootstrap(folder, ports["gateway"], ports["admin"], modules)
        command = [programs["host"], "serve", str(file), "--workers", "1"]
        proxy = stack.enter_context(processes.Process(command, folder, ports["gateway"]))
        for name, admin in (("bystander", []), ("console", ["--admin", f"http://127.0.0.1:{ports['admin']}"])):
            command = [programs["host"], "console", str(document), *admin, "--listen", f"127.0.0.1:{ports[name]}"]
            stack.callback(subprocess.Popen(command, stdout=subprocess.DEVNULL).terminate)
        (folder / "wrk.lua").write_text(workload.wrk_script())
        whole = options.rounds * len(STATES) * (options.seconds + 2) + 30
        wrk = subprocess.Popen(["taskset", "-c", f"0-{last - 1}", programs["wrk"], "-t1", f"-c{processes.CONNECTIONS}", f"-d{int(whole)}s", "-s",
                                str(folder / "wrk.lua"), f"http://127.0.0.1:{ports['gateway']}/"], stdout=subprocess.DEVNULL)
        stack.callback(wrk.terminate)
        time.sleep(2)
        of = lambda name: f"http://127.0.0.1:{ports[name]}/console/events"
        urls = dict(zip(STATES, (None, of("bystander"), of("console"), of("admin"))))
        samples = []
        for _ in range(options.rounds):
            # In any order: whatever grows with time does not side with one of them.
            order = random.sample(STATES, len(STATES))
            samples.append({state: turn(urls[state], ports["admin"], proxy, options.seconds) for state in order})
        if wrk.poll() is not None:
            raise processes.Failure("wrk ended before the last turn")
        return samples


def tell(options, samples, machine):
    """Prints the samples and what comes of them."""
    print(f"{machine['cpu']}, {machine['cores']} cores, {machine['kernel']}; commit {machine['commit']}")
    print(f"{options.rounds} rounds, turns of {options.seconds} s, {options.consumers} consumers, one worker\n")
    print(f"{'round':>5} {'state':13} {'requests/s':>11} {'per CPU s':>10} {'cores':>6} {'control thread, % of a core':>28} {'events/s':>9}")
    for number, sample in enumerate(samples, 1):
        for state in STATES:
            own = sample[state]
            print(f"{number:5} {state:13} {own['rps']:11.0f} {own['per_cpu_second']:10.0f} {own['cores']:6.3f} "
                  f"{own['control'] * 100:28.3f} {own['events']:9.1f}")
    print("\nagainst the closed turn of the same round; medians, and the quartiles:")
    for state in STATES[1:]:
        for figure in ("rps", "per_cpu_second"):
            lost = [1 - sample[state][figure] / sample["closed"][figure] for sample in samples]
            low, middle, high = (100 * part for part in statistics.quantiles(lost, n=4))
            error = 100 * statistics.stdev(lost) / len(lost) ** 0.5
            print(f"{state:13} {figure:15} {middle:+6.2f} % lost ({low:+.2f} to {high:+.2f}; mean "
                  f"{100 * statistics.mean(lost):+.2f} ± {error:.2f})")
        more = statistics.median(sample[state]["control"] - sample["closed"]["control"] for sample in samples)
        print(f"{state:13} control thread  {more * 100:6.3f} % of a core more")


def main():
    """Measures and prints."""
    options = arguments()
    workload.CONSUMERS = options.consumers
    workload.document.__defaults__ = (options.consumers, *workload.document.__defaults__[1:])
    programs = run.find_programs({"host"}, False)
    modules = run.find_modules([run.Row("host", "operated", True)], False)
    with tempfile.TemporaryDirectory(prefix="switchover-bench-") as folder:
        samples = measure(options, programs, modules, pathlib.Path(folder))
    tell(options, samples, run.machine(programs, modules))


if __name__ == "__main__":
    main()
