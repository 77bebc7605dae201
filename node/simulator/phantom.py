"""The digital phantom of the lumbar spine: formulas that say which tissue lies where.

Body coordinates are LPS millimetres with the origin in the middle of the third lumbar vertebral body. Being
formulas, the phantom can be sampled on any grid, in any orientation, of a patient who moved. Sizes follow the
morphometry of docs/analysis.md where it has them (multifidus, erector spinae, psoas); the rest is drawn to look
right. Left and right differ slightly on purpose: a mirrored image must not pass for a correct one.
"""

from collections.abc import Sequence

import numpy as np

from node.simulator.canvas import (
    ENDLESS,
    Canvas,
    Mask,
    Point,
    Shape,
    block,
    column,
    ellipsoid,
    superellipse,
    tube,
    winding,
)
from node.simulator.physics import Image, SmoothField
from node.simulator.tissues import Label

PITCH_MM = 36.0  # from one lumbar vertebra to the next
_HALF_DISC_MM = 4.5
_LEVELS_MM = tuple(level * PITCH_MM for level in range(-5, 6))
_SIDES = (1.0, -1.0)  # left and right: the sign of x
_MUSCLES = (Label.LEFT_MUSCLE, Label.RIGHT_MUSCLE)
_PLEXUS_SWING_MM, _PLEXUS_WAVE_MM = 1.5, 70.0


def paint_phantom(canvas: Canvas, streaks: SmoothField, *, muscle_fat: float) -> None:
    """Paint the phantom; `muscle_fat` is the share of the posterior muscles that streaks of fat replace."""
    _paint_trunk(canvas)
    _paint_organs(canvas)
    spine = canvas.bent(_curve_of_spine, at_most_mm=10)
    _paint_muscles(spine)
    _paint_streaks(spine, streaks, muscle_fat)
    levels = [z0 for z0 in _LEVELS_MM if spine.box((-60, -30, z0 - 30), (60, 70, z0 + 30))]
    for z0 in levels:
        _paint_vertebra(spine, z0)
    _paint_canal(spine, levels)
    _paint_great_vessels(spine)
    for side in _SIDES:
        _paint_plexus(spine, side, levels)


def _curve_of_spine(z: Image) -> tuple[Image, Image]:
    """Return how far the spine deviates along x and y at a height: slightly scoliotic, lordotic."""
    return np.float32(1.8) * np.sin(z / np.float32(60)), np.float32(5e-4) * z**2


def plexus_mm(side: float, z: float) -> Point:
    """Return where the ascending lumbar vein of a side (1 left, -1 right) passes the height `z`."""
    return side * 25 + _PLEXUS_SWING_MM * float(np.sin(2 * np.pi * z / _PLEXUS_WAVE_MM + side)), 13.0, z


# ---------------------------------------------------------------- trunk


def _trunk(skin_mm: float) -> Shape:
    """Return the body less a skin, with the furrow of the back."""

    def inside(x: Image, y: Image, z: Image) -> Mask:
        section = superellipse(x / (152 - skin_mm), (y + 25) / (104 - skin_mm)) < 1
        within: Mask = section & (y < 77 - skin_mm - 6 * np.exp(-((x / 16) ** 2))) & (z > -ENDLESS)
        return within

    return Shape((-152, -129, -ENDLESS), (152, 79, ENDLESS), inside)


def _paint_trunk(canvas: Canvas) -> None:
    canvas.paint(Label.SKIN, _trunk(0.0))
    canvas.paint(Label.FAT, _trunk(1.8))
    canvas.paint(Label.OTHER_MUSCLE, column((0, -34), (134, 78)))  # the abdominal wall: two layers, fat between
    canvas.paint(Label.FAT, column((0, -33), (127, 73)))
    canvas.paint(Label.OTHER_MUSCLE, column((0, -33), (126, 72)))
    canvas.paint(Label.FAT, column((0, -31), (119, 67)))
    canvas.paint(Label.FAT, block((-70, 8, -ENDLESS), (70, 60, ENDLESS)))  # it ends beside the spine
    canvas.paint(Label.FAT, ellipsoid((0, -108, 0), (3, 9, ENDLESS)))  # the white line between the recti


def _paint_organs(canvas: Canvas) -> None:
    canvas.paint(Label.LIVER, ellipsoid((-76, -48, 82), (42, 46, 86)))
    canvas.paint(Label.LIVER, ellipsoid((92, -26, 84), (21, 30, 44)))  # the spleen, near enough
    for side, z0 in zip(_SIDES, (42.0, 26.0), strict=True):  # the right kidney lies lower
        canvas.paint(Label.KIDNEY, ellipsoid((side * 70, -16, z0), (25, 27, 54)))
        canvas.paint(Label.FAT, ellipsoid((side * 54, -22, z0), (17, 9, 26)))  # its sinus
        canvas.paint(Label.FLUID, ellipsoid((side * 58, -21, z0), (8, 4.5, 16)))
    loops = ((-62, -84), (-38, -92), (-10, -86), (18, -93), (44, -84), (68, -80), (-46, -66), (2, -64), (34, -62))
    for number, (x0, y0) in enumerate(loops):
        size = 9.0 + 1.5 * (number % 3)
        loop = winding((x0, y0), size, swing_mm=(9, 6), wave_mm=90, phase=2.1 * number, z_mm=(-ENDLESS, 70))
        canvas.paint(Label.BOWEL, loop, only=(Label.FAT,))
    for centre, radius, top in (((-97.0, -44.0), 18.0, 12.0), ((98.0, -40.0), 12.0, ENDLESS)):  # colon, right and left
        canvas.paint(Label.BOWEL, winding(centre, radius, swing_mm=(4, 3), wave_mm=100, z_mm=(-ENDLESS, top)))
        canvas.paint(Label.AIR, ellipsoid((centre[0], centre[1] - 4, -18), (radius / 2, radius / 2.5, 30)))
    canvas.paint(Label.AIR, ellipsoid((-34, -95, 6), (8, 5, 22)))


