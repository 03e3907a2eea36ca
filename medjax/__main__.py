"""`python -m medjax` is the command `medjax`."""

import sys

from medjax.cli import main

sys.exit(main())
