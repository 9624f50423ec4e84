"""The package is the same in a checkout, an editable install, a wheel and a wheel of the source distribution.

Each way is tried in a virtual environment of its own, which finds tgc in that way and everything else where this
interpreter finds it. The builds are the hooks that pip calls (PEP 517, PEP 660), run on a copy of the project.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROJECT = ("LICENSE", "README.md", "pyproject.toml", "tgc", "backends", "frontends")

# Imports tgc and both plug-in packages, and loads every entry point of the distributions that lie in folder argv[1].
PROBE = """
import json, sys
from importlib.metadata import distributions
import tgc, tgc.backends.cpu, tgc.frontends
dists = list(distributions(name="tgc", path=sys.argv[1:]))
print(json.dumps({
    "files": [module.__file__ for module in (tgc, tgc.backends.cpu, tgc.frontends)],
    "version": tgc.__version__,
    "installed": [dist.version for dist in dists],
    "entries": {f"{e.group}:{e.name}": str(e.load()) for dist in dists for e in dist.entry_points},
}))
"""


@dataclass(frozen=True)
class Install:
    """One way of having tgc; ``home`` is the folder that its files lie in, ``site`` that of its metadata."""

    python: Path
    site: Path
    home: Path
    env: dict[str, str]


def run(command: list[str | Path], cwd: Path, **env: str) -> str:
    """Standard output of ``command``; a failure shows both streams."""
    clean = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "MYPYPATH")}
    result = subprocess.run(command, cwd=cwd, env=clean | env, capture_output=True, text=True, check=False)
    assert result.returncode == 0, f"{command} failed\n{result.stdout}{result.stderr}"
    return result.stdout


def build(project: Path, hook: str, out: Path) -> Path:
    """What the build backend's ``hook`` (``build_wheel``, ``build_editable``, ``build_sdist``) makes of ``project``."""
    out.mkdir(parents=True)
    run([sys.executable, "-c", f"from setuptools.build_meta import {hook}; {hook}({str(out)!r})"], cwd=project)
    (artifact,) = out.iterdir()
    return artifact


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project, its links kept as links: builds leave their traces there."""
    copy = tmp_path_factory.mktemp("project")
    for name in PROJECT:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, copy / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, copy / name)
    return copy


@pytest.fixture(scope="module")
def sdist(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source distribution, unpacked."""
    out = tmp_path_factory.mktemp("sdist")
    with tarfile.open(build(project, "build_sdist", out / "dist")) as archive:
        archive.extractall(out, filter="data")
    (unpacked,) = out.glob("tgc-*")
    return unpacked


@pytest.fixture(scope="module", params=["checkout", "editable", "wheel", "sdist"])
def install(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Install:
    project: Path = request.getfixturevalue("project")
    root = tmp_path_factory.mktemp(request.param)
    builder = venv.EnvBuilder(symlinks=os.name != "nt")
    builder.create(root / "venv")
    context = builder.ensure_directories(root / "venv")
    python = Path(context.env_exe)
    site = Path(run([python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], cwd=root).strip())
    # Sorted after __editable__*.pth, and no path file of those folders is read: this tgc comes first.
    (site / "zz_dependencies.pth").write_text("\n".join(path for path in sys.path if path.endswith("-packages")))
    if request.param == "checkout":
        return Install(python, site, project, {"PYTHONPATH": str(project), "MYPYPATH": str(project)})
    source = request.getfixturevalue("sdist") if request.param == "sdist" else project
    hook = "build_editable" if request.param == "editable" else "build_wheel"
    zipfile.ZipFile(build(source, hook, root / "dist")).extractall(site)
    return Install(python, site, project if request.param == "editable" else site, {})


def test_import(install: Install, tmp_path: Path) -> None:
    found = json.loads(run([install.python, "-c", PROBE, install.site], cwd=tmp_path, **install.env))
    for file in found["files"]:
        assert Path(file).is_relative_to(install.home / "tgc"), f"{file} is not the tgc of {install.home}"
    if install.env:  # a checkout on the path is not an installed distribution
        assert not found["installed"]
    else:
        assert found["installed"] == [found["version"]]
        assert "tgc.backends:cpu" in found["entries"]


def test_type_checker(install: Install, tmp_path: Path) -> None:
    """mypy finds tgc.backends.cpu as a typed module; a name that is not there shows that it looked."""
    code = "import tgc.backends.cpu\nimport tgc.frontends\nimport tgc.backends.no_such_backend"
    command = [sys.executable, "-m", "mypy", "--config-file=", "--follow-imports=skip", f"--cache-dir={os.devnull}"]
    result = subprocess.run(
        [*command, "--python-executable", install.python, "-c", code],
        cwd=tmp_path,
        env=os.environ | install.env,
        capture_output=True,
        text=True,
        check=False,
    )
    errors = [line for line in result.stdout.splitlines() if ": error:" in line]
    assert len(errors) == 1, result.stdout + result.stderr
    assert "tgc.backends.no_such_backend" in errors[0]


@pytest.mark.parametrize("source", ["project", "sdist"])
def test_wheel_has_every_file(source: str, project: Path, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    folders = {"tgc": project / "tgc", "tgc/backends": project / "backends", "tgc/frontends": project / "frontends"}
    modules = {f"{name}/{p.relative_to(d).as_posix()}" for name, d in folders.items() for p in d.rglob("*.py")}
    wheel = build(request.getfixturevalue(source), "build_wheel", tmp_path / "dist")
    files = set(zipfile.ZipFile(wheel).namelist())
    assert {file for file in files if file.endswith(".py")} == modules
    assert "tgc/py.typed" in files
    top = {file.split("/")[0] for file in files}
    assert top == {"tgc", wheel.name.removesuffix("-py3-none-any.whl") + ".dist-info"}
    assert any(file.endswith("/licenses/LICENSE") for file in files)