# ---------------------------------------------------------------- muscles


def _paint_muscles(canvas: Canvas) -> None:
    for side, label, size in zip(_SIDES, _MUSCLES, (1.0, 0.96), strict=True):
        canvas.paint(Label.OTHER_MUSCLE, column((side * 37, 1), (15, 17), taper=-0.35))  # psoas
        canvas.paint(Label.OTHER_MUSCLE, column((side * 63, 19), (23, 7.5), tilt_deg=side * 14))  # quadratus lumborum
        erector, tilt = (side * 43.5, 45.5), -9 * side
        canvas.paint(Label.LIGAMENT, column(erector, (30 * size + 1, 20 * size + 1), tilt_deg=tilt))  # its fascia
        canvas.paint(label, column(erector, (30 * size, 20 * size), tilt_deg=tilt))
        canvas.paint(Label.FAT, _cleft(side))
        multifidus = (side * 16, 46.5)
        canvas.paint(Label.FAT, column(multifidus, (12.9 * size, 17.3 * size), taper=-0.18))
        canvas.paint(label, column(multifidus, (11.8 * size, 16.4 * size), taper=-0.18))


def _cleft(side: float) -> Shape:
    """Return the plane of fat between longissimus and iliocostalis."""

    def inside(x: Image, y: Image, z: Image) -> Mask:
        plane: Mask = np.abs(side * x - 49 - 4 * np.sin(y / 7 + z / 40)) < 0.6
        return plane & (np.abs(y - 46) < 16)

    return Shape((side * 49 - 6, 30, -ENDLESS), (side * 49 + 6, 62, ENDLESS), inside)


def _paint_streaks(canvas: Canvas, streaks: SmoothField, share: float) -> None:
    """Turn thin winding sheets of the muscles into fat."""
    box = canvas.box((-80, 15, -ENDLESS), (80, 75, ENDLESS))
    if box is None or not share:
        return
    start = np.eye(4)
    start[:3, 3] = [one.start for one in box]
    along_fibres = np.diag([1, 1, 0.35, 1])  # streaks are long where fibres are: along the spine
    narrow = share / 0.8  # a Gaussian variable lies within +-w of 0 with probability 0.8 w (small w)
    for labels, affine in zip(canvas.labels[(slice(None), *box)], canvas.affines, strict=True):
        field = streaks.on(along_fibres @ affine @ start, labels.shape)
        labels[(np.abs(field) < narrow) & np.isin(labels, _MUSCLES)] = Label.FAT


# ---------------------------------------------------------------- bone and canal


def _paint_vertebra(canvas: Canvas, z0: float) -> None:
    """Paint the vertebra whose body has its middle at `z0`, and the disc below it."""
    disc = z0 - PITCH_MM / 2
    top, bottom = z0 + PITCH_MM / 2 - _HALF_DISC_MM, disc + _HALF_DISC_MM
    canvas.paint(Label.LIGAMENT, column((0, 0), (26, 19), z_mm=(disc - _HALF_DISC_MM, bottom)))  # outer anulus
    canvas.paint(Label.DISC, column((0, 0), (22, 15), z_mm=(disc - _HALF_DISC_MM, bottom)))
    canvas.paint(Label.LIGAMENT, block((-1.4, 37, z0 - 26), (1.4, 61, z0 + 10)))  # between the spinous processes
    for label, shell in ((Label.CORTEX, 0.0), (Label.MARROW, 1.3)):
        canvas.paint(label, _vertebral_body(z0, bottom + shell, top - shell, shell))
        for side in _SIDES:
            canvas.paint(label, ellipsoid((side * 17, 21, z0 + 4), (5 - shell / 2, 11, 8 - shell)))  # pedicle
            canvas.paint(label, tube((side * 19, 25, z0 + 4), (side * 41, 27, z0 + 6), 4.2 - shell))  # transverse p.
            canvas.paint(label, tube((side * 17, 29, z0 - 2), (side * 2, 38, z0 - 7), 3.8 - shell))  # lamina
            canvas.paint(label, ellipsoid((side * 19, 32, disc + 2), (8 - shell, 7 - shell, 11 - shell)))  # facets
        canvas.paint(label, ellipsoid((0.4, 50, z0 - 9), (3.6 - shell, 14 - shell, 9 - shell)))  # spinous process
    for side in _SIDES:
        canvas.paint(Label.FLUID, _facet_joint(side, disc + 2))
        canvas.paint(Label.LIGAMENT, tube((side * 14, 32, disc), (side * 1, 37.5, disc), 1.8))  # yellow ligament


