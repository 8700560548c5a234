# SPDX-License-Identifier: MIT
"""Bar charts of the ratios, as SVG by gnuplot. The error bars are the range of the rounds."""
import os
import subprocess

from . import figures
from .base import BenchError, needed

TITLE = "times as fast as the raw file system's cp"
# The charts: file name, title, works.
CHARTS = (
    ("bench-big.svg", f"Large files: {TITLE}", ("BIG-HOT", "BIG-COLD", "BIG-SYNC", "HUGE")),
    ("bench-other.svg", f"Many, sparse, cloned, partial, small: {TITLE}",
     ("MANY3", "MANY8", "SPARSE", "CLONE", "RANGE", "SMALL")),
    ("bench-requests.svg", "Requests: times as fast as on the raw file system",
     ("TREE-CP-R", "TREE-CP-A", "COLD-CP-R", "WALK-FIND", "WALK-GIT", "WALK-GREP", "BUILD")),
    ("bench-trees.svg", "Trees: times as fast as the raw file system's cp -a",
     ("TREE-HOT", "TREE-COLD", "FLAT", "MIX", "MIX-ALL")),
)
# In this order in each group of bars. Other contenders come last, in grey.
COLOURS = {"mount": "#1f5fa8", "dev": "#1f5fa8", "ring": "#5b9bd5", "hp": "#b9b9b9",
           "tree": "#2a9d8f", "engine": "#8db8e2", "rsync": "#e0a458", "dd": "#b9b9b9",
           "fio": "#7a7a7a"}
OTHER_COLOUR = "#9a86b8"
GAP = 1.0  # between file systems, in widths of a bar
WORK_GAP = 1.2  # and more of it between works


class Chart:
    """Groups of bars, one a work and file system; x counts in widths of a bar."""

    def __init__(self, results):
        self.bars = {}  # contender: [(x, ratio)]
        self.tics = []  # (x, file system)
        self.works = {}  # work: [x, x]
        self.width = GAP
        for result in results:
            if self.works and result.work not in self.works:
                self.width += WORK_GAP
            self._add(result)

    def _add(self, result):
        ratios = {name: ratio for name, ratio in figures.ratios(result).items() if ratio}
        names = sorted(ratios, key=_order)
        start = self.width
        for number, name in enumerate(names):
            self.bars.setdefault(name, []).append((start + number, ratios[name]))
        middle = start + (len(names) - 1) / 2
        self.tics.append((middle, result.fs))
        self.works.setdefault(result.work, [middle, middle])[1] = middle
        self.width = start + len(names) + GAP

    def script(self, path, title):
        """What gnuplot is told."""
        top = max(ratio["max"] for bars in self.bars.values() for _, ratio in bars)
        tics = ", ".join(f"{_quote(name)} {x:.3f}" for x, name in self.tics)
        lines = [
            f"set terminal svg size {max(640, int(170 + 25 * self.width))},480 enhanced "
            "font 'sans-serif,12' background '#ffffff'",
            f"set output {_quote(path)}",
            f"set title {_quote(title)} noenhanced",
            f"set xrange [0:{self.width:.3f}]", f"set yrange [0:{top * 1.15:.3f}]",
            "set ylabel 'times as fast'", "set border 3", "set bmargin 5",
            "set style fill solid 1.0 noborder", "set pointintervalbox 0", "set boxwidth 0.86",
            "set grid ytics lt 1 lc rgb '#dddddd' back", "set ytics nomirror",
            "set key outside top right",
            f"set xtics nomirror scale 0 ({tics}) noenhanced",
            "set arrow from graph 0, first 1 to graph 1, first 1 nohead front lc rgb '#b03030' "
            "lw 1.5"]
        for name, (first, last) in self.works.items():
            lines.append(f"set label {_quote(name)} at first {(first + last) / 2:.3f}, graph 0 "
                         "center offset 0,-2.6 font ',13' noenhanced")
        plots = []
        for name in sorted(self.bars, key=_order):
            lines += [f"${_block(name)} << END", *map(_bar, self.bars[name]), "END"]
            colour = COLOURS.get(name, OTHER_COLOUR)
            plots += [f"${_block(name)} using 1:2 with boxes lc rgb '{colour}' title "
                      f"{_quote(name)} noenhanced",
                      f"${_block(name)} using 1:2:3:4 with yerrorbars lc rgb '#333333' lw 1 ps 0 "
                      "notitle",
                      f"${_block(name)} using 1:4:5 with labels offset 0,0.7 "
                      "font ',9' notitle"]
        return "\n".join([*lines, "plot " + ", ".join(plots)]) + "\n"


def _order(name):
    return list(COLOURS).index(name) if name in COLOURS else len(COLOURS)


def _block(name):
    return "b" + "".join(c if c.isalnum() else "_" for c in name)


def _bar(bar):
    x, ratio = bar
    median = ratio["median"]
    label = f"{median:.1f}" if median >= 1 else f"{median:.2f}"
    return f"{x:.3f} {median:.4f} {ratio['min']:.4f} {ratio['max']:.4f} {label}"


def _quote(text):
    return "'" + text.replace("'", "''") + "'"


def draw(report, directory):
    """Writes the charts for which there are results; returns their paths."""
    try:
        os.makedirs(directory, exist_ok=True)
    except OSError as error:
        raise BenchError(f"cannot make the directory {directory}: {error.strerror}") from None
    written = []
    mark = "" if report.judged() else f" (scaled by {report.scale}: NOT A MEASUREMENT)"
    for name, title, works in CHARTS:
        shown = [r for r in report.results
                 if r.work in works and any(figures.ratios(r).values())]
        shown.sort(key=lambda r: works.index(r.work))
        if shown:
            path = os.path.join(directory, name)
            _gnuplot(Chart(shown).script(path, title + mark))
            written.append(path)
    return written


def _gnuplot(script):
    done = subprocess.run([needed("gnuplot"), "-"], input=script, capture_output=True, text=True,
                          check=False, timeout=60)
    if done.returncode:
        raise BenchError(f"gnuplot cannot draw: {done.stderr.strip()}")
