"""Stages: what a drawn face goes through before it is blended, and what of it the content key of a clip holds."""

from fractions import Fraction

import numpy as np
import pytest

from media.base.errors import ConfigError
from media.faces import FaceBox
from renderer.face_stages.base import (
    DEFAULT_STAGES,
    DrawnFace,
    FaceCrop,
    FacePatch,
    StageSettings,
    apply_stages,
    build_stages,
)
from renderer.face_stages.blend_mask import build_mask
from renderer.networks.base import WAV2LIP_SPEC, Margins, NetworkSpec

SETTINGS = StageSettings(WAV2LIP_SPEC, feather=0.1)
AFFINE = np.array([[0.5, 0.1, 20.0], [-0.1, 0.5, 30.0]])


def drawn_face(spec=WAV2LIP_SPEC):
    pixels = np.zeros((spec.face_px, spec.face_px, 3), np.uint8)
    crop = FaceCrop(pixels, AFFINE, (0, 0, 100, 100), FaceBox(20, 30, 68, 78), 0.0)
    return DrawnFace(crop, pixels, 1.0, 0, 0, Fraction(0), lambda *_: pytest.fail("it needs no more of the frame"))


def test_by_default_a_face_is_masked():
    face = drawn_face()
    patch = apply_stages(build_stages(DEFAULT_STAGES, SETTINGS), face)
    assert patch.pixels is face.pixels
    assert patch.affine is AFFINE
    assert np.array_equal(patch.mask, build_mask(0.1, WAV2LIP_SPEC))
    assert patch.top_px == pytest.approx(0.46 * 96 - 2)


def test_the_default_key_is_what_clips_were_keyed_by_before_there_were_stages():
    assert [stage.key for stage in build_stages(DEFAULT_STAGES, SETTINGS)] == [0.1]
    assert [stage.name for stage in build_stages(DEFAULT_STAGES, SETTINGS)] == ["blend_mask"]
    assert WAV2LIP_SPEC.key == ()


def test_masks_multiply():
    class Half:
        def apply(self, patch, face):
            return FacePatch(patch.pixels, patch.affine, patch.mask * np.float32(0.5), patch.top_px)

    (mask,) = build_stages(DEFAULT_STAGES, SETTINGS)
    before, after = (apply_stages(stages, drawn_face()).mask for stages in ((Half(), mask), (mask, Half())))
    assert np.array_equal(before, build_mask(0.1, WAV2LIP_SPEC) / 2)
    assert np.array_equal(after, before)


def test_the_mask_follows_a_patch_to_another_grid():
    """Of half the pixels, and a row and a column further in: there the mask is the same."""
    to_crop = np.array([[2, 0, 10], [0, 2, 4], [0, 0, 1.0]])
    patch = FacePatch(np.zeros((46, 40, 3), np.uint8), AFFINE @ to_crop, np.ones((46, 40), np.float32), 3.0)
    (stage,) = build_stages(DEFAULT_STAGES, SETTINGS)
    masked = stage.apply(patch, drawn_face())
    assert np.allclose(masked.mask, build_mask(0.1, WAV2LIP_SPEC)[4:96:2, 10:90:2], atol=1e-5)
    assert masked.top_px == 3.0


def test_the_mask_lies_on_the_box_of_a_network_that_sees_more():
    wide = NetworkSpec(face_px=192, margins=Margins(top=0.5, left=0.25, right=0.25))
    mask = build_mask(0.1, wide)
    assert np.allclose(mask[96:, 48:-48], build_mask(0.1, WAV2LIP_SPEC), atol=1e-5)
    mask = mask.copy()
    mask[96:, 48:-48] = 0
    assert not mask.any()
    assert wide.hidden_px == pytest.approx(96 + 0.46 * 96 - 2)


def test_an_unknown_stage_is_refused():
    with pytest.raises(ConfigError, match=r"unknown face stage: .*'sharpen'.*blend_mask"):
        build_stages(("sharpen",), SETTINGS)
