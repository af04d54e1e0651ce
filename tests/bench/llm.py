#!/usr/bin/env python3
"""Measures what `models` costs, on this machine: the same filter with and without them, side by side.

- In process: a body of 100 KB whose alias is rewritten, and an event of a stream.
- Requests a second with bodies of 2 KB.
- How much later the first event of a stream arrives.
- Whether memory grows over 100,000 streams.

Prints the samples' medians as JSON lines; a failed request fails the run.
"""

import argparse
import contextlib
import http.client
import http.server
import json
import os
import pathlib
import re
import statistics
import sys
import tempfile
import threading
import time
import urllib.request

import configs
import inprocess
import processes
import run
import workload

MODELS = {
    "catalogue": [{"id": "gpt-4.1", "usd_per_million": {"input": 2, "output": 8}}, {"id": "gpt-4.1-mini"}],
    "aliases": {"gpt-4": "gpt-4.1", "claude*": "gpt-4.1-mini"},
    "hold_headers": True,
}
CHAT = "/v1/chat/completions"
# A stream's events: of a chat, as the API sends them.
WORD = {"id": "chatcmpl-0123456789", "object": "chat.completion.chunk", "created": 1795687826, "model": "gpt-4.1",
        "system_fingerprint": "fp_0123456789", "choices": [{"index": 0, "delta": {"content": " word"}, "logprobs": None,
                                                           "finish_reason": None}]}
