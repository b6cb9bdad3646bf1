"""Where the command `geounet` begins; `python -m geounet_cli` is the same."""

import sys


def start() -> None:
    """Run the command; a Ctrl-C while it is still being imported ends it as quietly as later."""
    try:
        from geounet_cli.main import main  # a tenth of a second in which nobody listens yet

        main()
    except KeyboardInterrupt:
        sys.stderr.write("stopped\n")
        raise SystemExit(130) from None


if __name__ == "__main__":
    start()
