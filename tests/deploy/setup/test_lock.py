from __future__ import annotations

import json
from pathlib import Path

from deploy.setup.lock import Installed, closure, reported_packages


def test_the_closure_follows_requirements_extras_and_markers() -> None:
    packages = {
        "app": Installed("1", ("Lib_B[fast]>=1", 'win ; sys_platform == "win32"')),
        "lib-b": Installed("2", ('speed ; extra == "fast"', 'docs ; extra == "docs"', "app")),
        "speed": Installed("3", ()),
        "docs": Installed("4", ()),
        "win": Installed("5", ()),
        "stray": Installed("6", ()),
    }
    assert closure(["app"], packages) == {"app", "lib-b", "speed"}


def test_what_is_not_there_is_left_out() -> None:
    assert closure(["app"], {"app": Installed("1", ("gone",))}) == {"app"}


def test_a_pip_report_is_read_by_canonical_name(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    metadata = [{"name": "Py_Yaml", "version": "6", "requires_dist": ["x"]}, {"name": "bare", "version": "1"}]
    report.write_text(json.dumps({"install": [{"metadata": entry} for entry in metadata]}))
    assert reported_packages(report) == {"py-yaml": Installed("6", ("x",)), "bare": Installed("1", ())}
