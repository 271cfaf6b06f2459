"""Tools that are taken away in the middle of their work, and what they leave."""

import hashlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from helpers import ROOT

KILLS = int(os.environ.get("KILLS", "3"))
# Trainings and exports take seconds to start.
LONG_KILLS = int(os.environ.get("KILLS", "1"))


def start(name: str, *arguments, before: str = "") -> subprocess.Popen:
    """Start a tool, after Python code that changes what it would do."""
    words = [str(ROOT / "tools" / f"{name}.py"), *map(str, arguments)]
    code = f"import runpy, sys\n{before}\nsys.argv = {words}\nrunpy.run_path({words[0]!r}, run_name='__main__')"
    command = [sys.executable, *(["-c", code] if before else words)]
    environment = dict(os.environ, PYTHONPATH=str(ROOT))
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)


def run(name: str, *arguments, before: str = "") -> float:
    """Run a tool undisturbed, and give its seconds."""
    begun = time.monotonic()
    process = start(name, *arguments, before=before)
    said, _ = process.communicate(timeout=500)
    assert process.returncode == 0, said[-3000:]
    return time.monotonic() - begun


def kill_after(seconds: float, name: str, *arguments, before: str = "") -> None:
    """Start a tool and take the process away, as a power cut does, unless it is done before."""
    process = start(name, *arguments, before=before)
    try:
        process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        process.communicate()


def moments(seconds: float, kills: int) -> list[float]:
    """Drawn moments of a run that takes so long; the start of Python is over then."""
    random.seed(0)
    return [random.uniform(0.15, 1.0) * seconds for _ in range(kills)]


def tree(folder: Path) -> dict[str, str]:
    """Every file below a folder, hidden ones too, with a hash of what it holds."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
