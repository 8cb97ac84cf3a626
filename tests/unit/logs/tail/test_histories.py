"""Whatever happens to files, and whenever toban is killed: each line is stored once."""

import json
import os
import random
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.logs.tail.tailing import Tailing
from toban.logs.tail import reader, tailed_file

SEEDS = [pytest.param(seed, marks=[pytest.mark.soak] * (seed >= 50)) for seed in range(2000)]
NAMES = ("alpha.log", "beta.log", "gamma.log")
GENERATIONS = 3
"""Rotated files that are kept of each."""


class History:
    """Writes lines with numbered tokens, and does to the files what programs and people do to them."""

    def __init__(self, chance: random.Random, folder: Path) -> None:
        self.chance = chance
        self.copies_match = chance.random() < 0.5
        self.tail = Tailing(folder, "*.log*" if self.copies_match else "*.log", exclude=["*.gz", "*.tmp"])
        self.written: list[str] = []
        self.unfinished = set[str]()
        self.renamed = set[str]()

    def live(self, steps: int) -> None:
        for _ in range(steps):
            name = self.chance.choice(NAMES)
            getattr(self, self.chance.choice(STEPS))(name)
        self.tail.store.error = ""
        for name in NAMES:
            self._finish(name)
        self.tail.settle()
        self.tail.reader.close()

    def wrong(self) -> Iterator[str]:
        """Say what is not as it was written."""
        stored = self.tail.store.tokens()
        yield from (f"{token} is missing" for token in self.written if not stored[token])
        yield from (f"{token} is stored {count} times" for token, count in stored.items() if count > 1)
        if self.tail.counts["repeated"]:
            yield f"{self.tail.counts['repeated']} lines count as repeated"

    def token(self) -> str:
        self.written.append(f"<{len(self.written)}>")
        return self.written[-1]

    def line(self) -> str:
        kind = self.chance.randrange(4)
        if kind == 0:
            return json.dumps({"level": "info", "message": self.token(), "order": self.token()}) + "\n"
        if kind == 1:
            return f"{self.token()} {'x' * self.chance.choice((0, 10, 500))}\r\n"
        head = f"error 1/1/26, 7:0{self.chance.randrange(10)} AM - [Orders] {self.token()} \n"
        return head + "".join(f"    at place{self.token()} (/app/x.js:1:2)\n" for _ in range(self.chance.randrange(4)))

    def write(self, name: str) -> None:
        self._finish(name)
        for _ in range(self.chance.choice((1, 1, 3, 30))):
            self.tail.write(name, self.line())

    def write_half(self, name: str) -> None:
        self._finish(name)
        self.tail.write(name, f"{self.token()} and ")
        self.unfinished.add(name)

    def rename(self, name: str) -> None:
        """Rotate as logrotate does with `create`, or winston with `tailable`."""
        path = self.tail.path(name)
        if not path.exists():
            return
        if self.chance.random() < 0.5:
            self._finish(name)
        if not self.copies_match and not self.tail.knows(name):
            self._settle()  # what is under no name that matches must be known
        self.unfinished.discard(name)
        self._shift(name)
        path.rename(self._rotated(name, 1))
        self.renamed.add(name)
        if self.chance.random() < 0.5:
            self.tail.path(name).touch()

    def write_rotated(self, name: str) -> None:
        """A program that goes on with the file that it has open."""
        if name in self.renamed:
            self.tail.write(f"{name}.1", self.line())

    def copy_truncate(self, name: str) -> None:
        """Rotate as logrotate does with `copytruncate`; what nobody copies for toban must have been read."""
        if not self.tail.path(name).exists():
            return
        self._finish(name)
        looks_between = self.chance.random() < 0.3
        if looks_between or not self.copies_match:
            self._settle()
        self._shift(name)
        self.renamed.discard(name)
        if looks_between and self.copies_match:
            self.tail.write(name, self.line())
        shutil.copyfile(self.tail.path(name), self._rotated(name, 1))
        if looks_between:
            self.look(name)
        os.truncate(self.tail.path(name), 0)

    def truncate(self, name: str) -> None:
        """Empty a file; often it is longer than before when it is seen next."""
        if self.tail.path(name).exists():
            self._finish(name)
            self._settle()
            size = self.tail.path(name).stat().st_size
            os.truncate(self.tail.path(name), 0)
            while self.chance.random() < 0.9 and self.tail.path(name).stat().st_size <= size:
                self.write(name)

    def recreate(self, name: str) -> None:
        """Remove a file, and write another one under its name."""
        if self.tail.path(name).exists():
            self._finish(name)
            self._settle()
            self.tail.path(name).unlink()
            self.write(name)

    def remove_open(self, name: str) -> None:
        """Remove a file just after something was written: it is read as long as it is open."""
        if not self.tail.path(name).exists():
            return
        self._finish(name)
        self._settle()
        self.write(name)
        self.tail.looks()
        self.tail.write(name, self.line())
        self.tail.path(name).unlink()
        self._settle()

    def look(self, name: str) -> None:
        self.tail.look()

    def wait(self, name: str) -> None:
        self.tail.looks()
        self.tail.now += self.chance.choice((0.5, 2.0, 4.0, 100.0))

    def kill(self, name: str) -> None:
        self.tail.kill()

    def read_and_kill(self, name: str) -> None:
        self.tail.read_and_kill()

    def fill_disk(self, name: str) -> None:
        self.tail.store.error = "logs: no space left on device"

    def free_disk(self, name: str) -> None:
        self.tail.store.error = ""

    def _finish(self, name: str) -> None:
        if name in self.unfinished:
            self.unfinished.discard(name)
            self.tail.write(name, f"{self.token()}\n")

    def _settle(self) -> None:
        self.tail.store.error = ""
        self.tail.settle()

    def _rotated(self, name: str, number: int) -> Path:
        return self.tail.path(f"{name}.{number}")

    def _shift(self, name: str) -> None:
        if self._rotated(name, GENERATIONS).exists():
            self._settle()
            self._rotated(name, GENERATIONS).unlink()
        for number in range(GENERATIONS - 1, 0, -1):
            if self._rotated(name, number).exists():
                self._rotated(name, number).rename(self._rotated(name, number + 1))


STEPS = (
    *("write", "write", "write", "write", "write_half", "look", "look", "look", "wait", "wait"),
    *("rename", "write_rotated", "copy_truncate", "truncate", "recreate", "remove_open"),
    *("kill", "kill", "read_and_kill", "fill_disk", "free_disk"),
)


@pytest.mark.parametrize("seed", SEEDS)
def test_each_line_is_stored_once(seed, tmp_path, monkeypatch):
    """
    Also in small chunks and with few open files, so that all limits are met.
    """
    chance = random.Random(seed)
    if chance.random() < 0.5:
        monkeypatch.setattr(tailed_file, "CHUNK", chance.choice((100, 700)))
        monkeypatch.setattr(reader, "BATCH_LINES", chance.choice((1, 20)))
    history = History(chance, tmp_path)
    history.live(chance.randrange(5, 80))
    assert not list(history.wrong())[:5]
    assert Counter(history.written) == history.tail.store.tokens()
