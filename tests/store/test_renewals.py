from __future__ import annotations

import gc
import threading
import time

import pytest

from valence_integrations._store.renewals import Renewals


class Owner:
    def __init__(self) -> None:
        self.others = set(threading.enumerate())
        self.renewed: list[list[str]] = []
        self.twice = threading.Event()
        self.renewals = Renewals(self.renew, seconds=0.01)

    def renew(self, held: list[str]) -> None:
        self.renewed.append(sorted(held))
        if len(self.renewed) > 1:
            self.twice.set()


def threads(others: set[threading.Thread]) -> list[str]:
    return [thread.name for thread in set(threading.enumerate()) - others if thread.name == "valence-renewals"]


def until_no_thread(others: set[threading.Thread]) -> None:
    end = time.monotonic() + 5
    while threads(others) and time.monotonic() < end:
        time.sleep(0.005)
    assert threads(others) == []


def test_held_items_are_renewed_until_discarded() -> None:
    owner = Owner()
    owner.renewals.add("a")
    owner.renewals.add("b")
    assert owner.twice.wait(5)
    assert owner.renewed[-1] == ["a", "b"]
    assert len(threads(owner.others)) == 1
    owner.renewals.discard("a")
    owner.renewals.discard("b")
    until_no_thread(owner.others)
    owner.twice.clear()
    owner.renewals.add("c")
    assert owner.twice.wait(5)
    assert owner.renewed[-1] == ["c"]


def test_thread_ends_with_its_owner() -> None:
    owner = Owner()
    owner.renewals.add("a")
    assert owner.twice.wait(5)
    others = owner.others
    del owner
    gc.collect()
    until_no_thread(others)


def test_closing_ends_the_thread_only_if_nothing_is_held() -> None:
    owner = Owner()
    owner.renewals = Renewals(owner.renew, seconds=60)
    owner.renewals.add("a")
    owner.renewals.close()
    owner.renewals.close()
    assert len(threads(owner.others)) == 1
    owner.renewals.discard("a")
    owner.renewals.close()
    until_no_thread(owner.others)


def test_thread_that_cannot_be_started_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    owner = Owner()
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        owner.renewals.add("a")
    owner.renewals.add("b")
    assert owner.twice.wait(5)
    assert owner.renewed[-1] == ["a", "b"]


def refuse(thread: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")
