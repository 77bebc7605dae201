"""`python -m node` is the same as `paraspinal-node`."""

from node.cli import main

if __name__ == "__main__":
    main()
