"""What a step sees: the same for the same seed and step, references from elsewhere, sound that belongs to the lips."""

import numpy as np
import pytest
import torch

from lipstitch.training.config import GeneratorConfig
from lipstitch.training.dataset.augment import (
    change_faces,
    change_sounds,
    draw_looks,
    draw_voices,
    plain_faces,
    stack_inputs,
)
from lipstitch.training.dataset.dataset import Split
from lipstitch.training.dataset.draws import WindowSampler, random_at
from lipstitch.training.evaluation.measures import HeldOut
from lipstitch.training.expert_stage import SHIFTED_SHARE, pair_weights
from lipstitch.training.generator_stage import GeneratorStage
from lipstitch.training.losses import only_lips
from lipstitch.training.machine import choose_machine
from tests.lipstitch.training.conftest import NUM_ROWS


@pytest.fixture(scope="module")
def sampler(talking_data):
    return WindowSampler(talking_data.tracks)


def draw(sampler, step, **changes):
    options = {"windows": 64, "gap_rows": 20, "dub_share": 0.25, **changes}
    return sampler.generator(random_at(7, "generator", step), **options)


def test_a_step_is_decided_by_seed_stage_and_number(sampler):
    assert np.array_equal(draw(sampler, 3).targets, draw(sampler, 3).targets)
    assert not np.array_equal(draw(sampler, 3).targets, draw(sampler, 4).targets)
    others = [random_at(8, "generator", 3), random_at(7, "expert", 3)]
    assert len({random.integers(10**9) for random in [random_at(7, "generator", 3), *others]}) == 3


