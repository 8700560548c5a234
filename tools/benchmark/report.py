# SPDX-License-Identifier: MIT
"""What the benchmark says: a table a work and file system, a summary, and JSON."""
import dataclasses
import json
import os
import textwrap

from . import figures, machine
from .base import BenchError, format_seconds
from .work import Result

FORMAT = 1  # of the JSON file
NOT_MEASURED = "*** NOT A MEASUREMENT: all sizes are scaled by {} ***"


@dataclasses.dataclass
class Report:
    """All that a run of the benchmark found out."""
    scale: str
    quick: bool
    options: dict
    machine: dict
    results: list = dataclasses.field(default_factory=list)
    skipped: list = dataclasses.field(default_factory=list)  # sentences

    def judged(self):
        """Whether the requirements mean anything: not at a scale."""
        return self.scale == "1"


def save(report, path):
    """Writes everything, with all single times and with what is derived from them."""
    document = {"format": FORMAT} | dataclasses.asdict(report)
    for entry, result in zip(document["results"], report.results):
        entry["summary"] = figures.summary(result)
    document["requirements"] = figures.verdicts(report.results)
    partial = f"{path}.{os.getpid()}"
    try:
        with open(partial, "w", encoding="utf-8") as file:
            json.dump(document, file, indent=1)
            file.write("\n")
        os.replace(partial, path)
    except OSError as error:
        raise BenchError(f"cannot write {path}: {error.strerror}") from None


def load(path):
    """The Report that save() wrote."""
    try:
        with open(path, encoding="utf-8") as file:
            document = json.load(file)
        if document["format"] != FORMAT:
            raise BenchError(f"{path} is of another version of tools/bench")
        names = [field.name for field in dataclasses.fields(Report)]
        report = Report(**{name: document[name] for name in names})
        report.results = [Result(**{name: value for name, value in entry.items()
                                    if name != "summary"}) for entry in report.results]
        return report
    except OSError as error:
        raise BenchError(f"cannot read {path}: {error.strerror}") from None
    except (ValueError, KeyError, TypeError):
        raise BenchError(f"{path} is not what tools/bench --json writes") from None


def table(rows, left=1, indent="  "):
    """Lines of aligned columns; the first `left` columns are flush left."""
    widths = [max(map(len, column)) for column in zip(*rows)]
    lines = []
    for row in rows:
        cells = [cell.ljust(width) if number < left else cell.rjust(width)
                 for number, (cell, width) in enumerate(zip(row, widths))]
        lines.append((indent + "  ".join(cells)).rstrip())
    return lines


def format_ratio(ratio):
    """2.41 (2.30..2.55); three digits where two would say little."""
    if ratio is None:
        return ""
    digits = 2 if ratio["median"] >= 0.3 else 3
    return (f"{ratio['median']:.{digits}f} "
            f"({ratio['min']:.{digits}f}..{ratio['max']:.{digits}f})")


def head_lines(report):
    """The machine, and what is special about this run."""
    lines = ["arsyncfs benchmark", "", *machine.describe_lines(report.machine)]
    if report.options:
        options = " ".join(f"{name}={value}" for name, value in report.options.items())
        lines.append(f"options   {options}")
    if not report.judged():
        lines += ["", NOT_MEASURED.format(report.scale)]
    return lines


def result_lines(result):
    """The table of one work on one file system."""
    rounds = len(next(iter(result.seconds.values())))
    lines = ["", *textwrap.wrap(f"== {result.work} on {result.fs}: {result.title} ==", 100),
             f"  {result.mount_options}; {rounds} round{'s' if rounds > 1 else ''}", ""]
    lines += table(_times(result))
    metrics = _metrics(result)
    if metrics:
        lines += ["", *table(metrics)]
    lines += [line for name, ratio in figures.against_rsync(result).items()
              for line in ("", f"  rsync / {name}  {format_ratio(ratio)}")]
    return lines + [f"  Note: {note}." for note in result.notes]


def _times(result):
    """Rows with the times and ratios of a result."""
    ratios = figures.ratios(result)
    rows = [["contender", "median", "min..max", "IQR", *(["times as fast as"] if ratios else [])]]
    for name, seconds in result.seconds.items():
        spread = figures.spread(seconds)
        row = [name, format_seconds(spread["median"]),
               f"{format_seconds(spread['min'])} .. {format_seconds(spread['max'])}",
               f"{spread['iqr_percent']:.0f} %"]
        if ratios:
            ratio = ratios.get(name)
            row.append(f"{result.against[name]}: {format_ratio(ratio)}" if ratio else "")
        rows.append(row)
    return rows


def _metrics(result):
    """Rows with what was measured besides times; empty where nothing was."""
    names = list(dict.fromkeys(name for found in result.metrics.values() for name in found))
    if not names:
        return []
    rows = [["median of", *names]]
    for contender, found in result.metrics.items():
        rows.append([contender, *(_number(figures.spread(found[name])["median"])
                                  if name in found else "" for name in names)])
    return rows


def _number(value):
    """Two digits after the point where they mean something."""
    return f"{value:.2f}" if value < 100 else f"{value:.0f}"


def summary_lines(report):
    """All ratios at a glance, the requirements, and what was left out."""
    lines = ["", "== Summary ==", ""]
    rows = [["work", "fs", "contender", "against", "times as fast"]]
    for result in report.results:
        for name, ratio in figures.ratios(result).items():
            rows.append([result.work, result.fs, name, result.against[name], format_ratio(ratio)])
        for name, ratio in figures.against_rsync(result).items():
            rows.append([result.work, result.fs, name, "rsync", format_ratio(ratio)])
    lines += table(rows, left=4) if len(rows) > 1 else ["  no ratio"]
    required = _requirement_rows(report)
    if len(required) > 1:
        lines += ["", "== Requirements ==", "", *table(required, left=4)]
    if report.skipped:
        lines += ["", "== Skipped ==", "", *(f"  {reason}" for reason in report.skipped)]
    if not report.judged():
        lines += ["", NOT_MEASURED.format(report.scale)]
    return lines


def _requirement_rows(report):
    rows = [["work", "fs", "contender", "what", "required", "is", ""]]
    for verdict in figures.verdicts(report.results):
        if "at_least" in verdict:
            required = f"at least {format_factor(verdict['at_least'])}"
            found = format_factor(verdict["is"])
        else:
            required = f"at most {verdict['at_most']:g}"
            found = "not run" if verdict["is"] is None else f"{verdict['is']:.4g}"
        judgement = "OK" if verdict["met"] else "MISSED"
        if verdict["is"] is None:
            judgement = ""
        elif not report.judged():
            judgement = "not judged"
        rows.append([verdict["work"], verdict["fs"], verdict["contender"], verdict["what"],
                     required, found, judgement])
    return rows


def format_factor(ratio):
    """2.41, or 1/3.50: three and a half times as long."""
    if ratio is None:
        return "not run"
    return f"{ratio:.2f}" if ratio >= 1 else f"1/{1 / ratio:.2f}"
