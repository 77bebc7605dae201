"""Drawing: one plane of the patient in a box of a canvas, with all that a reader needs to know where it is.

Everything is drawn with Pillow and the font that it brings: the same arrays make the same pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageFont

from node.findings import Picture

Color = tuple[int, int, int]
Layer = npt.NDArray[Any]

WHITE, GREY, AMBER, CYAN, GREEN, BLACK = (
    (255, 255, 255), (165, 165, 165), (255, 200, 0), (0, 255, 255), (120, 230, 120), (0, 0, 0),
)  # fmt: skip
_LETTERS = ("LR", "PA", "HF")  # of the axes of LPS, PS3.3 C.7.6.1.1.1
_SCALE_BARS_MM = (100, 50, 20, 10)
_HEAT = ((0, 0, 4), (66, 10, 104), (147, 38, 103), (221, 81, 58), (252, 165, 10), (252, 255, 164))  # as "inferno"
_OPACITY = 0.8  # of the colours over the muscle; chosen
_FLAT = 150  # pixels; a picture of less (few slices, seen from the front) has no room for bars, but room around it


@cache
def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Return the font that Pillow brings."""
    return ImageFont.load_default(size)


@dataclass(frozen=True, slots=True)
class Window:
    """Which signal is black, and which is white."""

    low: float
    high: float

    @classmethod
    def of(cls, *layers: Layer, darkest: float = 1.0) -> "Window":
        """Return the window that shows all of `layers` alike; `darkest` is the percentile of black."""
        values = np.concatenate([np.asarray(layer, np.float32).ravel() for layer in layers])
        low, high = np.percentile(values[np.isfinite(values)], (darkest, 99.7))  # chosen
        return cls(float(low), float(high if high > low else low + 1))

    def apply(self, layer: Layer) -> npt.NDArray[np.float32]:
        """Return the layer from 0 to 1."""
        scaled: npt.NDArray[np.float32] = ((np.asarray(layer, np.float32) - self.low) / (self.high - self.low)).clip(
            0, 1
        )
        return scaled

    def __str__(self) -> str:
        return f"W {_number(self.high - self.low)}  L {_number((self.high + self.low) / 2)}"


