"""What the filter costs without a network around it: `switchover bench`, for documents of different size, and for one
with schedule, guard and health."""

import json
import subprocess

import processes
import workload

# The row's name, its consumers, whether it is operated.
DOCUMENTS = (("10", 10, False), ("100", 100, False), ("10000", 10_000, False), ("100 operated", 100, True))
REQUESTS = 1_000_000
# Far more than a leak of a byte a request would need to show.
MANY = 10_000_000
# Plugins in a chain, to see that the cost is linear.
CHAIN = 8


def bench(switchover, *arguments):
    """What `switchover bench --json` says."""
    done = subprocess.run([switchover, "bench", *arguments, "--json"], stdin=subprocess.DEVNULL, capture_output=True,
                          text=True, timeout=600)
    if done.returncode != 0:
        raise processes.Failure(f"switchover bench {' '.join(arguments)}: {done.stderr}")
    return json.loads(done.stdout)


def guests(switchover, modules):
    """Third-party filters by themselves, beside each other, and a chain of the emptiest; five request headers."""
    headers = ["--header-count", "4", "--header", f"api-key: {workload.key(0)}"]
    alone = bench(switchover, modules["empty"], modules["rename"], *headers, "--requests", str(MANY))
    chain = bench(switchover, "--chain", *[modules["empty"]] * CHAIN, *headers, "--requests", str(REQUESTS // 4))
    return {"alone": {entry["filter"]: entry for entry in alone}, "chain": chain}


def run(switchover, module, folder):
    """The measurements for each document, as `switchover bench --json` gives them."""
    results = {}
    for name, consumers, operated in DOCUMENTS:
        file = folder / f"document-{name.replace(' ', '-')}.json"
        file.write_text(json.dumps(workload.document(consumers, operated=operated)))
        arguments = [module, "--configuration", str(file), "--root-id", "switchover.route",
                     "--requests", str(REQUESTS), "--method", "POST", "--header-count", "0"]
        # The last consumer's key: the farthest for whoever would search in order.
        for header, value in {**workload.HEADERS, "api-key": workload.key(consumers - 1)}.items():
            arguments += ["--header", f"{header}: {value}"]
        results[name] = bench(switchover, *arguments)
    return results
