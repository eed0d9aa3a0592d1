from __future__ import annotations

import itertools
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import tomli_w

import pseudonymizer
from kinlink.pseudonyms import Kind, Suite
from pseudonymizer.policy import Operation, Policy, PolicyError, Route
from servicekit.errors import DeniedError, InvalidError, PreconditionError

_SOURCES = ("source/folkeregister", "source/prisme")
_DOMAINS = (*_SOURCES, "linkage/familie")


def _policy(tmp_path: Path, **changes: Any) -> Policy:
    content: dict[str, Any] = {
        "suites": ["synthetic"],
        "domain": [{"name": name, "kinds": ["cpr", "address"]} for name in _DOMAINS],
        "grant": [{"name": s, "caller": s, "operation": "evaluate", "domain": s, "kinds": ["cpr"]} for s in _SOURCES]
        + [_CONVERSION],
        "budget": [{"caller": c, "per_day": 10, "per_year": 20} for c in (*_SOURCES, "linker/familie")],
    }
    path = tmp_path / "policy.toml"
    path.write_text(tomli_w.dumps({**content, **changes}))
    return Policy.load(path)


_CONVERSION = {
    "name": "familie",
    "caller": "linker/familie",
    "operation": "convert",
    "from": list(_SOURCES),
    "to": "linkage/familie",
    "kinds": ["cpr"],
}


_ENCODE = {"caller": "source/prisme", "operation": "encode", "domain": "linkage/familie", "kinds": ["encoding"]}


def test_only_what_a_grant_names_is_allowed_of_everything_that_could_be_asked(tmp_path: Path) -> None:
    policy = _policy(tmp_path)
    callers = (*_SOURCES, "source/dubu", "linker/familie", "linker/other", "consumer/analyse", "custodian/a", "dpo/a")
    everything = {
        Route(*parts)
        for parts in itertools.product(callers, Operation, (*_DOMAINS, "", "x"), (*_DOMAINS, "", "x"), Kind)
    }
    allowed = {Route(s, Operation.EVALUATE, s, "", Kind.CPR) for s in _SOURCES} | {
        Route("linker/familie", Operation.CONVERT, s, "linkage/familie", Kind.CPR) for s in _SOURCES
    }
    assert {route for route in everything if _is_allowed(policy, route)} == allowed


def _is_allowed(policy: Policy, route: Route) -> bool:
    try:
        policy.authorise(route)
    except DeniedError as error:
        return error.reason != "GRANT_MISSING"
    return True


@pytest.mark.parametrize(
    ("grant", "said"),
    [
        ({"caller": "linker/familie", "operation": "evaluate", "domain": "linkage/familie"}, "the linker converts"),
        ({"caller": "linker/familie", "operation": "pseudonymise", "domain": "source/prisme"}, "the linker converts"),
        (
            {"caller": "source/prisme", "operation": "convert", "from": ["source/prisme"], "to": "linkage/familie"},
            "the",
        ),
        ({"caller": "source/prisme", "operation": "evaluate", "domain": "source/folkeregister"}, "own domain"),
        ({"caller": "source/prisme", "operation": "evaluate", "domain": "linkage/familie"}, "own domain"),
        ({**_CONVERSION, "to": "source/prisme"}, "to a linkage domain"),
        ({**_CONVERSION, "from": ["linkage/familie"]}, "from source domains"),
        ({**_CONVERSION, "from": []}, "a conversion has"),
        ({**_CONVERSION, "from": ["source/dubu"]}, "no domain source/dubu"),
        ({**_CONVERSION, "kinds": ["replacement"]}, "with kind replacement"),
        ({**_CONVERSION, "caller": "linker/other"}, "no budget"),
        ({**_CONVERSION, "caller": "consumer/analyse"}, "grant.3.caller"),
        ({**_CONVERSION, "kinds": ["cpr"]}, "granted already"),
        ({**_CONVERSION, "operation": "rekey"}, "rekeys in a linkage domain"),
        ({"caller": "linker/familie", "operation": "rekey", "domain": "source/prisme"}, "rekeys in a linkage domain"),
        ({"caller": "linker/familie", "operation": "rekey", "domain": "linkage/andet"}, "converts nothing to"),
        ({"caller": "source/prisme", "operation": "rekey", "domain": "source/folkeregister"}, "own domain"),
        ({"caller": "source/prisme", "operation": "rekey", "domain": "linkage/familie"}, "own domain"),
        ({**_CONVERSION, "extra": 1}, "extra"),
        ({**_ENCODE, "caller": "linker/familie"}, "a linker never has an encoding key"),
        ({**_ENCODE, "domain": "source/prisme"}, "encodes for a linkage domain"),
        ({**_ENCODE, "from": ["source/prisme"]}, "encodes for a linkage domain"),
        ({**_ENCODE, "kinds": ["encoding", "cpr"]}, "no other kind"),
        ({**_ENCODE, "kinds": ["cpr"]}, "kind encoding goes with the operation encode"),
        ({**_ENCODE, "operation": "evaluate"}, "kind encoding goes with the operation encode"),
        ({**_ENCODE, "operation": "rekey"}, "kind encoding goes with the operation encode"),
        ({**_CONVERSION, "kinds": ["encoding"]}, "kind encoding goes with the operation encode"),
        (_ENCODE, "no domain linkage/familie with kind encoding"),
    ],
)
def test_a_grant_that_breaks_a_rule_stops_the_start(tmp_path: Path, grant: dict[str, Any], said: str) -> None:
    grants = [
        *({"name": s, "caller": s, "operation": "evaluate", "domain": s, "kinds": ["cpr"]} for s in _SOURCES),
        _CONVERSION,
        {"name": "new", "kinds": ["address"], **grant} | {"name": "new"},
    ]
    with pytest.raises(PolicyError, match=said):
        _policy(tmp_path, grant=grants)


