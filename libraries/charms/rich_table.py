"""rich: a table in the log."""

from rich.console import Console
from rich.table import Table

from bg_charm_service import Charm


class RichTable(Charm):
    """Prints a table."""

    rows: int = 0

    def bg_updater(self, event: dict) -> None:
        table = Table("name", "number")
        table.add_row("first", "1")
        Console().print(table)
        self.rows = table.row_count
