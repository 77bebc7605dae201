"""SimpleITK, which brings no types along; what this room does with it runs on two threads at most, to the same bits."""

from typing import Any

import SimpleITK

sitk: Any = SimpleITK
