"""`python -m pilothouse.main`."""

import sys

from pilothouse.main.cli import main

sys.exit(main())
