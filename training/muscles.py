"""The muscles that are to be found, what runs through them, and what may sit in them."""

import numpy as np
from scipy import ndimage

from node.analysis.network import Class
from training.canvas import L34, POSTERIOR, SHARE, T2, Canvas, Tissue, smooth_field

# Along LEVELS, mm, from the same outlines as in `canvas`: lateral extent of multifidus in its dorsal and its ventral
# quarter, and how far its top lies below the dorsal surface of the compartment.
_MULTIFIDUS_DORSAL = (30, 36, 31, 22, 14, 12, 11, 11, 13, 13)
_MULTIFIDUS_VENTRAL = (31, 29, 26, 24, 18, 17, 16, 18, 19, 18)
_MULTIFIDUS_TOP = (0, 0, 0, 3, 8, 7, 4, 4, 8, 9)


def deep_muscles(page: Canvas) -> None:
    rng = page.rng
    u = rng.uniform
    psoas_a = float(np.interp(page.level, [0, 1, 2, 3, 4, 4.6], [16, 21, 21, 19, 10, 0]))
    psoas_b = float(np.interp(page.level, [0, 1, 2, 3, 4, 4.6], [20, 22, 23, 23, 15, 0]))
    quadratus = float(np.interp(page.level, [1.5, 2.2, 4.2, 4.9], [0, 1, 1, 0]))
    size = u(0.7, 1.25)
    drop = u(0.5, 1.3)
    for side, psoas_label, quadratus_label in (
        (1, Class.PSOAS_LEFT, Class.QUADRATUS_LEFT), (-1, Class.PSOAS_RIGHT, Class.QUADRATUS_RIGHT),
    ):  # fmt: skip
        if quadratus * u(0.6, 1.3) > 0.45:
            a, b = u(12, 22), u(4, 9.5)
            place = u(0.55, 0.9)  # of the lateral extent of the compartment, against whose front it mostly lies
            front = page.top - float(np.interp(place, SHARE, page.ventral))
            rise = float(np.interp(place - 0.12, SHARE, page.ventral) - np.interp(place + 0.12, SHARE, page.ventral))
            turn = -side * np.arctan2(rise, 0.24 * page.wide) * u(0.3, 1.2)
            middle = front - b * u(0.5, 1.3) if rng.random() < 0.75 else -u(-6, 12)
            muscle = page.ellipse(side * place * page.wide, middle, a, b, 2.2, turn) & page.body
            page.put(muscle, Tissue.DEEP_MUSCLE, quadratus_label)
        a, b = psoas_a * size * u(0.88, 1.12), psoas_b * size * u(0.88, 1.12)
        if min(a, b) > 4:
            centre = side * (page.body_a + a * u(0.5, 0.85)), -(page.canal_b + page.body_b * drop)
            if page.level < 0.9:
                centre = side * (page.body_a + a + u(5, 25)), centre[1] - u(5, 25)
            muscle = page.ellipse(*centre, a, b, 2.2, side * u(-0.5, 0.3)) & page.body
            page.put(muscle, Tissue.DEEP_MUSCLE, psoas_label)


