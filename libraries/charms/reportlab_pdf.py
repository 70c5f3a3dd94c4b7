"""reportlab: a PDF."""

import io

from reportlab.pdfgen import canvas

from bg_charm_service import Charm


class ReportlabPdf(Charm):
    """Writes a page."""

    size: int = 0

    def bg_updater(self, event: dict) -> None:
        file = io.BytesIO()
        page = canvas.Canvas(file)
        page.drawString(100, 750, "Hello")
        page.save()
        self.size = len(file.getvalue())
