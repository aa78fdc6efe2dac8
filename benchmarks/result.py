"""What a figure reports, and how it is written."""

from dataclasses import dataclass, field


@dataclass
class Result:
    """One figure of the table.

    Attributes:
        name: as on the command line.
        what: one line on what is measured.
        figure: the number that `limit` is about.
        unit: of figure and limit: "x", "µs", "ms", "MB".
        limit: what is asked for.
        at_least: the figure must reach the limit; else it must stay under it.
        meaning: what the figure is, e.g. "PyTorch eager / pydiff".
        times: label -> seconds (or the unit named in the label) of each peer, medians.
        notes: further lines.
    """

    name: str
    what: str
    figure: float
    unit: str
    limit: float
    meaning: str
    at_least: bool = False
    times: dict = field(default_factory=dict)
    notes: list = field(default_factory=list)

    @property
    def met(self):
        return self.figure >= self.limit if self.at_least else self.figure <= self.limit

    @property
    def asked(self):
        return f"{'≥' if self.at_least else '≤'} {number(self.limit)} {self.unit}"

    @property
    def measured(self):
        return f"{number(self.figure)} {self.unit}"

    def as_dict(self):
        return {
            "name": self.name,
            "what": self.what,
            "meaning": self.meaning,
            "figure": self.figure,
            "unit": self.unit,
            "limit": self.limit,
            "at_least": self.at_least,
            "met": self.met,
            "times": self.times,
            "notes": self.notes,
        }


def number(x):
    """Three significant digits, without an exponent."""
    if x == 0:
        return "0"
    for digits, bound in ((0, 100), (1, 10), (2, 1)):
        if abs(x) >= bound:
            return f"{x:.{digits}f}"
    return f"{x:.3f}"


def seconds(x):
    """A duration in the unit that reads best."""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if x >= size:
            return f"{number(x / size)} {unit}"
    return f"{number(x / 1e-9)} ns"


def _times(result):
    return ", ".join(f"{label} {seconds(t)}" for label, t in result.times.items())


def as_text(result):
    """A few lines for the terminal."""
    lines = [
        f"{result.name}: {result.what}",
        f"    {result.measured}  ({result.meaning}; asked for: {result.asked}){'' if result.met else '   NOT MET'}",
    ]
    if result.times:
        lines.append(f"    {_times(result)}")
    return "\n".join(lines + [f"    {note}" for note in result.notes])


def as_markdown(results):
    """The table of benchmarks/README.md."""
    head = "| figure | measured | asked for | met | what it is | medians |"
    lines = [head, "| --- " * 6 + "|"]
    for r in results:
        cells = (f"`{r.name}`", r.measured, r.asked, "yes" if r.met else "**no**", f"{r.what} ({r.meaning})", _times(r))
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    notes = [(r.name, note) for r in results for note in r.notes]
    if notes:
        lines += ["", *(f"- `{name}`: {note}" for name, note in notes)]
    return "\n".join(lines)
