"""opencv-python-headless: edges in a picture."""

import cv2
import numpy as np

from bg_charm_service import Charm


class OpencvEdges(Charm):
    """Finds the edges of a square."""

    edges: int = 0

    def bg_updater(self, event: dict) -> None:
        picture = np.zeros((200, 200), np.uint8)
        cv2.rectangle(picture, (50, 50), (150, 150), 255, -1)
        self.edges = int(np.count_nonzero(cv2.Canny(picture, 50, 150)))
