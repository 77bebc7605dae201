"""What lies around the spine: skin, fat, wall, organs, pelvis, shoulders, neck. None of it is to be found."""

import numpy as np
from scipy import ndimage

from node.analysis.network import Class
from training.canvas import C6, L1, L5, S1, T2, T10, Canvas, Mask, Tissue, smooth_field


def trunk(page: Canvas) -> None:
    rng, neck = page.rng, page.level > C6 - 0.4
    u = rng.uniform
    if neck:
        half_width, depth = u(50, 82), u(95, 150)
    elif page.level > T2 - 0.5:
        half_width, depth = u(110, 220), u(130, 220)
    else:
        half_width, depth = max(page.wide + 25, u(115, 215)), u(170, 320)
    half, power = depth / 2, u(2.0, 3.4)
    middle = page.skin - half
    body = page.ellipse(0, middle, half_width, half, power)
    dent = u(0, 0.8) * min(page.subcutaneous, 18)  # the furrow between the muscles
    body &= page.y < page.skin - dent * np.exp(-((page.x / u(8, 26)) ** 2))
    page.body = body
    page.put(body, Tissue.FAT, Class.BODY)
    skin = u(1.2, 3.0)
    page.put(body & ~page.ellipse(0, middle, half_width - skin, half - skin, power), Tissue.SKIN)

    side_fat, front_fat = u(4, 45), u(4, 40)
    wall_a, wall_b = max(half_width - side_fat, page.wide + 12), half - front_fat / 2 - page.subcutaneous / 2
    wall_y = page.skin - page.subcutaneous - wall_b
    inner = page.ellipse(0, wall_y, wall_a, wall_b, power) & body
    thick = u(6, 26)
    hollow = page.ellipse(0, wall_y - u(-4, 6), wall_a - thick, wall_b - thick * u(0.5, 1), power)
    behind = page.y > -u(0, 25)  # of the peritoneal cavity
    if neck:
        _neck(page, inner)
    else:
        page.put(inner & ~hollow & ~(behind & (np.abs(page.x) < page.wide * 0.8)), Tissue.OTHER_MUSCLE)
        _layers_of_wall(page, inner & ~hollow)
        cavity = hollow & inner & ~behind
        if page.level > L1 + 0.4:
            _chest(page, hollow & inner, half_width)
        if page.level < T10 + 0.6:
            _belly(page, cavity, half_width)
        _great_vessels(page)
        _back_of_trunk(page, inner)
        if page.level < L5 + 0.2:
            _pelvis(page, inner)
    if page.level > T2 - 1.2 and not neck:
        _shoulders(page)
    if not neck and rng.random() < 0.3:
        _arms(page, half_width)


def _layers_of_wall(page: Canvas, wall: Mask) -> None:
    if page.rng.random() < 0.5:
        distance = np.hypot(page.x, (page.y + 40) * page.rng.uniform(1, 1.6))
        layer = np.abs((distance + page.rng.uniform(0, 9)) % page.rng.uniform(7, 12)) < page.rng.uniform(0.6, 1.8)
        page.put(wall & layer & (np.abs(page.x) > page.wide), Tissue.INNER_FAT)


def _belly(page: Canvas, cavity: Mask, half_width: float) -> None:
    rng = page.rng
    u = rng.uniform
    if rng.random() < 0.5:
        page.put(cavity, int(rng.choice([Tissue.BOWEL, Tissue.LIVER])))
    for _ in range(int(rng.integers(4, 16))):
        organ = page.ellipse(
            u(-half_width, half_width), -u(20, 170), u(7, 50), u(7, 45),
            rng.choice([2.0, 2.6]), u(0, 3.14),
        )  # fmt: skip
        kinds = [Tissue.BOWEL, Tissue.LIVER, Tissue.KIDNEY, Tissue.VESSEL, Tissue.AIR, Tissue.FAT, Tissue.FLUID]
        page.put(organ & cavity, int(rng.choice(kinds)))
    if page.level > 2.6:
        for side in (-1, 1):
            if rng.random() < 0.65:
                centre = side * u(52, 80), -u(8, 48)
                a, b, turn = u(18, 32), u(20, 36), rng.normal(0, 0.4)
                capsule = u(0, 12)
                page.put(page.ellipse(*centre, a + capsule, b + capsule, 2.0, turn) & page.body, Tissue.FAT)
                page.put(page.ellipse(*centre, a, b, 2.0, turn) & page.body, Tissue.KIDNEY)
                sinus = rng.choice([Tissue.FAT, Tissue.FLUID, Tissue.KIDNEY])
                page.put(page.ellipse(*centre, a * 0.4, b * 0.45, 2.0, turn) & page.body, int(sinus))
            elif rng.random() < 0.6:  # liver or spleen reaching to the back
                organ = page.ellipse(side * u(70, 110), -u(20, 70), u(25, 55), u(35, 70), 2.6)
                page.put(organ & page.body & (page.y < u(-5, 25)), Tissue.LIVER)


