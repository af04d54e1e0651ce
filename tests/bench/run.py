#!/usr/bin/env python3
"""Measures Switchover beside what else could do its work, on this machine, in one run.

Every row is a proxy with one worker, started anew for each sample, without access log, with
kept-alive connections on both sides, loaded by wrk over loopback with 16 connections. The rows take
turns in each round, so that whatever disturbs the machine disturbs all of them. A failed request, or
a row that does not send the service what it should, fails the run.

Writes the samples as JSON and the tables as Markdown.
"""

import argparse
import dataclasses
import datetime
import json
import os
import pathlib
import platform
import re
import shutil
import subprocess
import sys
import tempfile

import configs
import inprocess
import processes
import report
import workload

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
PACKAGES = {"haproxy": "haproxy", "nginx": "nginx-light", "wrk": "wrk"}


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of the tables."""
    engine: str   # envoy, host, haproxy, nginx
    variant: str  # none, native, lua, rewriting, or one of configs.GUESTS or configs.SWITCHOVER
    direct: bool  # answered by the proxy itself, without the service

    @property
    def name(self):
        """The row's name on the command line and in the results."""
        return f"{self.engine}/{self.variant}/{'direct' if self.direct else 'proxied'}"


def all_rows():
    """Every row, in the order of the tables."""
    variants = {
        "envoy": ["none", "native", "lua", *configs.GUESTS, *configs.SWITCHOVER],
        "host": ["none", *configs.GUESTS, *configs.SWITCHOVER],
        "haproxy": ["rewriting"],
        "nginx": ["rewriting"],
    }
    # A direct response makes no attempt upstream.
    return [Row(engine, variant, direct)
            for direct in (False, True) for engine, names in variants.items() for variant in names
            if not (direct and "attempts" in variant)]


def arguments():
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="samples of each row (default: %(default)s)")
    parser.add_argument("--seconds", type=int, default=5, help="seconds of load for each sample (default: %(default)s)")
    parser.add_argument("--only", action="append", default=[], metavar="TEXT",
                        help="only rows whose name holds TEXT, as host/route/proxied does; inprocess for the "
                             "in-process part; may be repeated")
    parser.add_argument("--list", action="store_true", help="print the rows' names and stop")
    parser.add_argument("--install", action="store_true", help="install missing programs with apt-get")
    parser.add_argument("--out", type=pathlib.Path, help="folder of the results (default: tests/bench/results, or "
                                                         "target/bench for fewer rows or rounds than usual)")
    parser.add_argument("--render", type=pathlib.Path, metavar="JSON", help="measure nothing: tables of these results")
    parser.add_argument("--update-readme", action="store_true", help="put the summary into README.md")
    return parser.parse_args()


def find_programs(engines, install):
    """Where each program is. Those from Debian are installed if `install`; the others must be there."""
    programs = {}
    for name, package in PACKAGES.items():
        if name not in engines | {"nginx", "wrk"}:
            continue
        path = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin")
        if not path and install:
            subprocess.run([ROOT / ".ci/apt-install", package], check=True)
            path = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin")
        if not path:
            sys.exit(f"{name} is missing: apt-get install {package}, or --install")
        programs[name] = path
    for name, default in [("envoy", ".venv/bin/envoy"), ("host", "target/release/switchover")]:
        path = os.environ.get({"envoy": "ENVOY", "host": "SWITCHOVER_BIN"}[name], str(ROOT / default))
        if name in engines and not os.access(path, os.X_OK):
            sys.exit(f"{path} is missing: make build envoy, or set {'ENVOY' if name == 'envoy' else 'SWITCHOVER_BIN'}")
        programs[name] = path
    return programs


def find_modules(rows, in_process):
    """Where the Wasm modules are; those that a row uses must be there."""
    guests = os.environ.get("SWITCHOVER_GUESTS", ROOT / "target/guests/wasm32-unknown-unknown/wasm")
    modules = {
        "switchover": os.environ.get("SWITCHOVER_WASM", str(ROOT / "dist/switchover.wasm")),
        **{name: str(pathlib.Path(guests) / f"{name}.wasm") for name in configs.GUESTS},
    }
    variants = {row.variant for row in rows}
    needs = {name: in_process or name in variants for name in configs.GUESTS}
    needs["switchover"] = in_process or variants & set(configs.SWITCHOVER)
    for name, needed in needs.items():
        if needed and not pathlib.Path(modules[name]).exists():
            sys.exit(f"{modules[name]} is missing: make build guests")
    return modules


