"""From what a person set to what the service is made from."""

from __future__ import annotations

from loguru import logger

from bg_charm_service.daemon.notice_settings import notice_rules
from bg_charm_service.daemon.ports import own_ports
from bg_charm_service.daemon.settings import Settings
from bg_charm_service.domain.identity import Identity
from bg_charm_service.domain.limits import Limits
from bg_charm_service.domain.outcomes.policy import FailurePolicy
from bg_charm_service.packages.installer import PackageRules
from bg_charm_service.scanning.charm_list import parse_manual_charms
from bg_charm_service.scanning.discovery import MANUAL_ID
from bg_charm_service.scanning.scanner import ScanLimits
from bg_charm_service.service.bootstrap import ServiceConfig
from bg_charm_service.service.maintenance.backups import BackupPlan
from bg_charm_service.supervisor.fair_share import Caps
from bg_charm_service.supervisor.run_items import ItemQuotas
from bg_charm_service.workers.pool.contract import PoolLimits


def service_config(
    settings: Settings,
    identity: Identity,
    *,
    is_polling: bool,
    next_identity: Identity | None = None,
) -> ServiceConfig:
    """Give the configuration of a service; entries of `--charms` that are no charms are logged."""
    charms, problems = parse_manual_charms(settings.charms)
    for problem in problems:
        logger.bind(event="manual_charm_invalid").warning("{}", problem)
    integrations = [settings.integration]
    if settings.charms and MANUAL_ID not in integrations:
        integrations.append(MANUAL_ID)
    return ServiceConfig(
        data_dir=settings.data_dir,
        identity=identity,
        is_polling=is_polling,
        next_identity=next_identity,
        interval_seconds=settings.interval_seconds,
        min_interval_seconds=settings.min_interval_seconds,
        limits=Limits(
            timeout_seconds=settings.timeout_seconds,
            cpu_seconds=settings.cpu_seconds,
            memory_bytes=settings.worker_memory_bytes,
            open_files=settings.open_files,
            threads=settings.threads,
            processors=settings.processors,
            log_bytes=settings.run_log_bytes,
            state_bytes=settings.state_bytes,
            scratch_bytes=settings.scratch_bytes,
            ports=settings.charm_network,
        ),
        items=ItemQuotas(settings.items_bytes, settings.items_total_bytes),
        sandbox=settings.sandbox,
        closed_ports=own_ports(settings),
        caps=Caps(per_space=settings.max_per_space, per_integration=settings.max_per_integration),
        policy=FailurePolicy(max_retries=settings.max_retries, max_failures=settings.failures),
        pool=PoolLimits(
            max_concurrent=settings.max_concurrent if is_polling else 1,
            max_runs=settings.worker_max_runs,
            max_age_seconds=settings.worker_max_age_seconds,
            memory_bytes=settings.worker_memory_bytes,
            kill_grace_seconds=settings.kill_grace_seconds,
            log_bytes=settings.run_log_bytes,
            isolation=settings.isolation,
        ),
        scans=ScanLimits(
            fetch_seconds=settings.fetch_timeout_seconds,
            scan_seconds=settings.scan_timeout_seconds,
        ),
        history_runs=settings.history_runs,
        history_seconds=settings.history_seconds,
        history_jobs=settings.history_jobs,
        watch_seconds=settings.polling_interval_seconds,
        disabled_retry_seconds=settings.disabled_retry_seconds,
        maintenance_timeout_seconds=settings.maintenance_timeout_seconds,
        integrations=tuple(integrations),
        integrations_dir=settings.integrations_dir,
        manual_charms=tuple(charms),
        backups=BackupPlan(
            every_seconds=settings.backup_every_seconds,
            keep=settings.backup_keep,
            directory=settings.backup_dir,
            hook=settings.backup_hook,
            is_shared=settings.database is not None,
        ),
        token_refresh_seconds=settings.token_refresh_timeout_seconds,
        public_url=settings.api_url,
        notices=notice_rules(settings, is_polling=is_polling),
        hook_url=_hook_url(settings),
        packages=PackageRules(
            index=settings.package_index,
            links=settings.package_links,
            timeout_seconds=settings.package_timeout_seconds,
            lock_bytes=settings.package_bytes,
            space_bytes=settings.package_quota_bytes,
            builds=settings.package_builds,
            allowed=frozenset(settings.package_allow),
        ),
    )


def _hook_url(settings: Settings) -> str:
    """What senders call the listener of hooks; empty where there is none."""
    if settings.hook_listen is None:
        return ""
    return settings.hook_url or f"http://{settings.hook_listen}"
