"""Enumerations that carry what a person sees: a label and a tone."""

from enum import StrEnum
from typing import Literal, Self

Tone = Literal["neutral", "green", "blue", "amber", "red"]


def N_(text: str) -> str:
    """Mark *text* for translation; the view floor translates it when it is shown."""
    return text


class Choice(StrEnum):
    """A value stored as it is written here, with an English label (a msgid) and a tone.

    Declared as ``SIGNED = "signed", N_("Signed"), "blue"``.
    """

    label: str
    tone: Tone

    def __new__(cls, value: str, label: str, tone: Tone = "neutral") -> Self:
        member = str.__new__(cls, value)
        member._value_ = value
        member.label = label
        member.tone = tone
        return member

    @classmethod
    def from_value(cls, value: str) -> Self:
        """The member stored as *value*; ValueError for anything else."""
        return cls._value2member_map_[value] if value in cls._value2member_map_ else cls._unknown(value)  # type: ignore[return-value]

    @classmethod
    def _unknown(cls, value: str) -> Self:
        raise ValueError(f"{value!r} is not one of {', '.join(m.value for m in cls)}")
