"""SimpleITK, which brings no types along; everything that this room does with it runs on one thread."""

from typing import Any

import SimpleITK

sitk: Any = SimpleITK
