"""Instruments from TOML files: how a house gets the scales it starts with."""

import tomllib
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import select
from sqlalchemy.orm import Session

from .base import Model
from .fields import field
from .instruments import (
    Instrument,
    InstrumentAdjustment,
    InstrumentBand,
    InstrumentItem,
    InstrumentOption,
    InstrumentSection,
)

AnyModel = TypeVar("AnyModel", bound=Model)

_NESTED = {"sections", "items", "options", "bands", "adjustments", "level"}


def load_instruments(session: Session, folder: Path) -> int:
    """Put the instruments of *folder* in use that are not there yet, one per TOML file, and return how many.

    A code and edition already there is left alone, whatever became of it.
    """
    every = {"unscoped": "what is there already"}
    known = {
        tuple(row) for row in session.execute(select(Instrument.code, Instrument.edition), execution_options=every)
    }
    loaded = 0
    for path in sorted(folder.glob("*.toml")):
        told = tomllib.loads(path.read_text(encoding="utf-8"))
        if (told["code"], told["edition"]) not in known:
            instrument = _instrument(told)
            session.add(instrument)
            session.flush()
            instrument.put_in_use()
            loaded += 1
    return loaded


def _instrument(told: dict[str, Any]) -> Instrument:
    instrument = _record(Instrument, told)
    bands = {b["code"]: _record(InstrumentBand, b, instrument=instrument) for b in told.get("bands", ())}
    for adjustment in told.get("adjustments", ()):
        level = bands[adjustment["level"]] if "level" in adjustment else None
        _record(InstrumentAdjustment, adjustment, instrument=instrument, level=level)
    position = 0
    for number, part in enumerate(told["sections"]):
        section = _record(InstrumentSection, part, instrument=instrument, position=number + 1)
        for asked in part["items"]:
            position += 1
            item = _record(InstrumentItem, asked, section=section, position=position)
            for place, option in enumerate(asked.get("options", ())):
                _record(InstrumentOption, {"code": str(option.get("score")), **option}, item=item, position=place + 1)
    return instrument


def _record(model: type[AnyModel], told: Mapping[str, Any], **links: Any) -> AnyModel:
    """A record of *model* with the plain values of one TOML table; an unknown name raises KeyError."""
    plain: dict[str, Any] = {}
    for name, value in told.items():
        if name in _NESTED:
            continue
        found = field(model, name)
        if found.choices is not None:
            value = found.choices.from_value(value)
        plain[name] = Decimal(str(value)) if found.scale is not None else value
    return model(**plain, **links)
