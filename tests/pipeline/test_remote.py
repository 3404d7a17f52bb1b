"""A colleague's clone: what was pushed to a folder, or to an S3-compatible server, is pulled; nothing runs again."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from flows.compose import compose_params
from flows.reproduction import find_dvc_program
from tests.pipeline.repositories import clean_environment, commit, git, make_repository

# The data half of the graph, at smoke scale, with the stage that leaves metrics to git.
STAGES = ("corpus", "audio", "encoder", "features", "kmeans", "units", "unit_quality", "f0", "f0_stats")
SMOKE = ["scale=smoke", "roles.target=demo", "~corpora.demo_target"]
KEYS = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_DEFAULT_REGION": "us-east-1"}
REACHABLE = {"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1", "RESPEAK_TRACKING": "local"}


def dvc(root: Path, *arguments: str) -> str:
    environment = clean_environment(root) | KEYS | REACHABLE
    command = [find_dvc_program(), *arguments]
    result = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout + result.stderr


@pytest.fixture(scope="module")
def reproduced(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose dvc.lock and metrics are in git."""
    root = make_repository(project, tmp_path_factory.mktemp("remote") / "project")
    graph = yaml.safe_load((root / "dvc.yaml").read_text())
    graph = {"stages": {name: graph["stages"][name] for name in STAGES}}
    (root / "dvc.yaml").write_text(yaml.safe_dump(graph, sort_keys=False))
    compose_params(root, SMOKE)
    dvc(root, "repro")
    commit(root, "results")
    return root


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The address of an S3-compatible server with a bucket ``respeak``."""
    import boto3
    from moto.server import ThreadedMotoServer

    serving = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    serving.start()
    host, port = serving.get_host_and_port()
    address = f"http://{host}:{port}"
    keys = {"aws_access_key_id": "a", "aws_secret_access_key": "b", "region_name": "us-east-1"}
    boto3.client("s3", endpoint_url=address, **keys).create_bucket(Bucket="respeak")
    yield address
    serving.stop()


def test_results_are_in_git_and_data_are_not(reproduced: Path) -> None:
    tracked = git(reproduced, "ls-files").splitlines()
    assert {"dvc.lock", "unit_quality/metrics.json"} <= set(tracked)
    assert not [path for path in tracked if path.startswith(("data/", "kmeans/", "encoder/"))]
    assert git(reproduced, "status", "--short") == ""


@pytest.mark.parametrize("kind", ["folder", "s3"])
def test_a_clone_pulls_and_has_nothing_to_do(reproduced: Path, tmp_path: Path, kind: str, request) -> None:
    def remote(root: Path) -> None:
        """As a user sets it up, outside of git."""
        url = str(tmp_path / "store") if kind == "folder" else "s3://respeak/cache"
        dvc(root, "remote", "add", "--local", "--force", "--default", "store", url)
        if kind == "s3":
            dvc(root, "remote", "modify", "--local", "store", "endpointurl", request.getfixturevalue("server"))

    remote(reproduced)
    dvc(reproduced, "push")
    assert "Cache and remote 'store' are in sync" in dvc(reproduced, "status", "--cloud")
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "-q", str(reproduced), str(clone))
    remote(clone)
    assert not (clone / "data").exists()
    dvc(clone, "pull")
    assert "Data and pipelines are up to date" in dvc(clone, "repro")
    assert git(clone, "status", "--short") == ""
    made = {path.relative_to(reproduced) for path in reproduced.glob("data/*/*/*.parquet")}
    assert len(made) > 8
    assert all((clone / path).read_bytes() == (reproduced / path).read_bytes() for path in made)