@pytest.mark.parametrize("suites", [["kinlink-v1", "synthetic"], [], ["unknown"]])
def test_a_deployment_has_one_suite(tmp_path: Path, suites: list[str]) -> None:
    with pytest.raises(PolicyError, match="suites"):
        _policy(tmp_path, suites=suites)


def test_the_real_suite_is_the_default_and_refuses_synthetic_tags(tmp_path: Path) -> None:
    real = Policy.model_validate({"domain": [{"name": "source/prisme", "kinds": ["cpr"]}]})
    assert real.suite is Suite.KINLINK_V1
    real.check_suite(Suite.KINLINK_V1.wire)
    with pytest.raises(PreconditionError) as refused:
        real.check_suite(Suite.SYNTHETIC.wire)
    assert refused.value.reason == "SUITE_NOT_ALLOWED"
    with pytest.raises(PreconditionError):
        _policy(tmp_path).check_suite(Suite.KINLINK_V1.wire)
    with pytest.raises(InvalidError):
        real.check_suite(0)


def test_the_example_is_a_policy_and_opens_one_plain_door() -> None:
    policy = Policy.load(Path(next(iter(pseudonymizer.__path__))) / "policy.example.toml")
    assert policy.authorise(Route("source/prisme", Operation.PSEUDONYMISE, "source/prisme", "", Kind.CPR))
    assert len(list(policy.key_lines())) == 8
    assert policy.holders("linkage/familie", Kind.ENCODING) == ("linker/familie", *_SOURCES)
    assert (policy.rotation.rotate_after_days, policy.rotation.backups_kept_days) == (730, 35)


def test_holders_are_who_stores_pseudonyms_of_a_line(tmp_path: Path) -> None:
    rekeys = [
        {"name": f"{c} rekeys", "caller": c, "operation": "rekey", "domain": d, "kinds": ["cpr"]}
        for c, d in (("source/prisme", "source/prisme"), ("linker/familie", "linkage/familie"))
    ]
    policy = _policy(tmp_path, grant=[_CONVERSION, *rekeys])
    assert policy.holders("source/prisme", Kind.CPR) == ("linker/familie", "source/prisme")
    assert policy.holders("source/folkeregister", Kind.CPR) == ("linker/familie",)
    assert policy.holders("linkage/familie", Kind.CPR) == ("linker/familie",)
    assert policy.holders("linkage/familie", Kind.ADDRESS) == ()
    assert _policy(tmp_path).holders("linkage/familie", Kind.CPR) == ("linker/familie",)


def test_an_encoding_key_belongs_to_linkage_and_its_holders_are_who_encodes_and_who_links(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match="belongs to a linkage domain"):
        _policy(tmp_path, domain=[{"name": "source/prisme", "kinds": ["encoding"]}])
    domains = [{"name": name, "kinds": ["cpr"]} for name in _SOURCES]
    domains.append({"name": "linkage/familie", "kinds": ["cpr", "encoding"]})
    policy = _policy(tmp_path, domain=domains, grant=[_CONVERSION, {"name": "prisme encodes", **_ENCODE}])
    assert policy.holders("linkage/familie", Kind.ENCODING) == ("linker/familie", "source/prisme")
    assert policy.holders("linkage/familie", Kind.CPR) == ("linker/familie",)
    callers = (*_SOURCES, "linker/familie", "consumer/a", "custodian/a", "dpo/a")
    everything = itertools.product(callers, Operation, (*_DOMAINS, ""), (*_DOMAINS, ""), [Kind.ENCODING])
    allowed = [parts for parts in everything if _is_allowed(policy, Route(*parts))]
    assert allowed == [("source/prisme", Operation.ENCODE, "linkage/familie", "", Kind.ENCODING)]


def test_the_digest_is_the_files(tmp_path: Path) -> None:
    first = _policy(tmp_path)
    assert first.digest == sha256((tmp_path / "policy.toml").read_bytes()).digest()
    (tmp_path / "policy.toml").write_text((tmp_path / "policy.toml").read_text() + "# said\n")
    assert Policy.load(tmp_path / "policy.toml").digest != first.digest
    assert Policy.model_validate({"domain": [{"name": "source/prisme", "kinds": ["cpr"]}]}).digest != first.digest


def test_unreadable_and_unfit_files_are_said_clearly(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match="cannot be read"):
        Policy.load(tmp_path / "none.toml")
    (tmp_path / "bad.toml").write_text("suites = [")
    with pytest.raises(PolicyError, match="TOML"):
        Policy.load(tmp_path / "bad.toml")
    (tmp_path / "bad.toml").write_text("")
    with pytest.raises(PolicyError, match="domain"):
        Policy.load(tmp_path / "bad.toml")
