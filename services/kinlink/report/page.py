"""The report's page: one file, both languages, no script, nothing fetched.

1. Everything of the document is escaped by the template; nothing of it is markup. Marked safe are only
   the style sheet and the bodies, which the same templates have rendered.
2. Both languages are on the page; a radio button shows one or both, without a script. What is
   shown is what prints.
3. The page forbids itself, by its own content policy, to fetch or to run anything.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from kinlink.report import plots, words
from kinlink.report.vocabulary import VOCABULARY

_FIRST = ("act", "look", "unchecked", "ok")


def render(document: Mapping[str, Any]) -> str:
    """Return the page of a report's document (`Figures.document`)."""
    environment = Environment(
        loader=PackageLoader("kinlink.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    bodies = {language: _body(environment, document, language) for language in words.LANGUAGES}
    style, _, _ = environment.loader.get_source(environment, "style.css")  # type: ignore[union-attr]
    month = {language: words.month_name(document["month"], language) for language in words.LANGUAGES}
    return environment.get_template("page.html.j2").render(bodies=bodies, style=style, month=month)


def _key(name: str, word: Callable[[str, str], str], group: str = "kind") -> str:
    """Return a key version's name, "source/prisme cpr v1", with its kind in words of that group."""
    domain, _, rest = name.partition(" ")
    kind, _, version = rest.partition(" ")
    return f"{domain} {word(group, kind)} {version}".rstrip()


def _body(environment: Environment, document: Mapping[str, Any], language: str) -> str:
    place = words.LANGUAGES.index(language)

    def t(da: str, en: str) -> str:
        return en if place else da

    def word(group: str, name: str) -> str:
        known = VOCABULARY[group].get(name)
        return known[place] if known else name

    template = environment.get_template("body.html.j2")
    return template.render(
        doc=document,
        lang=language,
        t=t,
        word=word,
        n=partial(words.number, language=language),
        key=lambda name: _key(name, word),
        short_key=lambda name: _key(name, word, "short kind"),
        attacker=partial(words.attacker, language=language),
        day=partial(words.day, language=language),
        at=partial(words.instant, language=language),
        month=words.month_name(document["month"], language),
        age_charts=plots.age_charts(document["key_versions"]),
        volume_chart=partial(plots.volume_chart, month=document["month"]),
        timeline=partial(plots.timeline, changes=document["changes"], made_at=document["made_at"]),
        lights=sorted(document["lights"], key=lambda light: _FIRST.index(light["status"])),
    )
