"""`python -m bots`: the same as `frontdesk`."""

from bots.cli import main

if __name__ == "__main__":
    main()
