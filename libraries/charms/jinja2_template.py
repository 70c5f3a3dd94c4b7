"""jinja2: a text from a template."""

import jinja2

from bg_charm_service import Charm

TEMPLATE = jinja2.Template("{% for n in range(3) %}<li>{{ n }}</li>{% endfor %}")


class Jinja2Template(Charm):
    """Fills a template."""

    text: str = ""

    def bg_updater(self, event: dict) -> None:
        self.text = TEMPLATE.render()