def output(*command):
    """What a command prints, or the empty text where it cannot say."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=30, cwd=ROOT)
    except OSError:
        return ""
    return (done.stdout + done.stderr).strip()


def machine(programs, modules):
    """What the numbers depend on beside the code."""
    cpus = [line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")]
    flags = {"envoy": "--version", "host": "--version", "haproxy": "-v", "nginx": "-v", "wrk": "-v"}
    versions = {}
    for name, path in programs.items():
        found = re.search(r"\d+\.\d+\.\d+", output(path, flags[name]))
        versions[name] = found.group() if found else "unknown"
    module = pathlib.Path(modules["switchover"])
    return {
        "cpu": cpus[0] if cpus else platform.machine(),
        "cores": os.cpu_count(),
        "architecture": platform.machine(),
        "kernel": platform.release(),
        "load_at_start": os.getloadavg()[0],
        "versions": versions,
        "rustc": output("rustc", "--version"),
        "commit": output("git", "rev-parse", "--short=12", "HEAD"),
        "uncommitted_changes": bool(output("git", "status", "--porcelain")),
        "filter_bytes": module.stat().st_size if module.exists() else None,
    }


def run_rounds(rows, options, programs, modules, folder):
    """The samples of every row, taken in turns."""
    script = folder / "requests.lua"
    script.write_text(workload.wrk_script())
    samples = {row.name: [] for row in rows}
    with processes.upstream(folder / "upstream", programs) as service:
        for number in range(1, options.rounds + 1):
            for row in rows:
                sample = processes.measure(row, folder / f"{number}-{row.name.replace('/', '-')}", service, programs,
                                           modules, script, options.seconds)
                samples[row.name].append(sample)
                print(f"round {number} of {options.rounds}  {row.name:<26}"
                      f"{sample['cpu_us_per_request']:8.2f} us CPU a request"
                      f"{sample['requests_per_second']:10,.0f} requests/s"
                      f"{sample['resident_bytes'] / 1e6:7.1f} MB", file=sys.stderr, flush=True)
    return samples


def measure(options):
    """Measures and writes the results; the path of the JSON file."""
    chosen = lambda name: not options.only or any(text in name for text in options.only)
    rows = [row for row in all_rows() if chosen(row.name)]
    in_process = chosen("inprocess")
    if options.list:
        print("\n".join([row.name for row in rows] + ["inprocess"] * in_process))
        sys.exit()
    engines = {row.engine for row in rows} | ({"host"} if in_process else set())
    programs = find_programs(engines, options.install)
    modules = find_modules(rows, in_process)
    started = datetime.datetime.now(datetime.timezone.utc)
    results = {"started": started.isoformat(timespec="seconds"), "rounds": options.rounds, "seconds": options.seconds,
               "connections": processes.CONNECTIONS, "machine": machine(programs, modules)}
    with tempfile.TemporaryDirectory(prefix="switchover-bench-") as folder:
        folder = pathlib.Path(folder)
        results["samples"] = run_rounds(rows, options, programs, modules, folder)
        results["in_process"] = inprocess.run(programs["host"], modules["switchover"], folder) if in_process else {}
    complete = not options.only and options.rounds >= 5
    out = options.out or (HERE / "results" if complete else ROOT / "target/bench")
    out.mkdir(parents=True, exist_ok=True)
    kind = f"{os.cpu_count()}-core-{platform.machine().replace('_', '-')}"
    path = out / f"{started:%Y-%m-%d}-{kind}.json"
    path.write_text(json.dumps(results, indent=1) + "\n")
    return path


def main():
    """Measures unless told to render only, then writes the tables."""
    options = arguments()
    try:
        path = options.render or measure(options)
    except processes.Failure as failure:
        sys.exit(f"the benchmark failed: {failure}")
    results = json.loads(path.read_text())
    tables = path.with_suffix(".md")
    tables.write_text(report.tables(results, path.name))
    print(tables.read_text())
    if options.update_readme:
        report.update_readme(ROOT / "README.md", results, os.path.relpath(tables, ROOT))


if __name__ == "__main__":
    main()
