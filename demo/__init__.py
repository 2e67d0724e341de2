"""The demonstration that ships: a portrait, a dub, and the code that makes a video of both."""
