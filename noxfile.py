"""Every task of the project, in one environment.

``nox -s ablation`` runs the main job, ``nox -s tests`` the tests. All sessions share ``.venv``
(torch and torchvision alone are 5.5 GB): made on first use, updated in place when the project's
dependencies change, never deleted, since it may hold the nox that is running.

``HEVITPOSE_NO_VENV=1`` or ``nox --no-venv`` uses the interpreter that runs nox, for machines that
bring a torch of their own. With ``CI`` set, versions come from ``constraints.txt``.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nox

ROOT = Path(__file__).parent
VENV = ROOT / ".venv"
CONSTRAINTS = ROOT / "constraints.txt"

nox.options.sessions = ["tests"]
nox.options.default_venv_backend = "none"


def _pip(session: nox.Session, python: str, *arguments: str) -> None:
    constraint = ["-c", str(CONSTRAINTS)] if os.environ.get("CI") else []
    session.run(
        python, "-m", "pip", "install", "--disable-pip-version-check", "-q",
        *constraint, *arguments, external=True,
    )  # fmt: skip


def _install_xtcocotools(session: nox.Session, python: str) -> None:
    """Build xtcocotools against the installed numpy: its wheel fails to import under numpy 2."""
    if shutil.which("cc") is None and shutil.which("gcc") is None:
        session.warn("no C compiler: xtcocotools left out, CrowdPose evaluation is unavailable")
        return
    _pip(session, python, "setuptools>=70.1", "wheel", "cython>=3")
    _pip(session, python, "--no-build-isolation", "--no-binary", "xtcocotools", "xtcocotools")


def _remove_other_opencvs(session: nox.Session, python: str) -> None:
    """All builds of OpenCV are one folder ``cv2``: two of them overwrite each other's files."""
    listed = subprocess.run(
        [python, "-m", "pip", "list", "--format=freeze"], capture_output=True, text=True
    )
    found = {line.partition("==")[0] for line in listed.stdout.splitlines()}
    builds = sorted(name for name in found if name.startswith("opencv-"))
    if builds not in ([], ["opencv-contrib-python-headless"]):
        session.run(python, "-m", "pip", "uninstall", "-q", "-y", *builds, external=True)


def _environment_key() -> str:
    parts = [(ROOT / "pyproject.toml").read_bytes(), Path(__file__).read_bytes()]
    if os.environ.get("CI"):
        parts.append(CONSTRAINTS.read_bytes())
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


def environment(session: nox.Session) -> str:
    """The python that runs the project, its environment made or brought up to date first."""
    if os.environ.get("HEVITPOSE_NO_VENV") or "--no-venv" in sys.argv:
        return sys.executable
    python = str(VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python"))
    if not Path(python).exists():
        session.log(f"creating {VENV.name} (once; downloads torch)")
        session.run(sys.executable, "-m", "virtualenv", "-q", str(VENV), external=True)
    if subprocess.run([python, "-m", "pip", "--version"], capture_output=True).returncode:
        session.run(python, "-m", "ensurepip", external=True)
    stamp = VENV / ".hevitpose-environment"
    key = _environment_key()
    if not stamp.exists() or stamp.read_text() != key:
        session.log("installing the project's dependencies (several minutes the first time)")
        _remove_other_opencvs(session, python)
        _pip(session, python, "-e", f"{ROOT}[dev,export]")
        _install_xtcocotools(session, python)
        stamp.write_text(key)
    return python


def _run(session: nox.Session, *arguments: str, **env: str) -> None:
    python = environment(session)
    session.run(python, *arguments, external=True, env=env)


@nox.session
def ablation(session: nox.Session) -> None:
    """The main job: synthetic people, three grids, tables and plots in runs/."""
    _run(session, "-m", "ablations", "run", *session.posargs)


@nox.session
def tests(session: nox.Session) -> None:
    """The test suite on all cores, one thread a process; slow tests only where CI is set."""
    arguments = list(session.posargs)
    if not arguments:
        arguments = ["-n", "auto", "--dist", "worksteal"]
        if not os.environ.get("CI"):
            arguments += ["-m", "not slow"]
            session.log(
                "slow tests are left out; all: CI=true nox -s tests, these: nox -s tests -- -m slow"
            )
    _run(session, "-m", "pytest", *arguments, OMP_NUM_THREADS="1", MPLBACKEND="Agg")


@nox.session
def fuzz(session: nox.Session) -> None:
    """Hostile inputs for every reader: a few minutes; ``-- --inputs 100000`` takes hours."""
    _run(session, "-m", "tests.fuzz", *session.posargs, OMP_NUM_THREADS="1")


@nox.session
def kills(session: nox.Session) -> None:
    """SIGKILL at random moments of every command; ``-- --kills 500`` takes an hour or two."""
    _run(session, "-m", "tests.kills", *session.posargs, OMP_NUM_THREADS="1", MPLBACKEND="Agg")


@nox.session
def reading(session: nox.Session) -> None:
    """5,000 generated annotation files: read alike by training and scoring, or refused."""
    _run(
        session,
        *("-m", "pytest", "tests/data/readers/test_reading.py", *session.posargs),
        HEVITPOSE_FUZZ="5000",
        OMP_NUM_THREADS="1",
    )


@nox.session
def bench(session: nox.Session) -> None:
    """pytest-benchmark suites of bench/."""
    _run(session, "-m", "pytest", "bench", "--benchmark-enable", *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """Formatting, lint and types."""
    python = environment(session)
    session.run(python, "-m", "ruff", "format", "--check", ".", external=True)
    session.run(python, "-m", "ruff", "check", ".", external=True)
    session.run(python, "-m", "mypy", external=True)


@nox.session
def docs(session: nox.Session) -> None:
    """The documentation into site/; ``nox -s docs -- serve`` shows it while it is written."""
    command = session.posargs or ["build", "--strict"]
    # The theme's advice on mkdocs 2, which its own bounds keep out, is not about these pages.
    _run(session, "-m", "mkdocs", *command, NO_MKDOCS_2_WARNING="1")


@nox.session
def report(session: nox.Session) -> None:
    """README tables, plots and the page, from committed records."""
    _run(session, "-m", "reports", *session.posargs)
