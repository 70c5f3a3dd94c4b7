"""The settings' command-line options, generated from the settings table.

Only spelling and reading happen here: what a setting means and defaults to is in settings.
The command line gives the parsed parameters to `load_settings` as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import click

from bg_charm_service.daemon.settings import SETTINGS, Setting, quoted


class SettingType(click.ParamType[object]):
    """Reads one setting strictly; what it refuses is a usage error naming flag and value."""

    def __init__(self, setting: Setting) -> None:
        self.name = setting.name
        self._setting = setting

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> object:
        if not isinstance(value, str):
            return value
        try:
            return self._setting.read(value)
        except ValueError as error:
            given = f"{quoted(value)}: " if self._setting.is_quoted else ""
            self.fail(f"{given}{error}", param, ctx)


class SettingOption(click.Option):
    """One setting as an option, shown in help as `--flag=<value>`."""

    def __init__(self, setting: Setting, lines_below: Callable[[], Iterable[str]]) -> None:
        if setting.takes_value:
            super().__init__([setting.name, setting.flag], type=SettingType(setting))
        else:
            super().__init__([setting.name, setting.flag], is_flag=True, default=False)
        self.setting = setting
        self._lines_below = lines_below

    def get_help_record(self, ctx: click.Context) -> tuple[str, str]:
        default = f" (default: {self.setting.default})" if self.setting.default else ""
        lines = [f"{self.setting.help}{default}", *self._lines_below()]
        # click re-wraps a paragraph unless it begins with this mark.
        mark = "\b\n" if len(lines) > 1 else ""
        return self.setting.usage, mark + "\n".join(lines)


def click_options(integrations: Callable[[], Iterable[str]] = tuple) -> list[click.Option]:
    """Give an option for each setting that has a flag, in the order of the table.

    `integrations` is asked for the ids to list only when help is shown.
    """

    def available() -> list[str]:
        names = ", ".join(integrations())
        return [f"Available: {names}"] if names else []

    return [
        SettingOption(setting, available if setting.name == "integration" else list)
        for setting in SETTINGS
        if setting.flag
    ]