class Panel:
    """A picture fitted into a box of a canvas.

    Parameters
    ----------
    canvas : Image
        RGB.
    box : tuple of int
        Left, top, width and height on the canvas, in pixels.
    """

    def __init__(self, canvas: Image.Image, box: tuple[int, int, int, int], picture: Picture, title: str) -> None:
        self._canvas, self._box, self._picture = canvas, box, picture
        self._pen = ImageDraw.Draw(canvas)
        rows, columns = next(iter(picture.layers.values())).shape
        self._step_mm = tuple(float(np.linalg.norm(one)) for one in (picture.down_mm, picture.right_mm))
        height_mm, width_mm = rows * self._step_mm[0], columns * self._step_mm[1]
        left, top, width, height = box
        self._pixels_per_mm = min((width - 56) / width_mm, (height - 40) / height_mm)  # room for letters and title
        self._size = (max(1, round(width_mm * self._pixels_per_mm)), max(1, round(height_mm * self._pixels_per_mm)))
        self._corner = (left + (width - self._size[0]) // 2, top + 32 + (height - 36 - self._size[1]) // 2)
        self._pen.text((left + 8, top + 4), title, WHITE, font(20))

    def at(self, point_mm: Sequence[float]) -> tuple[float, float]:
        """Return where a point of the patient lies on the canvas."""
        offset = np.subtract(point_mm, self._picture.origin_mm)
        places = [
            float(offset @ np.asarray(along)) / step**2 + 0.5
            for along, step in zip((self._picture.right_mm, self._picture.down_mm), self._step_mm[::-1], strict=True)
        ]
        return tuple(
            corner + place * step * self._pixels_per_mm
            for corner, place, step in zip(self._corner, places, self._step_mm[::-1], strict=True)
        )

    def show(self, layer: str, window: Window) -> None:
        """Draw a signal in grey."""
        grey = Image.fromarray((255 * window.apply(self._picture.layers[layer])).astype(np.uint8))
        self._canvas.paste(grey.resize(self._size, Image.Resampling.BICUBIC).convert("RGB"), self._corner)
        self._note(str(window))

    def heat(self, layer: str, top: float) -> None:
        """Draw a map in percent over the signal, and its bar from 0 to `top`."""
        values = np.asarray(self._picture.layers[layer], np.float32)
        there = np.isfinite(values)
        weight = self._resized(there.astype(np.float32))
        smooth = self._resized(np.where(there, values, 0).astype(np.float32)) / weight.clip(1e-3)
        colours = _heat(smooth / top)
        mask = Image.fromarray((255 * _OPACITY * (weight >= 0.5)).astype(np.uint8))
        self._canvas.paste(Image.fromarray(colours), self._corner, mask)
        self._bar(top)

    def outline(self, mask: Layer, color: Color, width: int = 2) -> None:
        """Draw the border of a region."""
        region = Image.fromarray((255 * (self._resized((mask > 0).astype(np.float32)) >= 0.5)).astype(np.uint8))
        grown = region.filter(ImageFilter.MaxFilter(2 * width - 1)) if width > 1 else region
        border = ImageChops.subtract(grown, region.filter(ImageFilter.MinFilter(3)))
        self._canvas.paste(
            color, (*self._corner, *(a + b for a, b in zip(self._corner, self._size, strict=True))), border
        )

    def brackets(self, mask: Layer, color: Color) -> None:
        """Draw four corners around a region, which leave it to be seen."""
        rows, columns = (np.nonzero((mask > 0).any(axis=axis))[0] for axis in (1, 0))
        if not rows.size:
            return
        y_step, x_step = (step * self._pixels_per_mm for step in self._step_mm)
        left, right = self._corner[0] + columns[0] * x_step - 8, self._corner[0] + (columns[-1] + 1) * x_step + 8
        top, bottom = self._corner[1] + rows[0] * y_step - 8, self._corner[1] + (rows[-1] + 1) * y_step + 8
        for x, inward in ((left, 12), (right, -12)):
            for y, down in ((top, 12), (bottom, -12)):
                self._pen.line([(x + inward, y), (x, y), (x, y + down)], color, 2)

    def ring(self, point_mm: Sequence[float], radius_mm: float, name: str, color: Color) -> None:
        """Draw a circle around a point of the patient, and its name on the outer side: letters stand in the middle."""
        x, y = self.at(point_mm)
        r = max(8.0, radius_mm * self._pixels_per_mm)
        self._pen.ellipse((x - r, y - r, x + r, y + r), outline=color, width=2)
        outward = r + 2 if x >= self._corner[0] + self._size[0] / 2 else -r - 2 - font(18).getlength(name)
        self._label((x + outward, y - r - 8), name, color)

    def level(self, point_mm: Sequence[float], name: str) -> None:
        """Write a level at its height, at the border of the picture."""
        _x, y = self.at(point_mm)
        if self._corner[1] <= y <= self._corner[1] + self._size[1]:
            self._label((self._corner[0] + 4, y - 9), name, AMBER)

    def line(self, point_mm: Sequence[float]) -> None:
        """Draw the height of a slice as a broken line."""
        _x, y = self.at(point_mm)
        for x in range(self._corner[0], self._corner[0] + self._size[0], 14):
            self._pen.line([(x, y), (x + 6, y)], CYAN, 1)

    def marks(self) -> None:
        """Draw what tells sides and size: letters at all four edges, and a scale bar."""
        right, down = (_letters(vector) for vector in (self._picture.right_mm, self._picture.down_mm))
        x, y = self._corner
        width, height = self._size
        self._label((max(self._box[0] + 4, x - 24), y + height / 2 - 14), right[1], WHITE, 26)
        self._label((min(self._box[0] + self._box[2] - 24, x + width + 6), y + height / 2 - 14), right[0], WHITE, 26)
        self._label((x + width / 2 - 6, y + 2), down[1], WHITE)
        self._label((x + width / 2 - 6, y + height - 24), down[0], WHITE)
        wide_mm = width / self._pixels_per_mm
        bar_mm = next((one for one in _SCALE_BARS_MM if one < 0.4 * wide_mm), _SCALE_BARS_MM[-1])
        start, end = x + width - 10 - bar_mm * self._pixels_per_mm, x + width - 10
        level = y + height + (30 if height < _FLAT else -10)
        self._pen.line([(start, level), (end, level)], WHITE, 3)
        for tick in (start, end):
            self._pen.line([(tick, level - 6), (tick, level + 6)], WHITE, 2)
        self._label((start + 4, level - 26), f"{bar_mm} mm", WHITE, 18)

    def _resized(self, layer: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        large: npt.NDArray[np.float32] = np.asarray(
            Image.fromarray(layer).resize(self._size, Image.Resampling.BILINEAR), np.float32
        )
        return large

    def _bar(self, top: float) -> None:
        """Draw the bar where it covers nothing: beside a narrow picture, above a flat one; otherwise in its corner."""
        x, y = self._corner[0] + self._size[0], self._corner[1]
        x += 88 if self._box[0] + self._box[2] - x >= 110 else -22
        if self._size[1] < _FLAT:
            length = max(20, min(100, y - self._box[1] - 60))
            y -= length + 14
        else:
            length = min(160, self._size[1] - 90)
            y += 36
        ramp = _heat(np.repeat(np.linspace(1, 0, length, dtype=np.float32)[:, None], 14, axis=1))
        self._canvas.paste(Image.fromarray(ramp), (x, y))
        self._pen.rectangle((x - 1, y - 1, x + 14, y + length), outline=WHITE)
        for share in (0.0, 0.5, 1.0):
            text = f"{share * top:.0f} %"
            self._label((x - 8 - font(16).getlength(text), y + (1 - share) * length - 9), text, WHITE, 16)

    def _note(self, text: str) -> None:
        x = self._box[0] + self._box[2] - 8 - font(16).getlength(text)
        self._pen.text((x, self._box[1] + 8), text, GREY, font(16))

    def _label(self, place: tuple[float, float], text: str, color: Color, size: int = 18) -> None:
        self._pen.text(place, text, color, font(size), stroke_width=2, stroke_fill=BLACK)


def wrapped(text: str, size: int, width: int, most: int) -> list[str]:
    """Return a text in at most so many lines of that width in pixels; what does not fit ends in dots."""
    if most <= 0:
        return []
    lines: list[str] = []
    line = ""
    for word in text.split():
        longer = f"{line} {word}".strip()
        if line and font(size).getlength(longer) > width:
            lines.append(line)
            longer = word
        line = longer
    lines.append(line)
    return lines if len(lines) <= most else [*lines[: most - 1], f"{lines[most - 1]} ..."]


def _number(value: float) -> str:
    """Return a signal in a few characters: scanners write thousands, or fractions of one."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _letters(vector: Sequence[float]) -> str:
    """Return the letter of the side that a direction points to, and that of the other one."""
    axis = int(np.argmax(np.abs(vector)))
    return _LETTERS[axis] if vector[axis] > 0 else _LETTERS[axis][::-1]


def _heat(shares: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    """Return the colours of values from 0 to 1, shape (rows, columns, 3)."""
    stops = np.linspace(0, 1, len(_HEAT))
    channels = [np.interp(shares, stops, [one[channel] for one in _HEAT]) for channel in range(3)]
    return np.stack(channels, axis=-1).astype(np.uint8)
