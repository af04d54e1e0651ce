"""What every proxy is asked to do: the requests, the rollout document, the other ways to write it.

The scene is an API whose clients send `api-key: K`, while the service wants
`Authorization: Bearer …` and `x-deployment-mode`. 100 consumers take turns.
"""

import hashlib
import json

CONSUMERS = 100
BODY = '{"object":"list","data":[{"id":"small-1","object":"model"},{"id":"large-1","object":"model"}]}'
CREDENTIALS = {"blue": "blue-upstream-key-0123456789abcdef", "green": "green-upstream-key-0123456789abcdef"}
HEADERS = {
    "Host": "api.example.com",
    "User-Agent": "OpenAI/Python 3.54.0",
    "Accept": "application/json",
    "Content-Type": "application/json",
}

# The six lines that a team would write without Switchover.
LUA = """\
function envoy_on_request(handle)
  local headers = handle:headers()
  local key = headers:get("api-key")
  if key then headers:remove("api-key") headers:replace("authorization", "Bearer " .. key) end
  headers:replace("x-deployment-mode", "blue")
end
"""


def key(consumer):
    """The key of consumer number `consumer`, of the length of a real one."""
    return "sk-" + hashlib.sha256(f"consumer {consumer}".encode()).hexdigest()[:48]


# A canary in the middle of its schedule, watched and probed.
OPERATED = {
    "schedule": {"environment": "green", "start": "2026-01-01T00:00:00Z",
                 "steps": [{"at": "5m", "weight": 1}, {"at": "15m", "weight": 5}]},
    "guard": {"environment": "green", "max_error_rate": 0.05, "max_p99": "2s", "worse_than_stable_by": 0.02},
    "health": {"path": "/health", "interval": "1s"},
}


def document(consumers=CONSUMERS, attempts=False, operated=False):
    """The typical rollout document: two environments, hashed keys, sticky by consumer, metrics; and if `operated`, with
    schedule, guard and health."""
    return (OPERATED if operated else {}) | {
        "rollout": "bench",
        "stable": "blue",
        "routing": {
            name: {"weight": weight, "version": version, "clusters": [name],
                   "credential": {"value": CREDENTIALS[name]}}
            for name, weight, version in [("blue", 95, "2.0.3"), ("green", 5, "2.1.0")]
        },
        "strategy": "weighted_round_robin",
        "sticky": {"by": ["consumer"]},
        "auth": {
            "mode": "replace",
            "accept": [{"header": "authorization", "scheme": "Bearer"}, {"header": "api-key"}],
            "consumers": [
                {"name": f"team-{n}", "keys": [{"sha256": hashlib.sha256(key(n).encode()).hexdigest()}]}
                for n in range(consumers)
            ],
            "identity_header": "x-consumer",
        },
        "attempts": attempts,
    }


def wrk_script():
    """The Lua that wrk runs: the consumers take turns, and the totals come out as one JSON line."""
    headers = "".join(f'h[{json.dumps(name)}] = {json.dumps(value)}\n' for name, value in HEADERS.items())
    keys = ", ".join(json.dumps(key(n)) for n in range(CONSUMERS))
    return f"""\
local keys, requests, turn = {{{keys}}}, {{}}, 0
init = function()
  for n, key in ipairs(keys) do
    local h = {{}}
    {headers}
    h["api-key"] = key
    requests[n] = wrk.format("GET", "/v1/models", h)
  end
end
request = function()
  turn = turn % #requests + 1
  return requests[turn]
end
done = function(summary, latency)
  local e = summary.errors
  print(string.format(
    '{{"requests":%d,"microseconds":%d,"p50_us":%d,"p99_us":%d,"failed":%d}}',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    e.connect + e.read + e.write + e.status + e.timeout))
end
"""
