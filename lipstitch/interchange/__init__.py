"""Timelines that editing programs exchange: OpenTimelineIO and EDL (CMX 3600), read and written."""
