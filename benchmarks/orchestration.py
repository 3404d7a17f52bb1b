"""How much sooner the flow has the feature half of the graph than ``dvc repro``, which runs a stage at a time.

    python benchmarks/orchestration.py [--scale demo] [--pairs 3] [--api http://127.0.0.1:4200/api]

The feature half is all that the vocoder's training needs, itself and the F0 quantiser left out: corpora, audio,
features, units, F0, speakers. Each run begins with a fresh copy of the project and an empty cache. Runs come in pairs,
one of each, the first of a pair alternating, so that what else the machine does falls on both; the load beside each
pair says how much that was. A ratio below 1 would say that the flow is slower. With ``--api`` the flow uses a Prefect
server that runs already, else it starts and ends its own.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, os.fspath(Path(__file__).resolve().parents[1]))

from flows.compose import compose_params
from flows.graph import below, read_graph
from flows.reproduction import find_dvc_program
from tests.pipeline.repositories import clean_environment, make_repository

PROJECT = Path(__file__).resolve().parents[1]
FLOW, SERIAL = "flows.reproduce", "dvc repro"


def prepare(folder: Path, scale: str) -> Path:
    """A repository of its own, nothing of which has run."""
    root = make_repository(PROJECT, folder / "project")
    compose_params(root, [f"scale={scale}"])
    return root


def feature_half(root: Path) -> list[str]:
    """The last stages of it: those that no other of them waits for."""
    graph = read_graph(root, ["train_resynthesis"])
    half = [name for name in graph if not name.startswith("train_")]
    return [name for name, users in below(graph).items() if name in half and not users.intersection(half)]


def seconds(way: str, scale: str, api: str) -> float:
    """From an empty cache to the last stage's end."""
    with tempfile.TemporaryDirectory() as folder:
        root = prepare(Path(folder), scale)
        targets = feature_half(root)
        command = [find_dvc_program(), "repro", *targets]
        if way == FLOW:
            command = [sys.executable, "-m", FLOW, *(word for name in targets for word in ("--target", name))]
        environment = clean_environment(root) | {"RESPEAK_TRACKING": "local"}
        if api:
            environment["PREFECT_API_URL"] = api
        start = time.perf_counter()
        done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{way} failed:\n{done.stdout}\n{done.stderr}")
        return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", default="demo")
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--api", default="", metavar="URL", help="a Prefect server that runs already")
    arguments = parser.parse_args()
    ratios = []
    for pair in range(arguments.pairs):
        order = (SERIAL, FLOW) if pair % 2 == 0 else (FLOW, SERIAL)
        took = {way: seconds(way, arguments.scale, arguments.api) for way in order}
        ratios.append(took[SERIAL] / took[FLOW])
        times = ", ".join(f"{way} {took[way]:.1f} s" for way in (SERIAL, FLOW))
        print(f"pair {pair + 1}: {times}, ratio {ratios[-1]:.2f}, load {os.getloadavg()[0]:.1f}", flush=True)
    middle, worst = statistics.median(ratios), min(ratios)
    print(f"{arguments.scale}: {middle:.2f} x as fast (median of {len(ratios)}), {worst:.2f} at worst")


if __name__ == "__main__":
    main()
