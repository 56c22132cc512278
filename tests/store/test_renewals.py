from __future__ import annotations

import gc
import threading
import time

from valence_integrations._store.renewals import Renewals


class Owner:
    def __init__(self) -> None:
        self.renewed: list[list[str]] = []
        self.twice = threading.Event()
        self.renewals = Renewals(self.renew, seconds=0.01)

    def renew(self, held: list[str]) -> None:
        self.renewed.append(sorted(held))
        if len(self.renewed) > 1:
            self.twice.set()


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "valence-renewals"]


def until_no_thread() -> None:
    end = time.monotonic() + 5
    while threads() and time.monotonic() < end:
        time.sleep(0.005)
    assert threads() == []


def test_held_items_are_renewed_until_discarded() -> None:
    owner = Owner()
    owner.renewals.add("a")
    owner.renewals.add("b")
    assert owner.twice.wait(5)
    assert owner.renewed[-1] == ["a", "b"]
    assert len(threads()) == 1
    owner.renewals.discard("a")
    owner.renewals.discard("b")
    until_no_thread()
    owner.twice.clear()
    owner.renewals.add("c")
    assert owner.twice.wait(5)
    assert owner.renewed[-1] == ["c"]


def test_thread_ends_with_its_owner() -> None:
    owner = Owner()
    owner.renewals.add("a")
    assert owner.twice.wait(5)
    del owner
    gc.collect()
    until_no_thread()
