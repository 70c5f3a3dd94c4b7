"""cffi: a function of C that calls one of Python's."""

from cffi import FFI

from bg_charm_service import Charm


class CffiSort(Charm):
    """Sorts numbers."""

    numbers: list[int] = []

    def bg_updater(self, event: dict) -> None:
        ffi = FFI()
        ffi.cdef("void qsort(void *, size_t, size_t, int (*)(const void *, const void *));")
        numbers = ffi.new("int[]", [3, 1, 2])

        @ffi.callback("int(const void *, const void *)")
        def compare(one: object, other: object) -> int:
            return ffi.cast("int *", one)[0] - ffi.cast("int *", other)[0]

        ffi.dlopen(None).qsort(numbers, 3, ffi.sizeof("int"), compare)
        self.numbers = list(numbers)