LAST = WORD | {"choices": [], "usage": {"prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100}}
ANSWER = {"id": "chatcmpl-0123456789", "object": "chat.completion", "created": 1795687826, "model": "gpt-4.1", "choices": [
    {"index": 0, "message": {"role": "assistant", "content": "word " * 40, "refusal": None}, "finish_reason": "stop"}],
    "usage": LAST["usage"]}
VARIANTS = {"without": None, "with": MODELS}
# What a request costs by itself: its body is looked through and rewritten, its answer passes unread.
NAMES_ALONE = {"with names of": MODELS | {"count_usage": False},
               "with names, headers not held, of": MODELS | {"count_usage": False, "hold_headers": False}}
# With few, a proxy wakes its client and its service for most of what it sends, which costs it the more the longer they had
# nothing to do; with many they always have.
CONNECTIONS = (16, 64)
EVENTS = 200
STREAMS = 100_000


def event(data):
    """As it is sent."""
    return f"data: {json.dumps(data)}\n\n"


def stream(events):
    """A whole stream of so many words."""
    return event(WORD) * events + event(LAST) + "data: [DONE]\n\n"


def chat(size, model="gpt-4", streams=False):
    """A request's body of about `size` bytes: a conversation with quotes and line ends, its model behind it."""
    text = 'He said: "Hello, world", and left.\nNobody – not even the dog – followed. ' * 3
    messages = []
    while True:
        body = json.dumps({"messages": messages, "model": model, "stream": streams}, ensure_ascii=False)
        if len(body) >= size:
            return body
        room = size - len(body)
        messages.append({"role": ("user", "assistant")[len(messages) % 2], "content": text[:room]})


def document(models):
    """The benchmark's document, with and without models."""
    return workload.document() | ({"models": models} if models else {})


def in_process(_, programs, modules, folder):
    """What a body and an event cost: the difference between a long and a short one."""
    results = {}
    for name, models in VARIANTS.items():
        file = folder / f"{name}.json"
        # In process nobody holds headers.
        file.write_text(json.dumps(document(models and models | {"hold_headers": False})))
        base = [modules["switchover"], "--configuration", str(file), "--root-id", "switchover.route", "--path", CHAT,
                "--header", f"api-key: {workload.key(0)}"]
        for size in (1_000, 100_000):
            body = folder / "body.json"
            body.write_text(chat(size))
            done = inprocess.bench(programs["host"], *base, "--header", "content-type: application/json", "--body",
                                   f"@{body}", "--requests", "20000")
            results[f"{name} models, body of {size} bytes, ns"] = done["ns_per_request_median"]
        for events in (1, 1 + EVENTS):
            answer = folder / "answer.txt"
            answer.write_text(stream(events))
            done = inprocess.bench(programs["host"], *base, "--body", chat(300, streams=True), "--response-header",
                                   "content-type: text/event-stream", "--response-body", f"@{answer}", "--requests",
                                   "20000")
            results[f"{name} models, stream of {events} words, ns"] = done["ns_per_request_median"]
            results[f"{name} models, stream of {events} words, memory growth"] = done["guest_memory_growth_bytes"]
    of = lambda name, size: results[f"{name} models, body of {size} bytes, ns"]
    results["scan and rewrite of 100 KB, us"] = (of("with", 100_000) - of("without", 100_000)) / 1e3
    of = lambda name: (results[f"{name} models, stream of {1 + EVENTS} words, ns"]
                       - results[f"{name} models, stream of 1 words, ns"])
    results["an event, us"] = (of("with") - of("without")) / EVENTS / 1e3
    return results


def wrk_script(body):
    """The Lua that wrk runs: one request, again and again."""
    headers = workload.HEADERS | {"api-key": workload.key(0)}
    fields = "".join(f"h[{json.dumps(name)}] = {json.dumps(value)}\n" for name, value in headers.items())
    tail = workload.wrk_script()
    return f"""\
local h, request_text = {{}}, nil
{fields}
init = function() request_text = wrk.format("POST", "{CHAT}", h, {json.dumps(body, ensure_ascii=False)}) end
request = function() return request_text end
{tail[tail.index("done = function"):]}"""


@contextlib.contextmanager
def proxy(engine, models, upstream, programs, modules, folder):
    """One of the two engines with the filter; its port, its admin's port and its process."""
    folder.mkdir(parents=True)
    port, admin = processes.free_port(), processes.free_port()
    file = json.loads(configs.envoy("route", False, port, upstream, modules))
    manager = file["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    wasm = manager["http_filters"][0]["typed_config"]["config"]
    wasm["configuration"] = configs.string_value(json.dumps(document(models)))
    wasm["allow_on_headers_stop_iteration"] = True
    file["static_resources"]["listeners"][0]["per_connection_buffer_limit_bytes"] = 8 << 20
    file["admin"] = {"address": configs.address(admin)}
    path = folder / "bench.yaml"
    path.write_text(json.dumps(file))
    command = {"envoy": ["-c", str(path), "--concurrency", "1", "--disable-hot-restart", "--log-level", "error"],
               "host": ["serve", str(path), "--workers", "1"]}[engine]
    with processes.Process([programs[engine], *command], folder, port) as process:
        yield port, admin, process


@contextlib.contextmanager
def nginx(programs, folder, kind, text):
    """A service that answers every request with this text."""
    folder.mkdir(parents=True)
    port = processes.free_port()
    (folder / "answer").write_text(text)
    file = folder / "bench.conf"
    file.write_text(configs.nginx_frame(folder, f"""\
  server {{
    listen 127.0.0.1:{port};
    root {folder};
    default_type {kind};
    # A file is not sent to a POST, but to the error that it is.
    error_page 405 =200 /answer;
    location / {{ try_files /answer =404; }}
  }}
"""))
    with processes.Process([programs["nginx"], "-p", str(folder), "-c", str(file), "-e", "stderr"], folder, port):
        yield port


def two_kilobytes(options, programs, modules, folder):
    """Requests a second with bodies of 2 KB, with models and without: proxies that run all the time, loaded in short turns.

    Of each there are several, for where the system has put a process makes it faster or slower than another; and each has
    a processor that neither client nor service is on.
    """
    script = folder / "short.lua"
    script.write_text(wrk_script(chat(2_000)))
    own, *others = sorted(os.sched_getaffinity(0))
    results = {}
    with processes.confined(others or [own]), \
            nginx(programs, folder / "json", "application/json", json.dumps(ANSWER)) as upstream:
        for engine in ("envoy", "host"):
            with contextlib.ExitStack() as stack:
                ports = []
                for copy in range(options.copies):
                    for name, models in (VARIANTS | NAMES_ALONE).items():
                        where = folder / f"two-{engine}-{name}-{copy}"
                        with processes.confined([own]):
                            started = proxy(engine, models, upstream, programs, modules, where)
                            port, _, _ = stack.enter_context(started)
                        ports.append((name, port))
                        # Engines compile what is used much anew.
                        processes.load(programs["wrk"], port, 3, script)
                for connections in CONNECTIONS:
                    rates = in_turns(options, programs, ports, script, connections)
                    results[f"{engine}, {connections} connections"] = compared(rates)
    return results


def in_turns(options, programs, ports, script, connections):
    """Requests a second of each of these proxies, by their names, in every turn."""
    rates = {name: [] for name, _ in ports}
    for _ in range(options.rounds):
        for name, port in ports:
            totals = processes.load(programs["wrk"], port, options.seconds, script, connections)
            if totals["failed"]:
                raise processes.Failure(f"{name}: {totals['failed']} requests failed")
            rates[name].append(totals["requests"] / totals["microseconds"] * 1e6)
    return rates


def compared(rates):
    """The rates, and how much less they are than those without models."""
    results = {f"{name} models, requests a second": [round(rate) for rate in samples] for name, samples in rates.items()}
    for name in ("with", *NAMES_ALONE):
        for kind, of in (("", statistics.median), (" by the mean", statistics.mean), (" at best", max)):
            lost = 1 - of(rates[name]) / of(rates["without"])
            results[f"fewer requests a second {name} models{kind}, %"] = round(100 * lost, 1)
    return results


class Slow(http.server.BaseHTTPRequestHandler):
    """A service that sends the first event at once and the rest later."""
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def answer(self):
        """A stream."""
        self.rfile.read(int(self.headers.get("content-length", 0)))
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        for part in (event(WORD), stream(20)):
            data = part.encode()
            self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
            self.wfile.flush()
            time.sleep(0.005)
        self.wfile.write(b"0\r\n\r\n")

    do_GET = do_POST = answer

    def log_message(self, *_):
        """Nothing."""


def first_byte(options, programs, modules, folder):
    """From the request to the first event, with models and without, in turns."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Slow)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    headers = workload.HEADERS | {"api-key": workload.key(0)}
    body = chat(2_000, streams=True).encode()
    results = {}
    for engine in ("envoy", "host"):
        with contextlib.ExitStack() as stack:
            clients = {}
            for name, models in VARIANTS.items():
                where = folder / f"first-{engine}-{name}"
                port, _, _ = stack.enter_context(
                    proxy(engine, models, server.server_address[1], programs, modules, where))
                clients[name] = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
            times = {name: [] for name in clients}
            for _ in range(options.streams):
                for name, client in clients.items():
                    start = time.perf_counter()
                    client.request("POST", CHAT, body, headers)
                    answer = client.getresponse()
                    if answer.read(6) != b"data: ":
                        raise processes.Failure(f"{engine} {name}: no event")
                    times[name].append(time.perf_counter() - start)
                    answer.read()
        for name, samples in times.items():
            results[f"{engine} {name} models, first event, ms"] = 1e3 * statistics.median(samples)
        late = statistics.median(times["with"]) - statistics.median(times["without"])
        results[f"{engine}, first event later with models, ms"] = 1e3 * late
    server.shutdown()
    return results


def memory(engine, admin, process):
    """What the guests have in the gateway, what the process has in Envoy."""
    if engine == "envoy":
        return process.resident_bytes()
    with urllib.request.urlopen(f"http://127.0.0.1:{admin}/stats/prometheus") as response:
        return int(float(re.search(r"^switchover_host_memory_bytes\S* (\S+)$", response.read().decode(), re.M)[1]))


def streams(options, programs, modules, folder):
    """Memory before and after so many streams."""
    script = folder / "streams.lua"
    script.write_text(wrk_script(chat(300, streams=True)))
    results = {}
    with nginx(programs, folder / "events", "text/event-stream", stream(20)) as upstream:
        for engine in ("envoy", "host"):
            with proxy(engine, MODELS, upstream, programs, modules, folder / f"streams-{engine}") as (port, admin, process):
                processes.load(programs["wrk"], port, 2, script)
                time.sleep(1.5)
                before, done = memory(engine, admin, process), 0
                while done < STREAMS:
                    totals = processes.load(programs["wrk"], port, 5, script)
                    done += totals["requests"]
                    if totals["failed"]:
                        raise processes.Failure(f"{engine}: {totals['failed']} streams failed")
                time.sleep(1.5)
                results[f"{engine}, streams"] = done
                results[f"{engine}, bytes before"] = before
                results[f"{engine}, bytes more after"] = memory(engine, admin, process) - before
    return results


def main():
    """All parts, or those that are named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = {part.__name__: part for part in (in_process, two_kilobytes, first_byte, streams)}
    parser.add_argument("part", nargs="*", help=f"{', '.join(parts)}; default: all")
    parser.add_argument("--rounds", type=int, default=6, help="turns of each proxy (default: %(default)s)")
    parser.add_argument("--copies", type=int, default=3, help="proxies of each kind (default: %(default)s)")
    parser.add_argument("--seconds", type=int, default=1, help="seconds of load for each (default: %(default)s)")
    parser.add_argument("--streams", type=int, default=500, help="streams for the first event (default: %(default)s)")
    options = parser.parse_args()
    rows = [row for row in run.all_rows() if row.variant == "route" and not row.direct]
    programs = run.find_programs({"envoy", "host"}, False)
    modules = run.find_modules(rows, False)
    print(json.dumps(run.machine(programs, modules)))
    try:
        with tempfile.TemporaryDirectory(prefix="switchover-bench-") as folder:
            # For nginx's worker, which is another user.
            pathlib.Path(folder).chmod(0o755)
            for name in options.part or parts:
                print(json.dumps({name: parts[name](options, programs, modules, pathlib.Path(folder))}, indent=1),
                      flush=True)
    except processes.Failure as failure:
        sys.exit(f"bench: {failure}")


if __name__ == "__main__":
    main()
