"""The summary of keys: their age, what became of them, and who decides on them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from kinlink.report.light import Light, Status
from kinlink.report.material import Decided, Material
from kinlink.report.rows import KeyRow
from kinlink.report.words import Words, day, many

SOON_DAYS = 30


def key_lights(material: Material, keys: Sequence[KeyRow], made_at: datetime) -> list[Light]:
    """Judge each point, in the order of the page's sections."""
    return [
        _age(keys, material.policy.rotate_after_days, made_at),
        _compromised(keys),
        _rotations(material),
        _backups(keys, made_at),
        _decided(material),
        _changes(material),
        _signers(material),
    ]


def _age(keys: Sequence[KeyRow], rotate_after_days: int, made_at: datetime) -> Light:
    title = Words("Nøglernes alder", "Age of the keys")
    if not rotate_after_days:
        text = Words(
            "Politikken har ingen regel for nøgleskift. Aftal en med den dataansvarlige.",
            "The policy has no rule for rotation. Agree on one with the controller.",
        )
        return Light("keys", Status.UNCHECKED, title, text)
    due = [key for key in keys if key.rotate_before and key.state == "active"]
    late = [key.name for key in due if key.rotate_before and key.rotate_before <= made_at]
    soon = [key for key in due if key.rotate_before and 0 <= (key.rotate_before - made_at).days < SOON_DAYS]
    if late:
        text = Words(
            f"{many(len(late), 'da', 'nøgle', 'nøgler')} er ældre end {rotate_after_days} dage: {_few(late, 'da')}.",
            f"Older than {rotate_after_days} days: {many(len(late), 'en', 'key', 'keys')}, {_few(late, 'en')}.",
        )
        return Light("keys", Status.ACT, title, text)
    if soon:
        text = Words(
            f"{many(len(soon), 'da', 'nøgle', 'nøgler')} skal skiftes inden for {SOON_DAYS} dage.",
            f"Due within {SOON_DAYS} days: {many(len(soon), 'en', 'key', 'keys')}.",
        )
        return Light("keys", Status.LOOK, title, text)
    text = Words(
        f"Alle {len(due)} gældende nøgler er yngre end {rotate_after_days} dage.",
        f"All {len(due)} primary keys are younger than {rotate_after_days} days.",
    )
    return Light("keys", Status.OK, title, text)


def _compromised(keys: Sequence[KeyRow]) -> Light:
    title = Words("Kompromitterede nøgler", "Compromised keys")
    live = [key.name for key in keys if key.compromised_at and key.state != "destroyed"]
    if live:
        text = Words(
            f"Meldt kompromitteret og endnu ikke tilintetgjort: {_few(live, 'da')}.",
            f"Reported compromised and not destroyed yet: {_few(live, 'en')}.",
        )
        return Light("keys", Status.ACT, title, text)
    return Light(
        "keys", Status.OK, title, Words("Ingen nøgle er meldt kompromitteret.", "No key is reported compromised.")
    )


def _rotations(material: Material) -> Light:
    title = Words("Nøgleskift", "Key rotations")
    unfinished = [rotation for rotation in material.rotations if rotation.state != "destroyed"]
    if not unfinished:
        count = len(material.rotations)
        if not count:
            return Light("rotations", Status.OK, title, Words("Ingen endnu.", "None yet."))
        text = Words(
            f"Ingen er i gang; {count} er afsluttet, den gamle nøgle tilintetgjort.",
            f"None is open; {count} finished, the old key destroyed.",
        )
        return Light("rotations", Status.OK, title, text)
    waiting = sum(holder.attested_at is None for rotation in unfinished for holder in rotation.holders)
    text = Words(
        f"{len(unfinished)} er i gang; {many(waiting, 'da', 'indehaver', 'indehavere')} mangler at genberegne. "
        "Den gamle nøgle findes endnu.",
        f"{len(unfinished)} open; {many(waiting, 'en', 'holder has', 'holders have')} yet to rekey. The old key "
        "still exists.",
    )
    return Light("rotations", Status.LOOK, title, text)


