"""Real winston, which writes lines into files that it rotates."""

import subprocess
from pathlib import Path

from tests.node_packages import node_command


def start_winston(folder: Path, count: int) -> subprocess.Popen[bytes]:
    """Write so many lines with each of two transports into the folder."""
    command = node_command(Path(__file__).parent, "write.js", str(folder), str(count))
    return subprocess.Popen(command, stdin=subprocess.DEVNULL)
