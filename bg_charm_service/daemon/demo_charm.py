"""The charm that a new directory gets with --demo, so that there is something to see.

Called by the daemon.
"""

from __future__ import annotations

from loguru import logger

from bg_charm_service.domain.identity import SYSTEM_SPACE_NAME, space_did
from bg_charm_service.domain.package_folder import CHARMS_FOLDER
from bg_charm_service.domain.views import NewCharm
from bg_charm_service.service.bootstrap import Service


async def add_demo(service: Service) -> None:
    """On a store without charms of its own, add the counter charm in space `demo`, registered."""
    if service.parts.store.charms.count_outside(space_did(SYSTEM_SPACE_NAME)):
        return
    added = await service.commands.charms.add(
        NewCharm(
            source=(CHARMS_FOLDER / "counter.py").read_text(),
            file_name="counter.py",
            space="demo",
            class_name=None,
            values={},
            links={},
            writable_links={},
            cause=None,
            register=True,
            integration="manual",
        )
    )
    logger.bind(event="demo").info(
        "Added the counter charm {}/{} in space demo, so that there is something to see",
        added.space,
        added.charm_id,
    )
