"""How comparisons are written: lines for a terminal, a table for a page, a picture, and the difference to an older run."""

import math
import statistics

from .result import number, seconds

SLOWER = 1.25  # than an older run: what `compare_with` calls a regression


def ratio(c):
    """How many times faster than the fastest other contestant pydiff is."""
    return c.best_peer[1] / c.ours[1]


def first_ratio(c):
    """pydiff's first call over PyTorch's, NaN where either is missing."""
    firsts = [c.entries[name].first for name in ("pydiff", "PyTorch") if name in c.entries and c.entries[name].rounds]
    return firsts[0] / firsts[1] if len(firsts) == 2 else float("nan")


def met(c):
    """Whether pydiff is faster by the aim, or near enough to the floor, and its first call at most half as long again as PyTorch's."""
    near = c.share is not None and c.floor / c.ours[1] >= c.share
    return (ratio(c) >= c.aim or near) and not first_ratio(c) > 1.5


def _asked(c):
    return f"{c.aim} x" + (f", or {c.share:.0%} of the floor" if c.share else "")


def as_text(c):
    """A few lines for the terminal."""
    lines = [f"{c.name}: {c.what}"]
    for name, e in sorted(c.entries.items(), key=lambda item: item[1].median if item[1].rounds else float("inf")):
        if e.rounds:
            lines.append(
                f"    {name:22} {seconds(e.median):>9} (least {seconds(min(e.rounds))}), {e.median / c.floor:6.1f} floors; "
                f"first call {seconds(e.first)}; {e.peak / 1e6:.0f} MB"
            )
    if c.best_peer[0] and c.ours[0]:
        lines.append(
            f"    {number(ratio(c))} x as fast as {c.best_peer[0]} (asked: {_asked(c)}); first call {number(first_ratio(c))} x "
            f"PyTorch's (asked: at most 1.5){'' if met(c) else '   NOT MET'}"
        )
    return "\n".join(lines + [f"    {note}" for note in _notes(c)])


def _notes(c):
    e = c.entries.get("pydiff.jit")
    if not e or not e.rounds or math.isnan(c.alone):
        return c.notes
    times = f"{number(e.median / c.alone)} x the time of the function alone, {seconds(c.alone)}"
    return [*c.notes, f"with its derivative, pydiff.jit takes {times}"]


def as_markdown(comparisons):
    """The table of benchmarks/README.md."""
    columns = list(dict.fromkeys(name.split(",")[0] for c in comparisons for name in c.entries))
    head = ["problem", *columns, "floor", "best other / pydiff", "asked for", "met"]
    lines = ["| " + " | ".join(head) + " |", "| --- " * len(head) + "|"]
    for c in comparisons:
        cells = [f"`{c.name}`: {c.what}"]
        for column in columns:
            of_column = {n: e for n, e in c.entries.items() if n.split(",")[0] == column and e.rounds}
            best = min(of_column.values(), key=lambda e: e.median, default=None)
            cells.append("–" if best is None else f"{_ms(best.median)} [{_ms(min(best.rounds))}] ({number(best.first)})")
        cells += [_ms(c.floor), f"{number(ratio(c))} x", _asked(c), "yes" if met(c) else "**no**"]
        lines.append("| " + " | ".join(cells) + " |")
    lines += [
        "",
        "Milliseconds a step: median [least] (first call, in seconds); of PyTorch with one thread and with all the faster. "
        "A row is met where pydiff is that much faster, or computes at that share of the floor's rate, and its first call takes at "
        "most 1.5 times PyTorch's.",
        "",
        *(f"- `{c.name}`: {note}" for c in comparisons for note in _notes(c)),
    ]
    return "\n".join(lines).rstrip()


def _ms(x):
    return number(x * 1e3)


def compare_with(old, comparisons):
    """Lines that say what became slower than in an older file of results, and how many did."""
    lines, worse = [], 0
    for c in comparisons:
        before = next((o for o in old if o["name"] == c.name), None)
        for name, e in c.entries.items():
            rounds = before and before["entries"].get(name, {}).get("rounds")
            if not rounds or not e.rounds:
                continue
            change = e.median / statistics.median(rounds)
            slower = name.startswith("pydiff") and change > SLOWER
            worse += slower
            lines.append(f"{c.name}, {name}: {number(change)} x the time of before{'   SLOWER' if slower else ''}")
    return lines, worse


COLORS = {"pydiff": "#d1495b", "PyTorch": "#edae49", "torch.compile": "#b8803a", "JAX jit": "#00798c"}


def draw(comparisons, machine, path):
    """A panel a problem: the time of each contestant, in floors, on one logarithmic axis."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    heights = [sum(bool(e.rounds) for e in c.entries.values()) for c in comparisons]
    figure, panels = plt.subplots(
        len(comparisons), 1, figsize=(9, 0.8 + 0.34 * sum(h + 1.2 for h in heights)), sharex=True, layout="constrained",
        gridspec_kw={"height_ratios": [h + 0.4 for h in heights]}, squeeze=False,
    )  # fmt: skip
    for axes, c in zip(panels[:, 0], comparisons):
        entries = sorted(((n, e) for n, e in c.entries.items() if e.rounds), key=lambda item: item[1].median)
        names, times = [n for n, _ in entries], [e.median for _, e in entries]
        bars = axes.barh(names, [t / c.floor for t in times], color=[_color(n) for n in names], height=0.72)
        axes.bar_label(bars, [f" {seconds(t)}" for t in times], fontsize=8)
        axes.set_title(f"{c.name}: {c.what}", fontsize=9, loc="left")
        axes.set_xscale("log")
        axes.invert_yaxis()
        axes.tick_params(labelsize=8, length=0)
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.margins(x=0.12)
    longest = max(e.median / c.floor for c in comparisons for e in c.entries.values() if e.rounds)
    panels[-1, 0].set_xlim(0.8, 2.5 * longest)  # room for a number behind the bar
    panels[-1, 0].set_xlabel("time of a step, in times of the least that the machine could take")
    figure.suptitle(machine, fontsize=7, wrap=True)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def _color(name):
    return COLORS.get(name.split(",")[0].removesuffix(".jit"), "#888888")
