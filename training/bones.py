"""Vertebra and sacrum, arch, canal and what is in it."""

import numpy as np
from scipy import ndimage

from node.analysis.network import WINDOW, Class
from training.canvas import C6, L1, POSTERIOR, S1, Canvas, Mask, Tissue


def bones(page: Canvas) -> None:
    rng, x, y = page.rng, page.x, page.y
    u = rng.uniform
    a, b = page.canal_a, page.canal_b
    sacral = page.level < S1 + 0.35
    bone = page.ellipse(0, -(b + page.body_b + u(0.5, 3)), page.body_a, page.body_b, u(2, 3))
    vertebra = bone.copy()
    disc = not sacral and rng.random() < 0.3
    if sacral:
        bone |= _sacrum(page)
    else:
        bone |= _arch(page, disc)
    canal = page.ellipse(0, 0, a, b, rng.choice([2.0, 2.0, 1.7, 2.4]))
    if rng.random() < 0.4:  # triangular
        canal &= y < b * u(0.5, 1) - np.abs(x) * u(0.2, 0.8)
    canal |= page.ellipse(0, 0, a * 0.6, b * 0.6)
    bone &= page.body
    outline = bone & ~ndimage.binary_erosion(bone)
    marrow = Tissue.VERTEBRA if rng.random() < 0.5 else Tissue.MARROW
    page.put(bone, marrow, Class.SACRUM if sacral else Class.VERTEBRA)
    if disc:
        page.put(vertebra, Tissue.DISC)
        page.put(
            page.ellipse(0, -(b + page.body_b), page.body_a * 0.6, page.body_b * 0.6),
            int(rng.choice([Tissue.DISC, Tissue.FLUID])),
        )
    if rng.random() < 0.75:
        page.put(outline, Tissue.CORTEX)
        if rng.random() < 0.4:  # thick cortex of the arch
            page.put(ndimage.binary_dilation(outline) & bone & ~vertebra, Tissue.CORTEX)
    page.put(canal & page.body, Tissue.CSF, Class.CANAL)
    if rng.random() < 0.35:
        sac = page.ellipse(0, u(-1.5, 0.5), a * u(0.6, 0.9), b * u(0.6, 0.9))
        page.put(canal & ~sac, Tissue.INNER_FAT)
    if page.level > L1 - 0.2 and rng.random() < 0.9:
        page.put(page.ellipse(0, u(-2, 2), a * 0.45, b * 0.5) & canal, Tissue.CORD)
    else:
        for _ in range(int(rng.integers(0, 10))):
            page.put(page.ellipse(u(-8, 8), u(-3, 5), 1.4, 1.4) & canal, Tissue.CORD)


def _arch(page: Canvas, at_disc: bool) -> Mask:
    rng, x, y, a, b = page.rng, page.x, page.y, page.canal_a, page.canal_b
    u = rng.uniform
    arch = np.zeros(WINDOW, bool)
    below = page.top - page.dorsal[1] * u(0.2, 1.2)
    if rng.random() < (0.6 if at_disc else 0.9):  # spinous process and lamina
        tip = b + (below - b) * u(0.45, 1.05)
        arch |= (np.abs(x) < page.spinous * (1 + 0.3 * np.sin(y / 5))) & (y > b * 0.8) & (y < tip)
        lamina = page.ellipse(0, 1, a + u(4, 9), b + page.lamina * u(0.7, 1.2))
        arch |= lamina & (y > u(-6, 4))
    else:  # ligament and fat between the processes
        between = (np.abs(x) < page.spinous) & (y > b) & (y < below)
        page.put(
            between & page.body, int(rng.choice([Tissue.INNER_FAT, Tissue.CORTEX, Tissue.OTHER_MUSCLE])), Class.BODY
        )
    lumbar = page.level < L1 + 0.4
    if rng.random() < 0.65:
        for side in (-1, 1):  # facets
            fx, fy = side * (a + u(3, 9)), u(-2, 9)
            facet = page.ellipse(fx, fy, u(5, 10), u(6, 11), 2.0, side * u(-0.8, 0.8))
            arch |= facet
            if rng.random() < 0.15:
                page.joint_fluid = page.ellipse(fx, fy, 1.3, u(3, 7), 2.0, side * u(-0.8, 0.8))
    if rng.random() < 0.55 and not at_disc:
        reach = u(26, 46) if lumbar else u(20, 38)
        lift = u(-0.25, 0.1) if lumbar else u(-0.1, 0.6)
        for side in (-1, 1):  # transverse processes
            level = u(-6, 5) + lift * (side * x - a)
            arch |= (side * x > a) & (side * x < reach * u(0.9, 1.1)) & (np.abs(y - level) < u(1.8, 4.5))
    if rng.random() < 0.5 and not at_disc:
        arch |= page.ellipse(0, -b * 0.3, a + u(5, 10), b * 1.2) & (np.abs(x) > a * 0.8)  # pedicles
    if L1 + 0.2 < page.level < C6 - 0.6:
        for side in (-1, 1):  # ribs
            if rng.random() < 0.8:
                rib = page.ellipse(
                    side * u(34, 75),
                    u(-14, 8),
                    u(12, 32),
                    u(2.5, 5),
                    2.2,
                    side * u(-0.6, 0.4),
                )
                rib &= page.body & ~np.isin(page.label, POSTERIOR)
                page.put(rib, Tissue.MARROW, Class.BODY)
                page.put(rib & ~ndimage.binary_erosion(rib), Tissue.CORTEX)
    return arch & page.body


def _sacrum(page: Canvas) -> Mask:
    rng, x, y, b = page.rng, page.x, page.y, page.canal_b
    u = rng.uniform
    lateral = np.abs(x)
    wide = float(np.interp(page.level, [-0.3, 0, 1, 1.35], [26, 34, 52, 40])) * u(0.85, 1.15)
    back = b + u(1.5, 5) - u(0.0, 0.25) * lateral + u(0, 3) * np.cos(lateral / u(4, 8))
    front = -(b + 2 * page.body_b * u(0.7, 1.0)) + u(0.1, 0.5) * lateral
    bone: Mask = (lateral < wide) & (y < back) & (y > front)
    crest = (lateral < page.spinous * u(0.6, 1.2)) & (y > 0) & (y < b + (page.top - b) * u(0.2, 0.9))
    bone |= crest
    for side in (-1, 1):
        if rng.random() < 0.6:  # foramina
            hole = page.ellipse(side * u(14, 24), -u(0, 14), u(2.5, 6), u(3, 7))
            bone &= ~hole
    # Where the drawn bone meets muscle, the muscle wins below its floor: experts draw down to the sacrum.
    keep = np.isin(page.label, POSTERIOR) & (y > b + 2) & ~crest & (rng.random() < 0.8)
    return bone & ~keep & page.body
