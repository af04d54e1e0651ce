"""What the filter costs without a network around it: `switchover bench`, for documents of different size, and for one
with schedule, guard and health."""

import json
import subprocess

import processes
import workload

# The row's name, its consumers, whether it is operated.
DOCUMENTS = (("10", 10, False), ("100", 100, False), ("10000", 10_000, False), ("100 operated", 100, True))
REQUESTS = 1_000_000


def run(switchover, module, folder):
    """The measurements for each document, as `switchover bench --json` gives them."""
    results = {}
    for name, consumers, operated in DOCUMENTS:
        file = folder / f"document-{name.replace(' ', '-')}.json"
        file.write_text(json.dumps(workload.document(consumers, operated=operated)))
        command = [switchover, "bench", module, "--configuration", str(file), "--root-id", "switchover.route",
                   "--requests", str(REQUESTS), "--method", "POST", "--header-count", "0", "--json"]
        # The last consumer's key: the farthest for whoever would search in order.
        for header, value in {**workload.HEADERS, "api-key": workload.key(consumers - 1)}.items():
            command += ["--header", f"{header}: {value}"]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=600)
        if done.returncode != 0:
            raise processes.Failure(f"switchover bench with {name} consumers: {done.stderr}")
        results[name] = json.loads(done.stdout)
    return results
