"""The sandbox: what a worker cannot do once its walls are up.

Knows nothing of charms, runs or the pool. `probe` is for the service, a `WallPlan` for whoever
forks workers, `allow_ports` for a worker, `folder_around` for whoever chooses the data directory,
`may_read` for whoever explains what was refused.
"""

from bg_charm_service.workers.sandbox.readable import folder_around as folder_around
from bg_charm_service.workers.sandbox.readable import may_read as may_read
from bg_charm_service.workers.sandbox.readable import name_files as name_files
from bg_charm_service.workers.sandbox.trial import probe as probe
from bg_charm_service.workers.sandbox.walls import Wall as Wall
from bg_charm_service.workers.sandbox.walls import WallPlan as WallPlan
from bg_charm_service.workers.sandbox.walls import allow_ports as allow_ports
from bg_charm_service.workers.sandbox.walls import prepare as prepare
from bg_charm_service.workers.sandbox.walls import raise_walls as raise_walls
