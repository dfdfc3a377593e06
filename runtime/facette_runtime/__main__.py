import sys

from facette_runtime.cli import main

sys.exit(main())
