"""`python -m tests.sim.run SEED [--steps N]`: one run of the simulation; prints the hash of all that happened."""

import argparse
import sys

from tests.sim.world import World


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("seed", type=int)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--all", action="store_true", help="show all that happened before a failure")
    parser.add_argument("--sql", action="store_true", help="with the cloud's store in SQLite")
    asked = parser.parse_args()
    world = World(asked.seed, sql=asked.sql)
    world.keep_all = asked.all
    sys.stdout.write(world.run(asked.steps) + "\n")


if __name__ == "__main__":
    main()
