"""`python -m tests.process_state` writes what a process of Python begins with, to compare two ways to start one."""

import gc
import json
import locale
import os
import random
import signal
import sys
import threading
import time
from pathlib import Path


def stream(name: str) -> dict[str, object]:
    it = getattr(sys, name)
    is_original = it is getattr(sys, f"__{name}__")
    settings = (it.encoding, it.errors, it.mode, it.line_buffering, it.write_through, it.newlines)
    return {name: settings, "file": it.fileno(), "tty": it.isatty(), "original": is_original}


def read() -> dict[str, object]:
    handlers = {number: str(signal.getsignal(number)) for number in signal.valid_signals()}
    status = dict(line.split(":\t", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return {
        "arguments": sys.argv,
        "path": sys.path,
        "environment": sorted(os.environ.items()),
        "folder": str(Path.cwd()),
        "files": sorted(file.name for file in Path("/proc/self/fd").iterdir()),
        "streams": [stream(name) for name in ("stdin", "stdout", "stderr")],
        "signals": handlers,
        "masks": [status[name] for name in ("SigBlk", "SigIgn", "SigCgt", "CapEff", "NoNewPrivs", "Umask")],
        "groups": [os.getpgid(0), os.getsid(0)],
        "locale": [locale.setlocale(locale.LC_ALL), sys.flags.utf8_mode, sys.getfilesystemencoding()],
        "time zone": [time.tzname, time.timezone],
        "garbage": [gc.isenabled(), gc.get_threshold(), sys.getswitchinterval()],
        "threads": [thread.name for thread in threading.enumerate()],
        "hooks": [str(getattr(sys, name)) for name in ("excepthook", "unraisablehook", "displayhook")],
        "main": [__name__, sys.modules["__main__"].__dict__ is globals()],
        "recursion": sys.getrecursionlimit(),
    }


if __name__ == "__main__":
    print(json.dumps(read()))
    print(random.random(), file=sys.stderr)
