# SPDX-License-Identifier: MIT
"""The parts of tools/bench, from the ground up.

base         errors, sizes, small commands, what is mounted
processes    timing processes, bounded and killed when something goes wrong
machine      what the machine is, and its caches: settle, drop, warm up
ring         the kernel's switch for FUSE over io_uring
places       a freshly made file system, and what is mounted on it
data         source files and trees, and whether copies are equal to them
shapes       trees and projects that look like real ones
contenders   the ways of making a copy
work         what every work shares: rounds, order, state before each run, verification
works        the works that time copies of files, one class each; lists those of all modules
effects      the works that look at more than one copy's time
requests     the works that look at everyday requests through the mount
trees        the works that copy whole trees
figures      medians, spreads, ratios paired by round, and what is required of them
report       tables and JSON
plot         bar charts by gnuplot
cli          the command line
"""
