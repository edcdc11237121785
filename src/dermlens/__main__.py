"""Where the program begins: Ctrl-C ends it in one sentence while the verbs are still being loaded, too."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line."""
    try:
        from dermlens.cli.app import main as verbs
        from dermlens.cli.app import prepare_streams

        prepare_streams()
        verbs()
    except KeyboardInterrupt:
        print("dermlens: interrupted", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
