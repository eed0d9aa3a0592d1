"""What each source system of the synthetic municipality delivers, and by which mapping."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

MAPPINGS = Path(__file__).parent / "municipality" / "mappings"


@dataclass(frozen=True, slots=True)
class Delivery:
    """One delivery: the mapping's name, and files relative to extracts/<source>/."""

    source: str
    mapping: str
    files: tuple[str, ...]

    def arguments(self, extracts: Path, rejects: Path) -> list[str]:
        """Return the arguments of `kinlink deliver`; rejects are listed in the folder `rejects`."""
        listed = rejects / f"{self.mapping}.rejects.csv"
        files = [str(extracts / self.source / file) for file in self.files]
        return ["deliver", "--mapping", str(MAPPINGS / f"{self.mapping}.toml"), "--rejects", str(listed), *files]


# The catalogue first: the others name its services.
DELIVERIES = (
    Delivery("prisme", "catalogue", ("catalogue.csv",)),
    Delivery("folkeregister", "folkeregister_persons", ("cpr_udtraek.txt",)),
    Delivery("folkeregister", "folkeregister_aliases", ("cpr_udtraek.txt",)),
    Delivery("prisme", "prisme", ("posteringer_2014.csv",)),
    Delivery("dubu", "dubu", ("dubu_sager.csv",)),
    Delivery("voksen", "voksen", ("voksen_social.csv",)),
    Delivery("ky", "ky_spells", ("ydelser_ky.csv",)),
    Delivery("ky", "ky_postings", ("ydelser_ky.csv",)),
    Delivery("momentum", "momentum", ("momentum_uger.csv",)),
    Delivery("institution", "institution", ("institution_nord.csv", "institution_syd.csv")),
    Delivery("elev", "elev", ("elev_2014.csv",)),
    Delivery("sundhed", "sundhed", ("sundhed_2014.txt",)),
    Delivery("kultur", "kultur", ("kultur_fritid.csv",)),
    Delivery("projekt", "samtykke", ("samtykke.csv",)),
)

# The postings once more, where some payers have no CPR number: each in place of what its source delivered above.
WITH_PAYERS = (
    Delivery("prisme", "prisme_betalere", ("posteringer_2014_betalere.csv",)),
    Delivery("ky", "ky_betalere", ("ydelser_ky_betalere.csv",)),
    Delivery("sundhed", "sundhed_betalere", ("sundhed_2014_betalere.txt",)),
    Delivery("kultur", "kultur_betalere", ("kultur_fritid_betalere.csv",)),
)
# Who is in the register, and who those payers are, encoded.
ENCODINGS = (
    Delivery("folkeregister", "folkeregister_navne", ("navne_adresser.csv",)),
    *(Delivery(each.source, f"{each.source}_navne", each.files) for each in WITH_PAYERS),
)
