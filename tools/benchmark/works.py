# SPDX-License-Identifier: MIT
"""The works that copy files, one class each. WORKS lists them all, with those of other modules."""
from . import data, machine, requests, trees
from .base import GIB, KIB, MIB, format_size
from .contenders import TreeCopies, fio_read
from .effects import Fair, Huge, Range
from .work import Work

BIG_SYSTEMS = ("ext4", "ext4-nojournal", "xfs-noreflink", "btrfs", "tmpfs")
DISK_SYSTEMS = ("ext4", "xfs-noreflink", "btrfs")
PIECE = MIB  # bytes of one piece of data in a sparse file


class BigHot(Work):
    """The plainest: one large file that is in page cache."""

    name = "BIG-HOT"
    file_systems = BIG_SYSTEMS
    bytes, quick_bytes = GIB, GIB // 2

    def __init__(self, settings):
        super().__init__(settings)
        self.size = settings.scaled(self.quick_bytes if settings.quick else self.bytes)
        self.title = f"one file of {format_size(self.size)}, in page cache"

    def space(self):
        return 2 * self.size

    def prepare(self, place):
        data.make_file(place.below("big"), self.size)
        return ["big"]

    def contenders(self, place):
        return self.copies(place, ["big"]).make_all("cp", "mount", "engine", "rsync", "dd")


class BigCold(BigHot):
    """One large file that must be read from the disk; fio says what the disk reads."""

    name = "BIG-COLD"
    file_systems = DISK_SYSTEMS
    needs_disk = True
    cold = True
    bytes, quick_bytes = 2 * GIB, GIB

    def __init__(self, settings):
        super().__init__(settings)
        self.title = f"one file of {format_size(self.size)}, from the disk; fio only reads it"

    def contenders(self, place):
        reader = fio_read(place.below("big"))
        return super().contenders(place) + ([reader] if reader else [])


class BigSync(BigHot):
    """One large file, and the copy is on stable storage when the time ends."""

    name = "BIG-SYNC"
    file_systems = DISK_SYSTEMS
    needs_disk = True

    def __init__(self, settings):
        super().__init__(settings)
        self.title = f"one file of {format_size(self.size)}, in page cache, durable at the end"

    def contenders(self, place):
        return self.copies(place, ["big"], durable=True).make_all(
            "cp", "mount", "engine", "rsync", "dd")


class Many(Work):
    """Several files at once, each copied by a process of its own."""

    file_systems = ("ext4", "tmpfs")
    number, bytes = 0, 0
    kinds = ()

    def __init__(self, settings):
        super().__init__(settings)
        self.size = settings.scaled(self.bytes)
        self.title = f"{self.number} files of {format_size(self.size)} at once, in page cache"

    def space(self):
        return 2 * self.number * self.size

    def prepare(self, place):
        names = [f"big{number}" for number in range(self.number)]
        for name in names:
            data.make_file(place.below(name), self.size)
        return names

    def contenders(self, place):
        names = [f"big{number}" for number in range(self.number)]
        return self.copies(place, names).make_all(*self.kinds)


class Many3(Many):
    """Three at once."""

    name = "MANY3"
    number, bytes = 3, 200 * MIB
    kinds = ("cp", "mount", "engine", "rsync")


class Many8(Many):
    """Eight at once."""

    name = "MANY8"
    number, bytes = 8, 128 * MIB
    kinds = ("cp", "mount", "engine")


class Sparse(Work):
    """Much hole, little data: the holes must be found, and stay."""

    name = "SPARSE"
    file_systems = DISK_SYSTEMS

    def __init__(self, settings):
        super().__init__(settings)
        self.pieces = settings.scaled(64, least=1)
        self.size = self.pieces * 256 * MIB
        self.title = (f"one sparse file of {format_size(self.size)} with "
                      f"{format_size(self.pieces * PIECE)} of data, in page cache")

    def space(self):
        return 4 * self.pieces * PIECE

    def prepare(self, place):
        step = self.size // self.pieces
        data.make_sparse(place.below("sparse"), self.size,
                         [(number * step, PIECE) for number in range(self.pieces)])
        return ["sparse"]

    def contenders(self, place):
        return self.copies(place, ["sparse"], sparse=True).make_all(
            "cp", "mount", "engine", "rsync", "dd")


class Clone(BigHot):
    """Where blocks can be shared, a copy takes milliseconds."""

    name = "CLONE"
    file_systems = ("xfs", "btrfs")
    needs_clones = True
    share = True
    bytes, quick_bytes = GIB, GIB

    def __init__(self, settings):
        super().__init__(settings)
        self.title = f"one file of {format_size(self.size)}, blocks shared (cp --reflink=always)"

    def contenders(self, place):
        return self.copies(place, ["big"]).make_all("cp", "mount", "engine")


