# SPDX-License-Identifier: MIT
"""Figures from the rounds: medians, spreads, ratios paired by round, and what is required."""
import collections
import statistics

# A contender must be `least` times as fast as another one; seconds: and not take longer. fs None:
# on every file system where the work ran.
Requirement = collections.namedtuple("Requirement", "work fs contender against least seconds",
                                     defaults=[None])
REQUIREMENTS = (
    Requirement("BIG-HOT", "ext4", "mount", "cp", 2.2),
    Requirement("BIG-HOT", "xfs-noreflink", "mount", "cp", 1.8),
    Requirement("BIG-HOT", "btrfs", "mount", "cp", 1.7),
    Requirement("BIG-HOT", "tmpfs", "mount", "cp", 3.0),
    Requirement("BIG-HOT", "ext4", "mount", "rsync", 6.0),
    Requirement("BIG-HOT", None, "mount", "engine", 0.95),
    Requirement("BIG-COLD", "ext4", "mount", "cp", 1.3),
    Requirement("BIG-COLD", "ext4", "mount", "fio", 0.9),
    Requirement("BIG-COLD", "ext4", "mount", "rsync", 5.0),
    Requirement("CLONE", None, "mount", "cp", 1.0, 0.020),
    Requirement("SMALL", None, "engine", "cp", 2.0),
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


def summary(result):
    """All that is derived from a result, for JSON."""
    return {"seconds": {name: spread(values) for name, values in result.seconds.items()},
            "ratios": ratios(result),
            "metrics": {name: {metric: spread(values) for metric, values in metrics.items()}
                        for name, metrics in result.metrics.items()}}


def verdicts(results):
    """How each requirement is met, for every result that it is about: dictionaries for JSON.

    The median decides. ratio is None where one of the two contenders did not run.
    """
    found = []
    for requirement in REQUIREMENTS:
        for result in results:
            if result.work == requirement.work and requirement.fs in (None, result.fs):
                found.append(_verdict(requirement, result))
    return found


def _verdict(requirement, result):
    ratio = paired_ratio(result, requirement.contender, requirement.against)
    good = ratio is not None and ratio["median"] >= requirement.least
    seconds = None
    if requirement.seconds is not None:
        seconds = statistics.median(result.seconds[requirement.contender])
        good = good and seconds <= requirement.seconds
    return {"work": result.work, "fs": result.fs, "contender": requirement.contender,
            "against": requirement.against, "ratio": ratio and ratio["median"],
            "least": requirement.least, "seconds": seconds, "most_seconds": requirement.seconds,
            "met": good}
