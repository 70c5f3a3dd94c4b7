"""What authors of integrations import: a public path; the code is `scanning.integration`."""

from bg_charm_service.scanning.integration import SYSTEM_SPACE as SYSTEM_SPACE
from bg_charm_service.scanning.integration import CellAccess as CellAccess
from bg_charm_service.scanning.integration import CellAddress as CellAddress
from bg_charm_service.scanning.integration import CellIntegration as CellIntegration
from bg_charm_service.scanning.integration import Integration as Integration
from bg_charm_service.scanning.integration import IntegrationCellConfig as IntegrationCellConfig
from bg_charm_service.scanning.integration import NotInitialised as NotInitialised
from bg_charm_service.scanning.integration import cell_access as cell_access
from bg_charm_service.scanning.integration import charm_source as charm_source
from bg_charm_service.scanning.integration import has_all as has_all
from bg_charm_service.scanning.integration import has_updater as has_updater
from bg_charm_service.scanning.integration import initialize_cell as initialize_cell
from bg_charm_service.scanning.integration import read_cell as read_cell
