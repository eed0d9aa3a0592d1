"""What a refusal means, in both languages, and whether it is worth a question.

A reason that is not listed is shown as it stands, and is worth a question.
"""

from __future__ import annotations

from dataclasses import dataclass

from kinlink.report.words import Words


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a reason means; `ask` when the DPO should ask why it happened."""

    words: Words
    ask: bool


def _ask(da: str, en: str) -> Meaning:
    return Meaning(Words(da, en), ask=True)


def _daily(da: str, en: str) -> Meaning:
    return Meaning(Words(da, en), ask=False)


UNKNOWN = _ask("Ukendt årsag i denne udgave. Spørg driften.", "Not known to this version. Ask the operator.")

_BAD_DATA = _daily(
    "Det sendte havde ikke den aftalte form. Intet blev gemt.",
    "What was sent had not the agreed form. Nothing was stored.",
)
_AWAY = _daily(
    "Tjenesten eller noget, den bygger på, var nede. Intet blev udført.",
    "The service, or something it needs, was away. Nothing was done.",
)
_REPEATED = _daily(
    "Det var gjort i forvejen, eller noget andet stod i vejen. Intet blev ændret.",
    "It had been done already, or something else stood in the way. Nothing was changed.",
)
_IDENTITY = _ask(
    "Et certifikat manglede, var forkert udformet eller fra et andet sted. Hvem forsøgte?",
    "A certificate was missing, ill-formed or from elsewhere. Who tried?",
)
_SIGNING = _ask(
    "En underskrift på en nøgleændring blev afvist. Spørg den, der står som kalder.",
    "A signature on a key change was refused. Ask the caller named.",
)
_REKEYING = _daily(
    "Et skridt i et nøgleskift kom for tidligt eller gik ikke op. Intet blev ændret.",
    "A step of a key rotation came too early or did not add up. Nothing was changed.",
)
_KEY = _daily(
    "Der blev spurgt efter en nøgleversion, som ikke må bruges til det. Almindeligt, mens en nøgle skiftes.",
    "A key version was asked for that may not be used so. Common while a key is rotated.",
)
_STORE = _ask(
    "Nøglelageret kunne ikke bruges, som det stod. Spørg driften, hvad der skete med det.",
    "The key store could not be used as it stood. Ask the operator what happened to it.",
)
_ANCHOR = _ask(
    "Forankringen kunne ikke nås, så kontrolpunkter kom ikke ud af huset. Hvor længe?",
    "An anchor was out of reach, so that checkpoints did not leave the house. For how long?",
)
_WITNESSING = _daily(
    "En anden tjeneste bad om et vidnes underskrift, og fik den ikke denne gang.",
    "Another service asked for a witness's signature, and did not get it this time.",
)

MEANINGS: dict[str, Meaning] = {
    "ACCESS_DENIED": _ask(
        "Kalderens rolle må ikke udføre dette kald. Hvorfor blev det forsøgt?",
        "The caller's role may not make this call. Why was it tried?",
    ),
    "GRANT_MISSING": _ask(
        "Ingen bevilling tillader dette for kalderen. Hvorfor blev det forsøgt?",
        "No grant allows this for the caller. Why was it tried?",
    ),
    "PLAIN_DOOR_CLOSED": _ask(
        "Nogen sendte personnumre til den åbne dør, som er lukket for domænet.",
        "Somebody sent CPR numbers to the plain door, which is closed for the domain.",
    ),
    "BUDGET_DAY": _ask(
        "Kalderen bad om flere pseudonymer, end dagens kvote tillader. Kan være et forsøg på at gætte numre.",
        "The caller asked for more pseudonyms than the day's budget. May be an attempt to guess numbers.",
    ),
    "BUDGET_YEAR": _ask(
        "Kalderen bad om flere pseudonymer, end årets kvote tillader. Kan være et forsøg på at gætte numre.",
        "The caller asked for more pseudonyms than the year's budget. May be an attempt to guess numbers.",
    ),
    "CERTIFICATE_DENIED": _ask(
        "Et spærret certifikat blev brugt. Hvem har det?", "A denied certificate was used. Who has it?"
    ),
    "CERTIFICATE_EXPIRED": _daily("Certifikatet var udløbet.", "The certificate had expired."),
    "KEY_DOMAIN_NOT_OWN": _ask(
        "En kilde leverede under en anden kildes nøgle.", "A source delivered under another source's key."
    ),
    "KEY_PURPOSE_NOT_OWN": _ask(
        "En kilde leverede, hvad den havde kodet til et andet formål.",
        "A source delivered what it had encoded for another purpose.",
    ),
    "DATASET_NOT_ALLOWED": _ask("Kilden må ikke levere dette datasæt.", "The source may not deliver this dataset."),
    "TABLE_NOT_FOUND": _daily(
        "Tabellen findes ikke, er ikke udgivet, eller er ikke for kalderen.",
        "There is no such table, it is not released, or not for the caller.",
    ),
    "FAMILY_TABLE_NOT_FOUND": _ask(
        "Familietabellen blev bedt om af en, som ikke har fået adgang til den, eller for et år uden tabel.",
        "The family table was asked for by one who has no grant for it, or for a year without one.",
    ),
    "DELIVERY_UNKNOWN": _daily(
        "Der blev spurgt til en leverance, som koblingstjenesten ikke har fra den kilde.",
        "A delivery was asked for that the linker does not have of that source.",
    ),
    "TOO_MANY_CALLS": _daily("Kalderen havde for mange kald i gang.", "The caller had too many calls under way."),
    "SUITE_NOT_ALLOWED": _ask(
        "Syntetiske og rigtige numre blev blandet.", "Synthetic and real identifiers were mixed."
    ),
    "AUDIT_UNAVAILABLE": _ask(
        "Loggen kunne ikke skrives; derfor svarede tjenesten ikke.",
        "The log could not be written; so the service did not answer.",
    ),
    "LOG_FORKED": _ask(
        "Et vidne har set en anden udgave af loggen. Tal med den dataansvarlige i dag.",
        "A witness has seen another version of the log. Talk to the controller today.",
    ),
    "PROOF_MALFORMED": _ask(
        "En log bad et vidne om en underskrift uden et brugbart bevis. Spørg driften hvorfor.",
        "A log asked a witness for a signature without a usable proof. Ask the operator why.",
    ),
    "SAMPLE_MISMATCH": _ask(
        "En indehavers stikprøve af genberegnede pseudonymer var forkert. Nøglen kan ikke tilintetgøres endnu.",
        "A holder's sample of rekeyed pseudonyms was wrong. The key cannot be destroyed yet.",
    ),
    **dict.fromkeys(("ANCHOR_UNAVAILABLE", "ANCHOR_UNREADABLE"), _ANCHOR),
    **dict.fromkeys(("KEY_STORE_UNANCHORED", "KEY_STORE_UNUSABLE", "RESTORE_OFFLINE", "STORE_IN_USE"), _STORE),
    **dict.fromkeys(
        ("CHECKPOINT_STALE", "LOG_KEY_UNKNOWN", "LOG_UNKNOWN", "NOTE_INVALID", "WITNESS_BUSY"), _WITNESSING
    ),
    **dict.fromkeys(
        (
            "APPROVALS_MISSING",
            "OWN_PROPOSAL",
            "REASON_IDENTIFIER",
            "TOO_FEW_SIGNERS",
            "TOO_MANY_CHANGES",
        ),
        _SIGNING,
    ),
    **dict.fromkeys(("IDENTITY_MISSING", "IDENTITY_MALFORMED", "ROLE_UNKNOWN", "TRUST_DOMAIN_UNKNOWN"), _IDENTITY),
    **dict.fromkeys(
        (
            "BATCH_MALFORMED",
            "BATCH_TOO_LARGE",
            "CATALOGUE_CONTRADICTORY",
            "CHUNK_GAP",
            "CHUNK_INVALID",
            "CODE_NOT_REGISTERED",
            "CONTENT_MISMATCH",
            "DELIVERY_INCOMPLETE",
            "DELIVERY_TOO_LARGE",
            "ELEMENT_INVALID",
            "HEADER_INVALID",
            "IDENTIFIER_INVALID",
            "KIND_MISMATCH",
            "KIND_NOT_PLAIN",
            "KIND_UNSPECIFIED",
            "PERIOD_MISMATCH",
            "REQUEST_INVALID",
            "ROWS_INVALID",
            "SCHEMA_ID_MALFORMED",
            "SCHEMA_UNKNOWN",
            "STREAM_INVALID",
            "SUITE_UNSPECIFIED",
            "TARGET_GROUP_UNDEFINED",
        ),
        _BAD_DATA,
    ),
    **dict.fromkeys(
        (
            "BUDGET_UNAVAILABLE",
            "CANCELLED",
            "DATABASE_UNAVAILABLE",
            "DENY_LIST_UNREADABLE",
            "INTERNAL",
            "PSEUDONYMIZER_UNAVAILABLE",
            "SERVICE_FAILED",
            "SERVICE_RESTARTED",
            "SERVICE_STOPPED",
            "SERVICE_STOPPING",
            "STORAGE_LOW",
        ),
        _AWAY,
    ),
    **dict.fromkeys(
        (
            "DELIVERY_BUSY",
            "DELIVERY_ID_REUSED",
            "DELIVERY_NOT_ACCEPTED",
            "DELIVERY_OPEN",
            "DELIVERY_WITHDRAWN",
            "ENCODINGS_HELD",
            "FAMILY_TABLE_EXISTS",
            "RELEASE_OVERTAKEN",
            "REQUEST_ID_REUSED",
            "RUN_IN_PROGRESS",
            "RUN_UNKNOWN",
            "TOO_MANY_OPEN_DELIVERIES",
            "YEAR_CLOSED",
        ),
        _REPEATED,
    ),
    "POLICY_OLDER": _ask(
        "En ældre udgave af reglerne for, hvad der må vises, blev lagt tilbage. Tjenesten startede ikke. Hvem var det?",
        "An older policy of what may be shown was put back. The service did not start. Who did that?",
    ),
    **dict.fromkeys(
        (
            "DOMAIN_MISMATCH",
            "KEYS_CHANGING",
            "KEY_LINE_UNKNOWN",
            "KEY_MISSING",
            "KEY_PENDING_EXISTS",
            "KEY_TRANSITION_REFUSED",
            "KEY_VERSION_CLOSED",
            "KEY_VERSION_INACTIVE",
            "KEY_VERSION_SET",
            "KEY_VERSION_SUPERSEDED",
            "KEY_VERSION_UNKNOWN",
            "KEY_VERSION_UNSPECIFIED",
        ),
        _KEY,
    ),
}


def meaning(reason: str) -> Meaning:
    """Return what a reason means."""
    if reason in MEANINGS:
        return MEANINGS[reason]
    if reason.startswith(("CHANGE_", "SIGNER_", "SIGNATURE_", "APPROVAL_", "PROPOSER_", "REVIEWER_")):
        return _SIGNING
    if reason.startswith(("REKEY", "ROTATION_", "HOLDER", "ATTESTATION_")):
        return _REKEYING
    return UNKNOWN
