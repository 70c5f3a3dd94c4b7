"""shapely: areas that overlap."""

from shapely.geometry import Point

from bg_charm_service import Charm


class ShapelyArea(Charm):
    """Measures what two circles share."""

    area: float = 0.0

    def bg_updater(self, event: dict) -> None:
        self.area = Point(0, 0).buffer(1).intersection(Point(1, 0).buffer(1)).area
