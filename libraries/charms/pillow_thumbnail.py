"""pillow: a picture made smaller."""

import io

from PIL import Image

from bg_charm_service import Charm


class PillowThumbnail(Charm):
    """Makes a thumbnail."""

    size: list[int] = []

    def bg_updater(self, event: dict) -> None:
        picture = Image.radial_gradient("L")
        picture.thumbnail((64, 64))
        file = io.BytesIO()
        picture.save(file, "JPEG")
        self.size = list(Image.open(io.BytesIO(file.getvalue())).size)