def _chest(page: Canvas, inside: Mask, half_width: float) -> None:
    rng = page.rng
    u = rng.uniform
    reach = np.clip((page.level - L1 - 0.4) / 1.2, 0.35, 1)
    for side in (-1, 1):
        a = (half_width - 30) * u(0.36, 0.52) * reach
        lung = page.ellipse(
            side * (page.body_a + a * u(0.9, 1.25)), -u(10, 60), a, u(40, 95) * reach, 2.6,
            side * u(-0.3, 0.3),
        )  # fmt: skip
        lung &= inside | (page.body & (np.abs(page.x) < half_width - 25))
        page.put(lung & (page.y < u(0, 22)), Tissue.LUNG)
    for _ in range(int(rng.integers(1, 6))):
        part = page.ellipse(u(-60, 60), -u(45, 140), u(10, 45), u(10, 40))
        page.put(part & inside, int(rng.choice([Tissue.VESSEL, Tissue.LIVER, Tissue.OTHER_MUSCLE, Tissue.FAT])))


def _great_vessels(page: Canvas) -> None:
    rng = page.rng
    u = rng.uniform
    for side in (-1, 1):
        vessel = page.ellipse(
            side * u(4, 18),
            -(page.canal_b + 2 * page.body_b + u(6, 18)),
            u(5, 13),
            u(5, 12),
        )
        page.put(vessel & page.body, Tissue.VESSEL)


def _back_of_trunk(page: Canvas, inner: Mask) -> None:
    """Latissimus, trapezius, rhomboids, serratus: muscle of the back that is not ours."""
    rng = page.rng
    u = rng.uniform
    if page.level < L5 + 0.7:
        return
    surface = page.surface()
    gap = u(0.4, 3.5)
    lateral = np.abs(page.x)
    thick = u(1.5, 7) if page.level < T10 else u(2, 9)
    begin = u(0.5, 1.05) * page.wide if page.level < T10 + 0.5 else u(0, 0.6) * page.wide
    end = page.wide + u(25, 90)
    sheet = (page.y > surface + gap) & (page.y < surface + gap + thick * np.clip((lateral - begin) / 25, 0.25, 1.3))
    if rng.random() < 0.85:
        page.put(sheet & (lateral > begin) & (lateral < end) & inner, Tissue.OTHER_MUSCLE)
    if page.level > T10 + 0.8 and rng.random() < 0.7:  # a second layer: rhomboids below trapezius
        gap += thick + u(0.4, 2)
        second = (page.y > surface + gap) & (page.y < surface + gap + u(2, 7))
        page.put(second & (lateral < page.wide * u(1.0, 1.7)) & page.body, Tissue.OTHER_MUSCLE)


def _pelvis(page: Canvas, inner: Mask) -> None:
    rng, deep = page.rng, np.clip(S1 + 1 - page.level, 0, 2)
    u = rng.uniform
    for side in (-1, 1):
        inset = page.wide * u(0.95, 1.25) + 4
        reach = u(18, 44) * (0.45 + 0.4 * deep)
        thick, turn = u(4, 9), side * u(0.35, 1.15)
        cx = side * (inset + reach * abs(np.cos(turn)) * u(0.5, 0.9))
        cy = page.top - u(8, 30) - reach * 0.6
        gluteal = page.ellipse(
            cx + side * u(12, 26),
            cy + u(0, 24),
            reach * u(0.8, 1.4),
            reach * u(0.9, 1.5),
            2.3,
            turn,
        )
        if rng.random() < 0.9:
            page.put(
                gluteal & page.body & (side * page.x > page.wide * 0.7) & (page.y < page.skin - 3),
                Tissue.OTHER_MUSCLE,
            )
            if rng.random() < 0.5:
                streaks = smooth_field(rng, u(5, 10), 1.0) > u(0.9, 2)
                page.put(streaks & gluteal & (page.tissue == Tissue.OTHER_MUSCLE), Tissue.INNER_FAT)
        iliacus = page.ellipse(cx - side * u(4, 12), cy - u(10, 26), reach * 0.8, u(8, 18), 2.2, turn)
        page.put(iliacus & page.body & (side * page.x > page.body_a), Tissue.OTHER_MUSCLE)
        ilium = page.ellipse(cx, cy, reach, thick, 2.4, -turn if rng.random() < 0.85 else turn)
        page.put(ilium & page.body, Tissue.MARROW)
        page.put(ilium & page.body & ~ndimage.binary_erosion(ilium), Tissue.CORTEX)


