"""`python -m tuti`: the same as the command `tuti`."""

from tuti.app.cli import main

if __name__ == "__main__":
    main()
