"""`python -m cxrserve`: the command line, where its script is not on the path."""

from cxrserve.cli import main

main()
