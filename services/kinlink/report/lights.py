"""The summary: what is in order, what to look at, what to act on. Words first; colour only repeats them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from kinlink.report.material import Material
from kinlink.report.rows import Denial, KeyRow, LogState, PolicyEvent, Volume
from kinlink.report.words import Words, day, many, number

SOON_DAYS = 30


class Status(StrEnum):
    """How a point stands."""

    OK = "ok"
    LOOK = "look"
    ACT = "act"
    UNCHECKED = "unchecked"


@dataclass(frozen=True, slots=True)
class Light:
    """One point of the summary; `section` is the part of the page that says more."""

    section: str
    status: Status
    title: Words
    text: Words


def lights(
    material: Material,
    keys: Sequence[KeyRow],
    volumes: Sequence[Volume],
    denials: Sequence[Denial],
    policy_events: Sequence[PolicyEvent],
    states: Sequence[LogState],
    made_at: datetime,
) -> list[Light]:
    """Judge each point, in the order of the page's sections."""
    return [
        _logs(states),
        _outside(states),
        _age(keys, material.policy.rotate_after_days, made_at),
        _compromised(keys),
        _rotations(material),
        _backups(keys, made_at),
        _changes(material),
        _signers(material),
        _grants(policy_events),
        _plain_door(material, volumes),
        _volumes(volumes),
        _denials(denials),
        _releases(material),
        _sample(material),
    ]


def redaction_light(left_out: int) -> Light:
    """Judge whether the report had to leave identifiers out."""
    title = Words("Personnumre i loggen", "Identifiers in the log")
    if not left_out:
        text = Words("Ingen tekst i rapporten lignede et personnummer.", "No text of the report looked like one.")
        return Light("limits", Status.OK, title, text)
    text = Words(
        f"Tekst, der lignede et personnummer, er udeladt {many(left_out, 'da', 'sted', 'steder')}. Find ud af, "
        "hvem der skrev den.",
        f"Text that looked like an identifier was left out in {many(left_out, 'en', 'place', 'places')}. Find out "
        "who wrote it.",
    )
    return Light("limits", Status.ACT, title, text)


def _logs(states: Sequence[LogState]) -> Light:
    title = Words("Loggene er ikke ændret", "The logs were not changed")
    wrong = [state.service for state in states if state.findings or state.key_kept is False]
    if wrong:
        names = ", ".join(wrong)
        text = Words(
            f"Kontrollen fandt fejl i loggen: {names}. Tal med den dataansvarlige i dag.",
            f"Verification found faults in the log of: {names}. Talk to the controller today.",
        )
        return Light("verification", Status.ACT, title, text)
    total = sum(state.size for state in states)
    text = Words(
        f"Alle {number(total, 'da')} poster er regnet efter og passer til de underskrevne kontrolpunkter.",
        f"All {number(total, 'en')} entries were computed again and match the signed checkpoints.",
    )
    return Light("verification", Status.OK, title, text)


def _outside(states: Sequence[LogState]) -> Light:
    title = Words("Bevis uden for tjenesterne", "Proof outside the services")
    bare = [state.service for state in states if not state.kept and not _verified(state)]
    if any(not kept.agrees for state in states for kept in state.kept):
        text = Words(
            "Loggen fortsætter ikke et kontrolpunkt, som I har gemt. Tal med den dataansvarlige i dag.",
            "The log does not continue a checkpoint that you kept. Talk to the controller today.",
        )
        return Light("verification", Status.ACT, title, text)
    failing = sorted({anchor.place for state in states for anchor in state.anchors if anchor.failing})
    if failing:
        text = Words(
            f"Kontrolpunkter når ikke frem: {', '.join(failing)}. Spørg driften hvorfor.",
            f"Checkpoints do not get through: {', '.join(failing)}. Ask the operator why.",
        )
        return Light("verification", Status.LOOK, title, text)
    if bare:
        names = ", ".join(bare)
        text = Words(
            f"Intet gemt kontrolpunkt og intet vidne for: {names}. Gem kontrolpunktet, og giv det med næste gang.",
            f"No kept checkpoint and no witness for: {names}. Keep the checkpoint, and give it next time.",
        )
        return Light("verification", Status.UNCHECKED, title, text)
    kept = sum(len(state.kept) for state in states)
    seen = len({name for state in states for name in _verified(state)})
    text = Words(
        f"Loggene fortsætter {many(kept, 'da', 'gemt kontrolpunkt', 'gemte kontrolpunkter')}; "
        f"{many(seen, 'da', 'vidne', 'vidner')} har underskrevet.",
        f"The logs continue {many(kept, 'en', 'kept checkpoint', 'kept checkpoints')}; signed by "
        f"{many(seen, 'en', 'witness', 'witnesses')}.",
    )
    return Light("verification", Status.OK, title, text)


def _verified(state: LogState) -> list[str]:
    return [witness.name for witness in state.witnesses if witness.verified]


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


def _grants(events: Sequence[PolicyEvent]) -> Light:
    title = Words("Ændrede bevillinger", "Changed grants")
    if not events:
        return Light("grants", Status.OK, title, Words("Ingen i måneden.", "None in the month."))
    text = Words(
        f"{many(len(events), 'da', 'ændring', 'ændringer')} af politikken i måneden. Var det aftalt?",
        f"{many(len(events), 'en', 'change', 'changes')} of the policy in the month. Was that agreed?",
    )
    return Light("grants", Status.LOOK, title, text)


