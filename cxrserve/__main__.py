"""`python -m cxrserve`: the command line, where its script is not on the path."""

from cxrserve.cli.main import main

# Not in the processes that training starts: they import this file again.
if __name__ == "__main__":
    main()
