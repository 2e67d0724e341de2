"""Videos with other tags than those of the files they come from."""

from dataclasses import fields, replace

GROUPS = ("coded", "display", "clock", "colour")


def changed(video, **changes):
    """Return a VideoInfo with other values, whichever of its groups hold them."""
    for name, value in changes.items():
        group = next((group for group in GROUPS if name in {each.name for each in fields(getattr(video, group))}), None)
        other = replace(getattr(video, group), **{name: value}) if group else value
        video = replace(video, **{group or name: other})
    return video
