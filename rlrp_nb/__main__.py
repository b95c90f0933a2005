"""``python -m rlrp_nb`` is the command ``rlrp-nb``."""

import sys

from rlrp_nb.cli import main

if __name__ == "__main__":
    sys.exit(main())
