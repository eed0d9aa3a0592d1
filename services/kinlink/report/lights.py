"""The summary: what is in order, what to look at, what to act on. Words first; colour only repeats them.

Of keys and the people who decide on them `key_lights` judges.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from kinlink.report.key_lights import key_lights
from kinlink.report.light import Light, Status
from kinlink.report.material import Material
from kinlink.report.rows import Denial, KeyRow, LogState, PolicyEvent, Volume
from kinlink.report.words import Words, many, number


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
        *key_lights(material, keys, made_at),
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
