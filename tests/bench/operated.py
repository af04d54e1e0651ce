"""A gateway as an operator has it: the document in a file of its own, labels, an admin server; for console.py and scrape.py."""

import json
import re
import subprocess

import configs
import processes
import run
import workload


def serve(stack, programs, modules, folder, consumers):
    """The gateway with one worker and so many consumers, until `stack` ends: the process, its admin's port, its document."""
    workload.CONSUMERS = consumers
    workload.document.__defaults__ = (consumers, *workload.document.__defaults__[1:])
    port, admin = processes.free_port(), processes.free_port()
    file, document = bootstrap(folder, port, admin, modules)
    command = [programs["host"], "serve", str(file), "--workers", "1"]
    return stack.enter_context(processes.Process(command, folder, port)), admin, document


def bootstrap(folder, port, admin, modules):
    """The gateway's file, and its document's."""
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


def load(programs, folder, port, seconds, cores=None):
    """Wrk on its way to the gateway, for so long; on these cores only, if named."""
    (folder / "wrk.lua").write_text(workload.wrk_script())
    command = [*(["taskset", "-c", cores] if cores else []), programs["wrk"], "-t1", f"-c{processes.CONNECTIONS}",
               f"-d{seconds}s", "-s", str(folder / "wrk.lua"), f"http://127.0.0.1:{port}/"]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL)
