"""Ray Serve's REST API on the dashboard's port: deploy, watch, shut down."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx
from pydantic import JsonValue

from deploy.local.app_config import APP_NAME
from indexer.errors import GraftworkError, UnavailableError

_PATH = "/api/serve/applications/"
_POLL_S = 0.5
_CONTINUED_LINES = 2
_FAILED = frozenset({"DEPLOY_FAILED", "UNHEALTHY"})


@dataclass(frozen=True, slots=True)
class DeploymentStatus:
    """One deployment of the app: replicas that run and that should, pids of those that have one."""

    name: str
    status: str
    message: str
    running: int
    target: int
    pids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class AppStatus:
    """Serve's view of our app; status NOT_STARTED where Serve does not know it."""

    status: str
    message: str
    deployments: tuple[DeploymentStatus, ...]

    def summary(self) -> str:
        """Replicas per deployment in one line."""
        parts = (f"{deployment.name} {deployment.running}/{deployment.target}" for deployment in self.deployments)
        return ", ".join(parts) or self.status.lower()


class ServeClient:
    """Talks to one instance's dashboard."""

    def __init__(self, url: str, *, token_path: Path, timeout_s: float = 30.0) -> None:
        """Reads the token; nothing is asked yet."""
        token = token_path.read_text(encoding="ascii").strip()
        self._client = httpx.Client(
            base_url=url, headers={"Authorization": f"Bearer {token}"}, timeout=timeout_s, trust_env=False
        )

    def wait_until_ready(self, *, timeout_s: float) -> None:
        """Returns once the dashboard answers.

        Raises:
            UnavailableError: It does not within the time.
        """
        deadline = time.monotonic() + timeout_s
        problem = "no answer"
        while time.monotonic() < deadline:
            try:
                answer = self._client.get("/api/ray/version", timeout=5.0)
                if answer.is_success:
                    return
                problem = f"HTTP {answer.status_code}: {answer.text[:120]}"
            except httpx.HTTPError as error:
                problem = str(error)
            time.sleep(_POLL_S)
        raise UnavailableError(
            f"Ray's dashboard at {self._client.base_url} is not ready after {timeout_s:g} s: {problem}."
        )

    def deploy(self, config: Mapping[str, JsonValue]) -> None:
        """Sends a Serve config.

        Raises:
            UnavailableError: Serve refuses it or does not answer.
        """
        try:
            answer = self._client.put(_PATH, json=config, timeout=120.0)
        except httpx.HTTPError as error:
            raise UnavailableError(f"Ray's dashboard does not answer: {error}.") from error
        if not answer.is_success:
            raise UnavailableError(f"Serve refuses the app (HTTP {answer.status_code}): {cause_of(answer.text)}")

    def app(self) -> AppStatus:
        """The state of our app.

        Raises:
            UnavailableError: The dashboard does not answer.
        """
        try:
            answer = self._client.get(_PATH)
            answer.raise_for_status()
            return parse_app(answer.json())
        except (httpx.HTTPError, ValueError) as error:
            raise UnavailableError(f"Ray's dashboard at {self._client.base_url} does not answer: {error}.") from error

    def wait_until_running(self, *, timeout_s: float, progress: Callable[[AppStatus], None]) -> AppStatus:
        """Returns once the app runs.

        Raises:
            GraftworkError: The deployment failed; the message carries its cause.
            UnavailableError: It takes longer than `timeout_s`, or the dashboard is gone.
        """
        deadline = time.monotonic() + timeout_s
        told = ""
        while True:
            app = self.app()
            if app.summary() != told:
                told = app.summary()
                progress(app)
            if app.status == "RUNNING":
                return app
            if app.status in _FAILED:
                raise GraftworkError(f"The app could not be deployed: {cause_of(_longest_message(app))}")
            if time.monotonic() >= deadline:
                raise UnavailableError(
                    f"The app does not run after {timeout_s:g} s ({app.summary()}): "
                    f"{cause_of(_longest_message(app)) or 'see `graftwork logs app`'}"
                )
            time.sleep(_POLL_S)

    def shut_down(self, config: Mapping[str, JsonValue], *, timeout_s: float) -> bool:
        """Takes the app away, waits until its requests have ended, and shuts Serve down.

        Serve alone would end HAProxy first, and with it every answer that runs (ray/serve/_private/controller.py).

        Args:
            config: The Serve config that the app was deployed with.
            timeout_s: Seconds for all of it.

        Returns:
            False where it was not done in time, or Serve did not answer.
        """
        deadline = time.monotonic() + timeout_s
        try:
            self.deploy({**config, "applications": []})
            while self.app().status != "NOT_STARTED" and time.monotonic() < deadline:
                time.sleep(_POLL_S)
            return self._client.delete(_PATH, timeout=max(_POLL_S, deadline - time.monotonic())).is_success
        except (httpx.HTTPError, UnavailableError):
            return False


def parse_app(document: Mapping[str, JsonValue]) -> AppStatus:
    """Our app out of Serve's instance details.

    Raises:
        ValueError: The document has another shape than Ray 2.60's.
    """
    apps = document.get("applications")
    if not isinstance(apps, dict):
        raise ValueError("Serve's answer has no applications")
    details = apps.get(APP_NAME)
    if not isinstance(details, dict):
        return AppStatus("NOT_STARTED", "", ())
    deployments = details.get("deployments")
    return AppStatus(
        status=str(details.get("status")),
        message=str(details.get("message") or ""),
        deployments=tuple(
            _deployment(name, entry)
            for name, entry in (deployments.items() if isinstance(deployments, dict) else ())
            if isinstance(entry, dict)
        ),
    )


def _deployment(name: str, entry: dict[str, JsonValue]) -> DeploymentStatus:
    listed = entry.get("replicas")
    replicas = [replica for replica in listed if isinstance(replica, dict)] if isinstance(listed, list) else []
    target = entry.get("target_num_replicas")
    pids = (replica.get("pid") for replica in replicas)
    return DeploymentStatus(
        name=name,
        status=str(entry.get("status")),
        message=str(entry.get("message") or ""),
        running=sum(replica.get("state") == "RUNNING" for replica in replicas),
        target=target if isinstance(target, int) else 0,
        pids=tuple(pid for pid in pids if isinstance(pid, int)),
    )


def _longest_message(app: AppStatus) -> str:
    return max((app.message, *(deployment.message for deployment in app.deployments)), key=len)


def cause_of(message: str) -> str:
    """The last line of a traceback (or nested ones) that names an error, with the indented lines that go on with it."""
    lines = [line.rstrip() for line in message.splitlines() if line.strip()]
    named = [number for number, line in enumerate(lines) if _names_error(line.strip())]
    if not named:
        return lines[-1].strip() if lines else ""
    rest = itertools.takewhile(_continues, lines[named[-1] + 1 :])
    parts = [lines[named[-1]], *itertools.islice(rest, _CONTINUED_LINES)]
    return " ".join(part.strip().partition(" [type=")[0] for part in parts)


def _continues(line: str) -> bool:
    return line.startswith(" ") and not line.strip().startswith(("File ", "For further information", "~", "^"))


def _names_error(line: str) -> bool:
    head, colon, rest = line.partition(":")
    word = head.rpartition(".")[2]
    return bool(colon and rest.strip()) and word.endswith(("Error", "Exception")) and " " not in head
