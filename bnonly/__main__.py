import sys

from bnonly.cli import main

sys.exit(main())
