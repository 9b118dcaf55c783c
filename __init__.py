"""The root of a clone. The package is the folder `lowerbound` in it.

Python runs this file where the parent folder of a clone named `lowerbound` is on its path: it takes the clone for the
package. Then the package itself is imported instead. Under any other name this file does nothing.
"""

import importlib.util
import sys
from pathlib import Path

if __name__ == "lowerbound":
    _spec = importlib.util.spec_from_file_location(__name__, Path(__file__).parent / "lowerbound" / "__init__.py")
    assert _spec is not None and _spec.loader is not None
    _package = importlib.util.module_from_spec(_spec)
    sys.modules[__name__] = _package  # `import` returns what stands here after this file was run
    _spec.loader.exec_module(_package)
