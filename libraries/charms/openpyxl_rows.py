"""openpyxl: many rows, written one by one."""

import io

import openpyxl

from bg_charm_service import Charm


class OpenpyxlRows(Charm):
    """Writes a sheet that is never held as a whole."""

    size: int = 0

    def bg_updater(self, event: dict) -> None:
        book = openpyxl.Workbook(write_only=True)
        sheet = book.create_sheet()
        for number in range(1000):
            sheet.append([number, number**2])
        file = io.BytesIO()
        book.save(file)
        self.size = len(file.getvalue())