def _plain_door(material: Material, volumes: Iterable[Volume]) -> Light:
    title = Words("Personnumre til tjenesten", "CPR numbers sent to the service")
    sent = sum(volume.total for volume in volumes if volume.operation == "Pseudonymise")
    doors = len(material.policy.plain_doors)
    if not doors and not sent:
        text = Words(
            "Ingen: den åbne dør er lukket for alle domæner.", "None: the plain door is closed for all domains."
        )
        return Light("volumes", Status.OK, title, text)
    text = Words(
        f"Den åbne dør står åben for {many(doors, 'da', 'domæne', 'domæner')}; {number(sent, 'da')} numre blev "
        "sendt ad den i måneden.",
        f"The plain door is open for {many(doors, 'en', 'domain', 'domains')}; {number(sent, 'en')} numbers came "
        "through it in the month.",
    )
    return Light("volumes", Status.LOOK, title, text)


def _volumes(volumes: Sequence[Volume]) -> Light:
    title = Words("Usædvanlige mængder", "Unusual volumes")
    marked = sum(one.stands_out for volume in volumes for one in volume.days)
    if marked:
        text = Words(
            f"{many(marked, 'da', 'dag', 'dage')} skiller sig ud.",
            f"{many(marked, 'en', 'day stands', 'days stand')} out.",
        )
        return Light("volumes", Status.LOOK, title, text)
    young = sum(volume.days[-1].limit is None for volume in volumes)
    if young:
        text = Words(
            f"{young} af {len(volumes)} kaldere har for kort historik til at blive bedømt.",
            f"{young} of {len(volumes)} callers have too little history to be judged.",
        )
        return Light("volumes", Status.UNCHECKED, title, text)
    return Light("volumes", Status.OK, title, Words("Ingen dag skiller sig ud.", "No day stands out."))


def _denials(denials: Sequence[Denial]) -> Light:
    title = Words("Afvisninger", "Refusals")
    ask = sum(denial.times for denial in denials if denial.ask)
    total = sum(denial.times for denial in denials)
    if ask:
        text = Words(
            f"{number(ask, 'da')} af {number(total, 'da')} afviste eller mislykkede kald bør forklares.",
            f"{number(ask, 'en')} of {number(total, 'en')} refused or failed calls want an explanation.",
        )
        return Light("denials", Status.LOOK, title, text)
    text = Words("Ingen.", "None.")
    if total:
        text = Words(f"{number(total, 'da')}, alle af almindelige årsager.", f"{number(total, 'en')}, all ordinary.")
    return Light("denials", Status.OK, title, text)


def _releases(material: Material) -> Light:
    title = Words("Udgivne tabeller er prøvet", "Released tables were attacked")
    section = "releases"
    if not material.releases:
        return Light(section, Status.OK, title, Words("Intet er udgivet.", "Nothing is released."))
    bare = [each for each in material.releases if each.failures or each.unchecked]
    if bare:
        text = Words(
            f"{many(len(bare), 'da', 'udgivelse', 'udgivelser')} uden fuldt bevis. Tal med den dataansvarlige i dag.",
            f"{many(len(bare), 'en', 'release', 'releases')} not wholly proven. Talk to the controller today.",
        )
        return Light(section, Status.ACT, title, text)
    policies = [each.policy_digest for each in material.releases]
    if len(policies) > 1 and policies[0] != policies[1]:
        text = Words(
            "Den nyeste udgivelse er beskyttet efter andre grænser end den før. Se, at ændringen er besluttet.",
            "The newest release was protected by other numbers than the one before. See that the change was decided.",
        )
        return Light(section, Status.LOOK, title, text)
    text = Words(
        f"Ingen angriber kom for nær et skjult tal i {many(len(policies), 'da', 'udgivelse', 'udgivelser')}.",
        f"No attacker came too near a hidden number in {many(len(policies), 'en', 'release', 'releases')}.",
    )
    return Light(section, Status.OK, title, text)


def _sample(material: Material) -> Light:
    title = Words("Månedens stikprøve", "The month's sample")
    proofs = [proven for log in material.logs for proven in log.proofs.values()]
    if not all(proofs):
        text = Words(
            "En udtrukket post kan ikke bevises at stå i loggen. Tal med den dataansvarlige i dag.",
            "An entry drawn is not proven to stand in the log. Talk to the controller today.",
        )
        return Light("sample", Status.ACT, title, text)
    if not proofs:
        text = Words("Loggene har ingen poster i måneden.", "The logs have no entries in the month.")
        return Light("sample", Status.UNCHECKED, title, text)
    text = Words(
        f"{many(len(proofs), 'da', 'post', 'poster')} er udtrukket til kontrol nedenfor; hver er bevist at stå i "
        "loggen.",
        f"{many(len(proofs), 'en', 'entry', 'entries')} drawn for the control below; each is proven to stand in "
        "the log.",
    )
    return Light("sample", Status.LOOK, title, text)


def _few(names: Sequence[str], language: str) -> str:
    """Return the first three names, and how many more there are."""
    more = len(names) - 3
    text = ", ".join(names[:3])
    return (
        text
        if more <= 0
        else f"{text} {'og' if language == 'da' else 'and'} {more} {'til' if language == 'da' else 'more'}"
    )
