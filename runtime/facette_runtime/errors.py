"""The errors a person is meant to read.

Every command line of Facette prints these as one line and exits with status 2; anything else that escapes is a bug.
"""


class FacetteError(Exception):
    """Something the user can put right; the message names what is wrong and, where there are some, the valid choices."""


class SchemaError(FacetteError):
    """A manifest, recipe or target file does not say what its schema asks for."""


class BundleError(FacetteError):
    """A bundle is missing, damaged, from another version, or meant for another target."""


class EngineError(FacetteError):
    """An inference engine is not installed, or refuses a network."""


class SourceError(FacetteError):
    """A picture, folder, video or camera cannot be read."""
