"""Figures of a finished video: lips against sound, mouths against their surroundings, pictures against a reference."""
