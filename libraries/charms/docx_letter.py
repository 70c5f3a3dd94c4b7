"""python-docx: a letter."""

import io

import docx

from bg_charm_service import Charm


class DocxLetter(Charm):
    """Writes a letter, and counts its paragraphs."""

    paragraphs: int = 0

    def bg_updater(self, event: dict) -> None:
        letter = docx.Document()
        letter.add_heading("Hello")
        letter.add_paragraph("How are you?")
        file = io.BytesIO()
        letter.save(file)
        self.paragraphs = len(docx.Document(file).paragraphs)
