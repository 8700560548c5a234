# SPDX-License-Identifier: MIT
"""The parts of tools/bench, from the ground up.

base         errors, sizes, small commands, what is mounted
processes    timing processes, bounded and killed when something goes wrong
machine      what the machine is, and its caches: settle, drop, warm up
places       a freshly made file system with an arsyncfs on it
data         source files and trees, and whether copies are equal to them
contenders   the ways of making a copy
work         what every work shares: rounds, order, state before each run, verification
works        the works that time copies, one class each
effects      the works that look at more than one copy's time
figures      medians, spreads, ratios paired by round, and what is required of them
report       tables and JSON
plot         bar charts by gnuplot
cli          the command line
"""
