from __future__ import annotations

import os
from pathlib import Path

import pytest

from deploy.local.app_config import application_args
from deploy.settings import MASK, LoadedSettings, load_settings, masked
from indexer.errors import InputError, NotFoundError
from serve.settings import AppArgs


@pytest.fixture(autouse=True)
def _bare_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("GRAFTWORK_")]:
        monkeypatch.delenv(name)
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    monkeypatch.setenv("HOME", str(tmp_path / "user"))


def write(folder: Path, text: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "graftwork.yaml"
    path.write_text(text)
    return path


def values(loaded: LoadedSettings) -> dict[str, tuple[object, str]]:
    return {entry.path: (entry.value, entry.origin) for entry in loaded.values()}


def test_defaults_lie_below_the_users_home(tmp_path: Path) -> None:
    loaded = load_settings()
    assert loaded.file is None
    assert loaded.settings.home == tmp_path / "user" / ".graftwork"
    assert loaded.settings.train.registry == tmp_path / "user" / ".graftwork" / "registry"
    assert loaded.settings.run_dir == tmp_path / "user" / ".graftwork" / "run"
    assert values(loaded)["serve.port"] == (8000, "default")


def test_every_value_says_where_it_came_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(
        tmp_path / "work", "serve:\n  port: 9100\n  engine:\n    max_model_len: 512\n    seed: 1\ntrain: {rank: 8}\n"
    )
    monkeypatch.setenv("GRAFTWORK_SERVE__PORT", "9200")
    monkeypatch.setenv("GRAFTWORK_SERVE__ENGINE__SEED", "7")
    monkeypatch.setenv("GRAFTWORK_SERVE__ENGINE_ENVIRONMENT__VLLM_CPU_KVCACHE_SPACE", "2")
    found = values(load_settings(home=tmp_path / "home"))
    assert found["serve.port"] == (9200, "GRAFTWORK_SERVE__PORT")
    assert found["serve.engine.max_model_len"] == (512, f"{path}:4")
    assert found["serve.engine.seed"] == (7, "GRAFTWORK_SERVE__ENGINE__SEED")
    assert found["serve.engine_environment.VLLM_CPU_KVCACHE_SPACE"] == (
        "2",
        "GRAFTWORK_SERVE__ENGINE_ENVIRONMENT__VLLM_CPU_KVCACHE_SPACE",
    )
    assert found["train.rank"] == (8, f"{path}:6")
    assert found["train.workers"][1] == found["serve.replicas"][1] == "default"
    assert found["home"] == (str(tmp_path / "home"), "--home")
    assert found["train.registry"] == (str(tmp_path / "home" / "registry"), "below home")


def test_the_first_existing_file_is_the_only_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    in_home = write(tmp_path / "home", "serve: {port: 9001}")
    assert load_settings(home=tmp_path / "home").file == in_home
    above = write(tmp_path, "serve: {port: 9002}")
    assert load_settings(home=tmp_path / "home").settings.serve.port == 9002
    named = write(tmp_path / "elsewhere", "train: {rank: 8}")
    monkeypatch.setenv("GRAFTWORK_CONFIG", str(named))
    loaded = load_settings(home=tmp_path / "home")
    assert (loaded.file, loaded.settings.serve.port) == (named, 8000)
    assert load_settings(config=above, home=tmp_path / "home").file == above


def test_a_named_file_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"absent\.yaml named by --config does not exist"):
        load_settings(config=tmp_path / "absent.yaml")


def test_relative_paths_are_relative_to_their_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(
        tmp_path / "conf",
        "home: here\ntrain:\n  registry: ../reg\n  base_model: ./model\nindexer: {embedder: ~/emb, reranker: ./ce}\n",
    )
    settings = load_settings(config=path).settings
    assert settings.home == tmp_path / "conf" / "here"
    assert settings.train.registry == tmp_path / "reg"
    assert settings.train.base_model == str(tmp_path / "conf" / "model")
    assert settings.indexer.embedder == str(tmp_path / "user" / "emb")
    assert settings.indexer.reranker == str(tmp_path / "conf" / "ce")
    assert settings.milvus_data == tmp_path / "conf" / "here" / "milvus"
    monkeypatch.setenv("GRAFTWORK_TRAIN__REGISTRY", "there")
    assert load_settings(config=path).settings.train.registry == tmp_path / "work" / "there"


