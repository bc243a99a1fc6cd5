"""Believable people who do not exist: names, identity numbers, telephones, addresses."""

import tomllib
from datetime import date, timedelta
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from random import Random
from typing import Any

from ..values import with_check_digit

_PREFIXES = ("133", "135", "136", "137", "138", "139", "150", "151", "158", "159", "177", "180", "186", "188", "189")


class Names:
    """Draws people from the word lists of ``names.toml``; the same *rng* gives the same people."""

    def __init__(self, path: Path, rng: Random) -> None:
        self.words: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
        self.rng = rng
        self._ids: set[str] = set()
        self._phones: set[str] = set()

    @cached_property
    def _surnames(self) -> tuple[list[str], list[int]]:
        shares = self.words["surnames"]
        return list(shares), list(accumulate(shares.values()))

    def surname(self) -> str:
        names, bounds = self._surnames
        return self.rng.choices(names, cum_weights=bounds)[0]

    def given(self, kind: str) -> str:
        """A given name of one list: young_women, young_men, old_women, old_men, babies."""
        return str(self.rng.choice(self.words["given"][kind]))

    def person(self, kind: str) -> str:
        return self.surname() + self.given(kind)

    def phone(self) -> str:
        """A mobile number nobody was given before."""
        while (number := f"{self.rng.choice(_PREFIXES)}{self.rng.randrange(10**8):08d}") in self._phones:
            pass
        self._phones.add(number)
        return number

    def identity(self, branch: str, born: date, *, male: bool) -> str:
        """A sound resident identity number that nobody was given before."""
        while True:
            area = self.rng.choice(self.words["places"][branch]["areas"])
            number = with_check_digit(f"{area}{born:%Y%m%d}{2 * self.rng.randrange(1, 499) + male:03d}")
            if number not in self._ids:
                self._ids.add(number)
                return number

    def keep(self, id_number: str | None) -> None:
        """Never give out the number of somebody real to the house."""
        if id_number is not None:
            self._ids.add(id_number)

    def address(self, branch: str) -> str:
        place = self.words["places"][branch]
        street = self.rng.choice(place["streets"])
        lane, block, flat = self.rng.randrange(1, 1200), self.rng.randrange(1, 28), self.rng.randrange(101, 2404)
        return f"{place['city']}{street}{lane}弄{block}号{flat}室"

    def birthday(self, on: date, youngest: int, oldest: int) -> date:
        """A birth date that makes somebody *youngest* to *oldest* years old on the day *on*."""
        days = self.rng.randrange(int(youngest * 365.25), int((oldest + 1) * 365.25))
        return on - timedelta(days=days)
