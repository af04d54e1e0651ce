"""The tables made from a run's samples, and whether each goal was met. Nothing here measures."""

import statistics

TITLES = {
    "envoy/none": "Envoy, no filter",
    "envoy/native": "Envoy, header_mutation and weighted clusters",
    "envoy/lua": "Envoy, six lines of Lua",
    "envoy/empty": "Envoy, empty SDK filter",
    "envoy/rename": "Envoy, SDK filter that renames one header and sets one",
    "envoy/route": "Envoy, Switchover",
    "envoy/operated": "Envoy, Switchover with schedule, guard and health",
    "envoy/attempts": "Envoy, Switchover with the attempt role",
    "envoy/operated-attempts": "Envoy, Switchover with the attempt role, schedule, guard and health",
    "host/none": "host, no filter",
    "host/empty": "host, empty SDK filter",
    "host/rename": "host, SDK filter that renames one header and sets one",
    "host/route": "host, Switchover",
    "host/operated": "host, Switchover with schedule, guard and health",
    "host/attempts": "host, Switchover with the attempt role",
    "host/operated-attempts": "host, Switchover with the attempt role, schedule, guard and health",
    "haproxy/rewriting": "HAProxy, rewriting",
    "nginx/rewriting": "nginx, rewriting",
}
SUMMARY = ["envoy/none/proxied", "envoy/lua/proxied", "envoy/route/proxied", "host/none/proxied",
           "host/route/proxied", "haproxy/rewriting/proxied", "nginx/rewriting/proxied"]
START, END = "<!-- benchmark: written by make bench -->", "<!-- /benchmark -->"


def values(results, row, field):
    """One field of a row's samples, round by round; empty where the row was not measured."""
    return [sample[field] for sample in results["samples"].get(row, [])]


def spread(numbers, scale=1.0, digits=1):
    """`median (least to greatest)`."""
    low, middle, high = min(numbers), statistics.median(numbers), max(numbers)
    return " ".join([f"{middle * scale:,.{digits}f}", f"({low * scale:,.{digits}f} to {high * scale:,.{digits}f})"])


def paired(results, row, other, combine):
    """The median over the rounds of `combine(row, other)` of CPU a request: each round compares with itself."""
    pairs = zip(values(results, row, "cpu_us_per_request"), values(results, other, "cpu_us_per_request"))
    numbers = [combine(a, b) for a, b in pairs]
    return statistics.median(numbers) if numbers else None


def goals(results):
    """Each goal: what is compared, the measured value, the limit, the unit; None where not measured."""
    difference, ratio = (lambda a, b: a - b), (lambda a, b: a / b)
    route, host = "envoy/route/proxied", "host/route/proxied"
    resident = values(results, host, "resident_bytes")
    inside = results.get("in_process") or {}
    nanoseconds = lambda consumers: inside.get(consumers, {}).get("ns_per_request_median")
    growth = [entry["guest_memory_growth_bytes"] for entry in inside.values()]
    few, many = nanoseconds("10"), nanoseconds("10000")
    alone = (results.get("guests") or {}).get("alone", {})
    guest = lambda name, field: alone.get(name, {}).get(field)
    leaked = [entry["guest_memory_growth_bytes"] for entry in alone.values()]
    size = results["machine"]["filter_bytes"]
    return [
        ("Switchover adds to Envoy no more than the Lua adds",
         paired(results, route, "envoy/none/proxied", difference),
         paired(results, "envoy/lua/proxied", "envoy/none/proxied", difference), "µs"),
        ("Host with the filter, against Envoy with the same file", paired(results, host, route, ratio), 0.5, "×"),
        ("Host with the filter, against HAProxy rewriting",
         paired(results, host, "haproxy/rewriting/proxied", ratio), 1.25, "×"),
        ("Host with the filter, resident memory, greatest", max(resident) / 1e6 if resident else None, 40.0, "MB"),
        *[(f"Schedule, guard and health add to what {title} adds to {engine}",
           grown(results, engine.lower(), variant), 1.15, "×")
          for engine in ("Envoy", "host") for variant, title in (("route", "the filter"), ("attempts", "both roles"))],
        ("In-process, 100 consumers", nanoseconds("100"), 1000.0, "ns"),
        ("In-process, 10,000 consumers against 10", many / few if few and many else None, 1.1, "×"),
        ("Guest memory growth over 1,000,000 requests", max(growth) if growth else None, 0, "bytes"),
        ("Host with a third-party header filter, against Envoy with the same",
         paired(results, "host/rename/proxied", "envoy/rename/proxied", ratio), 0.5, "×"),
        ("In-process, empty SDK filter", guest("empty", "ns_per_request_median"), 300.0, "ns"),
        ("In-process, SDK filter that renames one header and sets one",
         guest("rename", "ns_per_request_median"), 720.0, "ns"),
        ("Guest memory growth of these over 10,000,000 requests each", max(leaked) if leaked else None, 0, "bytes"),
        ("Costliest further plugin of a chain, against the first", steepest(results), 1.25, "×"),
        ("Size of the filter", size / 1000 if size else None, 256.0, "KB"),
    ]


