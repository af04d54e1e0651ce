"""What the filter costs without a network around it: `switchover bench`, for documents of different size."""

import json
import subprocess

import processes
import workload

CONSUMERS = (10, 100, 10_000)
REQUESTS = 1_000_000


def run(switchover, module, folder):
    """The measurements for each number of consumers, as `switchover bench --json` gives them."""
    results = {}
    for consumers in CONSUMERS:
        file = folder / f"document-{consumers}.json"
        file.write_text(json.dumps(workload.document(consumers)))
        command = [switchover, "bench", module, "--configuration", str(file), "--root-id", "switchover.route",
                   "--requests", str(REQUESTS), "--json"]
        # The last consumer's key: the farthest for whoever would search in order.
        for name, value in {**workload.HEADERS, "api-key": workload.key(consumers - 1)}.items():
            command += ["--header", f"{name}: {value}"]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=600)
        if done.returncode != 0:
            raise processes.Failure(f"switchover bench with {consumers} consumers: {done.stderr}")
        results[str(consumers)] = json.loads(done.stdout)
    return results
