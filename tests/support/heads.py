"""A head of points that turns and talks, drawn as a picture: a face whose mesh is known to the pixel."""

from functools import cache

import cv2
import numpy as np

from media.mesh import NUM_POINTS, group, points_at

UNIT = 90.0
"""Distance of the eyes, in pixels."""


def build_head():
    """Return a frontal face (NUM_POINTS, 3), in eye distances about the bridge of the nose, mouth closed."""
    random = np.random.default_rng(5)
    head = np.zeros((NUM_POINTS, 3))
    head[:, :2] = random.uniform(-0.5, 0.5, (NUM_POINTS, 2)) * (0.8, 0.4)
    places = {33: (-0.5, 0), 263: (0.5, 0), 133: (-0.2, 0), 362: (0.2, 0), 168: (0, -0.05), 2: (0, 0.5), 4: (0, 0.4)}
    places |= {10: (0, -0.7), 152: (0, 1.25), 234: (-0.72, 0.1), 454: (0.72, 0.1), 1: (0, 0.42), 6: (0, 0.05)}
    jaw = [132, 58, 172, 136, 150, 149, 176, 148, 152, 377, 400, 378, 379, 365, 397, 288, 361]
    for number, angle in zip(jaw, np.linspace(np.pi * 0.97, np.pi * 0.03, len(jaw)), strict=True):
        places[number] = (0.7 * np.cos(angle), 0.35 + 0.9 * np.sin(angle))
    lips = {"lips_outer": (0.30, 0.10), "lips_inner": (0.26, 0.004)}
    rings = {
        "lips_outer": [61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291, 375, 321, 405, 314, 17, 84, 181, 91, 146],
        "lips_inner": [78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308, 324, 318, 402, 317, 14, 87, 178, 88, 95],
    }
    for ring, numbers in rings.items():
        wide, high = lips[ring]
        for number, angle in zip(numbers, np.linspace(np.pi, -np.pi, len(numbers), endpoint=False), strict=True):
            places[number] = (wide * np.cos(angle), 0.8 - high * np.sin(angle))
    below = {18: (0, 0.97), 200: (0, 1.1), 199: (0, 1.18), 164: (0, 0.6)}
    for number, place in {**places, **below}.items():
        head[points_at([number])[0], :2] = place
    head[:, 2] = -0.3 + head[:, 0] ** 2
    head[group("lips_outer", "lips_inner"), 2] = -0.35
    return head


HEAD = build_head()
LOWER_LIP = points_at((14, 87, 317, 178, 402, 88, 318, 95, 324, 17, 84, 314, 181, 405, 91, 321, 146, 375))
LOW = [*LOWER_LIP, *points_at((18, 200, 199, 152, 148, 377, 176, 400))]


def talking(opening):
    """Return the face with its lower lip and chin `opening` eye distances lower."""
    head = HEAD.copy()
    head[LOW, 1] += opening
    return head


def seen(head, *, yaw=0.0, pitch=0.0, roll=0.0, unit=UNIT, middle=(160.0, 130.0)):
    """Return a mesh in pixels: the head turned by degrees, its eyes `unit` pixels apart, its brow at a place."""
    y, p, r = np.radians((yaw, pitch, roll))
    about_y = np.array([[np.cos(y), 0, -np.sin(y)], [0, 1, 0], [np.sin(y), 0, np.cos(y)]])
    about_x = np.array([[1, 0, 0], [0, np.cos(p), -np.sin(p)], [0, np.sin(p), np.cos(p)]])
    about_z = np.array([[np.cos(r), -np.sin(r), 0], [np.sin(r), np.cos(r), 0], [0, 0, 1]])
    turned = head @ (about_z @ about_x @ about_y).T
    return (turned * unit + (*middle, 0)).astype(np.float32)


@cache
def _texture(height, width):
    noise = np.random.default_rng(3).normal(0, 40, (height, width)).astype(np.float32)
    return cv2.GaussianBlur(noise, (0, 0), 2)


def picture(mesh, size=(320, 320), colour=(120, 150, 200)):
    """Return a BGR picture of a mesh: skin with some texture, lips, and a dark mouth with teeth where it is open."""
    width, height = size
    ground = np.full((height, width, 3), (90, 70, 60), np.uint8)
    points = mesh[:, :2]
    oval = cv2.convexHull(points.astype(np.float32))
    oval += 0.3 * (oval - oval.mean(axis=0))  # skin goes on at the neck
    cv2.fillPoly(ground, [np.rint(oval).astype(np.int32)], colour)
    ground = np.clip(ground + _texture(height, width)[..., None], 0, 255).astype(np.uint8)
    for name, shade in (("lips_outer", (80, 80, 170)), ("lips_inner", (20, 20, 30))):
        ring = cv2.convexHull(points[group(name)].astype(np.float32))
        cv2.fillPoly(ground, [np.rint(ring * 8).astype(np.int32)], shade, cv2.LINE_AA, 3)
    return ground
