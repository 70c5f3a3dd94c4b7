"""networkx: a shortest path."""

import networkx as nx

from bg_charm_service import Charm


class NetworkxPath(Charm):
    """Finds a way through a grid."""

    steps: int = 0

    def bg_updater(self, event: dict) -> None:
        self.steps = len(nx.shortest_path(nx.grid_2d_graph(20, 20), (0, 0), (19, 19)))
