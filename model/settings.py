"""Frozen settings to JSON and back, every name and value checked. Loads no torch.

In: a dataclass of settings (a `Settings` subclass, possibly of further ones), or a job's JSON.
Out: the JSON form that enters a model's fingerprint, or the dataclass built from it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, fields, is_dataclass
from typing import Any, ClassVar, Self, get_args, get_origin, get_type_hints

from model.train.errors import RecipeError


class ConfigError(RecipeError, ValueError):
    """A setting does not exist or has a value that cannot work."""


class Settings:
    """Base of frozen dataclasses whose fields are plain values, tuples of them, or dataclasses."""

    __slots__ = ()
    section: ClassVar[str]
    """Name that messages give before that of a setting."""

    def as_json(self) -> dict[str, Any]:
        """Return nested dictionaries of plain values (tuples become lists)."""
        return {name: _plain(value) for name, value in asdict(self).items()}  # type: ignore[call-overload]

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Return the settings; what is not named keeps its default.

        Raises
        ------
        ConfigError
            A name that is not a setting, or a value of the wrong type or out of range.
        """
        return _read(cls, value, cls.section)

    def require_at_least(self, least: float, *names: str) -> None:
        """Raise ConfigError for a setting that is smaller."""
        for name in names:
            if getattr(self, name) < least:
                raise ConfigError(
                    f"{self.section}.{name}={getattr(self, name)}: must be at least {least}"
                )

    def require_one_of(self, name: str, allowed: tuple[str, ...]) -> None:
        """Raise ConfigError for a setting that has another value."""
        if getattr(self, name) not in allowed:
            raise ConfigError(
                f"{self.section}.{name}={getattr(self, name)!r}: expected one of {list(allowed)}"
            )


def settings_of_text(text: str, name: str = "--set") -> dict[str, Any]:
    """Return the settings that a command line gives as a JSON object; messages call it `name`.

    Raises
    ------
    ConfigError
        The text is not JSON, or no object.
    """
    try:
        values = json.loads(text)
    except json.JSONDecodeError as error:
        raise ConfigError(f"{name} {text!r}: not JSON: {error}") from error
    if not isinstance(values, dict):
        raise ConfigError(f'{name} {text!r}: expected a JSON object such as {{"max_steps": 100}}')
    return values


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(inner) for name, inner in value.items()}
    return list(value) if isinstance(value, tuple) else value


def _read(cls: Any, value: Any, where: str) -> Any:
    """Build the dataclass `cls`; `where` is the dotted name for messages."""
    if not isinstance(value, Mapping):
        raise ConfigError(f"{where}: expected a mapping, got {value!r}")
    hints = get_type_hints(cls)
    known = sorted(item.name for item in fields(cls))
    if unknown := sorted(set(value) - set(known)):
        raise ConfigError(f"{where}: no setting {unknown}; known: {known}")
    read = {name: _value(hints[name], given, f"{where}.{name}") for name, given in value.items()}
    try:
        return cls(**read)
    except ConfigError:
        raise
    except ValueError as error:
        raise ConfigError(f"{where}: {error}") from error


def _value(hint: Any, given: Any, where: str) -> Any:
    if is_dataclass(hint):
        return _read(hint, given, where)
    if get_origin(hint) is tuple:
        inner = get_args(hint)[0]
        if not isinstance(given, list | tuple):
            raise ConfigError(f"{where}: expected a list, got {given!r}")
        return tuple(_value(inner, item, where) for item in given)
    if hint in (int, float, bool, str):
        if type(given) is not hint and not (hint is float and type(given) is int):
            raise ConfigError(f"{where}: expected {hint.__name__}, got {given!r}")
        return hint(given)
    if given not in get_args(hint):
        raise ConfigError(f"{where}: expected one of {list(get_args(hint))}, got {given!r}")
    return given
