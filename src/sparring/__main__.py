"""`python -m sparring`: the command `spar`."""

from sparring.cli.app import main

if __name__ == "__main__":
    main()
