"""`python -m tgc`: the `tgc` command."""

from tgc.cli import main

if __name__ == "__main__":
    main()
