"""The configuration files of the proxies: Envoy's (which the host reads too), HAProxy's and nginx's."""

import json

import workload

ENVOY = "type.googleapis.com/envoy.extensions."
REWRITE = [
    {"append": {"header": {"key": "authorization", "value": "Bearer %REQ(api-key)%"},
                "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}},
    {"remove": "api-key"},
]
# The variants that run our filter.
# Guests of tests/guests, by themselves.
GUESTS = ("empty", "rename")
SWITCHOVER = ("route", "operated", "attempts", "operated-attempts")


def typed(kind, **fields):
    """A message of Envoy's with its type."""
    return {"@type": ENVOY + kind, **fields}


def string_value(text):
    """A configuration of a Wasm filter."""
    return {"@type": "type.googleapis.com/google.protobuf.StringValue", "value": text}


def address(port):
    """A loopback address."""
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def wasm(module, root_id, configuration):
    """One role of a Wasm filter; roles of the same module share its VM."""
    return {"name": root_id, "typed_config": typed("filters.http.wasm.v3.Wasm", config={
        "name": root_id,
        "root_id": root_id,
        "failure_policy": "FAIL_RELOAD",
        "configuration": string_value(configuration),
        "vm_config": {"vm_id": "bench", "runtime": "envoy.wasm.runtime.v8",
                      "code": {"local": {"filename": module}}},
    })}


def filters(variant, modules):
    """The HTTP filters in front of the router."""
    if variant == "native":
        mode = [{"append": {"header": {"key": "x-deployment-mode", "value": "blue"},
                            "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}}]
        return [{"name": "rewrite", "typed_config": typed(
            "filters.http.header_mutation.v3.HeaderMutation",
            mutations={"request_mutations": REWRITE + mode})}]
    if variant == "lua":
        return [{"name": "lua", "typed_config": typed(
            "filters.http.lua.v3.Lua", default_source_code={"inline_string": workload.LUA})}]
    if variant in GUESTS:
        return [wasm(modules[variant], variant, "")]
    if variant in SWITCHOVER:
        text = json.dumps(workload.document(attempts="attempts" in variant, operated="operated" in variant))
        return [wasm(modules["switchover"], "switchover.route", text)]
    return []


def routes(variant, direct):
    """One route for a direct response; one for each environment, by header or by weight, when proxying."""
    if direct:
        return [{"match": {"prefix": "/"},
                 "direct_response": {"status": 200, "body": {"inline_string": workload.BODY}}}]
    if variant == "none":
        return [{"match": {"prefix": "/"}, "route": {"cluster": "blue"}}]
    if variant == "native":
        clusters = [{"name": "blue", "weight": 95}, {"name": "green", "weight": 5}]
        return [{"match": {"prefix": "/"}, "route": {"weighted_clusters": {"clusters": clusters}}}]
    green = {"name": "x-deployment-mode", "string_match": {"exact": "green"}}
    return [{"match": {"prefix": "/", "headers": [green]}, "route": {"cluster": "green"}},
            {"match": {"prefix": "/"}, "route": {"cluster": "blue"}}]


def cluster(name, port, variant, modules):
    """An environment: one endpoint that says which environment it is, and perhaps the attempt role."""
    message = {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "1s",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [{
            "endpoint": {"address": address(port)},
            "metadata": {"filter_metadata": {"switchover": {"environment": name}}},
        }]}]},
    }
    if "attempts" in variant:
        codec = {"name": "envoy.filters.http.upstream_codec",
                 "typed_config": typed("filters.http.upstream_codec.v3.UpstreamCodec")}
        message["typed_extension_protocol_options"] = {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": typed(
                "upstreams.http.v3.HttpProtocolOptions",
                explicit_http_config={"http_protocol_options": {}},
                http_filters=[wasm(modules["switchover"], "switchover.attempt", "{}"), codec])}
    return message


def envoy(variant, direct, port, upstream, modules):
    """A bootstrap for Envoy and for the host. JSON, which is YAML as well."""
    router = {"name": "envoy.filters.http.router", "typed_config": typed("filters.http.router.v3.Router")}
    manager = typed(
        "filters.network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix="bench",
        http_filters=filters(variant, modules) + [router],
        route_config={"name": "bench", "virtual_hosts": [
            {"name": "bench", "domains": ["*"], "routes": routes(variant, direct)}]})
    return json.dumps({
        "node": {"id": "bench", "cluster": "bench"},
        "static_resources": {
            "listeners": [{"name": "bench", "address": address(port), "filter_chains": [{"filters": [
                {"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}]}],
            "clusters": [cluster(name, upstream, variant, modules) for name in ("blue", "green")],
        },
    }, indent=1)


def haproxy(direct, port, upstream):
    """HAProxy doing what the Lua does; upstream connections are kept and shared."""
    if direct:
        backend = f"http-request return status 200 content-type application/json string '{workload.BODY}'"
    else:
        backend = f"server upstream 127.0.0.1:{upstream} pool-max-conn 1000"
    return f"""\
global
  nbthread 1
defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server 60s
  http-reuse always
frontend bench
  bind 127.0.0.1:{port}
  http-request set-header authorization "Bearer %[req.hdr(api-key)]" if {{ req.hdr(api-key) -m found }}
  http-request del-header api-key
  http-request set-header x-deployment-mode blue
  default_backend upstream
backend upstream
  {backend}
"""


def nginx(direct, port, upstream, folder):
    """nginx doing what the Lua does; upstream connections are kept."""
    if direct:
        action = f"default_type application/json; return 200 '{workload.BODY}';"
    else:
        action = """\
      proxy_pass http://upstream;
      proxy_http_version 1.1;
      proxy_set_header Host $host;
      proxy_set_header Connection "";
      proxy_set_header Authorization "Bearer $http_api_key";
      proxy_set_header Api-Key "";
      proxy_set_header X-Deployment-Mode blue;"""
    return nginx_frame(folder, f"""\
  upstream upstream {{ server 127.0.0.1:{upstream}; keepalive 64; keepalive_requests 1000000000; }}
  server {{
    listen 127.0.0.1:{port};
    location / {{
{action}
    }}
  }}
""")


def nginx_upstream(port, folder):
    """The service behind every proxy. /echo tells which credential and environment reached it."""
    return nginx_frame(folder, f"""\
  server {{
    listen 127.0.0.1:{port};
    default_type application/json;
    location / {{ return 200 '{workload.BODY}'; }}
    location /echo {{ return 200 '{{"authorization":"$http_authorization","api-key":"$http_api_key","mode":"$http_x_deployment_mode"}}'; }}
  }}
""")


def nginx_frame(folder, http):
    """What any nginx here needs: one worker, no log, connections that stay, its files in `folder`."""
    return f"""\
daemon off;
worker_processes 1;
pid {folder}/pid;
error_log stderr crit;
events {{ worker_connections 1024; }}
http {{
  access_log off;
  keepalive_requests 1000000000;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
{http}}}
"""