def posterior_muscles(page: Canvas) -> None:
    rng = page.rng
    u = rng.uniform
    inner_edge = page.spinous + u(0.0, 2.2)
    multifidus_top = page.at(_MULTIFIDUS_TOP, 0.25)
    dorsal_edge, ventral_edge = page.at(_MULTIFIDUS_DORSAL, 0.13), page.at(_MULTIFIDUS_VENTRAL, 0.13)
    wave = [rng.normal(0, 0.05, len(SHARE)) for _ in range(2)]
    height = page.ventral[2] - page.dorsal[2]
    wasted = rng.choice([0, 1, -1, 2], p=[0.84, 0.05, 0.05, 0.06])
    plane = u(0.2, 2.2)
    groove = u(4, 16) if page.level < L34 + 0.3 and rng.random() < 0.3 else 0.0  # fat beside the spinous process
    tent = u(1, 8) if rng.random() < 0.2 else 0.0  # fat below the aponeurosis
    for side, multifidus, erector in (
        (1, Class.MULTIFIDUS_LEFT, Class.ERECTOR_LEFT), (-1, Class.MULTIFIDUS_RIGHT, Class.ERECTOR_RIGHT),
    ):  # fmt: skip
        lateral = side * page.x
        width = page.wide * float(np.clip(rng.normal(1, 0.05), 0.85, 1.15))
        thin = u(0.55, 0.9) if wasted in (side, 2) else 1.0
        share = np.clip(lateral / np.float32(width), 0, 1)
        jitter = [np.convolve(rng.normal(0, 0.05, len(SHARE) + 2), [0.25, 0.5, 0.25], "valid") for _ in range(2)]
        dorsal = page.dorsal + height * (wave[0] + jitter[0]) * 0.6
        ventral = page.ventral + height * (wave[1] + jitter[1])
        if thin < 1:
            dorsal = dorsal + (1 - thin) * height * u(0.3, 1)
        dorsal = dorsal + tent * np.sin(np.pi * SHARE)
        end = (dorsal[-1] + ventral[-1]) / 2 + u(-5, 5)
        blunt = u(0, 0.7)
        dorsal[-1], ventral[-1] = (one + (end - one) * (1 - blunt) for one in (dorsal[-1], ventral[-1]))
        below = np.float32(page.top) - page.y  # depth below the dorsal surface
        upper = np.interp(share, SHARE, dorsal).astype(np.float32)
        lower = np.interp(share, SHARE, np.maximum(ventral, dorsal + 1)).astype(np.float32)
        upward = np.clip((lower - below) / np.maximum(lower - upper, 1), 0, 1)  # 0 at the lamina, 1 at the top
        muscle = (
            (lateral > inner_edge + groove * u(0.6, 1.2) * np.clip(1 - upward / u(0.3, 0.9), 0, 1))
            & (lateral < width * (0.93 + 0.07 * thin))
            & (below > upper)
            & (below < lower)
            & page.body
        )
        if groove:
            beside = (lateral > 0) & (lateral < inner_edge + 1.2 * groove) & (below > upper) & (below < lower)
            page.put(beside & page.body, Tissue.INNER_FAT)
        border = ventral_edge + (dorsal_edge - ventral_edge) * upward + rng.normal(0, 1.5)
        border = border + u(0, 0.25) * ventral_edge * np.sin(np.pi * upward)
        deep = below > multifidus_top + upper * u(0.2, 0.8) + u(-1, 1)
        is_multifidus = muscle & (lateral < border) & deep
        page.put(muscle, Tissue.MUSCLE, erector)
        page.put(is_multifidus, Tissue.MUSCLE, multifidus)
        if rng.random() < 0.7:
            page.planes.append(muscle & deep & (np.abs(lateral - border) < plane * u(0.3, 0.7)))
            page.planes.append(is_multifidus & ~ndimage.binary_erosion(is_multifidus) & (rng.random() < 0.4))
        if page.level > T2 + 0.4 and rng.random() < 0.8:  # layers of the neck: semispinalis, splenius
            for height in u(0.15, 0.95, int(rng.integers(1, 4))):
                bend = u(-0.25, 0.25) * share
                page.planes.append(muscle & (np.abs(upward + bend - height) < u(0.01, 0.04)))
            if rng.random() < 0.5:  # and the seams between the parts of each
                page.planes.append(muscle & (np.abs(smooth_field(rng, u(8, 20), 1.0)) < u(0.01, 0.08)))
        if rng.random() < 0.6:  # between longissimus and iliocostalis
            second = border + (width - border) * u(0.3, 0.7) + u(-10, 14) * (upward - 0.5)
            page.planes.append(muscle & (np.abs(lateral - second) < plane * u(0.2, 0.5)) & (upward < u(0.4, 1.2)))
        if tent:
            roof = np.interp(share, SHARE, page.dorsal).astype(np.float32)
            page.aponeurosis.append((lateral > 0) & (lateral < width) & (np.abs(below - roof) < 0.9) & page.body)