class Small(Work):
    """A tree of small files."""

    name = "SMALL"
    file_systems = ("ext4", "xfs", "btrfs", "tmpfs")
    share = None
    files, quick_files = 10_000, 2_000

    def __init__(self, settings):
        super().__init__(settings)
        self.number = settings.scaled(self.quick_files if settings.quick else self.files, least=10)
        self.title = f"a tree of {self.number} files of 4 KiB, in page cache"

    def space(self):
        return 2 * self.number * 8 * KIB

    def prepare(self, place):
        data.make_tree(place.below("tree"), self.number)
        return ["tree"]

    def contenders(self, place):
        return TreeCopies(place, "tree").make_all("cp", "mount", "tree", "engine", "rsync")


class Sizes(Work):
    """What a byte costs in files of different sizes."""

    name = "SIZES"
    file_systems = ("ext4", "tmpfs")
    full = {"1 MiB": MIB, "16 MiB": 16 * MIB, "256 MiB": 256 * MIB, "1 GiB": GIB}
    title = "the cost of a KiB in files of 1 MiB to 1 GiB, and in 64 GiB with 64 MiB of data"

    def __init__(self, settings):
        super().__init__(settings)
        self.sizes = {name: settings.scaled(size) for name, size in self.full.items()}
        self.pieces = settings.scaled(64, least=1)
        self.sizes["sparse"] = self.pieces * PIECE

    def space(self):
        return sum(self.sizes.values()) + 2 * max(self.sizes.values())

    def prepare(self, place):
        for name in self.full:
            data.make_file(place.below(name), self.sizes[name])
        data.make_sparse(place.below("sparse"), self.pieces * GIB,
                         [(number * GIB, PIECE) for number in range(self.pieces)])
        return list(self.sizes)

    def contenders(self, place):
        made = []
        for size in self.sizes:
            copies = self.copies(place, [size], sparse=size == "sparse")
            made += [copies.make("cp", f"cp {size}", f"cp {size}"),
                     copies.make("mount", f"cp {size}", f"mount {size}")]
        return made

    def run(self, place, contender):
        sample = contender.measure()
        size = self.sizes[contender.name.partition(" ")[2]]
        sample.metrics = {"ns per KiB": sample.seconds * 1e9 / (size / KIB)}
        return sample


class Queued(Work):
    """What a byte costs when many jobs wait for their turn."""

    name = "QUEUED"
    file_systems = ("ext4", "tmpfs")
    at_once = (1, 10, 100, 1000, 10_000)

    def __init__(self, settings):
        super().__init__(settings)
        self.size = settings.scaled(10_000 * 64 * KIB)
        self.title = (f"{format_size(self.size)} in jobs of 64 KiB for the engine, 1 to 10,000 of "
                      "them queued at once")

    def space(self):
        return 2 * self.size

    def prepare(self, place):
        data.make_file(place.below("big"), self.size)
        return ["big"]

    def contenders(self, place):
        copies = self.copies(place, ["big"])
        return [copies.make("queued", "1 queued", f"{number} queued", number=number)
                for number in self.at_once]


class Workers(BigHot):
    """What a second core gives, and every further one."""

    name = "WORKERS"
    file_systems = ("ext4", "tmpfs")

    def __init__(self, settings):
        super().__init__(settings)
        self.title += ", copied by the engine with 1, 2, ... workers"

    def contenders(self, place):
        copies = self.copies(place, ["big"])
        return [copies.make("cp")] + [
            copies.make("engine", name=f"workers={number}", workers=number)
            for number in range(1, max(2, machine.cores()) + 1)]


WORKS = {work.name: work for work in (
    BigHot, BigCold, BigSync, Huge, Many3, Many8, Sparse, Clone, Range, Small, Fair, Sizes,
    Queued, Workers,
    requests.TreeCpR, requests.TreeCpA, requests.ColdCpR, requests.WalkFind, requests.WalkGit,
    requests.WalkGrep, requests.FioRead, requests.FioWrite, requests.FioRandRead,
    requests.FioRandWrite, requests.Build, requests.Inodes,
    trees.TreeHot, trees.TreeCold, trees.Flat, trees.Mix, trees.MixAll, trees.Enters,
    trees.TreeLatency, trees.TreeMemory)}
# What --quick runs when it is not told which works: on which file systems.
QUICK = {"BIG-HOT": ("tmpfs", "ext4"), "CLONE": ("xfs",), "SMALL": ("tmpfs", "ext4")}