def _backups(keys: Sequence[KeyRow], made_at: datetime) -> Light:
    title = Words("Tilintetgjorte nøgler i sikkerhedskopier", "Destroyed keys in backups")
    dates = [key.backups_until for key in keys if key.backups_until and key.backups_until > made_at]
    if not dates:
        text = Words("Ingen sikkerhedskopi kan åbne en tilintetgjort nøgle.", "No backup can unseal a destroyed key.")
        return Light("keys", Status.OK, title, text)
    last = max(dates)
    text = Words(
        f"{many(len(dates), 'da', 'tilintetgjort nøgle', 'tilintetgjorte nøgler')} kan endnu åbnes af en "
        f"sikkerhedskopi, den sidste indtil {day(last, 'da')}.",
        f"{many(len(dates), 'en', 'destroyed key', 'destroyed keys')} can still be unsealed from a backup, the "
        f"last until {day(last, 'en')}.",
    )
    return Light("keys", Status.LOOK, title, text)


def _decided(material: Material) -> Light:
    title = Words("Ændringer af nøgler er underskrevet", "Changes of keys are signed")
    decided = next((log.decided for log in material.logs if log.decided), None)
    if decided is None:
        text = Words("Ikke kontrolleret: loggen mangler.", "Not verified: there is no log of them.")
        return Light("rotations", Status.UNCHECKED, title, text)
    if decided.findings:
        count = len(decided.findings)
        text = Words(
            f"{many(count, 'da', 'ændring', 'ændringer')} uden de underskrifter, der skal til. Tal med den "
            "dataansvarlige i dag.",
            f"Without the signatures that it takes: {many(count, 'en', 'change', 'changes')}. Talk to the controller "
            "today.",
        )
        return Light("rotations", Status.ACT, title, text)
    others = _untold(material, decided)
    if others:
        text = Words(
            f"Loggen siger ikke, hvordan disse blev, som de er: {_few(others, 'da')}. Tal med den "
            "dataansvarlige i dag.",
            f"The log does not tell how these came to be as they are: {_few(others, 'en')}. Talk to the controller "
            "today.",
        )
        return Light("rotations", Status.ACT, title, text)
    text = Words(
        f"{many(decided.signed, 'da', 'ændring er sket', 'ændringer er sket')}, hver med gyldige underskrifter.",
        f"{many(decided.signed, 'en', 'change', 'changes')} took effect, each with valid signatures.",
    )
    if not decided.genesis_kept:
        text = Words(
            f"{text.da} De første underskrivere er dem, loggen selv nævner; gem grundfilen for at sammenligne.",
            f"{text.en} The first signers are those that the log itself names; keep the genesis file to compare.",
        )
    return Light("rotations", Status.OK, title, text)


def _untold(material: Material, decided: Decided) -> list[str]:
    """Return the key versions that the service shows otherwise than the log tells."""
    shown = {version.key: version for version in material.keys}
    others = [
        version.key
        for version in shown.values()
        if version.state_since <= decided.until and decided.states.get(version.key) != version.state
    ]
    return [str(key) for key in (*others, *(key for key in decided.states if key not in shown))]


def _changes(material: Material) -> Light:
    title = Words("Ændringer, der venter", "Changes waiting")
    waiting = [change for change in material.changes if change.state in {"proposed", "approved"}]
    if not waiting:
        return Light("rotations", Status.OK, title, Words("Ingen.", "None."))
    text = Words(
        f"{len(waiting)} venter på underskrifter eller på at blive udført.",
        f"Waiting for signatures or to be applied: {len(waiting)}.",
    )
    return Light("rotations", Status.LOOK, title, text)


def _signers(material: Material) -> Light:
    title = Words("De, der kan underskrive", "Who can sign")
    able = [signer for signer in material.signers if signer.removed_at is None]
    reviewers = sum(signer.role == "reviewer" for signer in able)
    custodians = len(able) - reviewers
    counts = Words(
        f"{many(custodians, 'da', 'nøgleforvalter', 'nøgleforvaltere')} og "
        f"{many(reviewers, 'da', 'revisor', 'revisorer')} af nøgleændringer.",
        f"{many(custodians, 'en', 'custodian', 'custodians')} and "
        f"{many(reviewers, 'en', 'independent reviewer', 'independent reviewers')}.",
    )
    if len(able) < 3 or not reviewers or not custodians:
        text = Words(
            f"{counts.da} Det er for få: et forslag kræver to andres underskrift, den ene en revisors.",
            f"{counts.en} Too few: a proposal needs two others' signatures, one of them a reviewer's.",
        )
        return Light("rotations", Status.ACT, title, text)
    return Light("rotations", Status.OK, title, counts)


def _few(names: Sequence[str], language: str) -> str:
    """Return the first three names, and how many more there are."""
    more = len(names) - 3
    text = ", ".join(names[:3])
    return (
        text
        if more <= 0
        else f"{text} {'og' if language == 'da' else 'and'} {more} {'til' if language == 'da' else 'more'}"
    )
