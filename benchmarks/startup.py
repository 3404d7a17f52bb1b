"""CPU-seconds that each stage spends before its work begins: ``python benchmarks/startup.py``.

Measured as a process that imports the stage, reads params.yaml and opens its tracked run; the least of three.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
LIMIT = 1.5
START = """
from stages import {name}
from stages.params.schema import read_file, read_own
from stages.runtime.stage import section
from stages.tracking.tracker import Tracker
params = read_own({name}.Params, read_file("params.yaml"))
Tracker.open("{name}", None, section(params, "{name}"), params.scale).close("FINISHED")
"""


def cpu_seconds(name: str) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = os.environ | {"RESPEAK_TRACKING": "local"}
    subprocess.run([sys.executable, "-c", START.format(name=name)], cwd=PROJECT, env=environment, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    names = sorted(path.stem for path in (PROJECT / "stages").glob("*.py") if path.stem != "__init__")
    for name in names:
        best = min(cpu_seconds(name) for _ in range(3))
        note = "" if best <= LIMIT or name.startswith("train_") else f"  above {LIMIT}"
        print(f"{name:20} {best:5.2f} CPU-s{note}")


if __name__ == "__main__":
    main()
