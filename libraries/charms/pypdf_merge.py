"""pypdf: pages put together."""

import io

from pypdf import PdfReader, PdfWriter

from bg_charm_service import Charm


class PypdfMerge(Charm):
    """Makes a file of three pages."""

    pages: int = 0

    def bg_updater(self, event: dict) -> None:
        writer, file = PdfWriter(), io.BytesIO()
        for _ in range(3):
            writer.add_blank_page(width=200, height=200)
        writer.write(file)
        self.pages = len(PdfReader(file).pages)
