"""Starting the proxies, loading them with wrk, and reading what the system says they used."""

import contextlib
import http.client
import json
import os
import pathlib
import socket
import subprocess
import time

import configs
import workload

READY_SECONDS = 60
CONNECTIONS = 16


class Failure(Exception):
    """A measurement that cannot count, and why."""


def free_port():
    """A loopback port that nobody listens on."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def get(port, path):
    """The answer of 127.0.0.1:`port` to one request of the workload: status and body."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path, headers={**workload.HEADERS, "api-key": workload.key(0)})
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


@contextlib.contextmanager
def confined(processors):
    """What is started meanwhile stays on these processors."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, processors)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


class Process:
    """A program under load. It ends with the `with` block; what it printed is kept beside its files."""

    def __init__(self, command, folder, port):
        self.command, self.folder, self.port = command, folder, port

    def __enter__(self):
        self.output = open(self.folder / "output", "wb")
        self.child = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=self.output,
                                      stderr=subprocess.STDOUT)
        try:
            self.wait_until_ready()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        self.child.terminate()
        try:
            self.child.wait(10)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()
        self.output.close()

    def wait_until_ready(self):
        """Returns when the first request is answered with 200."""
        deadline = time.monotonic() + READY_SECONDS
        answer = "no answer"
        while self.child.poll() is None and time.monotonic() < deadline:
            try:
                answer = get(self.port, "/v1/models")
                if answer[0] == 200:
                    return
            except (OSError, http.client.HTTPException) as error:
                answer = error
            time.sleep(0.02)
        printed = (self.folder / "output").read_text(errors="replace")[-2000:]
        raise Failure(f"{' '.join(self.command)}: not ready, last answer {answer}; it printed:\n{printed}")

    def pids(self):
        """The process and its children (nginx serves from one)."""
        pids = [self.child.pid]
        for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
            try:
                parent = int(stat.read_text().rpartition(")")[2].split()[1])
            except (OSError, ValueError, IndexError):
                continue  # it ended while we looked
            if parent == self.child.pid:
                pids.append(int(stat.parent.name))
        return pids

    def cpu_ns(self):
        """CPU time used so far, user and system, of all threads, ended ones too, in nanoseconds."""
        # The clock that clock_getcpuclockid(3) gives for a process: the scheduler's, not the 10 ms ticks.
        return sum(time.clock_gettime_ns(~pid << 3 | 2) for pid in self.pids())

    def resident_bytes(self):
        """Resident memory. Pages that several processes share count once in each."""
        total = 0
        for pid in self.pids():
            for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
                if line.startswith("VmRSS:"):
                    total += int(line.split()[1]) * 1024
        return total


def load(wrk, port, seconds, script, connections=CONNECTIONS):
    """Runs wrk for `seconds`; its totals."""
    command = [wrk, "-t1", f"-c{connections}", f"-d{seconds}s", "-s", str(script), f"http://127.0.0.1:{port}/"]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=seconds + 60)
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode != 0 or not lines:
        raise Failure(f"wrk failed: {done.stdout}{done.stderr}")
    return json.loads(lines[-1])


def check_rewriting(row, port):
    """What reaches the service through `row` is what the row claims, or its cost means nothing."""
    status, body = get(port, "/echo")
    if status != 200:
        raise Failure(f"{row.name}: /echo answered {status}: {body}")
    seen = json.loads(body)
    client = {"authorization": "", "api-key": workload.key(0), "mode": ""}
    if row.variant in ("none", "empty"):
        expected = [client]
    elif row.variant == "rename":
        expected = [{"authorization": workload.key(0), "api-key": "", "mode": "blue"}]
    elif row.variant in configs.SWITCHOVER:
        expected = [{"authorization": f"Bearer {credential}", "api-key": "", "mode": mode}
                    for mode, credential in workload.CREDENTIALS.items()]
    else:
        expected = [{"authorization": f"Bearer {workload.key(0)}", "api-key": "", "mode": "blue"}]
    if seen not in expected:
        raise Failure(f"{row.name}: the service saw {seen}, expected one of {expected}")


def start(row, folder, upstream, programs, modules):
    """The proxy of `row`, as a `Process` still to be entered."""
    folder.mkdir(parents=True)
    port = free_port()
    file = folder / ("bench.yaml" if row.engine in ("envoy", "host") else "bench.conf")
    if row.engine in ("envoy", "host"):
        file.write_text(configs.envoy(row.variant, row.direct, port, upstream, modules))
    elif row.engine == "haproxy":
        file.write_text(configs.haproxy(row.direct, port, upstream))
    else:
        file.write_text(configs.nginx(row.direct, port, upstream, folder))
    command = {
        "envoy": ["-c", file, "--concurrency", "1", "--disable-hot-restart", "--log-level", "error"],
        "host": ["serve", file, "--workers", "1"],
        "haproxy": ["-db", "-f", file],
        "nginx": ["-p", folder, "-c", file, "-e", "stderr"],
    }[row.engine]
    return Process([programs[row.engine], *map(str, command)], folder, port)


def upstream(folder, programs):
    """The service behind the proxies, as a `Process` still to be entered."""
    folder.mkdir(parents=True)
    port = free_port()
    file = folder / "bench.conf"
    file.write_text(configs.nginx_upstream(port, folder))
    return Process([programs["nginx"], "-p", str(folder), "-c", str(file), "-e", "stderr"], folder, port)


def measure(row, folder, service, programs, modules, script, seconds):
    """One sample of `row`: a fresh process, warmed up, then loaded for `seconds`."""
    with start(row, folder, service.port, programs, modules) as proxy:
        if not row.direct:
            check_rewriting(row, proxy.port)
        warm = load(programs["wrk"], proxy.port, max(1, seconds // 3), script)
        before = proxy.cpu_ns()
        totals = load(programs["wrk"], proxy.port, seconds, script)
        used = proxy.cpu_ns() - before
        resident = proxy.resident_bytes()
    failed = warm["failed"] + totals["failed"]
    if failed or not totals["requests"]:
        raise Failure(f"{row.name}: {failed} of {totals['requests']} requests failed")
    return {
        "cpu_us_per_request": used / 1000 / totals["requests"],
        "requests_per_second": totals["requests"] / totals["microseconds"] * 1e6,
        "p50_us": totals["p50_us"],
        "p99_us": totals["p99_us"],
        "requests": totals["requests"],
        "resident_bytes": resident,
    }
