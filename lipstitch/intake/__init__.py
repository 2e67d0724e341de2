"""Jobs from what others say or leave: Wav2Lip's options, lists of files, folders of dubbing programs."""
