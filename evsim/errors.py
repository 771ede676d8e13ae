"""The errors that a person meets: one line that says what is wrong, where, and what to do."""


class EvsimError(ValueError):
    """Base of every error that evsim raises about its input; the command line prints it and exits with 2."""


class OptionError(EvsimError):
    """An option or argument is unusable, missing, or contradicts what a file says."""


class CheckpointError(EvsimError):
    """A PyTorch checkpoint cannot be read or does not fit any known model family."""


class ModelFileError(EvsimError):
    """A ``model.h5`` is damaged, newer than this evsim, or no model at all."""


class NetworkError(EvsimError):
    """A network does not fit together: a bad edge, shape, name or weight."""


class RecordingError(EvsimError):
    """A recording or image is missing, damaged, empty or does not fit the model."""


class ProfileError(EvsimError):
    """A hardware profile (TOML) is invalid."""
