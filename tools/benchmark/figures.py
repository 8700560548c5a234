# SPDX-License-Identifier: MIT
"""Figures from the rounds: medians, spreads, ratios paired by round, and what is required."""
import collections
import statistics

# What is required, by the median. fs None: on every file system where the work ran.
Ratio = collections.namedtuple("Ratio", "work fs contender against least")  # times as fast
Most = collections.namedtuple("Most", "work fs contender metric most")  # "seconds", or a metric
REQUIREMENTS = (
    Ratio("BIG-HOT", "ext4", "mount", "cp", 2.2),
    Ratio("BIG-HOT", "xfs-noreflink", "mount", "cp", 1.8),
    Ratio("BIG-HOT", "btrfs", "mount", "cp", 1.7),
    Ratio("BIG-HOT", "tmpfs", "mount", "cp", 3.0),
    Ratio("BIG-HOT", "ext4", "mount", "rsync", 6.0),
    Ratio("BIG-HOT", None, "mount", "engine", 0.95),
    Ratio("BIG-COLD", "ext4", "mount", "cp", 1.3),
    Ratio("BIG-COLD", "ext4", "mount", "fio", 0.9),
    Ratio("BIG-COLD", "ext4", "mount", "rsync", 5.0),
    Ratio("CLONE", None, "mount", "cp", 1.0),
    Most("CLONE", None, "mount", "seconds", 0.020),
    Ratio("SMALL", None, "engine", "cp", 2.0),
    # Requests: so many times as long as on the backing directory.
    Ratio("TREE-CP-R", None, "dev", "cp", 1 / 7),
    Ratio("TREE-CP-R", None, "ring", "cp", 1 / 3.5),
    Ratio("TREE-CP-A", None, "dev", "cp", 1 / 7),
    Ratio("TREE-CP-A", None, "ring", "cp", 1 / 4),
    *(Ratio(f"FIO-{kind}", None, way, "backing", 0.95) for kind in
      ("READ", "WRITE", "RANDREAD", "RANDWRITE") for way in ("dev", "ring")),
    *(Ratio(f"WALK-{kind}", None, way, "backing", 1 / 1.5) for kind in ("FIND", "GIT", "GREP")
      for way in ("dev", "ring")),
    *(Ratio("COLD-CP-R", None, way, "cp", 1 / 1.5) for way in ("dev", "ring")),
    *(Ratio("BUILD", None, way, "backing", 1 / 1.2) for way in ("dev", "ring")),
    Most("INODES", None, "mount", "RSS MiB", 250),
    # Trees.
    Ratio("TREE-HOT", "ext4", "tree", "cp", 3.0),
    Ratio("TREE-HOT", "ext4", "tree", "rsync", 6.0),
    Ratio("TREE-HOT", "xfs", "tree", "cp", 2.2),
    Ratio("TREE-HOT", "xfs", "tree", "rsync", 4.5),
    Ratio("TREE-HOT", "tmpfs", "tree", "cp", 2.7),
    Ratio("TREE-HOT", "tmpfs", "tree", "rsync", 6.0),
    Ratio("TREE-HOT", "btrfs", "tree", "cp", 1.3),
    Ratio("TREE-HOT", "btrfs", "tree", "rsync", 3.5),
    Ratio("TREE-COLD", "ext4", "tree", "cp", 2.0),
    Ratio("FLAT", None, "tree", "cp", 2.0),
    Ratio("MIX", None, "tree", "cp", 1.5),
    Ratio("MIX-ALL", None, "tree", "cp", 1.5),
    Most("ENTERS", None, "tree", "enters per 1,000 files", 70),
    Most("TREE-LATENCY", None, "tree", "ls p99 ms", 10),
    Most("TREE-LATENCY", None, "tree", "cat p99 ms", 10),
    Most("TREE-MEMORY", None, "tree", "RSS MiB", 150),
    Most("TREE-MEMORY", None, "tree", "fds", 300),
)


def percentile(values, percent):
    """Interpolated between the two nearest values."""
    ordered = sorted(values)
    position = (len(ordered) - 1) * percent / 100
    below = int(position)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (position - below)


def spread(values):
    """Median, smallest, largest, and the interquartile range as % of the median."""
    median = statistics.median(values)
    quartiles = percentile(values, 75) - percentile(values, 25)
    return {"median": median, "min": min(values), "max": max(values),
            "iqr_percent": 100 * quartiles / median if median else 0.0}


def paired_ratio(result, contender, against):
    """How many times as fast as `against` a contender is: the spread of the rounds' ratios.

    Only runs of the same round are compared, which were made within seconds of each other. None
    when one of the two did not run.
    """
    mine, theirs = result.seconds.get(contender), result.seconds.get(against)
    if not mine or not theirs:
        return None
    return spread([b / a for a, b in zip(mine, theirs)])


def ratios(result):
    """{contender: ratio} of all contenders that are compared with another one, in their order."""
    return {name: paired_ratio(result, name, against) for name, against in result.against.items()
            if against and against != name}


def against_rsync(result):
    """{contender: ratio} of ours, where rsync ran, too."""
    found = {name: paired_ratio(result, name, "rsync") for name in ("mount", "tree")}
    return {name: ratio for name, ratio in found.items() if ratio}


def summary(result):
    """All that is derived from a result, for JSON."""
    return {"seconds": {name: spread(values) for name, values in result.seconds.items()},
            "ratios": ratios(result),
            "metrics": {name: {metric: spread(values) for metric, values in metrics.items()}
                        for name, metrics in result.metrics.items()}}


def verdicts(results):
    """How each requirement is met, for every result that it is about: dictionaries for JSON.

    Those about a contender or a metric that did not run: `is` is None.
    """
    return [_verdict(requirement, result) for requirement in REQUIREMENTS for result in results
            if result.work == requirement.work and requirement.fs in (None, result.fs)]


def _verdict(requirement, result):
    verdict = {"work": result.work, "fs": result.fs, "contender": requirement.contender}
    if isinstance(requirement, Ratio):
        ratio = paired_ratio(result, requirement.contender, requirement.against)
        value = ratio and ratio["median"]
        return verdict | {"what": f"times as fast as {requirement.against}", "is": value,
                          "at_least": requirement.least,
                          "met": value is not None and value >= requirement.least}
    values = result.seconds if requirement.metric == "seconds" else {
        name: metrics.get(requirement.metric) for name, metrics in result.metrics.items()}
    values = values.get(requirement.contender)
    value = statistics.median(values) if values else None
    return verdict | {"what": requirement.metric, "is": value, "at_most": requirement.most,
                      "met": value is not None and value <= requirement.most}