def fat_within(page: Canvas) -> None:
    """Draw fat in the muscles: planes; then none, flecks, streaks, or a seep that thins out from one border."""
    rng = page.rng
    u = rng.uniform
    muscle = np.isin(page.label, POSTERIOR)
    for plane in page.planes:
        page.tissue[plane & muscle] = Tissue.INNER_FAT
    if not muscle.any() or rng.random() < 0.35:
        return
    share = np.full(2, rng.beta(1, 2.6) * 0.65)
    if rng.random() < 0.2:
        share[rng.integers(2)] *= u(1.2, 3)
    kind = rng.random()
    if kind < 0.35:  # flecks
        pattern = smooth_field(rng, u(4, 9) if rng.random() < 0.7 else u(9, 20), 1.0)
    elif kind < 0.7:  # streaks, along the one direction or the other
        along = u(1.5, 5), u(0.3, 0.7)
        noise = rng.standard_normal(muscle.shape, dtype=np.float32)
        pattern = ndimage.gaussian_filter(noise, along if rng.random() < 0.6 else along[::-1])
        pattern = pattern / np.float32(max(float(pattern.std()), 1e-6))
        share = share * 0.6
    else:  # a seep: single pixels, as many as there is fat
        pattern = rng.standard_normal(muscle.shape, dtype=np.float32) + smooth_field(rng, u(8, 30), u(0, 1.2))
    pattern = ndimage.gaussian_filter(pattern, u(0.2, 0.7))
    pattern = pattern + np.where(np.isin(page.label, POSTERIOR[:2]), u(0, 0.7), 0)
    pattern = pattern - rng.normal(0, 0.02) * (page.y - page.top)  # more at the top or at the lamina
    for side, part in ((1, share[0]), (-1, share[1])):
        here = muscle & (side * page.x > 0)
        if here.any() and part > 0.01:
            page.tissue[here & (pattern > np.quantile(pattern[here], 1 - min(part, 0.8)))] = Tissue.INNER_FAT


def fascia(page: Canvas) -> None:
    rng = page.rng
    muscle = np.isin(page.label, POSTERIOR)
    around = ndimage.binary_dilation(muscle) & ~muscle & np.isin(page.tissue, (Tissue.FAT, Tissue.OTHER_MUSCLE))
    kind = rng.random()
    if kind < 0.35:
        page.put(around, Tissue.CORTEX)
    elif kind < 0.5:
        page.put(around, Tissue.INNER_FAT)
    for line in page.aponeurosis:
        page.put(line & ~muscle & (page.tissue == Tissue.FAT), Tissue.CORTEX)
    deep = np.isin(page.label, (Class.QUADRATUS_LEFT, Class.QUADRATUS_RIGHT, Class.PSOAS_LEFT, Class.PSOAS_RIGHT))
    if rng.random() < 0.6:
        page.put(
            deep & ~ndimage.binary_erosion(deep),
            int(rng.choice([Tissue.INNER_FAT, Tissue.CORTEX, Tissue.DEEP_MUSCLE])),
        )


def vessels_between(page: Canvas) -> None:
    rng = page.rng
    u = rng.uniform
    for _ in range(int(rng.integers(0, 7))):
        r = u(0.8, 2.6)
        vessel = page.ellipse(
            u(-page.wide, page.wide),
            u(-10, page.top),
            r,
            r * u(1, 5),
            2.0,
            u(0, 3.1),
        )
        page.put(vessel & np.isin(page.tissue, (Tissue.MUSCLE, Tissue.FAT, Tissue.INNER_FAT)), Tissue.VESSEL)
    page.put(page.joint_fluid & page.body, Tissue.FLUID)


def lesions(page: Canvas) -> None:
    """Draw lesions. Their class stays muscle: a lesion must not be cut out of the mask."""
    rng = page.rng
    u = rng.uniform
    muscle = np.isin(page.label, POSTERIOR)
    if rng.random() >= 0.3 or not muscle.any():
        return
    rows, columns = np.nonzero(muscle)
    for _ in range(int(rng.integers(1, 4))):
        i, radius = rng.integers(len(rows)), u(2, 16)
        cx, cy = float(page.x[rows[i], columns[i]]), float(page.y[rows[i], columns[i]])
        a, b, turn = radius, radius * u(0.6, 1.4), u(0, 3)
        page.put(page.ellipse(cx, cy, a, b, 2.0, turn) & muscle, Tissue.LESION)
        if radius > 5 and rng.random() < 0.4:
            share = u(0.4, 0.8)
            page.put(page.ellipse(cx, cy, a * share, b * share, 2.0, turn) & muscle, Tissue.CORE)


def metal(page: Canvas) -> None:
    rng = page.rng
    u = rng.uniform
    if rng.random() >= 0.04:
        return
    for side in (-1, 1):  # pedicle screws and rods: voids
        a = u(4, 12)
        place = side * u(12, 28), u(-5, 22)
        page.put(page.ellipse(*place, a, a * u(0.7, 2.0)) & page.body, Tissue.METAL)
