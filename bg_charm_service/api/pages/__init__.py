"""The admin page: server-rendered, readable without scripts, live with them.

Thin over the same commands as the API. No rule about charms lives here.
"""

from __future__ import annotations

from bg_charm_service.api.pages import (
    add_page,
    assets,
    charm_actions,
    charm_list,
    charm_page,
    items_page,
    notice_page,
    reference,
    service_pages,
    session_page,
    sign_in_page,
)

#: Modules with a `router` each; a fixed path comes before one with a name in it.
PAGES = (
    assets,
    charm_list,
    add_page,
    charm_actions,
    charm_page,
    items_page,
    sign_in_page,
    service_pages,
    session_page,
    notice_page,
    reference,
)