def grown(results, engine, variant):
    """How many times the added cost is what it is without schedule, guard and health; medians of the added costs."""
    operated = "operated" if variant == "route" else f"operated-{variant}"
    added = [paired(results, f"{engine}/{name}/proxied", f"{engine}/none/proxied", lambda a, b: a - b)
             for name in (operated, variant)]
    return added[0] / added[1] if None not in added and added[1] > 0 else None


def steepest(results):
    """How many times the first plugin's cost any further one of the chain adds."""
    chain = [entry["ns_per_request_median"] for entry in (results.get("guests") or {}).get("chain", [])]
    added = [after - before for before, after in zip(chain, chain[1:])]
    return max(added) / chain[0] if added else None


def verdict(value, limit):
    """Whether a goal was met."""
    if value is None or limit is None:
        return "not measured"
    return "met" if value <= limit else "**not met**"


def number(value, unit):
    """A figure of the goals' table."""
    if value is None:
        return "–"
    return f"{value:,.0f} {unit}" if unit in ("ns", "bytes") else f"{value:,.2f} {unit}"


def rows_table(results, kind):
    """The table of the rows that are `direct` or `proxied`."""
    lines = ["| | CPU a request, µs | added, µs | requests a second | p99, ms | resident, MB |",
             "|---|--:|--:|--:|--:|--:|"]
    for prefix, title in TITLES.items():
        row = f"{prefix}/{kind}"
        if not values(results, row, "cpu_us_per_request"):
            continue
        base = f"{prefix.split('/')[0]}/none/{kind}"
        added = paired(results, row, base, lambda a, b: a - b) if base != row else None
        lines.append("| " + " | ".join([
            title,
            spread(values(results, row, "cpu_us_per_request"), digits=2),
            "" if added is None else f"{added:+.2f}",
            spread(values(results, row, "requests_per_second"), digits=0),
            f"{statistics.median(values(results, row, 'p99_us')) / 1000:.2f}",
            f"{statistics.median(values(results, row, 'resident_bytes')) / 1e6:.1f}",
        ]) + " |")
    return "\n".join(lines) if len(lines) > 2 else "Not measured."


def in_process_table(results):
    """What `switchover bench` said, for each number of consumers."""
    if not results.get("in_process"):
        return "Not measured."
    lines = ["| consumers | ns a request, median | hostcalls | callbacks | guest memory growth, bytes | requests |",
             "|--:|--:|--:|--:|--:|--:|"]
    for consumers, entry in results["in_process"].items():
        lines.append(f"| {consumers} | {entry['ns_per_request_median']:,.0f} | "
                     f"{entry['hostcalls_per_request']:g} | {entry['callbacks_per_request']:g} | "
                     f"{entry['guest_memory_growth_bytes']:,} | {entry['requests']:,} |")
    return "\n".join(lines)


