"""Take the place of Wav2Lip's script of this name: python inference.py --checkpoint_path W --face V --audio A."""

from lipstitch.commands.wav2lip import app

if __name__ == "__main__":
    app()
