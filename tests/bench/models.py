#!/usr/bin/env python3
"""What the member `models` costs: a long request body and a stream of events by themselves (`switchover bench`), and
requests of 2 KB on Envoy beside the same document without `models`, in turns.

Prints the machine, each sample and the figures; exits with 1 where one is beyond its limit.
"""

import http.client
import json
import os
import pathlib
import statistics
import sys
import tempfile

import configs
import inprocess
import processes
import run
import workload

PATH = "/v1/chat/completions"
LONG, SHORT = 100 * 1024, 2 * 1024
EVENTS = 1_000
ROUNDS, SECONDS = 3, 4
MODELS = {"catalogue": [{"id": "gpt-4.1", "usd_per_million": {"input": 2, "output": 8}}], "aliases": {"gpt-4": "gpt-4.1"}}
# The rows on Envoy: without `models`, with it, and with heads that wait for their bodies.
ROWS = {"without": None, "models": MODELS, "models, heads held": MODELS | {"hold_headers": True}}


def chat(size, **fields):
    """The body of a chat of about so many bytes; its model is behind its messages."""
    message = {"role": "user", "content": "The quick brown fox jumps over the lazy dog. \"Yes\", it said.\n" * 8}
    count = max(1, round(size / (len(json.dumps(message)) + 2)))
    return json.dumps({"messages": [message] * count, "model": "gpt-4", **fields})


def stream():
    """An answer of many events, the last with the usage."""
    chunk = {"id": "chatcmpl-B9MHDbslfkBeAs8l4bebGdFOJ6PeG", "object": "chat.completion.chunk", "created": 1741570283,
             "model": "gpt-4.1-2025-04-14", "service_tier": "default", "system_fingerprint": "fp_44709d6fcb"}
    word = chunk | {"choices": [{"index": 0, "delta": {"content": " word"}, "logprobs": None, "finish_reason": None}]}
    last = chunk | {"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": EVENTS}}
    events = [json.dumps(event) for event in [word] * (EVENTS - 1) + [last]]
    return "".join(f"data: {event}\n\n" for event in [*events, "[DONE]"])


def document(models):
    """The benchmark's document, with or without `models`."""
    return json.dumps(workload.document() | ({"models": models} if models else {}))


def in_process(host, module, folder):
    """Microseconds that `models` adds to a long body and to an event; whether memory grew over 100,000 streams."""
    def cost(models, body, requests, *more):
        file = folder / "document.json"
        file.write_text(document(models))
        (folder / "body").write_text(body)
        found = inprocess.bench(host, module, "--configuration", str(file), "--root-id", "switchover.route", "--path", PATH,
                                "--method", "POST", "--header", f"api-key: {workload.key(0)}", "--body",
                                f"@{folder / 'body'}", "--requests", str(requests), *more)
        print(f"{'models' if models else 'without':<8}{len(body):>8} bytes {' '.join(more[:1])}", json.dumps(found))
        return found["ns_per_request_median"] / 1000, found
    (folder / "events").write_text(stream())
    answer = ["--response-body", f"@{folder / 'events'}", "--response-header", "content-type: text/event-stream"]
    asks = chat(200, stream=True, stream_options={"include_usage": True})
    body = cost(MODELS, chat(LONG), 10_000)[0] - cost(None, chat(LONG), 10_000)[0]
    event = cost(MODELS, asks, 2_000, *answer)[0] - cost(None, asks, 2_000, *answer)[0]
    # Fewer events each: what would leak would leak by the stream.
    (folder / "events").write_text(stream()[-4_000:].partition("\n\n")[2])
    hidden = cost(MODELS, chat(200, stream=True), 100_000, *answer)[1]
    return body, event / EVENTS, hidden


def envoy(models, folder, service, programs, modules):
    """Envoy with the document, as a `Process` still to be entered."""
    folder.mkdir(parents=True)
    port = processes.free_port()
    bootstrap = json.loads(configs.envoy("route", False, port, service.port, modules))
    manager = bootstrap["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    config = manager["http_filters"][0]["typed_config"]["config"]
    config["configuration"] = configs.string_value(document(models))
    config["allow_on_headers_stop_iteration"] = bool(models and models.get("hold_headers"))
    file = folder / "bench.json"
    file.write_text(json.dumps(bootstrap))
    return processes.Process([programs["envoy"], "-c", str(file), "--concurrency", "1", "--disable-hot-restart",
                              "--log-level", "error"], folder, port)


def check(models, port):
    """The filter reads bodies where it should, and only there."""
    for name, expected in [("gpt-4", 200), ("nobody", 404 if models else 200)]:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        connection.request("POST", PATH, chat(SHORT).replace("gpt-4", name),
                           workload.HEADERS | {"api-key": workload.key(0)})
        status = connection.getresponse().status
        connection.close()
        if status != expected:
            raise processes.Failure(f"{name} was answered {status}, expected {expected}")


def on_envoy(folder, programs, modules):
    """Requests a second of each row, in turns."""
    script = folder / "requests.lua"
    head = f'wrk.method, wrk.path, wrk.body = "POST", {json.dumps(PATH)}, {json.dumps(chat(SHORT))}\n'
    heads = "".join(f"wrk.headers[{json.dumps(name)}] = {json.dumps(value)}\n"
                    for name, value in (workload.HEADERS | {"api-key": workload.key(0)}).items())
    script.write_text(head + heads + workload.wrk_script()[workload.wrk_script().index("done = function"):])
    samples = {name: [] for name in ROWS}
    with processes.upstream(folder / "upstream", programs) as service:
        for number in range(ROUNDS):
            for name, models in ROWS.items():
                with envoy(models, folder / f"{number}-{name}", service, programs, modules) as proxy:
                    check(models, proxy.port)
                    processes.load(programs["wrk"], proxy.port, 1, script)
                    totals = processes.load(programs["wrk"], proxy.port, SECONDS, script)
                if totals["failed"]:
                    raise processes.Failure(f"{name}: {totals['failed']} requests failed")
                samples[name].append(totals["requests"] / totals["microseconds"] * 1e6)
                print(f"round {number + 1}  {name:<20}{samples[name][-1]:>9,.0f} requests/s  {json.dumps(totals)}", flush=True)
    return samples


def main():
    """Measures and prints."""
    programs = run.find_programs({"envoy", "host"}, False)
    modules = {"switchover": os.environ.get("SWITCHOVER_WASM", str(run.ROOT / "dist/switchover.wasm"))}
    print("command: tests/bench/models.py\nmachine:", json.dumps(run.machine(programs, modules)))
    with tempfile.TemporaryDirectory(prefix="switchover-bench-") as folder:
        folder = pathlib.Path(folder)
        samples = on_envoy(folder, programs, modules)
        body, event, hidden = in_process(programs["host"], modules["switchover"], folder)
    medians = {name: statistics.median(values) for name, values in samples.items()}
    figures = [("a request body of 100 KB, µs", body, 150), ("an event of a stream, µs", event, 1)]
    figures += [(f"fewer requests a second at 2 KB on Envoy, {name}, %", (1 - medians[name] / medians["without"]) * 100, 10)
                for name in list(ROWS)[1:]]
    for name, figure, limit in figures:
        print(f"{name:<68}{figure:8.2f}  at most {limit}{'' if figure <= limit else '  MISSED'}")
    print("memory of the guest over 100,000 streams:", json.dumps({name: hidden[name] for name in hidden if "memory" in name or name == "leak_verdict"}))
    sys.exit(any(figure > limit for _, figure, limit in figures))


if __name__ == "__main__":
    main()
