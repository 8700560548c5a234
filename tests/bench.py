#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""bench.py: the parts of tools/bench that need neither root nor time."""
import argparse
import fractions
import os
import sys
import tempfile
import unittest
from unittest import mock

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "tools"))

from benchmark import cli, data, figures, processes, report, ring, shapes  # noqa: E402
from benchmark.base import BenchError  # noqa: E402
from benchmark.requests import WalkGit  # noqa: E402
from benchmark.work import Result, Settings  # noqa: E402

TREE = 300  # files
TAG = b"\x41\x02\x03\x04\x05\x06\x07\x08"


class TemporaryDirectory(unittest.TestCase):
    """self.path(name): in a directory that is removed at the end."""

    def setUp(self):
        # pylint: disable=consider-using-with # ended by addCleanup
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.path = lambda name: os.path.join(directory.name, name)


class Shapes(TemporaryDirectory):
    """Trees that look like real ones."""

    def make(self, name):
        """A small tree, and its path."""
        shapes.generate(self.path(name), shapes.INCLUDE, TREE)
        return self.path(name)

    def files(self, name):
        """The paths of its regular files, in order."""
        return sorted(os.path.join(directory, file)
                      for directory, _, files in os.walk(self.path(name)) for file in files
                      if not os.path.islink(os.path.join(directory, file)))

    def test_generate_twice(self):
        data.check_tree(self.make("a"), self.make("b"), True)
        self.assertEqual(len(self.files("a")), TREE)

    def test_generate_sizes(self):
        self.make("a")
        sizes = sorted(os.path.getsize(path) for path in self.files("a"))
        for fraction, expected in ((.25, 1900), (.5, 4910), (.9, 36807)):
            self.assertAlmostEqual(sizes[int(TREE * fraction)] / expected, 1, delta=0.1)

    def test_quantile(self):
        table = ((0, 0), (.5, 99), (1, 9999))
        self.assertEqual([round(shapes.quantile(table, at)) for at in (0, .25, .5, .75, 1)],
                         [0, 9, 99, 999, 9999])

    def test_make_like_takes_what_is_there(self):
        with mock.patch.object(shapes, "INCLUDE", shapes.dataclasses.replace(
                shapes.INCLUDE, real=self.make("real"), files=TREE)):
            self.assertIn("a copy of", shapes.make_like(self.path("a"), shapes.INCLUDE, TREE))
            data.check_tree(self.path("real"), self.path("a"), True)
            self.assertIn("generated", shapes.make_like(self.path("b"), shapes.INCLUDE, TREE // 2))

    def check_differs(self, attributes=True):
        """check_tree must see it."""
        with self.assertRaises(BenchError):
            data.check_tree(self.path("a"), self.path("b"), attributes)

    def test_check_tree_contents(self):
        self.make("a"), self.make("b")
        path = max(self.files("b"), key=os.path.getsize)
        status = os.stat(path)
        with open(path, "r+b") as file:
            file.seek(status.st_size - 1)
            file.write(b"\0")
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
        self.check_differs()

    def test_check_tree_mode(self):
        self.make("a"), self.make("b")
        os.chmod(self.files("b")[0], 0o640)
        self.check_differs(False)

    def test_check_tree_missing(self):
        self.make("a"), self.make("b")
        os.unlink(self.files("b")[0])
        self.check_differs(False)

    def test_check_tree_time(self):
        self.make("a"), self.make("b")
        os.utime(self.files("b")[0])
        data.check_tree(self.path("a"), self.path("b"), False)
        self.check_differs()

    def test_check_tree_target(self):
        for name in ("a", "b"):
            os.mkdir(self.path(name))
            os.symlink(f"to-{name}", self.path(f"{name}/link"))
        self.check_differs(False)

    def test_check_names(self):
        for name in ("a", "b"):
            shapes.make_empty(self.path(name), 1010)
        data.check_names(self.path("a"), self.path("b"))
        os.unlink(self.path("b/d0001/f0001005"))
        with self.assertRaises(BenchError):
            data.check_names(self.path("a"), self.path("b"))

    def test_check_tagged(self):
        with open(self.path("file"), "wb") as file:
            file.write(TAG * 512 * 8 + bytes(4096 * 8))
        data.check_tagged(self.path("file"), TAG, 4096, 8)
        with self.assertRaises(BenchError):
            data.check_tagged(self.path("file"), TAG, 4096, 10)
        with open(self.path("file"), "ab") as file:
            file.write(TAG * 511 + bytes(8))
        with self.assertRaises(BenchError):
            data.check_tagged(self.path("file"), TAG, 4096, 8)


class Ring(TemporaryDirectory):
    """The kernel's switch, which here is a file."""

    def setUp(self):
        super().setUp()
        for name in ("SWITCH", "MARK"):
            patch = mock.patch.object(ring, name, self.path(name))
            patch.start()
            self.addCleanup(patch.stop)
        self.switch("N")

    def switch(self, state):
        """The state that is found."""
        with open(ring.SWITCH, "w", encoding="ascii") as file:
            file.write(state)

    def check(self, state):
        """The switch is like this."""
        self.assertEqual(ring.read_text(ring.SWITCH), state)

    def test_switched_on_and_off(self):
        with ring.switched_on():
            self.check("Y")
        self.check("N")
        self.assertFalse(os.path.exists(ring.MARK))

    def test_switched_on_by_two(self):
        first, second = ring.switched_on(), ring.switched_on()
        with first:
            second.__enter__()  # pylint: disable=unnecessary-dunder-call # they overlap
        self.check("Y")
        second.__exit__(None, None, None)
        self.check("N")

    def test_switched_on_before(self):
        self.switch("Y")
        with ring.switched_on():
            self.check("Y")
        self.check("Y")

    def test_switched_on_after_somebody_was_killed(self):
        self.switch("Y")
        with open(ring.MARK, "w", encoding="ascii") as file:
            file.write("N\n")
        with ring.switched_on():
            self.check("Y")
        self.check("N")


class Figures(unittest.TestCase):
    """Requirements."""

    def verdict(self, requirement, seconds, metrics=None):
        """Of one result."""
        result = Result("W", "", "ext4", "", dict.fromkeys(seconds, "cp"), seconds, metrics or {},
                        [])
        with mock.patch.object(figures, "REQUIREMENTS", [requirement]):
            return figures.verdicts([result])[0]

    def test_ratio(self):
        requirement = figures.Ratio("W", None, "dev", "cp", 1 / 4)
        for seconds, met in (([4, 3, 9], True), ([4.1, 5, 3], False)):
            self.assertEqual(self.verdict(requirement, {"cp": [1] * 3, "dev": seconds})["met"], met)
        missing = self.verdict(requirement, {"cp": [1]})
        self.assertEqual((missing["is"], missing["met"]), (None, False))

    def test_most(self):
        requirement = figures.Most("W", "ext4", "dev", "RSS MiB", 250)
        for value, met in ((250, True), (251, False)):
            self.assertEqual(self.verdict(requirement, {"dev": [1]},
                                          {"dev": {"RSS MiB": [value]}})["met"], met)
        self.assertFalse(self.verdict(requirement, {"dev": [1]}, {"dev": {}})["met"])

    def test_most_seconds(self):
        requirement = figures.Most("W", None, "dev", "seconds", 0.02)
        for value, met in ((0.02, True), (0.03, False)):
            self.assertEqual(self.verdict(requirement, {"dev": [value]})["met"], met)

    def test_requirements_are_of_works(self):
        self.assertLessEqual({requirement.work for requirement in figures.REQUIREMENTS},
                             set(cli.WORKS))

    def test_format(self):
        self.assertEqual([report.format_factor(factor) for factor in (2.5, 1 / 3.5, None)],
                         ["2.50", "1/3.50", "not run"])


class CommandLine(unittest.TestCase):
    """Names of works."""

    def test_names_of(self):
        parse = cli.names_of(cli.WORKS, cli.several_works)
        self.assertEqual(parse("Walk, small,WALK-GIT"),
                         ["WALK-FIND", "WALK-GIT", "WALK-GREP", "SMALL"])
        self.assertEqual(set(parse("files,requests,trees")), set(cli.WORKS))
        for wrong in ("BI", "walk-", ",", ""):
            with self.assertRaises(argparse.ArgumentTypeError):
                parse(wrong)

    def test_plan_without_program(self):
        settings = Settings("", "", {}, fractions.Fraction(1), False, 0, "")
        self.assertEqual(WalkGit(settings).why_not_on("ext4") == "", cli.program("git") is not None)
        with mock.patch.object(WalkGit, "programs", ("no-such-program",)):
            self.assertIn("needs no-such-program", WalkGit(settings).why_not_on("ext4"))


class Processes(unittest.TestCase):
    """Commands with something beside them."""

    def test_time_beside(self):
        calls = []
        seconds = processes.time_beside(["/bin/sh", "-c", "sleep 0.1"], lambda: calls.append(1))
        self.assertGreater(seconds, 0.09)
        self.assertGreater(len(calls), 1)

    def test_time_beside_failure(self):
        with self.assertRaisesRegex(BenchError, "status 3: oh"):
            processes.time_beside(["/bin/sh", "-c", "echo oh >&2; exit 3"], lambda: None)


if __name__ == "__main__":
    unittest.main()
