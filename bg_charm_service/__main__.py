"""The entry of the program: `bg-charm-service`, or `python -m bg_charm_service`.

It imports nothing until it is called, so that importing this module costs nothing and does nothing.
"""

from __future__ import annotations


def main() -> None:
    """Run the command line; ends the process with its exit code."""
    from bg_charm_service.daemon.start_signals import hold_signals

    # First, because loading all the rest is most of a start.
    hold_signals()
    from bg_charm_service.cli import main as run_command_line

    run_command_line()


if __name__ == "__main__":
    main()
