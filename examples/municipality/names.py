"""Gives everybody a name and every road a name, made up: a stage of its own, so that nothing else changes.

1. Names are drawn as common as Danish ones are: patronymics at about a third, a long tail of places and trades. About
   an eighth of the households have names from elsewhere.
2. Most spouses share a surname, the other's former one becoming a middle name; children have one parent's, all of a
   couple's the same, often with the other's in the middle. Adults who only live together keep their own.
3. Given names are of the sex, and of the generation. A third have two, some with a hyphen; a few surnames have a
   particle or are two.
4. A road's name depends on its code alone, and so does its postcode.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from examples.municipality.numbers import Texts
from examples.municipality.people import FEMALE, NONE, Bools, Ints, People

_PATRONYMS = (
    "Niels", "Jens", "Hans", "Anders", "Peder", "Christian", "Lars", "Søren", "Rasmus", "Jørgen", "Mads", "Kristian",
    "Ole", "Thomas", "Poul", "Johan", "Knud", "Morten", "Mikkel", "Jakob", "Ib", "Svend", "Frederik", "Laurits",
    "Henrik", "Erik", "Mogens", "Esben", "Asger", "Troels", "Villads", "Bertel", "Holger", "Steffen", "Clemen", "Iver",
)  # fmt: skip
_PATRONYM_SHARE = 0.36
_PLACES = (
    "Nør", "Sønder", "Øster", "Vester", "Lund", "Skov", "Bjerre", "Kjær", "Mose", "Dal", "Holm", "Eng", "Ege", "Bøge",
    "Birke", "Aske", "Hede", "Sten", "Sand", "Bakke", "Høj", "Brønd", "Kilde", "Strand", "Fjeld", "Ravn", "Ulv", "Ørne",
    "Krage", "Hav", "Aa", "Græs", "Rug", "Hvede", "Kirke", "Mølle", "Smede", "Toft", "Vinter", "Nyby", "Gammel", "Over",
    "Neder", "Ring", "Torn", "Lynge", "Bro", "Vad", "Damm", "Løv",
)  # fmt: skip
_ENDINGS = (
    "gaard", "by", "holm", "lund", "dal", "skov", "bjerg", "kjær", "mose", "toft", "rup", "strup", "sted", "borg",
    "vang", "bæk", "høj", "ager", "sø", "næs", "hus", "berg", "mark", "feldt",
)  # fmt: skip
_TRADES = ("Møller", "Schmidt", "Bech", "Winther", "Krogh", "Friis", "Juhl", "Bruun", "Lassen", "Skytte", "Bødker")
_FEMALE = [
    "Anne",
    "Kirsten",
    "Hanne",
    "Mette",
    "Anna",
    "Helle",
    "Susanne",
    "Lene",
    "Maria",
    "Marianne",
    "Inge",
    "Karen",
    "Bente",
    "Camilla",
    "Pia",
    "Louise",
    "Charlotte",
    "Jette",
    "Tina",
    "Gitte",
    "Ida",
    "Julie",
    "Lone",
    "Sofie",
    "Birgitte",
    "Line",
    "Laura",
    "Emma",
    "Maja",
    "Karin",
    "Freja",
    "Clara",
    "Alma",
    "Ella",
    "Asta",
    "Agnes",
    "Olivia",
    "Nanna",
    "Signe",
    "Astrid",
    "Rikke",
    "Trine",
    "Dorthe",
    "Ulla",
    "Vibeke",
    "Tove",
    "Ruth",
    "Gerda",
    "Grethe",
    "Lis",
    "Birthe",
    "Elin",
    "Åse",
    "Søs",
    "Mathilde",
    "Cecilie",
    "Katrine",
    "Sille",
    "Gry",
    "Thea",
    "Vigga",
    "Karla",
    "Merle",
    "Liva",
    "Esther",
    "Ellen",
    "Johanne",
    "Marie",
    "Anne-Marie",
    "Anne-Mette",
    "Rose-Marie",
    "Bodil",
]
_MALE = [
    "Peter",
    "Michael",
    "Lars",
    "Jens",
    "Thomas",
    "Henrik",
    "Søren",
    "Christian",
    "Martin",
    "Jan",
    "Morten",
    "Hans",
    "Jørgen",
    "Niels",
    "Anders",
    "Jesper",
    "Erik",
    "Ole",
    "Per",
    "Mads",
    "Poul",
    "Kim",
    "Rasmus",
    "Simon",
    "Mikkel",
    "Kasper",
    "Jonas",
    "Frederik",
    "Magnus",
    "William",
    "Noah",
    "Oscar",
    "Lucas",
    "Carl",
    "Victor",
    "Emil",
    "Malthe",
    "Alfred",
    "Oliver",
    "Valdemar",
    "August",
    "Elias",
    "Aksel",
    "Felix",
    "Arthur",
    "Theo",
    "Storm",
    "Bjørn",
    "Åge",
    "Kaj",
    "Egon",
    "Svend",
    "Knud",
    "Bent",
    "Flemming",
    "Leif",
    "Finn",
    "Torben",
    "Steen",
    "Claus",
    "Ulrik",
    "Troels",
    "Rune",
    "Esben",
    "Viggo",
    "Holger",
    "Hans-Henrik",
    "Jens-Peter",
    "Karl-Emil",
    "Bo",
    "Ib",
]
_ONSETS = ("b", "d", "f", "g", "h", "k", "l", "m", "n", "r", "s", "t", "z", "sh", "kh", "y", "j")
_VOWELS = ("a", "i", "u", "e", "o")
_CODAS = ("", "n", "r", "d", "m", "sh", "l", "s")
_ROADS = (
    "Birke", "Ege", "Bøge", "Ahorn", "Aske", "Elle", "Pile", "Rønne", "Tjørne", "Hassel", "Lærke", "Solsorte", "Stære",
    "Måge", "Ørne", "Falke", "Ugle", "Svane", "Rose", "Tulipan", "Lilje", "Viol", "Anemone", "Kløver", "Bygmester",
    "Bager", "Smede", "Væver", "Garver", "Møller", "Fisker", "Skipper", "Havne", "Strand", "Klit", "Sø", "Å", "Bro",
    "Kirke", "Kloster", "Skole", "Torve", "Slots", "Volmer", "Absalon", "Harald", "Gorm", "Toke", "Ingeborg", "Dagmar",
    "Jernbane", "Stations", "Industri", "Ting", "Hjorte", "Ræve", "Hare", "Mølle", "Vind", "Sol", "Måne", "Stjerne",
)  # fmt: skip
_KINDS = ("vej", "gade", "allé", "stræde", "vænget", "parken", "bakken", "haven", "torv", "plads", "engen", "lunden")
_BEFORE = ("", "", "", "Gammel ", "Nørre ", "Sønder ", "Store ", "Lille ", "Sankt ", "Kongens ")
ROADS = 2_500
_POSTCODES = (1100, 2100, 2200, 2300, 2400, 2450, 2500, 2700, 2720, 2000)  # by the code's first digit


@dataclass(frozen=True, slots=True)
class Names:
    """Of each person: given names, middle name ("" for none), surname, and the surname of birth."""

    given: Texts
    middle: Texts
    family: Texts
    of_birth: Texts


def draw(people: People, rng: np.random.Generator) -> Names:
    """Name everybody. Depends on the persons, in order, and on `rng`."""
    n = len(people)
    coin = rng.random((n, 6))
    homes = max(people.n_households, 1)
    of_home = rng.random(homes)[np.maximum(people.household, 0)]
    foreign = np.where(people.household == NONE, coin[:, 0], of_home) < 0.12
    born = np.where(foreign, _drawn(_syllables(3_000, 3, rng), n, 8.0, rng), _danish_surnames(n, rng))
    born = _varied(born, coin[:, 1], rng)
    family, middle = born.copy(), np.full(n, "", "U40")
    wed = np.flatnonzero((people.spouse != NONE) & (people.sex == FEMALE))
    wed = wed[(people.civil[wed] == "G") & (coin[wed, 2] < 0.65)]
    family[wed] = born[people.spouse[wed]]
    kept = wed[coin[wed, 3] < 0.5]
    middle[kept] = born[kept]
    is_parent = np.zeros(n, np.bool_)
    for parent in (people.mother, people.father):
        is_parent[parent[parent != NONE]] = True
    child = np.flatnonzero(((people.mother != NONE) | (people.father != NONE)) & ~is_parent)
    mother, father = people.mother[child], people.father[child]
    # What the parents choose they choose once: the coin is the mother's, or the father's if she is unknown.
    chosen = coin[np.where(mother != NONE, mother, father)]
    of_father = (father != NONE) & ((mother == NONE) | (chosen[:, 4] < 0.65))
    family[child] = family[np.where(of_father, father, mother)]
    other = np.where(of_father, mother, father)
    with_other = (other != NONE) & (chosen[:, 5] < 0.45)
    with_other &= family[np.maximum(other, 0)] != family[child]
    middle[child[with_other]] = family[other[with_other]]
    plain = (middle == "") & (coin[:, 3] > 0.65)
    middle[plain] = _danish_surnames(int(plain.sum()), rng)
    middle[middle == family] = ""
    return Names(given_names(people.sex, people.birth, foreign, rng), middle, family, born)


def given_names(sex: Ints, birth: np.ndarray, foreign: Bools, rng: np.random.Generator) -> Texts:
    """Draw given names of the sex and generation; a third have two."""
    n = len(sex)
    generation = np.clip((birth.astype("M8[Y]").astype(np.int64) + 1970 - 1930) // 20, 0, 4)
    rare = {of: _syllables(250, 2, rng) for of in (0, 1)}
    strange = {of: _syllables(700, 2, rng) for of in (0, 1)}

    def once() -> Texts:
        found = np.full(n, "", "U30")
        for is_female, common in ((True, _FEMALE), (False, _MALE)):
            own = (sex == FEMALE) == is_female
            for when in range(5):
                # What is common moves along the list from generation to generation.
                names = [*common[when * 11 :], *common[: when * 11], *rare[int(is_female)]]
                which = np.flatnonzero(own & ~foreign & (generation == when))
                found[which] = _drawn(names, len(which), 6.0, rng)
            which = np.flatnonzero(own & foreign)
            found[which] = _drawn(strange[int(is_female)], len(which), 10.0, rng)
        return found

    first, second = once(), once()
    both = (rng.random(n) < 0.35) & (first != second)
    return np.where(both, np.char.add(np.char.add(first, " "), second), first)


def road_names() -> Texts:
    """Name `ROADS` roads; the same ones always."""
    rng = np.random.default_rng(2_015)
    found: dict[str, None] = {}
    while len(found) < ROADS:
        before, first, kind = (words[int(rng.integers(len(words)))] for words in (_BEFORE, _ROADS, _KINDS))
        found[f"{before}{first}{kind}"] = None
    return np.array(list(found))


def addresses(codes: pl.Series) -> pl.DataFrame:
    """Return `street`, `house_number`, `floor_door`, `postcode` of 18-character address keys; null without one."""
    road = codes.str.slice(4, 4).cast(pl.Int64)
    home = (road > 0) & (road < 9900)
    table = pl.DataFrame(
        {
            "street": pl.Series(road_names()).gather(road // 5 % ROADS),
            "house_number": codes.str.slice(8, 4).str.strip_chars().str.strip_chars_start("0"),
            "floor": codes.str.slice(12, 2).str.to_lowercase().str.strip_chars_start("0"),
            "door": codes.str.slice(14, 4).str.to_lowercase().str.strip_chars(),
            "postcode": (pl.Series(_POSTCODES).gather(road.clip(0, 9_899) // 1000) + road % 4 * 10).cast(pl.String),
        }
    ).with_columns(floor_door=pl.concat_str("floor", "door", separator=" ").str.strip_chars())
    columns = ("street", "house_number", "floor_door", "postcode")
    return table.select(pl.when(pl.lit(home)).then(pl.col(name)).alias(name) for name in columns)


def _danish_surnames(n: int, rng: np.random.Generator) -> Texts:
    patronyms = [f"{name.removesuffix('s') if name[-2] not in 'aeiou' else name}sen" for name in _PATRONYMS]
    places = list(dict.fromkeys([*_TRADES, *(f"{a}{b}" for a in _PLACES for b in _ENDINGS)]))
    order = np.random.default_rng(7).permutation(len(places))
    tail = [places[at] for at in order]
    is_patronym = rng.random(n) < _PATRONYM_SHARE
    return np.where(is_patronym, _drawn(patronyms, n, 1.5, rng), _drawn(tail, n, 12.0, rng))


def _varied(surname: Texts, coin: np.ndarray, rng: np.random.Generator) -> Texts:
    """Put a particle before 1 %, a second name behind a hyphen in 2 %."""
    found = surname.astype("U40")
    particle = np.flatnonzero(coin < 0.01)
    found[particle] = np.char.add(rng.choice(["von ", "de ", "af ", "van der "], len(particle)), found[particle])
    double = np.flatnonzero((coin >= 0.01) & (coin < 0.03))
    found[double] = np.char.add(np.char.add(found[double], "-"), _danish_surnames(len(double), rng))
    return found


def _syllables(count: int, syllables: int, rng: np.random.Generator) -> list[str]:
    found: dict[str, None] = {}
    while len(found) < count:
        parts = [words for _ in range(syllables) for words in (_ONSETS, _VOWELS)] + [_CODAS]
        found["".join(words[int(rng.integers(len(words)))] for words in parts).capitalize()] = None
    return list(found)


def _drawn(words: list[str], n: int, offset: float, rng: np.random.Generator) -> Texts:
    """Draw words, each rank as common as 1 / (rank + offset)."""
    weights = 1 / (np.arange(len(words)) + offset)
    return np.array(words, "U40")[rng.choice(len(words), n, p=weights / weights.sum())]
