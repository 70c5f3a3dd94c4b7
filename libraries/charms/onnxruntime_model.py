"""onnxruntime: a model in its own format that is asked.

It says once a worker, in the log, what it could not find out of the machine.
"""

import numpy as np
import onnxruntime

from bg_charm_service import Charm


def _part(number: int, *content: bytes) -> bytes:
    """Write a part of a model: its number, how long it is, and what is in it."""
    whole = b"".join(content)
    return bytes([number << 3 | 2, len(whole)]) + whole


_THREE_NUMBERS = _part(2, _part(1, b"\x08\x01", _part(2, _part(1, b"\x08\x03"))))
_ENDS = ((11, b"x"), (12, b"y"))
_ADD = _part(1, _part(1, b"x"), _part(1, b"x"), _part(2, b"y"), _part(4, b"Add"))
_GRAPH = (_ADD, _part(2, b"sum"), *(_part(n, _part(1, i), _THREE_NUMBERS) for n, i in _ENDS))
_MODEL = b"\x08\x08" + _part(7, *_GRAPH) + _part(8, b"\x10\x0d")


class OnnxruntimeModel(Charm):
    """Adds three numbers to themselves."""

    answer: list[float] = []

    def bg_updater(self, event: dict) -> None:
        session = onnxruntime.InferenceSession(_MODEL, providers=["CPUExecutionProvider"])
        (found,) = session.run(None, {"x": np.ones(3, np.float32)})
        self.answer = found.tolist()
