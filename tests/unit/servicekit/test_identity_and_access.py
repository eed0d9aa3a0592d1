"""Callers, access tables and settings: read right, or refused with what is expected."""

from __future__ import annotations

from pathlib import Path

import pytest

from servicekit.access import AccessTable, AccessTableError
from servicekit.errors import UnauthenticatedError
from servicekit.identity import Caller, Role, current_caller, current_limits, parse_uri, request_id
from servicekit.settings import ServerSettings, SettingsFileError

RPC = "kinlink.linker.v1.IntakeService/Deliver"


def caller(role: str, name: str) -> Caller:
    return parse_uri(f"spiffe://kinlink.test/{role}/{name}", "kinlink.test")


def test_uri_names_role_and_name() -> None:
    assert caller("source", "prisme") == Caller("spiffe://kinlink.test/source/prisme", Role.SOURCE, "prisme")


@pytest.mark.parametrize(
    ("uri", "reason"),
    [
        ("https://kinlink.test/source/prisme", "IDENTITY_MALFORMED"),
        ("spiffe://kinlink.test/source", "IDENTITY_MALFORMED"),
        ("spiffe://kinlink.test/source/prisme/x", "IDENTITY_MALFORMED"),
        ("spiffe://kinlink.test/source/", "IDENTITY_MALFORMED"),
        ("spiffe://kinlink.test/source/Prisme", "IDENTITY_MALFORMED"),
        ("spiffe://kinlink.test/source/pris%6De", "IDENTITY_MALFORMED"),
        ("spiffe://kinlink.test/source/..", "IDENTITY_MALFORMED"),
        ("spiffe://kinlink.test./source/prisme", "TRUST_DOMAIN_UNKNOWN"),
        ("spiffe://evil.test/source/prisme", "TRUST_DOMAIN_UNKNOWN"),
        ("spiffe://kinlink.test@evil.test/source/prisme", "TRUST_DOMAIN_UNKNOWN"),
        ("spiffe://kinlink.test/admin/prisme", "ROLE_UNKNOWN"),
        ("spiffe://kinlink.test/SOURCE/prisme", "ROLE_UNKNOWN"),
        ("", "IDENTITY_MALFORMED"),
    ],
)
def test_uri_of_another_form_is_nobody(uri: str, reason: str) -> None:
    with pytest.raises(UnauthenticatedError) as caught:
        parse_uri(uri, "kinlink.test")
    assert caught.value.reason == reason


def test_outside_of_a_call_there_is_nobody() -> None:
    with pytest.raises(UnauthenticatedError):
        current_caller()
    assert current_limits() == {}
    assert request_id() == ""


def table(tmp_path: Path, text: str) -> AccessTable:
    (tmp_path / "access.toml").write_text(text)
    return AccessTable.load(tmp_path / "access.toml")


def test_what_no_rule_names_is_refused_and_a_named_rule_wins_whole(tmp_path: Path) -> None:
    access = table(
        tmp_path,
        f"""
        [[allow]]
        rpc = "{RPC}"
        role = ["source", "operator"]
        limits = {{ datasets = ["postings", "spells"] }}
        [[allow]]
        rpc = "{RPC}"
        role = "source"
        name = "folkeregister"
        limits = {{ datasets = ["persons"] }}
        """,
    )
    expected = {
        ("source", "prisme"): ("source/*", ["postings", "spells"]),
        ("source", "folkeregister"): ("source/folkeregister", ["persons"]),
        ("operator", "folkeregister"): ("operator/*", ["postings", "spells"]),
    }
    for (role, name), (grant, datasets) in expected.items():
        rule = access.decide(RPC, caller(role, name))
        assert rule is not None
        assert (rule.grant, rule.limits["datasets"]) == (grant, datasets)
    for role in ("linker", "consumer", "custodian", "dpo", "service"):
        assert access.decide(RPC, caller(role, "folkeregister")) is None
    assert access.decide(RPC + "s", caller("source", "prisme")) is None
    assert access.rpcs == {RPC}


def test_empty_table_refuses_everybody(tmp_path: Path) -> None:
    access = table(tmp_path, "")
    assert not any(access.decide(RPC, caller(role, "x")) for role in Role)


@pytest.mark.parametrize(
    "text",
    [
        "not toml",
        "[allow]",
        f'[[deny]]\nrpc="{RPC}"\nrole="source"',
        f'[[allow]]\nrpc="{RPC}"',
        f'[[allow]]\nrpc="{RPC}"\nrole="admin"',
        f'[[allow]]\nrpc="{RPC}"\nrole="*"',
        '[[allow]]\nrpc="Deliver"\nrole="source"',
        '[[allow]]\nrpc=7\nrole="source"',
        f'[[allow]]\nrpc="{RPC}"\nrole="source"\nname=["a"]',
        f'[[allow]]\nrpc="{RPC}"\nrole="source"\nlimit={{}}',
        f'[[allow]]\nrpc="{RPC}"\nrole="source"\n' * 2,
    ],
)
def test_table_that_is_not_understood_is_refused_whole(tmp_path: Path, text: str) -> None:
    with pytest.raises(AccessTableError):
        table(tmp_path, text)


SETTINGS = """
certificate = "certs/a.pem"
key = "/abs/a.key"
ca = "certs/ca.pem"
trust_domain = "kinlink.test"
database_url = "sqlite:///state.db"
"""


def load(tmp_path: Path, text: str) -> ServerSettings:
    (tmp_path / "settings.toml").write_text(text)
    return ServerSettings.load(tmp_path / "settings.toml")


def test_relative_paths_stand_for_files_beside_the_settings(tmp_path: Path) -> None:
    settings = load(tmp_path, SETTINGS)
    assert settings.certificate == tmp_path / "certs/a.pem"
    assert settings.key == Path("/abs/a.key")
    assert settings.database_url.get_secret_value() == f"sqlite:///{tmp_path / 'state.db'}"


def test_environment_wins_over_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KINLINK_LISTEN", "0.0.0.0:8443")
    monkeypatch.setenv("KINLINK_DATABASE_URL", "postgresql://kinlink:geheim@db/state")
    settings = load(tmp_path, SETTINGS + 'listen = "127.0.0.1:1"\n')
    assert settings.listen == "0.0.0.0:8443"
    assert settings.database_url.get_secret_value().endswith("@db/state")
    assert "geheim" not in repr(settings) + str(settings) + settings.model_dump_json()


@pytest.mark.parametrize(
    ("text", "field", "expected"),
    [
        (SETTINGS.replace("trust_domain", "trustdomain"), "trustdomain", "no such setting"),
        (SETTINGS.replace("trust_domain", "trustdomain"), "trust_domain", "required"),
        (SETTINGS + 'listen = "geheim"', "listen", "host:port"),
        (SETTINGS + 'threads = "geheim"', "threads", "integer"),
        (SETTINGS + "threads = 0", "threads", "greater than or equal to 1"),
        (SETTINGS + "max_message_bytes = 1", "max_message_bytes", "greater than"),
        (SETTINGS + 'database_urls = "postgresql://kinlink:geheim@db/state"', "database_urls", "no such setting"),
        ("geheim", "settings.toml", "TOML"),
    ],
)
def test_error_names_the_field_and_what_is_expected_never_the_value(
    tmp_path: Path, text: str, field: str, expected: str
) -> None:
    with pytest.raises(SettingsFileError) as caught:
        load(tmp_path, text)
    assert field in str(caught.value)
    assert expected in str(caught.value)
    assert "geheim" not in str(caught.value)


def test_missing_settings_file_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(SettingsFileError, match="--config"):
        ServerSettings.load(tmp_path / "none.toml")
