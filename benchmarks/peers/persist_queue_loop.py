"""A loop that puts, gets and acks with stock persist-queue: `python -m …persist_queue_loop FOLDER`.

Writes how often it did into FOLDER/count, as eight bytes.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from persistqueue import SQLiteAckQueue

#: Acked rows are kept until somebody clears them; every search for the next row walks over them.
CLEAR_EVERY = 1000


def main(folder: Path) -> None:
    """Count until somebody ends this process."""
    queue = SQLiteAckQueue(str(folder / "queue"))
    told = os.open(folder / "count", os.O_RDWR)
    counter = 0
    while True:
        queue.put({"counter": counter})
        task = queue.get()
        counter = task["counter"] + 1
        queue.ack(task)
        if counter % CLEAR_EVERY == 0:
            queue.clear_acked_data(max_delete=CLEAR_EVERY, keep_latest=0)
        os.pwrite(told, counter.to_bytes(8, "little"), 0)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