def _vertebral_body(z0: float, bottom: float, top: float, shell_mm: float) -> Shape:
    def inside(x: Image, y: Image, z: Image) -> Mask:
        waist = 1 - 0.09 * np.cos(np.clip((z - z0) / 13.5, -1, 1) * np.pi / 2)
        section = superellipse(x / (25.5 * waist - shell_mm), y / (18.5 * waist - shell_mm)) < 1
        hollow = (x / (15 + shell_mm)) ** 2 + ((y - 24) / (8.5 + shell_mm)) ** 2 > 1  # the canal's front wall
        within: Mask = section & hollow & (z >= bottom) & (z < top)
        return within

    return Shape((-26, -19, bottom), (26, 19, top), inside)


def _facet_joint(side: float, z0: float) -> Shape:
    """Return the fluid in a facet joint: bright on T2, and a mimic of enhancement."""

    def inside(x: Image, y: Image, z: Image) -> Mask:
        cleft = np.abs((side * x - 19) * 0.8 + (y - 32) * 0.6) < 0.6
        within: Mask = cleft & (np.abs(z - z0) < 8) & (np.abs(y - 32) < 6)
        return within

    return Shape((side * 19 - 7, 26, z0 - 8), (side * 19 + 7, 38, z0 + 8), inside)


def _paint_canal(canvas: Canvas, levels: Sequence[float]) -> None:
    canvas.paint(Label.FAT, column((0, 26.5), (11, 8.8)))  # epidural
    canvas.paint(Label.FLUID, column((0, 25.6), (8.8, 7.2)))
    canvas.paint(Label.NERVE, ellipsoid((0, 26, 80), (4.5, 3.6, 45)))  # the cord ends at L1/L2
    for angle in np.linspace(0.25, 2.9, 10):  # roots of the cauda equina settle at the back of the sac
        canvas.paint(Label.NERVE, column((6 * float(np.cos(angle)), 26 + 4.4 * float(np.sin(angle))), (0.85, 0.85)))
    for z0 in levels:
        for side in _SIDES:  # roots leave through the foramina
            canvas.paint(Label.NERVE, ellipsoid((side * 17, 22, z0 - 9), (4.0, 2.8, 4.5)))
            canvas.paint(Label.NERVE, tube((side * 17, 22, z0 - 9), (side * 28, 14, z0 - 23), 1.6))


# ---------------------------------------------------------------- vessels


def _paint_great_vessels(canvas: Canvas) -> None:
    canvas.paint(Label.ARTERY, column((7, -29), (8.5, 8.5), z_mm=(-38, ENDLESS)))  # aorta
    for side in _SIDES:
        canvas.paint_tube(Label.ARTERY, [(7 + side * 4, -29, -36), (side * 22, -26, -90), (side * 30, -30, -140)], 5.5)
    canvas.paint(Label.VEIN, column((-17, -27), (11, 8), z_mm=(-48, ENDLESS)))  # vena cava
    canvas.paint_tube(Label.VEIN, [(-17, -27, -46), (-26, -22, -90)], 6.5)
    canvas.paint_tube(Label.VEIN, [(-15, -25, -46), (14, -22, -80), (26, -20, -110)], 6.5)


def _paint_plexus(canvas: Canvas, side: float, levels: Sequence[float]) -> None:
    """Paint the paravertebral veins of one side and the basivertebral ones."""
    swing, wave = (_PLEXUS_SWING_MM, 0.0), _PLEXUS_WAVE_MM
    canvas.paint(Label.VEIN, winding((side * 25, 13), 1.7, swing_mm=swing, wave_mm=wave, phase=side))  # ascending
    canvas.paint(Label.VEIN, winding((side * 7, 19.5), 1.1, swing_mm=(1, 0), wave_mm=57))  # anterior internal
    canvas.paint(Label.VEIN, winding((side * 7, 42), 0.9, swing_mm=(0.8, 1.5), wave_mm=52, phase=side))  # posterior
    for z0 in levels:
        x0, y0, _ = plexus_mm(side, z0)
        canvas.paint_tube(
            Label.VEIN, [(-14, -20, z0), (side * 20, -19, z0), (side * 28, -6, z0), (x0, y0, z0)], 1.3
        )  # segmental: from the vena cava around the body
        canvas.paint_tube(
            Label.VEIN,
            [(x0, y0, z0 - 5), (side * 29, 24, z0 - 7), (side * 29, 40, z0 - 8), (side * 31, 52, z0 - 16)],
            1.0,
        )  # dorsal: into the muscle
        canvas.paint_tube(Label.VEIN, [(side * 29, 40, z0 - 8), (side * 45, 46, z0 - 2)], 0.8)
        canvas.paint_tube(Label.VEIN, [(side * 0.5, 4, z0), (side * 0.5, 17, z0)], 1.2)  # basivertebral
