"""joblib: work in threads, and a result kept in a file.

It says once a worker that it works serially: processes cannot start here. Threads do.
"""

import joblib

from bg_charm_service import Charm


class JoblibThreads(Charm):
    """Works roots out."""

    total: float = 0.0

    def bg_updater(self, event: dict) -> None:
        roots = joblib.Parallel(n_jobs=2, prefer="threads")(
            joblib.delayed(pow)(number, 0.5) for number in range(10)
        )
        joblib.dump(roots, "roots.joblib")
        self.total = sum(joblib.load("roots.joblib"))