def _shoulders(page: Canvas) -> None:
    rng = page.rng
    u = rng.uniform
    for side in (-1, 1):
        for _ in range(int(rng.integers(1, 5))):  # supraspinatus, infraspinatus, subscapularis, deltoid
            muscle = page.ellipse(
                side * u(page.wide + 22, page.wide + 110), u(-45, page.top), u(10, 36), u(6, 18), 2.2,
                -side * u(-0.2, 1.0),
            )  # fmt: skip
            page.put(muscle & page.body, Tissue.OTHER_MUSCLE)
        scapula = page.ellipse(
            side * u(page.wide + 20, page.wide + 80), u(-20, page.top - 8), u(15, 45), u(1.5, 4), 2.2,
            -side * u(0.1, 0.9),
        )  # fmt: skip
        page.put(scapula & page.body, Tissue.CORTEX if rng.random() < 0.4 else Tissue.MARROW)


def _arms(page: Canvas, half_width: float) -> None:
    rng = page.rng
    u = rng.uniform
    for side in (-1, 1):
        if rng.random() < 0.8:
            cx, cy, r = (
                side * (half_width + u(18, 50)),
                u(-110, page.skin - 40),
                u(25, 48),
            )
            page.put(page.ellipse(cx, cy, r, r * 1.1), Tissue.FAT, Class.BODY)
            page.put(page.ellipse(cx, cy, r * 0.8, r * 0.9), Tissue.OTHER_MUSCLE)
            page.put(page.ellipse(cx, cy, r * 0.25, r * 0.25), Tissue.MARROW)


def _neck(page: Canvas, inner: Mask) -> None:
    rng = page.rng
    u = rng.uniform
    if rng.random() < 0.8:  # little fat among the muscles of a neck
        page.put(inner & (np.hypot(page.x, page.y + 20) < u(35, 110)), Tissue.OTHER_MUSCLE)
        seams = np.abs(smooth_field(rng, u(8, 16), 1.0)) < u(0.01, 0.12)
        page.put(seams & (page.tissue == Tissue.OTHER_MUSCLE), Tissue.INNER_FAT)
    for side in (-1, 1):
        for _ in range(int(rng.integers(3, 8))):  # sternomastoid, scalenes, levator, longus colli
            muscle = page.ellipse(
                side * u(8, 62),
                -u(-12, 60),
                u(4, 14),
                u(4, 13),
                2.0,
                u(0, 3.1),
            )
            page.put(muscle & inner, Tissue.OTHER_MUSCLE)
        vessel = page.ellipse(side * u(22, 40), -u(15, 40), u(3, 7), u(3, 7))
        page.put(vessel & inner, Tissue.VESSEL)
        levator = page.ellipse(
            side * page.wide * u(0.9, 1.25),
            u(-5, 18),
            u(5, 11),
            u(8, 16),
            2.2,
            side * 0.4,
        )
        page.put(levator & inner, Tissue.OTHER_MUSCLE)
    airway = page.ellipse(0, -(page.canal_b + 2 * page.body_b + u(14, 30)), u(6, 12), u(6, 12))
    page.put(airway & inner, Tissue.AIR)
    if rng.random() < 0.9:  # trapezius
        surface, gap, thick = page.surface(), u(0.3, 3), u(1.5, 6)
        sheet = (page.y > surface + gap) & (page.y < surface + gap + thick)
        page.put(sheet & page.body & (np.abs(page.x) < page.wide * u(0.8, 1.6)), Tissue.OTHER_MUSCLE)


def elsewhere(page: Canvas) -> None:
    """Draw a slice without a back: nothing in it is to be found."""
    rng, kinds = (
        page.rng,
        [tissue for tissue in Tissue if tissue not in (Tissue.AIR, Tissue.METAL, Tissue.LESION, Tissue.CORE)],
    )
    u = rng.uniform
    for side in (-1, 1) if rng.random() < 0.4 else (0,):  # limbs, or a head or another part of the body
        a, b = u(35, 75, 2) * (1 if side else 1.3)
        cx, cy = side * (a + u(0, 25)) + rng.normal(0, 8), page.skin - b - u(0, 30)
        outer = page.ellipse(cx, cy, a, b, 2.2)
        page.put(outer, Tissue.FAT, Class.BODY)
        rim = u(2, 15)
        inner = page.ellipse(cx, cy, a - rim, b - rim, 2.2)
        page.put(inner, int(rng.choice([Tissue.OTHER_MUSCLE, Tissue.CORTEX, Tissue.CORD, Tissue.LIVER])))
        if rng.random() < 0.5:
            inner &= page.ellipse(cx, cy, a - rim - 6, b - rim - 6, 2.2)
            page.put(inner, int(rng.choice(kinds)))
        for _ in range(int(rng.integers(1, 12))):
            part = page.ellipse(
                cx + u(-a, a),
                cy + u(-b, b),
                u(3, 30),
                u(3, 30),
                2.0,
                u(0, 3),
            )
            page.put(part & inner, int(rng.choice(kinds)))
        if rng.random() < 0.5:
            folds = np.abs(smooth_field(rng, u(6, 14), 1.0)) < u(0.1, 0.4)
            page.put(folds & inner, int(rng.choice(kinds)))
