"""Run the command line as `python -m fleetkey`."""

from fleetkey.cli import main

if __name__ == "__main__":
    main()
