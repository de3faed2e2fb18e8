"""A matplotlib figure that a notebook shows, whether or not pyplot was ever imported."""

from io import BytesIO

from matplotlib.figure import Figure


class Picture(Figure):
    """A figure with its PNG."""

    def _repr_png_(self) -> bytes:
        buffer = BytesIO()
        self.savefig(buffer, format="png")
        return buffer.getvalue()
