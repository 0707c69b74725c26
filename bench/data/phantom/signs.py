"""The drawn sign of every class of CXR-LT."""

from __future__ import annotations

from bench.data.phantom.sign import Sign
from bench.data.phantom.signs_device import DEVICE_SIGNS
from bench.data.phantom.signs_focal import FOCAL_SIGNS
from bench.data.phantom.signs_frame import FRAME_SIGNS
from bench.data.phantom.signs_lung import LUNG_SIGNS
from bench.data.phantom.signs_pleura import PLEURA_SIGNS

SIGNS: dict[str, Sign] = LUNG_SIGNS | FOCAL_SIGNS | PLEURA_SIGNS | FRAME_SIGNS | DEVICE_SIGNS
