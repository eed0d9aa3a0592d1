"""The language of target groups: what a rule may say, read from TOML and checked.

1. A target group is named and versioned, has its text in Danish and English, and says
   what of its source cannot be computed. All its `require` rules must hold for a family.
2. Rules: `children_at_home`, `days`, `spell`, `services`, `spending`, and `any`, which
   holds where one of its own rules does.
3. A rule about persons says `who`: an adult, or a child at home, of the family on the
   reference date. `months` is a window of whole months that ends at the reference date.
4. `any` of `days` and `spell` lists what fits: a service with or without a category, or a flag
   of the catalogue, with a department and flags left out.
5. Nothing unknown is passed over: a wrong key, type or value is an error that names the rule.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from importlib import resources

from linker.toml_entry import Entry


class TargetGroupError(ValueError):
    """A rule file, or what it is evaluated with, is wrong; names group, rule and key."""


class Who(StrEnum):
    """Whose spells a rule looks at."""

    ADULT = "adult"
    CHILD = "child"


@dataclass(frozen=True, slots=True)
class Match:
    """Which spells fit: all that is set must hold; `service` or `flag` is set."""

    service: str | None
    category: str | None
    flag: str | None
    department: str | None
    without_flags: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ChildrenAtHome:
    """At least so many children at home."""

    at_least: int


@dataclass(frozen=True, slots=True)
class Days:
    """One such person has fitting spells on more than so many distinct days in the window."""

    who: Who
    months: int
    more_than_days: int
    matches: tuple[Match, ...]


@dataclass(frozen=True, slots=True)
class Spell:
    """One such person has a fitting spell with a day in the window."""

    who: Who
    months: int
    matches: tuple[Match, ...]


@dataclass(frozen=True, slots=True)
class Services:
    """The family has so many services, from so many departments, those of some areas left out."""

    services_at_least: int
    departments_at_least: int
    without_areas: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Spending:
    """The family's net spending in the year is at least the parameter, øre."""

    parameter: str


@dataclass(frozen=True, slots=True)
class AnyOf:
    """One of the rules holds."""

    rules: tuple[Rule, ...]


Rule = ChildrenAtHome | Days | Spell | Services | Spending | AnyOf


@dataclass(frozen=True, slots=True)
class TargetGroup:
    """A named, versioned rule set. `parameters` must be given when it is evaluated."""

    name: str
    version: int
    title_da: str
    title_en: str
    text_da: str
    text_en: str
    reference: str
    parameters: tuple[str, ...]
    not_computable: tuple[str, ...]
    rules: tuple[Rule, ...]


def load(name: str) -> TargetGroup:
    """Read one of the rule sets that ship with the linker.

    Raises:
        TargetGroupError: there is none of that name, or its file is wrong.
    """
    file = resources.files("linker") / "target_groups" / f"{name}.toml"
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or not file.is_file():
        raise TargetGroupError(f"target group: none is called {name!r}")
    return parse(file.read_text(encoding="utf-8"))


def parse(text: str) -> TargetGroup:
    """Read a rule set from TOML text.

    Raises:
        TargetGroupError: it is not TOML, or breaks the language; names the rule.
    """
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise TargetGroupError(f"target group: not TOML: {error}") from None
    entry = Entry("target group", document, TargetGroupError)
    group = TargetGroup(
        name=entry.text("name"),
        version=entry.number("version"),
        title_da=entry.text("title_da"),
        title_en=entry.text("title_en"),
        text_da=entry.text("text_da").strip(),
        text_en=entry.text("text_en").strip(),
        reference=entry.text("reference"),
        parameters=entry.texts("parameters"),
        not_computable=entry.texts("not_computable"),
        rules=tuple(_rule(rule) for rule in entry.entries("require")),
    )
    entry.nothing_else()
    if not group.rules:
        raise TargetGroupError("target group: it requires nothing")
    used = {rule.parameter for rule in _flat(group.rules) if isinstance(rule, Spending)}
    if used != set(group.parameters):
        raise TargetGroupError("target group: `parameters` must list exactly those that its rules name")
    return group


def _flat(rules: Sequence[Rule]) -> list[Rule]:
    return [part for rule in rules for part in (_flat(rule.rules) if isinstance(rule, AnyOf) else [rule])]


def _rule(entry: Entry) -> Rule:
    rule: Rule
    match entry.text("rule"):
        case "children_at_home":
            rule = ChildrenAtHome(entry.number("at_least", default=1))
        case "days":
            rule = Days(
                entry.choice("who", Who), entry.number("months"), entry.number("more_than_days"), _matches(entry)
            )
        case "spell":
            rule = Spell(entry.choice("who", Who), entry.number("months"), _matches(entry))
        case "services":
            rule = Services(
                entry.number("services_at_least", default=1),
                entry.number("departments_at_least", default=1),
                entry.texts("without_areas"),
            )
        case "spending":
            rule = Spending(entry.text("parameter"))
        case "any":
            rule = AnyOf(tuple(_rule(part) for part in entry.entries("rules")))
        case other:
            raise TargetGroupError(f"{entry.where}: there is no rule {other!r}")
    entry.nothing_else()
    return rule


def _matches(entry: Entry) -> tuple[Match, ...]:
    found = []
    for part in entry.entries("any"):
        match = Match(
            part.text("service", default=""),
            part.text("category", default=""),
            part.text("flag", default=""),
            part.text("department", default=""),
            part.texts("without_flags"),
        )
        part.nothing_else()
        if not (match.service or match.flag):
            raise TargetGroupError(f"{part.where}: it names neither a service nor a flag")
        found.append(match)
    if not found:
        raise TargetGroupError(f"{entry.where}: `any` lists nothing")
    return tuple(found)
