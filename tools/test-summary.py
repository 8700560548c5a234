#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Sums up the logs of `meson test`.  usage: test-summary.py {NAME LOG.json STATUS}...

STATUS is what `meson test` ended with. Exits with 1 when a test failed, or when a suite ran no
test at all. A line "SKIP: ..." in the
output of a test that passed counts as one more skipped test: a group of tests says with it what
it left out.
"""
import json
import os
import re
import sys

PASSED = {"OK", "EXPECTEDFAIL"}
SKIP = re.compile(r"^(?:SKIP:|ok \d+ # SKIP) *(.*)")


def read(path):
    """The tests of one log, or an empty list when there is none."""
    if not os.path.exists(path):
        return []
    with open(path, encoding="utf-8", errors="replace") as log:
        return [json.loads(line) for line in log if line.strip()]


def skip_reasons(test):
    text = (test.get("stdout") or "") + "\n" + (test.get("stderr") or "")
    return [m.group(1) for m in map(SKIP.match, text.splitlines()) if m]


def main():
    totals = [0, 0, 0]
    rows, failures, skips = [], [], []
    arguments = sys.argv[1:]
    for suite, log, status in zip(arguments[::3], arguments[1::3], arguments[2::3]):
        passed = failed = skipped = 0
        seconds = 0.0
        tests = read(log)
        for test in tests:
            name = test["name"].split(" / ")[-1].split(":")[-1]
            seconds += test.get("duration") or 0
            reasons = skip_reasons(test)
            if test["result"] == "SKIP":
                skipped += 1
                skips.append((suite, name, reasons[0] if reasons else "no reason given"))
            elif test["result"] in PASSED:
                passed += 1
                skipped += len(reasons)
                skips += [(suite, name, reason) for reason in reasons]
            else:
                failed += 1
                failures.append((suite, name, test["result"].lower()))
        if not tests:
            failed += 1
            failures.append((suite, "-", "no test ran"))
        elif status != "0" and not failed:
            failed += 1
            failures.append((suite, "-", "meson test ended with status " + status))
        rows.append((suite, passed, failed, skipped, seconds))
        totals = [a + b for a, b in zip(totals, (passed, failed, skipped))]

    print("\n%-14s %7s %7s %8s %8s" % ("suite", "passed", "failed", "skipped", "seconds"))
    for row in rows:
        print("%-14s %7d %7d %8d %8.1f" % row)
    for title, entries in (("skipped", skips), ("failed", failures)):
        if entries:
            print("\n%s:" % title)
            for suite, name, why in entries:
                print("  %s: %s: %s" % (suite, name, why))
    print("\n%d passed, %d failed, %d skipped" % tuple(totals))
    return 1 if totals[1] else 0


if __name__ == "__main__":
    sys.exit(main())
