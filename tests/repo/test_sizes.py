"""What is kept small on purpose."""

from pathlib import Path

SOURCES = Path(__file__).resolve().parents[2] / "src" / "_fastpath"
TENDER_MAX = 800  # lines


def test_the_tender_can_be_read_in_one_sitting() -> None:
    """It stands between a hostile guest and the host; docs/adr/0003 says what is counted."""
    files = [*sorted(SOURCES.glob("spt*.c")), SOURCES / "elf.c"]
    counts = {path.name: len(path.read_text().splitlines()) for path in files}

    assert len(counts) > 1
    assert sum(counts.values()) < TENDER_MAX, counts
