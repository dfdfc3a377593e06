"""One module a command: ``add`` describes it to argparse, ``run`` does it. Heavy modules are imported by ``run``."""
