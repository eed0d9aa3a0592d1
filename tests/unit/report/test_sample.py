from __future__ import annotations

import hashlib

from kinlink.report.sample import draw

ROOT = "ab" * 32


def test_draw_is_what_its_docstring_says() -> None:
    def ticket(index: int) -> bytes:
        text = f"kinlink dpo sample v1\n2026-10\nkinlink.test/linker\n{ROOT}\n{index}\n"
        return hashlib.sha256(text.encode()).digest()

    expected = sorted(sorted(range(100, 400), key=ticket)[:10])
    assert draw(range(100, 400), "2026-10", "kinlink.test/linker", ROOT.upper()) == expected
    assert draw(reversed(range(100, 400)), "2026-10", "kinlink.test/linker", ROOT) == expected


def test_draw_depends_on_month_log_and_root() -> None:
    drawn = {
        tuple(draw(range(1000), month, origin, root))
        for month in ("2026-10", "2026-11")
        for origin in ("kinlink.test/linker", "kinlink.test/pseudonymizer")
        for root in (ROOT, "cd" * 32)
    }
    assert len(drawn) == 8


def test_every_entry_has_the_same_chance() -> None:
    hits = [0] * 50
    for number in range(400):
        for index in draw(range(50), "2026-10", "kinlink.test/linker", f"{number:064x}"):
            hits[index] += 1
    assert sum(hits) == 4000
    assert min(hits) > 45  # 80 expected each, standard deviation 8
    assert max(hits) < 115


def test_few_entries_are_all_drawn() -> None:
    assert draw([7, 3], "2026-10", "kinlink.test/linker", ROOT) == [3, 7]
    assert draw([], "2026-10", "kinlink.test/linker", ROOT) == []