def test_a_registry_in_a_bucket_is_no_path(tmp_path: Path) -> None:
    loaded = load_settings(config=write(tmp_path, "train: {registry: 's3://models/team?region=eu-1'}"))
    assert str(loaded.settings.train.registry) == "s3://models/team?region=eu-1"
    assert values(loaded)["train.registry"][0] == "s3://models/team?region=eu-1"
    args = application_args(loaded.settings)
    assert args["registry"] == "s3://models/team?region=eu-1"
    assert AppArgs.model_validate(args).registry == loaded.settings.train.registry
    with pytest.raises(InputError, match=r"train\.registry .*graftwork\.yaml:1.*cannot lie at ftp://"):
        load_settings(config=write(tmp_path, "train: {registry: 'ftp://models/team'}"))


def test_a_model_name_with_a_slash_is_no_path(tmp_path: Path) -> None:
    path = write(tmp_path, "train: {base_model: Qwen/Qwen3-8B}")
    assert load_settings(config=path).settings.train.base_model == "Qwen/Qwen3-8B"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("serve: {prot: 9000}", r"serve\.prot is no setting \(.*graftwork\.yaml:1\); did you mean serve\.port\?"),
        ("sevre: {}", r"sevre is no setting \(.*:1\); did you mean serve\?"),
        (
            "deploy:\n  ports:\n    dashbord: 1",
            r"deploy\.ports\.dashbord .*:3\); did you mean deploy\.ports\.dashboard\?",
        ),
        ("serve: {port: high}", r"serve\.port 'high' \(.*:1\) cannot be used: "),
        (
            "serve: {engine: {max_len: 5}}",
            r"serve\.engine\.max_len \(.*:1\) is no argument .* did you mean max_log_len or max_model_len\?",
        ),
        ("train: {rank: 64}", r"serve\.max_lora_rank 16 is below train\.rank 64.* train\.rank is from .*:1"),
        ("serve: {port: 1\n", r"is no valid YAML"),
        ("- a\n- b", r"holds no mapping"),
        ("serve:\n  port: 1\n  port: 2", r"serve\.port stands twice in .*, again in line 3"),
    ],
)
def test_a_bad_file_names_key_and_place(tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        load_settings(config=write(tmp_path, text))


def test_several_mistakes_are_named_at_once(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"train\.rnak is no setting.*also wrong: serve\.prot"):
        load_settings(config=write(tmp_path, "serve: {prot: 1}\ntrain: {rnak: 8}"))


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("GRAFTWORK_SREVE__PORT", "1", "GRAFTWORK_SREVE__PORT names no setting"),
        ("GRAFTWORK_SERVE__PROT", "1", r"serve\.prot is no setting \(GRAFTWORK_SERVE__PROT\)"),
        ("GRAFTWORK_SERVE__PORT", "x", r"serve\.port 'x' \(GRAFTWORK_SERVE__PORT\)"),
        ("GRAFTWORK_SERVE", "{", "cannot be read"),
    ],
)
def test_a_bad_variable_is_named(name: str, value: str, sentence: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match=sentence):
        load_settings()


def test_variables_of_tests_and_processes_are_no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAFTWORK_INSTANCE", "x")
    monkeypatch.setenv("GRAFTWORK_TEST_STACK", "x")
    assert load_settings().settings.serve.port == 8000


def test_secrets_are_masked(tmp_path: Path) -> None:
    text = (
        "indexer:\n  milvus_token: root:hidden\n"
        "serve:\n  engine: {tokenizer_mode: slow}\n"
        "  engine_environment: {HF_TOKEN: hidden, HTTPS_PROXY: 'http://user:hidden@proxy', OMP_NUM_THREADS: '2'}\n"
    )
    loaded = load_settings(config=write(tmp_path, text))
    assert "hidden" not in str(values(loaded))
    assert values(loaded)["serve.engine.tokenizer_mode"][0] == "slow"
    assert values(loaded)["serve.engine_environment.OMP_NUM_THREADS"][0] == "2"
    assert loaded.settings.indexer.milvus_token is not None
    assert loaded.settings.indexer.milvus_token.get_secret_value() == "root:hidden"


def test_a_password_in_the_uri_of_milvus_is_refused_and_masked(tmp_path: Path) -> None:
    file = write(tmp_path, "indexer:\n  milvus_uri: http://user:hidden@far:19530\n")
    with pytest.raises(InputError, match=r"indexer\.milvus_uri .*put them into milvus_token") as caught:
        load_settings(config=file)
    assert "hidden" not in str(caught.value)


def test_a_secret_in_an_error_is_masked() -> None:
    assert masked("serve.engine.hf_token", "abc") == MASK
    assert masked("indexer.chunk_tokens", 5) == 5
