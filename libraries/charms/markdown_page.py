"""markdown: a page from Markdown."""

import markdown

from bg_charm_service import Charm


class MarkdownPage(Charm):
    """Makes a table."""

    html: str = ""

    def bg_updater(self, event: dict) -> None:
        self.html = markdown.markdown("|a|b|\n|-|-|\n|1|2|", extensions=["tables"])
