"""`python -m tests.crashes.undisturbed`: the calls of each life that nothing disturbs, the source of its points."""

from __future__ import annotations

import sys

from tests.crashes.cases import end
from tests.crashes.effects import counted
from tests.crashes.lives import LIVES, Life
from tests.crashes.operators import Call
from tests.crashes.scene import Stage, opened_scene
from tests.installed import absent
from tests.integration.operator_process import kubeconfig


def undisturbed(stage: Stage, life: Life) -> list[Call]:
    """The calls of a life, in the order of their answers."""
    with opened_scene(stage) as scene, scene.operator("operator") as operator:
        operator.begin()
        scene.begin(life, life.effects[-1])
        end(scene, operator)
        return operator.calls()


def main() -> None:
    """Prints the calls of the lives whose names begin as the arguments say."""
    with absent(), counted() as effects:
        stage = Stage.of(kubeconfig(), effects)
        for life in (it for it in LIVES if it.name.startswith(tuple(sys.argv[1:]) or "")):
            print(life.name, *(f"  {it.call} {it.number}: {it.status}" for it in undisturbed(stage, life)), sep="\n")


if __name__ == "__main__":
    main()
