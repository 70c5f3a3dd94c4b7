"""openpyxl: a workbook written and read.

It imports numpy where that is installed.
"""

import io

import openpyxl

from bg_charm_service import Charm


class OpenpyxlSheet(Charm):
    """Writes a sheet, and reads a cell of it."""

    value: int = 0

    def bg_updater(self, event: dict) -> None:
        book = openpyxl.Workbook()
        for number in range(100):
            book.active.append([number, number**2])
        file = io.BytesIO()
        book.save(file)
        self.value = openpyxl.load_workbook(file).active["B10"].value
