import sys

from clef.cli import main

sys.exit(main())
