"""Figures from times: rates, shares of the ceilings, aims; and the table."""

from ..result import number, seconds
from .workloads import BY_NAME


def ceilings(entries):
    """The best of any library, None if unknown: copying in bytes/s, matrix products in FLOP/s, seconds a launch."""
    found = {"copy": None, "copy by": None, "gemm": None, "gemm by": None, "launch": None, "launch by": None}
    times = _medians(entries.get("copy"))
    if times:
        by = min(times, key=times.get)
        found |= {"copy": entries["copy"]["bytes"] / times[by], "copy by": by}
    for name in ("matmul_bf16", "matmul_tf32"):  # the second where nothing could do the first
        times = _medians(entries.get(name))
        if times and not found["gemm"]:
            by = min(times, key=times.get)
            found |= {"gemm": entries[name]["flops"] / times[by], "gemm by": f"{by}, {name}"}
    times = _medians(entries.get("launch"))
    if times:
        by = min(times, key=times.get)
        found |= {"launch": times[by], "launch by": by}
    return found


def _medians(entry):
    return {label: t["median"] for label, t in (entry or {}).get("times", {}).items()}


def complete(entry, ceiling):
    """Adds rates, the share of the ceiling and the aims to an entry."""
    times = _medians(entry)
    ours = times.get("pydiff")
    for key, count in (("bytes/s", "bytes"), ("FLOP/s", "flops")):
        if entry.get(count):
            entry[key] = {label: entry[count] / t for label, t in times.items()}
    entry["share"] = None
    rates = entry.get("bytes/s" if entry.get("ceiling") == "copy" else "FLOP/s", {})
    top = ceiling.get(entry.get("ceiling"))
    if top and "pydiff" in rates:
        entry["share"] = rates["pydiff"] / top
    entry["aims"] = []
    if entry["name"] == "digits":
        accuracy = list(entry.get("accuracy", {}).values())
        aim = {"what": "the CPU's accuracy, less 0.01 at most", "figure": None, "limit": None, "met": None}
        if accuracy:
            aim |= {"figure": accuracy[1], "limit": accuracy[0] - 0.01, "met": accuracy[1] >= accuracy[0] - 0.01}
        entry["aims"].append(aim)
        return
    for aim in BY_NAME[entry["name"]].aims:
        if aim.against == "ceiling":
            what, figure = f"{aim.limit:.0%} of copy bandwidth", entry["share"]
        else:
            other = times.get(aim.against)
            what = f"{aim.limit:.2f} x the speed of {aim.against}"
            figure = other / ours if other and ours else None
        met = None if figure is None else figure >= aim.limit
        entry["aims"].append({"what": what, "figure": figure, "limit": aim.limit, "met": met})


def lines(entry):
    """An entry in a few lines for the terminal."""
    head = f"{entry['name']}: {entry.get('what', BY_NAME[entry['name']].what if entry['name'] in BY_NAME else '')}"
    yield head if entry["state"] == "ok" else f"{head}   {entry['state'].upper()}"
    times = _medians(entry)
    if times:
        yield "    " + ", ".join(f"{label} {seconds(t)}" for label, t in times.items())
    for note in entry["notes"]:
        yield f"    {note}"


def table(entries, ceiling):
    """All figures as a Markdown table."""
    unit = [
        f"copy bandwidth {ceiling['copy'] / 1e12:.3g} TB/s ({ceiling['copy by']})" if ceiling["copy"] else "",
        f"matrix products {ceiling['gemm'] / 1e12:.3g} TFLOP/s ({ceiling['gemm by']})" if ceiling["gemm"] else "",
        f"a launch {seconds(ceiling['launch'])} ({ceiling['launch by']})" if ceiling["launch"] else "",
    ]
    yield "Ceilings: " + (", ".join(filter(None, unit)) or "none was measured")
    yield ""
    yield "| workload | pydiff | rate | of the ceiling | asked for | others |"
    yield "| --- " * 6 + "|"
    for entry in entries.values():
        times, rate = _medians(entry), ""
        ours = times.pop("pydiff", None)
        if ours and entry.get("ceiling") == "copy":
            rate = f"{entry['bytes'] / ours / 1e9:.4g} GB/s"
        elif ours and entry.get("flops"):
            rate = f"{entry['flops'] / ours / 1e12:.3g} TFLOP/s"
        elif ours:
            rate = f"{1 / ours:.4g} a second"
        if entry["name"] == "digits" and entry.get("accuracy"):
            rate = ", ".join(f"{a:.4f} on {place}" for place, a in entry["accuracy"].items())
        share = "" if entry["share"] is None else f"{entry['share']:.1%}"
        aims = "; ".join(_aim(aim) for aim in entry["aims"])
        took = seconds(ours) if ours else entry["state"] * (entry["state"] != "ok")
        others = ", ".join(f"{label} {seconds(t)}" for label, t in times.items())
        cells = (f"`{entry['name']}`", took, rate, share, aims, others)
        yield "| " + " | ".join(cells) + " |"


def _aim(aim):
    if aim["met"] is None:
        return f"{aim['what']}: not known"
    return f"{aim['what']}: {'met' if aim['met'] else '**not met**'}, {number(aim['figure'])}"
