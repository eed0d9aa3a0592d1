"""The words of states, kinds and operations in Danish and English; a name that is not here stands as it is."""

from __future__ import annotations

from collections.abc import Mapping

VOCABULARY: Mapping[str, Mapping[str, tuple[str, str]]] = {
    "status": {
        "ok": ("I orden", "In order"),
        "look": ("Se på det", "Look at it"),
        "act": ("Handl", "Act"),
        "unchecked": ("Ikke kontrolleret", "Not checked"),
    },
    "state": {
        "pending": ("afventende", "pending"),
        "active": ("gældende", "active (primary)"),
        "retiring": ("udgående", "retiring"),
        "disabled": ("spærret", "disabled"),
        "destroyed": ("tilintetgjort", "destroyed"),
        "compromised": ("kompromitteret", "compromised"),
    },
    "change": {
        "proposed": ("venter på godkendelser", "waits for approvals"),
        "approved": ("godkendt, ikke udført", "approved, not applied"),
        "applied": ("udført", "applied"),
        "expired": ("udløbet", "expired"),
    },
    "action": {
        "activate": ("tag i brug", "activate"),
        "disable": ("spær", "disable"),
        "enable": ("ophæv spærring", "enable"),
        "salvage": ("bjærg", "salvage"),
        "destroy": ("tilintetgør", "destroy"),
        "compromise": ("meld kompromitteret", "mark compromised"),
        "enrol": ("indskriv underskriver", "enrol a signer"),
        "remove": ("fjern underskriver", "remove a signer"),
        "restore": ("genskab fra sikkerhedskopi", "restore from backup"),
    },
    "role": {
        "custodian": ("nøgleforvalter", "custodian"),
        "reviewer": ("revisor af nøgleændringer", "reviewer"),
    },
    "kind": {
        "cpr": ("personnummer", "CPR number"),
        "address": ("adresse", "address"),
        "replacement": ("erstatningspersonnummer", "replacement number"),
    },
    "operation": {
        "Evaluate": ("blind pseudonymisering", "evaluation (blind door)"),
        "Pseudonymise": ("åben pseudonymisering", "plain door"),
        "Convert": ("konvertering", "conversion"),
        "Rekey": ("genberegning", "rekeying"),
        "evaluate": ("blind pseudonymisering", "evaluate"),
        "pseudonymise": ("åben pseudonymisering", "pseudonymise (plain door)"),
        "convert": ("konvertering", "convert"),
        "rekey": ("genberegning", "rekey"),
    },
    "outcome": {
        "ok": ("udført", "ok"),
        "refused": ("afvist", "refused"),
        "failed": ("mislykket", "failed"),
    },
    "policy": {
        "grant.added": ("tilføjet", "added"),
        "grant.removed": ("fjernet", "removed"),
        "budget.changed": ("kvote ændret", "budget changed"),
    },
    "event": {
        "accepted": ("modtaget", "accepted"),
        "withdrawn": ("trukket tilbage", "withdrawn"),
        "replaced": ("erstattet", "replaced"),
    },
    "service": {
        "pseudonymizer": ("pseudonymisering", "pseudonymizer"),
        "linker": ("kobling", "linker"),
    },
    "mark": {
        "proposed": ("forslag", "proposed"),
        "signed": ("godkendelse", "approved"),
        "activated": ("ny version i brug", "new version active"),
        "attested": ("erklæret genberegnet", "attested"),
        "destroyed": ("gammel version tilintetgjort", "old version destroyed"),
    },
    "run": {
        "running": ("i gang", "running"),
        "interrupted": ("afbrudt", "interrupted"),
        "succeeded": ("lykkedes", "succeeded"),
        "failed": ("mislykkedes", "failed"),
    },
}
