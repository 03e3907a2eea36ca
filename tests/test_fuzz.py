"""Whatever bytes a file holds, it reads or ends in the project's own error: no crash, no hang, no other exception."""

from __future__ import annotations

import os
import select
import subprocess
import sys
from collections import Counter
from pathlib import Path

import mutator
import pytest

ROOT = Path(__file__).resolve().parents[1]
LIMIT = 10.0  # seconds for one file
START = 60.0  # for a child to import what it needs


class Child:
    """A process that reads cases one after the other."""

    def __init__(self, seeds: Path, scratch: Path) -> None:
        paths = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
        environment = os.environ | {"PYTHONPATH": paths, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            [sys.executable, mutator.__file__, str(seeds), str(scratch)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment,
        )  # fmt: skip
        assert self._line(START) == "ready"

    def read(self, case: int) -> str:
        """What became of one case; "FAILED ..." also where the process died or went on for too long."""
        try:
            self.process.stdin.write(f"{case}\n".encode())
            self.process.stdin.flush()
            line = self._line(LIMIT)
        except (OSError, TimeoutError) as error:
            self.close()
            return f"FAILED {type(error).__name__}"
        return line.partition(" ")[2] or f"FAILED: the process died with status {self.process.wait()}"

    def _line(self, seconds: float) -> str:
        if not select.select([self.process.stdout], [], [], seconds)[0]:
            raise TimeoutError
        return self.process.stdout.readline().decode().strip()

    def close(self) -> None:
        """Ends the process."""
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            pipe.close()


def fuzz(cases: range, seeds: Path, scratch: Path) -> Counter:
    """Counts of what became of the cases; every failure is told."""
    counts, failures, child = Counter(), [], Child(seeds, scratch)
    for case in cases:
        told = child.read(case)
        counts[told.split()[0].rstrip(":")] += 1
        if told.startswith("FAILED"):
            failures.append(f"case {case} of {sorted(seeds.iterdir())[case % len(list(seeds.iterdir()))].name}: {told}")
            if child.process.poll() is not None:
                child.close()
                child = Child(seeds, scratch)
    child.close()
    assert not failures, f"{len(failures)} of {len(cases)}\n" + "\n".join(failures)
    return counts


@pytest.fixture
def folders(tmp_path) -> tuple[Path, Path]:
    seeds, scratch = tmp_path / "seeds", tmp_path / "scratch"
    seeds.mkdir()
    scratch.mkdir()
    return seeds, scratch


def test_the_mutator_repeats_itself_and_its_seeds_are_good(folders):
    seeds, scratch = folders
    mutator.make_seeds(seeds)
    paths = sorted(seeds.iterdir())
    first = [mutator.mutated(case, paths) for case in range(80)]
    assert first == [mutator.mutated(case, paths) for case in range(80)]
    assert sum(data != paths[case % len(paths)].read_bytes() for case, (_, data) in enumerate(first)) > 75
    assert {path.name for path in paths if mutator.outcome(path, scratch) != "read"} == set()


def test_some_damaged_files(folders):
    mutator.make_seeds(folders[0])
    counts = fuzz(range(66), *folders)
    assert counts["read"] > 3 and counts["refused"] > 20


@pytest.mark.slow
def test_two_thousand_damaged_files(folders, capsys):
    real = os.environ.get("MEDJAX_DATA")
    mutator.make_seeds(folders[0], Path(real) if real and (Path(real) / "dicom").is_dir() else None)
    counts = fuzz(range(10_000, 12_000), *folders)
    with capsys.disabled():
        print(f"\n{dict(counts)}")
    assert counts["read"] > 100 and counts["refused"] > 500 and counts.total() == 2000