def guests_table(results):
    """What `switchover bench` said of third-party filters, alone and as a chain."""
    guests = results.get("guests")
    if not guests:
        return "Not measured."
    lines = ["| filter | ns a request, median | p10 | p90 | hostcalls | callbacks | guest memory growth, bytes | requests |",
             "|---|--:|--:|--:|--:|--:|--:|--:|"]
    for name, entry in guests["alone"].items():
        lines.append(f"| {name} | {entry['ns_per_request_median']:,.0f} | {entry['ns_per_request_p10']:,.0f} | "
                     f"{entry['ns_per_request_p90']:,.0f} | {entry['hostcalls_per_request']:g} | "
                     f"{entry['callbacks_per_request']:g} | {entry['guest_memory_growth_bytes']:,} | "
                     f"{entry['requests']:,} |")
    chain = ", ".join(f"{entry['ns_per_request_median']:,.0f}" for entry in guests["chain"])
    lines += ["", f"A chain of the empty one, from 1 to {len(guests['chain'])} plugins: {chain} ns."]
    return "\n".join(lines)


def machine_text(results):
    """Where and how it was measured."""
    machine = results["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    state = " with uncommitted changes" if machine["uncommitted_changes"] else ""
    return (f"{machine['cores']} cores of {machine['cpu']} ({machine['architecture']}), Linux {machine['kernel']}, "
            f"load {machine['load_at_start']:.2f} at the start. Commit {machine['commit']}{state}, "
            f"{machine['rustc']}. Versions: {versions}.\n\n"
            f"{results['rounds']} interleaved rounds of {results['seconds']} s, wrk with {results['connections']} "
            "connections on one thread, one worker in each proxy, a fresh process for each sample. CPU is user and "
            "system time of the proxy's threads, from the kernel's scheduler; medians, with the least and the "
            "greatest sample; \"added\" is the median over the rounds of the difference to the same engine without a "
            "filter. No request failed.")


def tables(results, source):
    """The whole report in Markdown; `source` names the file with the samples."""
    lines = ["| goal | measured | limit | |", "|---|--:|--:|---|"]
    lines += [f"| {title} | {number(value, unit)} | {number(limit, unit)} | {verdict(value, limit)} |"
              for title, value, limit, unit in goals(results)]
    return "\n\n".join([
        f"# Benchmark of {results['started'][:10]}",
        f"Made by `make bench`; the samples are in [{source}]({source}).",
        machine_text(results),
        "## Goals", "\n".join(lines),
        "## Proxied to nginx", rows_table(results, "proxied"),
        "## Direct response", rows_table(results, "direct"),
        "## In-process (`switchover bench`)", in_process_table(results),
        "## In-process, third-party filters", guests_table(results),
    ]) + "\n"


def update_readme(path, results, report):
    """Replaces the summary between the two comments of the README at `path`."""
    text = path.read_text()
    head, start, rest = text.partition(START)
    _, end, tail = rest.partition(END)
    if not (start and end):
        raise SystemExit(f"{path}: no place for the summary between {START} and {END}")
    lines = ["| proxying to nginx, one worker | CPU a request, µs | resident, MB |", "|---|--:|--:|"]
    for row in SUMMARY:
        if values(results, row, "cpu_us_per_request"):
            lines.append(f"| {TITLES[row.rpartition('/')[0]]} | {spread(values(results, row, 'cpu_us_per_request'))} | "
                         f"{statistics.median(values(results, row, 'resident_bytes')) / 1e6:.0f} |")
    note = f"{results['started'][:10]}, {results['machine']['cores']} cores; medians, least and greatest of " \
           f"{results['rounds']} rounds. All rows, goals and raw numbers: [{report}]({report})."
    path.write_text(f"{head}{START}\n" + "\n".join(lines) + f"\n\n{note}\n{END}{tail}")