def test_references_are_of_the_same_face_at_another_time(sampler):
    drawn = draw(sampler, 1)
    assert np.array_equal(drawn.targets // NUM_ROWS, drawn.references // NUM_ROWS)
    assert np.abs(drawn.targets - drawn.references).min() >= 20
    assert (np.diff(drawn.references.reshape(-1, 5), axis=1) == 1).all()
    assert drawn.references.max() < 4 * NUM_ROWS


def test_dubs_and_redrawn_references_hear_what_they_should(sampler):
    drawn = draw(sampler, 1, dub_share=0.4, redrawn_share=0.5)
    dub, redrawn = drawn.is_dub, drawn.is_redrawn
    assert 0.2 < dub.mean() < 0.6
    assert 0.15 < redrawn.mean() < 0.5
    assert not (dub & redrawn).any()
    assert np.array_equal(drawn.sounds[~dub], drawn.targets[~dub])
    assert (drawn.sounds != drawn.targets)[dub].mean() > 0.9
    assert np.array_equal(drawn.redraws[dub], drawn.references[dub])
    assert (np.abs(drawn.redraws - drawn.targets) > 5)[redrawn].mean() > 0.9, "another mouth"
    assert not draw(sampler, 1, dub_share=0.0, redrawn_share=0.0).is_redrawn.any()
    assert draw(sampler, 1, dub_share=0.0, redrawn_share=1.0).is_redrawn.all()


def test_near_references_show_the_head_in_almost_the_same_place(sampler):
    drawn = draw(sampler, 1, gap_rows=5, near_share=1.0, dub_share=0.0)
    away = np.abs(drawn.targets - drawn.references)
    assert away.min() >= 5
    assert away.max() <= 12
    assert (np.abs(np.subtract(*both(draw(sampler, 1, gap_rows=5, near_share=0.0)))) > 12).any()


def both(drawn):
    return drawn.targets, drawn.references


def test_single_frames_stand_behind_the_windows(sampler):
    drawn = draw(sampler, 1, windows=6, singles=30)
    assert drawn.lengths.tolist() == [5] * 6 + [1] * 30
    assert drawn.lengths.sum() == len(drawn.targets) == len(drawn.is_dub) == 60
    assert (np.diff(drawn.targets[:30].reshape(6, 5), axis=1) == 1).all()
    assert len(set(drawn.targets[30:])) > 25
    assert np.array_equal(drawn.sounds[~drawn.is_dub], drawn.targets[~drawn.is_dub])


def test_where_a_track_is_short_the_farthest_reference_is_taken(sampler):
    drawn = draw(sampler, 1, gap_rows=10_000, dub_share=0.0)
    at, reference = (rows.reshape(-1, 5)[:, 0] % NUM_ROWS for rows in both(drawn))
    assert np.array_equal(reference, np.where(at > 95 - at, 0, 95))


def test_the_expert_gets_several_windows_of_each_track(sampler):
    drawn = sampler.expert(random_at(1, "expert", 0), windows=10, group=4)
    assert drawn.rows.shape == (10, 5)
    assert np.array_equal(drawn.rows[:, 0] // NUM_ROWS, drawn.tracks)
    assert len(set(drawn.tracks[:4])) == 1


def test_pairs_weigh_as_they_should():
    truth, weights = pair_weights(np.array([0, 1, 50, 200]), np.array([0, 0, 0, 1]))
    assert np.array_equal(truth, np.eye(4))
    assert weights.sum() == pytest.approx(2)
    assert (weights * truth).sum() == pytest.approx(1)
    assert weights[0, 1] == weights[1, 0] == 0, "windows that overlap too far"
    assert weights[0, 2] + weights[1, 2] + weights[2, 0] + weights[2, 1] == pytest.approx(SHIFTED_SHARE)


# Augmentation


def crops_of(data, rows):
    return data.crops_at(np.asarray(rows))


def test_no_augmentation_gives_the_renderers_own_faces(talking_data):
    crops = crops_of(talking_data, [[3, 4, 5], [120, 121, 122]])
    looks = draw_looks(np.random.default_rng(1), 2, strength=0.0)
    assert torch.allclose(change_faces(crops, looks), plain_faces(crops), atol=1e-5)
    assert plain_faces(crops).mul(255).round().byte().equal(crops[..., 8:-8, 8:-8])


def test_all_frames_of_a_window_are_changed_alike(talking_data):
    crops = crops_of(talking_data, [[30] * 5, [230] * 5])
    looks = draw_looks(np.random.default_rng(2), 2, strength=1.0, softness=1.0)
    faces = change_faces(crops, looks)
    assert faces.shape == (2, 5, 3, 96, 96)
    assert 0 <= faces.min() <= faces.max() <= 1
    for frame in range(1, 5):
        assert faces[:, frame].equal(faces[:, 0])
    assert (faces[:, 0] - plain_faces(crops)[:, 0]).abs().mean(dim=(1, 2, 3)).min() > 0.005


def test_faces_move_no_farther_than_the_rim(talking_data):
    """At full strength a white frame around the rim never comes into view by more than its blur."""
    crops = torch.zeros(200, 1, 3, 112, 112, dtype=torch.uint8)
    crops[..., :1, :] = crops[..., -1:, :] = 255
    crops[..., :1] = crops[..., -1:] = 255
    looks = draw_looks(np.random.default_rng(3), 200, strength=1.0)
    plain = type(looks)(looks.places, np.ones_like(looks.gain), np.zeros_like(looks.lift), looks.softness)
    seen = change_faces(crops, plain)
    assert (seen > 0.5).float().mean() < 0.01


def test_mirroring_keeps_sound_and_lips_together(talking_data):
    """A face that is mirrored opens its mouth exactly when it did before, and its sound is not moved."""
    rows = np.arange(10, 60)
    crops = crops_of(talking_data, rows)[None]
    looks = draw_looks(np.random.default_rng(0), 1, strength=1e-6)
    looks.places[:, 0] *= -np.sign(looks.places[0, 0, 0])
    mirrored = change_faces(crops, looks)[0]
    assert torch.allclose(mirrored.flip(-1), plain_faces(crops)[0], atol=1e-3)
    mels = talking_data.mels_at(rows)[:, None]
    heard = change_sounds(mels, draw_voices(np.random.default_rng(1), len(rows), strength=1.0))
    opening = (mirrored[:, 2] - mirrored[:, 1])[:, 60:90].mean(dim=(1, 2))
    loud = heard[:, 0, 0, :, 0].mean(dim=1)
    assert np.corrcoef(opening, loud)[0, 1] > 0.8


def test_voices_change_loudness_and_nothing_in_time(talking_data):
    mels = talking_data.mels_at(np.arange(8).reshape(8, 1))
    same = change_sounds(mels, draw_voices(np.random.default_rng(1), 8, strength=0.0))
    assert same.equal(mels)
    voices = draw_voices(np.random.default_rng(1), 8, strength=1.0)
    changed = change_sounds(mels, type(voices)(voices.gain, voices.tilt, voices.noise * 0))
    inside = (changed.abs() < 4) & (mels.abs() < 4)
    change = torch.where(inside, changed - mels, torch.nan)
    assert change.nanmean() != 0
    first = change[..., :1].nan_to_num(0)
    assert (change - first)[..., 1:][inside[..., 1:] & inside[..., :1]].abs().max() < 1e-5, (
        "a band changes alike throughout"
    )
    assert changed.abs().max() <= 4


@pytest.mark.parametrize("singles", [0, 30])
def test_a_batch_pairs_each_face_with_its_own_sound(talking_data, singles):
    """Through the stage itself: what is not changed is what was drawn, and what is changed keeps its place."""
    settings = {"windows": 24, "singles": singles, "dub_share": 0.5}
    plain, changed = (
        stage_of(talking_data, **settings, face_strength=strength, sound_strength=strength)._batch(5)
        for strength in (0.0, 0.2)
    )
    drawn = WindowSampler(talking_data.tracks).generator(
        random_at(3, "generator", 5), **settings, gap_rows=5, near_share=0.5
    )
    assert torch.allclose(plain.targets, plain_faces(talking_data.crops_at(drawn.targets)), atol=1e-5)
    shown = np.where(drawn.is_dub, drawn.targets, drawn.references)
    assert torch.allclose(plain.references, plain_faces(talking_data.crops_at(shown)), atol=1e-5)
    assert plain.mels.equal(talking_data.mels_at(drawn.sounds))
    assert (changed.mels - plain.mels).abs().mean(dim=(1, 2, 3)).max() < 0.3
    assert (changed.mels - plain.mels).abs().mean() > 0.01
    same = changed.is_dub
    assert changed.targets[same].equal(changed.references[same]), "as when a video is rendered"
    assert changed.taught is None, "nothing is redrawn yet"
    inputs = plain.inputs()
    assert inputs.shape == (24 * 5 + singles, 6, 96, 96)
    assert (inputs[:, :3, 48:] == 0).all()
    assert inputs[:, :3, :48].equal(plain.targets[:, :, :48])
    windows = plain.windows(plain.targets)
    assert windows.shape == (24, 5, 3, 96, 96)
    assert windows[3, 2].equal(plain.targets[17])


PLAIN = {"face_strength": 0.0, "sound_strength": 0.0}


class Painter(torch.nn.Module):
    """Paints all of a face in the level of its sound and a tenth of the level of its reference's middle."""

    def __init__(self):
        super().__init__()
        self.unused = torch.nn.Parameter(torch.zeros(1))

    def forward(self, mels, inputs):
        levels = (mels.mean(dim=(1, 2, 3)) + 4) / 10 + inputs[:, 3:, 75, 48].mean(dim=1) / 10
        return levels[:, None, None, None].expand(-1, 3, 96, 96)


def test_redrawn_references_show_another_mouth_and_teach_the_dubs(talking_data):
    settings = {"windows": 20, "singles": 20, "dub_share": 0.4, "redrawn_share": 0.5}
    stage = stage_of(talking_data, Painter(), **settings, redraw_from=4, face_strength=0.0, sound_strength=0.0)
    drawn = WindowSampler(talking_data.tracks).generator(
        random_at(3, "generator", 5), **settings, gap_rows=5, near_share=0.5
    )
    batch = stage._batch(5)
    truth, away = (plain_faces(talking_data.crops_at(rows)) for rows in (drawn.targets, drawn.references))
    own, other = (talking_data.mels_at(rows) for rows in (drawn.sounds, drawn.redraws))
    dub, redrawn = (torch.from_numpy(flags) for flags in (drawn.is_dub, drawn.is_redrawn))
    plain = ~dub & ~redrawn
    anew = Painter()(other, stack_inputs(truth, away))
    assert torch.allclose(batch.references[plain], away[plain], atol=1e-5)
    assert torch.allclose(batch.references[dub], truth[dub], atol=1e-5)
    assert torch.allclose(batch.references[redrawn][..., 48:, :], anew[redrawn][..., 48:, :], atol=1e-4)
    assert torch.allclose(batch.references[redrawn][..., :48, :], truth[redrawn][..., :48, :], atol=1e-5)
    taught = Painter()(own, stack_inputs(truth, anew))
    assert torch.allclose(batch.taught[dub], taught[dub], atol=1e-4), "no trace of the own mouth"
    assert stage._batch(3).taught is None, "before redraw_from"


def test_a_reference_can_be_redrawn_as_a_job_would_draw_it(talking_data):
    settings = {"windows": 4, "singles": 8, "dub_share": 0.0, "redrawn_share": 1.0}
    stage = stage_of(talking_data, Painter(), **settings, redraw_away=False, redraw_from=0, **PLAIN)
    batch = stage._batch(5)
    drawn = WindowSampler(talking_data.tracks).generator(
        random_at(3, "generator", 5), **settings, gap_rows=5, near_share=0.5
    )
    truth = plain_faces(talking_data.crops_at(drawn.targets))
    expected = Painter()(talking_data.mels_at(drawn.redraws), stack_inputs(truth, truth))
    assert torch.allclose(batch.references[..., 48:, :], expected[..., 48:, :], atol=1e-4)
    assert torch.allclose(batch.references[..., :48, :], truth[..., :48, :], atol=1e-5)


def test_a_dub_is_held_to_the_truth_around_the_mouth_and_to_what_it_is_taught_inside(talking_data):
    stage = stage_of(talking_data, Painter(), windows=4, singles=8, dub_share=0.5, redraw_from=4)
    batch = stage._batch(5)
    spot = (slice(None), slice(None), slice(72, 76), slice(44, 48))  # in the middle of the mouth, one coarse square

    def losses(made):
        return float(stage._against_truth(made, batch)["l1"]), float(stage._against_taught(made, batch))

    batch.taught = batch.targets.clone()
    batch.taught[spot] *= 0.5
    shown = torch.where(batch.is_dub[:, None, None, None], batch.taught, batch.targets)
    assert losses(shown) == pytest.approx((0, 0), abs=1e-6)
    darker = shown.clone()
    darker[spot] -= 0.1
    against_truth, against_taught = losses(darker)
    share = float(batch.is_dub.float().mean())
    assert against_taught / share == pytest.approx(against_truth / (1 - share), rel=0.2)
    darker[batch.is_dub] = shown[batch.is_dub]
    assert losses(darker) == pytest.approx((against_truth, 0), abs=1e-6)
    grainy = shown.clone()
    grainy[spot] += torch.tensor([0.1, -0.1]).repeat(4, 2)
    assert losses(grainy)[1] < 1e-6, "sharpness is not taught"
    shown[..., :30, :] += 0.1
    assert losses(shown)[0] > 0.01


def test_the_expert_is_shown_the_brightness_of_the_mouth_alone():
    truth = torch.rand(5, 3, 96, 96)
    tinted = truth + torch.tensor([0.1, -0.06, -0.04])[:, None, None]
    torch.testing.assert_close(only_lips(tinted, truth), truth, atol=1e-6, rtol=0)
    brighter = only_lips(truth + 0.1, truth) - truth
    torch.testing.assert_close(brighter[:, :, 70:76, 40:56], torch.full((5, 3, 6, 16), 0.1), atol=1e-6, rtol=0)
    assert brighter[..., :48, :].abs().max() < 0.015
    assert brighter[..., :10].abs().max() < 0.015


def stage_of(data, network=None, **settings):
    """Return a stage on the CPU that trains a network, if only a convolution that cannot draw."""
    return GeneratorStage(
        GeneratorConfig(**settings),
        Split(data, data.tracks, []),
        HeldOut(data, []),
        network=network or torch.nn.Conv2d(6, 3, 1),
        expert=None,
        seed=3,
        machine=choose_machine("cpu", "float32"),
    )


def test_inputs_are_stacked_as_the_renderer_stacks_them():
    faces, references = torch.rand(2, 3, 96, 96), torch.rand(2, 3, 96, 96)
    stacked = stack_inputs(faces, references)
    assert stacked[:, :3, :48].equal(faces[:, :, :48])
    assert (stacked[:, :3, 48:] == 0).all()
    assert stacked[:, 3:].equal(references)
    assert faces[:, :, 48:].min() >= 0
    assert faces[:, :, 48:].max() > 0, "the target is left as it is"
