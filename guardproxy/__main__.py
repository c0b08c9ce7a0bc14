"""`python -m guardproxy` is the command `guardproxy`."""

from guardproxy.cli import main

if __name__ == "__main__":
    main()
