"""The entry of the program: `bg-charm-service`, or `python -m bg_charm_service`.

It imports nothing of ours until it is called: importing it does nothing, and costs nothing.
"""

from __future__ import annotations

import gc

#: When Python's collector of cycles looks, by generation: a step of the loop makes thousands of
#: objects that are gone a moment later without it, and looking through them is a third of the step.
#: So does loading, where it is a fourteenth of a start.
_COLLECTOR_THRESHOLDS = (20_000, 50, 100)


def main() -> None:
    """Run the command line; ends the process with its exit code."""
    gc.set_threshold(*_COLLECTOR_THRESHOLDS)
    from bg_charm_service.daemon.start_signals import hold_signals

    # First, because loading all the rest is most of a start.
    hold_signals()
    from bg_charm_service.cli import main as run_command_line

    run_command_line()


if __name__ == "__main__":
    main()
