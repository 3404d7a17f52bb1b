"""The frame that every stage shares: arguments, parameters, threads, tracking, signals and honest exits."""

from __future__ import annotations

import argparse
import dataclasses
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, NoReturn, TypeVar

from speech.errors import UserError
from stages.facts import facts_of
from stages.params.runtime import Common
from stages.params.schema import read_file, read_own
from stages.runtime.declared import declared_params
from stages.runtime.engine import limit_threads, shun_proxies
from stages.runtime.faults import EXHAUSTED, exhausted
from stages.runtime.fingerprint import code_of, fingerprint
from stages.runtime.jobs import Job
from stages.tracking.lineage import judged_bundles, read_inputs
from stages.tracking.machine_load import watched
from stages.tracking.tracker import Tracker

PARAMS = Path("params.yaml")
# Where work in progress lies. A sweep names a place outside of an experiment's temporary copy, which ends with it.
SCRATCH = Path(os.environ.get("RESPEAK_SCRATCH", ".scratch"))

ParamsT = TypeVar("ParamsT", bound=Common)


@dataclasses.dataclass(frozen=True)
class Stage(Generic[ParamsT]):
    """One run of one stage: the parameters it declares, its variant (corpus, experiment or table), its tracked run."""

    name: str
    variant: str | None
    params: ParamsT
    tracker: Tracker

    def job(self, inputs: Sequence[Path], output: Path, state: Any = None) -> Job:
        """Return resumable work from ``inputs`` to the directory ``output``.

        ``state`` is whatever else the work depends on, as plain data. Of a training code is no part of the key.
        """
        everything = dataclasses.asdict(self.params)
        settings = declared_params(self.name, self.variant, everything)
        code = code_of(self.name, self.variant, everything)
        trains = facts_of(self.name).trains
        key = fingerprint(inputs, {"params": settings, "variant": self.variant, "state": state}, {} if trains else code)
        job = Job(output, SCRATCH / self.label / key, key, self.params.runtime, self.label, code)
        job.begin()
        return job

    @property
    def label(self) -> str:
        """Its name as DVC has it."""
        return f"{self.name}@{self.variant}" if self.variant else self.name

    def require_variant(self, known: Sequence[str]) -> str:
        """Return the variant this run was asked for.

        Raises:
            UserError: none was given, or it is not one of ``known``.
        """
        if self.variant not in known:
            raise UserError(f"--variant {self.variant}: not in params.yaml; known are {', '.join(known)}")
        return str(self.variant)


def stage_main(name: str, run: Callable[[Stage[ParamsT]], None], kind: type[ParamsT]) -> NoReturn:
    """Run ``python -m stages.<name> [--variant X]``, with the sections of ``params.yaml`` that ``kind`` declares.

    Exits 0, 2 (the user's error), 71 (memory or disk used up), 75 (a worker lost), 128 + signal, or 1 with a traceback.
    """
    parser = argparse.ArgumentParser(prog=f"python -m stages.{name}")
    parser.add_argument("--variant", help="the corpus, experiment or table to work on")
    arguments = parser.parse_args()
    # Python ignores SIGTERM's cleanup otherwise; as an exception it unwinds through every 'with'.
    signal.signal(signal.SIGTERM, _terminate)
    sys.exit(_guarded(name, arguments.variant, run, kind))


def _guarded(name: str, variant: str | None, run: Callable[[Stage[ParamsT]], None], kind: type[ParamsT]) -> int:
    shun_proxies()
    try:
        everything = read_file(PARAMS)
        params = read_own(kind, everything)
        limit_threads(params.runtime.threads if facts_of(name).trains else 1)
        tracker = Tracker.open(name, variant, section(params, name), params.scale)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.status
    try:
        _log_lineage(name, variant, everything, tracker)
        with watched(tracker):
            run(Stage(name, variant, params, tracker))
    except UserError as error:
        tracker.close("FAILED")
        print(f"error: {error}", file=sys.stderr)
        return error.status
    except KeyboardInterrupt:
        tracker.close("KILLED")
        return 130
    except SystemExit:
        tracker.close("KILLED")
        raise
    except BaseException as error:
        tracker.close("FAILED")
        if reason := exhausted(error):
            print(f"error: {reason}", file=sys.stderr)
            return EXHAUSTED
        raise
    tracker.close("FINISHED")
    return 0


def _log_lineage(name: str, variant: str | None, everything: Mapping[str, Any], tracker: Tracker) -> None:
    """Log inputs with DVC's digests; none for a variant that is none, which the stage itself refuses."""
    try:
        inputs = read_inputs(name, variant, everything)
    except KeyError:
        return
    tracker.log_inputs([dataclasses.asdict(dataset) for dataset in inputs], judged_bundles(inputs))


def section(params: Common, name: str) -> dict[str, Any]:
    """Return the stage's own section as plain data; empty for a stage without one."""
    value = getattr(params, name, None)
    if value is None:
        return {}
    return dataclasses.asdict(value) if dataclasses.is_dataclass(value) and not isinstance(value, type) else {}


def _terminate(number: int, frame: object) -> None:
    raise SystemExit(128 + number)
