"""Luigi wiring, settings, command line and report; no algorithms.

`luigi --module tasks FullPipeline` and `luigi --module tasks ReproduceParsingTables` find their
tasks here. Importing this package loads neither torch nor lightning, so that scheduling stays
light.
"""

from tasks import defaults as _defaults

_defaults.apply()

from tasks.full import FullPipeline  # noqa: E402  (the defaults must stand before Luigi reads them)
from tasks.parsing_tables import ReproduceParsingTables  # noqa: E402

__all__ = ["FullPipeline", "ReproduceParsingTables"]
